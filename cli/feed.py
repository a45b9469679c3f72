"""`pricelink feed`: a file's records into topic ``feeds``, checked line by line, packed by partition."""

import asyncio
import gzip
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from config.provinces import NO_PROVINCE
from config.settings import Settings
from config.topics import FEEDS
from gateway.pricelists import convert
from gateway.profiles import MappingFault, Profile, load_profile
from schemas.packets import Rejected, Sender, check_records

GROUP_BYTES: Final = 512 * 1024
"""About so much is checked and packed at a time."""
ANYBODY: Final = Sender(NO_PROVINCE, -1)
"""Whoever reaches the broker may write anything there."""
REJECTS_SHOWN: Final = 100
_IN_FLIGHT: Final = 64
_TOPIC_S: Final = 10.0
_LONGEST_LINE: Final = 16 << 20
"""Longer lines are reported, not kept in memory whole."""
_BLANK: Final = b" \t\r\n"


class FeedFault(Exception):
    """Nothing can be fed: no such file, no broker, no topic. The text says what to do."""


def rejected_text(rejected: Rejected) -> str:
    """Returns a rejected line as a line for a person."""
    where = f" {rejected.field}:" if rejected.field else ""
    return f"line {rejected.line}: {rejected.reason}:{where} {rejected.message}"


@dataclass(slots=True)
class Summary:
    """What became of a file. ``reasons``: rejected lines by reason."""

    accepted: int = 0
    messages: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def rejected(self) -> int:
        """Returns how many lines were rejected."""
        return self.reasons.total()

    def text(self) -> str:
        """Returns it as a line for a person."""
        speed = f", {self.accepted / self.seconds:,.0f} records/s" if self.seconds > 0.5 else ""
        parts = [f"{self.accepted:,} records accepted in {self.messages:,} messages{speed}"]
        if self.reasons:
            by_reason = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.most_common())
            parts.append(f"{self.rejected:,} lines rejected ({by_reason})")
        return "; ".join(parts)


def read_lines(
    file: BinaryIO, profile: Profile | None, province: str | None, name: str, now_ms: int
) -> Iterator[tuple[int, bytes | None, Rejected | None]]:
    """Yields (line number, record, None), or (line number, None, what is wrong) of each line that is not blank.

    With ``profile`` the file is a price list, else NDJSON. Raises MappingFault.
    """
    if profile is not None:
        for row in convert(file, profile, now_ms, province, name):
            fault = None if row.record else Rejected(row.line, "bad_row", row.field, row.message or "", b"")
            yield row.line, row.record, fault
        return
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        while not line.endswith(b"\n") and len(line) >= _LONGEST_LINE and (more := file.readline(_LONGEST_LINE)):
            if more.endswith(b"\n"):
                break
        if bare := line.strip(_BLANK):
            yield number, (line.rstrip(b"\n") if len(line) < _LONGEST_LINE else bare), None


def is_price_list(path: Path) -> bool:
    """Tells whether a file's name says that it is a price list and needs a mapping."""
    names = path.name.lower()
    return names.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz", ".xlsx"))


