"""The command line: thin bodies around the other packages."""
