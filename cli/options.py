"""What commands share: how they speak, how they fail, the options of where the broker is."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from config.settings import Settings

BAD_INPUT = 2
"""Exit code of a command that could not use what it was given; a process that lost its surroundings ends with others."""

PIPED_COLUMNS = 160
"""Width of tables that go into a file or a pipe, which have none of their own."""

KafkaOption = Annotated[str, typer.Option("--kafka", metavar="HOST:PORT", help="Broker.", envvar="PRICELINK_BOOTSTRAP")]
EmbeddedOption = Annotated[bool, typer.Option("--embedded", help="The broker is the one that `pricelink run` started.")]


def say(text: str) -> None:
    """Prints a line for a person."""
    typer.echo(text, err=True)


def fail(text: str) -> typer.Exit:
    """Prints what is wrong; returns what to raise."""
    typer.secho(text, fg=typer.colors.RED, err=True)
    return typer.Exit(BAD_INPUT)


def settings_of(kafka: str, *, embedded: bool) -> "Settings":
    """Returns the settings with the broker that the options name."""
    from config.settings import settings

    return settings().model_copy(update={"bootstrap": kafka} | ({"broker_kind": "embedded"} if embedded else {}))
