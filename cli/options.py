"""What commands share: how they speak, how they fail, the options of where the broker is."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from config.settings import Settings

BAD_INPUT = 2
"""Exit code of a command that could not use what it was given; a process that lost its surroundings ends with others."""

PIPED_COLUMNS = 160
"""Width of tables that go into a file or a pipe, which have none of their own."""

KafkaOption = Annotated[str, typer.Option("--kafka", metavar="HOST:PORT", help="Broker.", envvar="PRICELINK_BOOTSTRAP")]
EmbeddedOption = Annotated[bool, typer.Option("--embedded", help="The broker is the one that `pricelink run` started.")]


class Main(TyperGroup):
    """The command line's root: faults that stand for an exit code are said in a sentence, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except Exception as fault:
            if (code := _said(fault)) is None:
                raise
            raise typer.Exit(code) from fault


def _said(fault: Exception) -> int | None:
    """Says what is wrong; returns the exit code, None for a fault that is not ours to say."""
    from pydantic import ValidationError

    from agents.exits import CONFIG, INFRASTRUCTURE, ConfigFault, InfrastructureFault

    if isinstance(fault, ValidationError) and fault.title == "Settings":
        for each in fault.errors(include_input=False, include_context=False, include_url=False):
            name = f"PRICELINK_{str(each['loc'][0]).upper()}: " if each["loc"] else ""
            fail(f"settings do not fit: {name}{each['msg'].removeprefix('Value error, ')}")
        return CONFIG
    if isinstance(fault, ConfigFault | InfrastructureFault):
        fail(str(fault))
        return CONFIG if isinstance(fault, ConfigFault) else INFRASTRUCTURE
    return None


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

    chosen = settings().model_copy(update={"bootstrap": kafka} | ({"broker_kind": "embedded"} if embedded else {}))
    if chosen.security_protocol != "PLAINTEXT":
        from agents.preflight import check_kafka

        check_kafka(chosen)
    return chosen
