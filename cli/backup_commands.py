"""`pricelink backup` and `pricelink restore`, with a bar."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from cli.options import KafkaOption, fail, say, settings_of

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the backup.", file_okay=False)]


def backup(
    folder: FolderArgument,
    topic: Annotated[
        list[str] | None, typer.Option(help="Only this; may be given again. Default: all but those in passing.")
    ] = None,
    kafka: KafkaOption = "localhost:9092",
) -> None:
    """Write the topics into a folder, with checksums; into the same folder again: what came since. Anything may run."""
    from cli.backup import PASSING
    from cli.backup import backup as write
    from config.topics import TOPICS

    names = topic or [each.name for each in TOPICS if each.name not in PASSING]
    chosen = settings_of(kafka, embedded=False)
    began = time.monotonic()
    with _faults(kafka), _counter() as on_messages:
        manifest = write(chosen, folder, names, on_messages)
    _report(manifest, folder, time.monotonic() - began)


def restore(
    folder: FolderArgument,
    topic: Annotated[
        list[str] | None, typer.Option(help="Only this; may be given again. Default: all that is there.")
    ] = None,
    kafka: KafkaOption = "localhost:9092",
) -> None:
    """Write a backup into empty topics, messages at the offsets they had, and compare. Nothing else may run."""
    from cli.backup_files import Manifest
    from cli.restore import restore as write

    began = time.monotonic()
    with _faults(kafka), _counter() as on_messages:
        chosen = settings_of(kafka, embedded=False).model_copy(update={"partitions": Manifest.read(folder).partitions})
        manifest = write(chosen, folder, topic, on_messages)
    _report(manifest, folder, time.monotonic() - began)
    say(
        "every message was read again and is equal. Then: `pricelink topics apply`, workers, "
        "`pricelink read-model --rebuild`, the others"
    )


def move(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A backup of everything, workers being through.")],
    folder: Annotated[Path, typer.Argument(metavar="NEW", help="Folder of the backup to write.", file_okay=False)],
    partitions: Annotated[int, typer.Option(help="A multiple of the old number.", min=2, max=1000)],
    policy: Annotated[
        Path | None, typer.Option(help="Policy file of the start of the log. Default: the settings'.")
    ] = None,
) -> None:
    """Make of a backup one with more partitions, and compare every event; then restore it. No Kafka is needed."""
    from cli.log_file import LogFault
    from cli.repartition import move as write
    from cli.replay import read_policy
    from config.settings import settings

    began = time.monotonic()
    with _faults("?"), _counter() as on_messages:
        try:
            chosen = read_policy(policy or settings().policy_file)
        except LogFault as fault:
            raise fail(str(fault)) from fault
        manifest, events, late = write(old, folder, partitions, chosen, settings().worker_group, on_messages)
    _report(manifest, folder, time.monotonic() - began)
    for endpoint in late:
        say(f"webhook {endpoint} was not through: it gets everything since it was made once more, with the same ids")
    say(f"{events:,} events are the same but for positions. Then: `pricelink restore {folder}` into empty topics, "
        "`pricelink topics apply`, `pricelink state rebuild`, workers, the others")  # fmt: skip


def _report(manifest: Any, folder: Path, took_s: float) -> None:
    messages = size = 0
    for name, topic in sorted(manifest.topics.items()):
        parts = [part for each in topic.parts.values() for part in each]
        count, taken = sum(part.messages for part in parts), sum(part.bytes for part in parts)
        say(f"{name}: {count:,} messages, {taken / 1e6:,.1f} MB in {len(parts)} files")
        messages, size = messages + count, size + taken
    say(f"{messages:,} messages, {size / 1e6:,.1f} MB in {folder}, {took_s:.1f} s")


@contextmanager
def _faults(kafka: str) -> Iterator[None]:
    from aiokafka.errors import KafkaError
    from kafka.errors import KafkaError as AdminError

    from cli.backup_files import BackupFault

    try:
        yield
    except BackupFault as fault:
        raise fail(str(fault)) from fault
    except (KafkaError, AdminError) as fault:
        raise fail(f"Kafka at {kafka}: {fault or type(fault).__name__}") from fault
    except OSError as fault:
        raise fail(str(fault)) from fault


@contextmanager
def _counter() -> Iterator[Any]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    done: dict[str, int] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None, note="")

        def on_messages(name: str, more: int) -> None:
            done[name] = done.get(name, 0) + more
            progress.update(task, note=f"{name}: {done[name]:,} messages")

        yield on_messages