def feed(
    settings: Settings,
    path: Path,
    mapping: Path | None = None,
    province: str | None = None,
    rejects: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Feeds a file and reports; returns the exit code: 0, or 1 where no record was accepted.

    Args:
        settings: where the broker is.
        path: NDJSON, or with ``mapping`` CSV or XLSX; gzipped or not; ``-`` is standard input.
        mapping: the price list's mapping profile.
        province: six digits, for a price list that does not name its province.
        rejects: a file that gets every rejected line as NDJSON; the first ones are said in any case.
        say: prints one line for a person; standard error by default.

    Raises:
        FeedFault: no such file, no broker, no topic, an unfit mapping.
    """
    tell = say or (lambda text: print(text, file=sys.stderr))
    if mapping is None and is_price_list(path):
        raise FeedFault(f"{path} is a price list: say which column is which field with --mapping (docs/feeds.md)")
    summary = Summary()
    started_s = time.monotonic()
    try:
        profile = load_profile(mapping) if mapping else None
        with rejects_file(rejects) as rejects_out, _open(path) as raw, progress(path) as advance:
            report = Report(tell, rejects_out, summary.reasons)
            lines = read_lines(_plain(raw, path), profile, province, str(path), _now_ms())
            asyncio.run(send(settings, groups(lines, raw, advance, report), report, summary))
    except MappingFault as fault:
        raise FeedFault(str(fault)) from fault
    except (OSError, EOFError) as error:
        raise FeedFault(f"cannot read {path}: {error}") from error
    summary.seconds = time.monotonic() - started_s
    report.end()
    tell(summary.text())
    return 0 if summary.accepted else 1


class Report:
    """Says the first rejected lines and counts the others."""

    def __init__(self, tell: Callable[[str], None], out: Any, reasons: Counter[str]) -> None:
        self._tell, self._out, self._reasons = tell, out, reasons

    def add(self, rejected: Rejected) -> None:
        """Reports a line."""
        self._reasons[rejected.reason] += 1
        if self._reasons.total() <= REJECTS_SHOWN:
            self._tell(rejected_text(rejected))
        if self._out is not None:
            print(json.dumps(rejected.shown(), ensure_ascii=False), file=self._out)

    def end(self) -> None:
        """Says how many lines were not said."""
        if (more := self._reasons.total() - REJECTS_SHOWN) > 0:
            hint = "" if self._out is not None else "; --rejects FILE keeps them all"
            self._tell(f"and {more:,} more lines rejected{hint}")


def groups(
    lines: Iterator[tuple[int, bytes | None, Rejected | None]],
    raw: BinaryIO,
    advance: Callable[[int], None],
    report: Report,
) -> Iterator[tuple[list[int], list[bytes]]]:
    """Yields numbers and lines of about GROUP_BYTES; reports what is no record already."""
    numbers: list[int] = []
    found: list[bytes] = []
    size = 0
    for number, line, fault in lines:
        if fault is not None:
            report.add(fault)
        elif line is not None:
            numbers.append(number)
            found.append(line)
            size += len(line) + 1
        if size >= GROUP_BYTES:
            with suppress(OSError):  # a pipe has no place
                advance(raw.tell())
            yield numbers, found
            numbers, found, size = [], [], 0
    if found:
        yield numbers, found


async def send(
    settings: Settings, groups: Iterator[tuple[list[int], list[bytes]]], report: Report, summary: Summary
) -> None:
    """Checks and sends groups of lines; adds to ``summary``. Raises FeedFault."""
    from aiokafka.errors import KafkaError

    from agents.clients import new_producer

    producer = new_producer(settings)
    try:
        partitions = await _start(producer, settings)
        in_flight: deque[asyncio.Future[Any]] = deque()
        for numbers, lines in groups:
            checked = check_records(lines, numbers, ANYBODY, _now_ms(), partitions)
            for rejected in checked.rejected:
                report.add(rejected)
            for packet in checked.packets:
                sent = await producer.send(FEEDS.name, packet.value, key=packet.key, partition=packet.partition)
                in_flight.append(sent)
                summary.messages += 1
                while len(in_flight) > _IN_FLIGHT:
                    await in_flight.popleft()
            summary.accepted += checked.accepted
        while in_flight:
            await in_flight.popleft()
    except KafkaError as error:
        raise FeedFault(
            f"Kafka at {settings.bootstrap} refused a message ({error}) after about {summary.accepted:,} records: "
            "feed the file again, repeated records change nothing"
        ) from error
    finally:
        await producer.stop()


async def _start(producer: Any, settings: Settings) -> int:
    """Returns how many partitions the topic has."""
    from aiokafka.errors import KafkaError

    try:
        await producer.start()
    except (KafkaError, OSError) as error:
        raise FeedFault(f"no Kafka answers at {settings.bootstrap} ({error}): is the broker up?") from error
    try:
        return len(await asyncio.wait_for(producer.partitions_for(FEEDS.name), _TOPIC_S))
    except (KafkaError, TimeoutError) as error:
        raise FeedFault(f"there is no topic {FEEDS.name} at {settings.bootstrap}: `pricelink topics apply`") from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _open(path: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if path == Path("-") else path.open("rb")


def _plain(raw: BinaryIO, path: Path) -> BinaryIO:
    return gzip.GzipFile(fileobj=raw) if path.name.endswith(".gz") else raw  # type: ignore[return-value]


def rejects_file(path: Path | None) -> AbstractContextManager[Any]:
    """Opens the file for rejected lines, if there is to be one."""
    return nullcontext(None) if path is None else path.open("w", encoding="utf-8")


@contextmanager
def progress(path: Path) -> Iterator[Callable[[int], None]]:
    """Shows how much of a file is read, where somebody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal or path == Path("-"):
        yield lambda _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(path.name, total=path.stat().st_size)
        yield lambda done: progress.update(task, completed=done)
