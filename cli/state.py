"""`pricelink state`: the state topic made anew from the log, or compared with it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.options import KafkaOption, fail, say, settings_of

state_app = typer.Typer(help="The machine's rows, topic pricelink.state.", no_args_is_help=True)

PolicyOption = Annotated[
    Path | None,
    typer.Option(help="Policy file of the start of the log. Default: the settings'.", exists=True, dir_okay=False),
]


@state_app.command("rebuild")
def rebuild(
    policy: PolicyOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the state topic is deleted.")] = False,
    kafka: KafkaOption = "localhost:9092",
) -> None:
    """Delete the state topic and make it anew from feeds, up to where the workers are. Sends no event. Stop them first."""
    from agents import state_rebuild

    chosen, new_machine = _machines(kafka, policy)
    with _faults(kafka):
        ends = {number: at.committed or 0 for number, at in state_rebuild.targets(chosen).items()}
        if not yes and not typer.confirm(f"Delete pricelink.state of {kafka} and make it anew?", err=True):
            raise typer.Exit(1)
        began = time.monotonic()
        state_rebuild.make_topic_anew(chosen)
        with _bar(ends) as on_offsets:
            done = asyncio.run(state_rebuild.rebuild(chosen, new_machine, ends, on_offsets))
    for each in done:
        say(f"partition {each.partition}: {each.records:,} records up to offset {each.next_offset:,}, {each.rows:,} rows "
            f"of {each.bytes / 1e6:,.1f} MB; read in {each.read_s:.1f} s, written in {each.write_s:.1f} s")  # fmt: skip
    never = [number for number, end in ends.items() if not end]
    if never:
        say(f"of partitions {never} nothing was ever committed: workers read them from their start")
    took_s = time.monotonic() - began
    records = sum(each.records for each in done)
    say(f"{records:,} records, {sum(each.rows for each in done):,} rows in {took_s:.1f} s. Start the workers.")


@state_app.command("check")
def check(policy: PolicyOption = None, kafka: KafkaOption = "localhost:9092") -> None:
    """Compare the state topic with what feeds gives, byte for byte. Exit code 1 if it differs. Workers may run."""
    from agents import state_rebuild
    from agents.standing import admin_of, standings
    from config.topics import FEEDS

    chosen, new_machine = _machines(kafka, policy)
    with _faults(kafka):
        with admin_of(chosen) as admin:
            ends = {number: at.end for number, at in standings(admin, FEEDS.name, None).items()}
        with _bar(ends) as on_offsets:
            found = asyncio.run(state_rebuild.compare(chosen, new_machine, on_offsets))
    for each in found:
        if each.next_offset is None:
            say(f"partition {each.partition}: no checkpoint")
        elif each.different:
            say(f"partition {each.partition}: {len(each.different):,} of {each.rows:,} rows differ at offset "
                f"{each.next_offset:,}: {', '.join(each.different[:5])}")  # fmt: skip
        else:
            say(f"partition {each.partition}: {each.rows:,} rows equal at offset {each.next_offset:,}")
    raise typer.Exit(1 if any(each.different for each in found) else 0)


def _machines(kafka: str, policy: Path | None) -> tuple[Any, Any]:
    """Returns the settings, with as many partitions as feeds has, and what makes machines."""
    from agents.exits import ConfigFault
    from agents.machines import real_machines
    from cli.kafka_log import partitions_of
    from cli.log_file import LogFault
    from config.topics import FEEDS

    chosen = settings_of(kafka, embedded=False)
    try:
        update: dict[str, object] = {"partitions": partitions_of(chosen, FEEDS.name)}
        chosen = chosen.model_copy(update=update | ({} if policy is None else {"policy_file": policy}))
        return chosen, real_machines(chosen)
    except (LogFault, ConfigFault) as fault:
        raise fail(str(fault)) from fault


@contextmanager
def _faults(kafka: str) -> Iterator[None]:
    from aiokafka.errors import KafkaError
    from kafka.errors import KafkaError as AdminError

    from agents.exits import ConfigFault
    from agents.state_rebuild import CannotRebuild

    try:
        yield
    except (CannotRebuild, ConfigFault, TimeoutError) as fault:
        raise fail(str(fault)) from fault
    except (KafkaError, AdminError, OSError) as fault:
        raise fail(f"Kafka at {kafka}: {fault or type(fault).__name__}") from fault


@contextmanager
def _bar(ends: dict[int, int]) -> Iterator[Any]:
    """Shows how many messages of all are read; gives what is told of it."""
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.completed:,.0f} of {task.total:,.0f} messages"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    read: dict[int, int] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=sum(ends.values()) or 1)

        def on_offsets(partition: int, offset: int) -> None:
            read[partition] = offset
            progress.update(task, completed=sum(read.values()))

        yield on_offsets
