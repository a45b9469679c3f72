"""`python -m cli`: the command line, for processes that start themselves again."""

from cli.main import app

app()
