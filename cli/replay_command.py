"""What `pricelink replay` and `pricelink log dump` do around the machine: where logs come from, progress, totals."""

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import config.settings
from cli.kafka_log import partitions_of, read_topic
from cli.log_file import LogFault, Message, log_line, open_log, read_log
from cli.replay import Totals, read_policy, replay
from config.settings import Settings
from config.topics import FEEDS

PROGRESS_FROM_BYTES: Final = 8 << 20
"""A smaller log is done before a bar could be read."""


def replay_command(
    log: Path | None, from_kafka: Settings | None, policy: Path | None, partitions: int | None, out: Path
) -> None:
    """Replays ``log`` or, in its place, topic feeds of the broker ``from_kafka``; raises LogFault."""
    if (log is None) == (from_kafka is None):
        raise LogFault("say either a LOG or --from-kafka HOST:PORT")
    chosen = read_policy(policy or config.settings.settings().policy_file)
    began_s = time.perf_counter()
    if from_kafka is not None:
        there = partitions_of(from_kafka, FEEDS.name)
        if partitions not in (None, there):
            raise LogFault(f"{FEEDS.name} has {there} partitions, not {partitions}")
        with _counter() as (progress, task):
            messages = read_topic(from_kafka, FEEDS.name)
            totals = replay(messages, chosen, there, out, lambda sums: _show(progress, task, sums))
    else:
        assert log is not None
        if partitions is None:
            raise LogFault("say how many partitions the log's topic has: --partitions N")
        with open_log(log) as file, _bar(log) as (progress, task):
            messages = read_log(file, str(log), partitions, lambda size: progress.advance(task, size))
            totals = replay(messages, chosen, partitions, out, lambda sums: _show(progress, task, sums))
    _print_totals(totals, time.perf_counter() - began_s, out)


def dump_command(broker: Settings, topic: str, partitions: list[int] | None, out: Path) -> None:
    """Writes a topic as a LOG, to where its partitions end now; raises LogFault."""
    to_stdout = out == Path("-")
    try:
        count = 0
        with nullcontext(sys.stdout.buffer) if to_stdout else out.open("wb") as file:
            for message in _counted(read_topic(broker, topic, partitions)):
                file.write(log_line(message))
                count += 1
    except BrokenPipeError:
        # Whoever read our output has had enough; Python is not to complain about the flush at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except OSError as error:
        raise LogFault(f"cannot write {out}: {error.strerror}") from error
    if not to_stdout:
        Console(stderr=True).print(f"{count:,} messages of {topic} in {out}")


def _counted(messages: Iterable[Message]) -> Iterator[Message]:
    with _counter() as (progress, task):
        for number, message in enumerate(messages, 1):
            yield message
            if number % 1000 == 0:
                progress.update(task, note=f"{number:,} messages")


@contextmanager
def _bar(log: Path) -> Iterator[tuple[Progress, TaskID]]:
    total, size = None, 0
    try:
        status = log.stat()
        if stat.S_ISREG(status.st_mode):
            total = size = status.st_size
    except OSError:
        pass  # standard input: no size to show a share of
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    shown = console.is_terminal and (total is None or size >= PROGRESS_FROM_BYTES)
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        yield progress, progress.add_task("", total=total, note="")


@contextmanager
def _counter() -> Iterator[tuple[Progress, TaskID]]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress, progress.add_task("", total=None, note="")


def _show(progress: Progress, task: TaskID, totals: Totals) -> None:
    progress.update(task, note=f"{totals.records:,} records, {totals.alerts:,} alert events")


def _print_totals(totals: Totals, took_s: float, out: Path) -> None:
    dead = sum(totals.dead_letters.values())
    by_reason = ", ".join(f"{reason} {count:,}" for reason, count in sorted(totals.dead_letters.items()))
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"{totals.records:,} records of {totals.messages:,} messages in {took_s:.1f} s: "
        f"{totals.alerts:,} alert events, {totals.price_changes:,} price changes, {dead:,} dead letters"
        f"{f' ({by_reason})' if by_reason else ''}, in {out}"
    )
