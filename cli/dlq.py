"""`pricelink dlq`: the lines in ``feeds.dead-letter``, listed, shown, and sent again once what was wrong is gone."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

import orjson
from rich.table import Table

from cli.feed import ANYBODY, FeedFault, Report, Summary, groups, send
from cli.kafka_log import read_positions, read_topic
from cli.log_file import LogFault, Message
from config.settings import Settings
from config.topics import DEAD_LETTERS
from gateway.key_ring import now_ms
from schemas.packets import check_records

_SHOWN_CHARACTERS: Final = 60
LETTERS_SAID: Final = 100
PORTION_BYTES: Final = 16 << 20
"""Of letters that are read before they are sent."""
_LETTER_BYTES: Final = 1_024
"""What a letter takes beside its line."""
_NOBODY: Final[Any] = None
NOT_REPLAYED: Final = frozenset({"other_province", "type_not_allowed"})
"""Lines that somebody had no right to send: they are sent again only where the reason is named."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. ``place``: of the letter itself; ``origin``: position in feeds, or the line of a request."""

    partition: int
    offset: int
    at_ms: int
    original: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, message: Message) -> Self:
        """Reads a message of the topic."""
        headers = {name: value.decode(errors="replace") for name, value in message.headers}
        return cls(message.partition, message.offset, message.broker_ts_ms, message.value, headers)

    @property
    def place(self) -> str:
        """Returns partition and offset as one word."""
        return f"{self.partition}:{self.offset}"

    @property
    def reason(self) -> str:
        """Returns why it is one."""
        return self.headers.get("reason", "?")

    @property
    def province(self) -> str:
        """Returns the province of the request, or else of the line, as far as it can be told."""
        if found := self.headers.get("province"):
            return found
        try:
            record = orjson.loads(self.original)
        except orjson.JSONDecodeError:
            return ""
        found = record.get("province") if isinstance(record, dict) else None
        return found if isinstance(found, str) else ""

    @property
    def origin(self) -> str:
        """Returns where the line came from."""
        line = self.headers.get("line", "?")
        if source := self.headers.get("source"):
            return f"{source}, line {line}"
        return f"feeds {self.headers.get('partition', '?')}:{self.headers.get('offset', '?')}, line {line}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters are meant; what is empty leaves none out."""

    reasons: frozenset[str] = frozenset()
    province: str | None = None
    since_ms: int = 0
    places: tuple[str, ...] = ()

    def has(self, letter: Letter) -> bool:
        """Tells whether a letter is one of them."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (self.province is None or letter.province == self.province)
            and letter.at_ms >= self.since_ms
        )


def since_ms(hours: float | None) -> int:
    """Returns the instant so many hours ago; 0 for None."""
    return 0 if hours is None else now_ms() - int(hours * 3_600_000)


def letters(settings: Settings, chosen: Chosen) -> Iterator[Letter]:
    """Yields the letters that are meant, by partition in order; raises LogFault."""
    if chosen.places:
        places = [_place(text) for text in chosen.places]
        found = read_positions(settings, DEAD_LETTERS.name, places)
        for place, text in zip(places, chosen.places, strict=True):
            if place not in found:
                raise LogFault(f"there is no dead letter {text}: `pricelink dlq list` shows their places")
            yield Letter.of(found[place])
        return
    for message in read_topic(settings, DEAD_LETTERS.name):
        letter = Letter.of(message)
        if chosen.has(letter):
            yield letter


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition(":")
    if not partition.isdigit() or not offset.isdigit():
        raise LogFault(f"{text!r} is no place; one looks like 0:17, partition and offset")
    return int(partition), int(offset)


def listed(found: Iterable[Letter], limit: int) -> tuple[Table, Counter[str]]:
    """Returns the last ``limit`` letters as a table, and how many there are of each reason."""
    reasons: Counter[str] = Counter()
    last: deque[Letter] = deque(maxlen=limit)
    for letter in found:
        reasons[letter.reason] += 1
        last.append(letter)
    table = Table("place", "at", "reason", "field", "province", "from", "line")
    for letter in sorted(last, key=lambda letter: letter.at_ms):
        text = letter.original[: 4 * _SHOWN_CHARACTERS].decode(errors="replace")
        table.add_row(
            letter.place, _time(letter.at_ms), letter.reason, letter.headers.get("field", ""), letter.province,
            letter.origin, _printable(text[:_SHOWN_CHARACTERS]),
        )  # fmt: skip
    return table, reasons


def shown(letter: Letter) -> str:
    """Returns all of a letter, for a person; bytes that are not text as escapes."""
    parts = [f"place: {letter.place}", f"at: {_time(letter.at_ms)}", f"from: {letter.origin}"]
    parts += [f"{name}: {_printable(value)}" for name, value in letter.headers.items()]
    return "\n".join([*parts, "", _printable(letter.original.decode(errors="backslashreplace"))])


def replay(
    settings: Settings, found: Iterable[Letter], reasons: frozenset[str], say: Callable[[str], None], *, dry_run: bool
) -> int:
    """Sends lines again that are good by now; returns the exit code: 0, or 1 where none was. Raises FeedFault.

    A line goes to the partition that its code belongs to. What stays bad is said, and stays where it is. However many
    letters there are, PORTION_BYTES of them are in memory.
    """
    summary, count = Summary(), 0
    report = Report(say, None, summary.reasons)
    for portion in _portions(found, reasons):
        lines = []
        for letter in portion:
            count += 1
            if count <= LETTERS_SAID:
                say(f"{count}: {letter.place} {letter.reason}, {letter.origin}")
            if letter.original.strip():
                lines.append((count, letter.original, None))
        grouped = groups(iter(lines), _NOBODY, _ignore, report)
        if dry_run:
            _try(grouped, report, summary)
        else:
            asyncio.run(send(settings, grouped, report, summary))
    if count > LETTERS_SAID:
        say(f"and {count - LETTERS_SAID:,} more")
    say(f"{summary.accepted:,} of {count:,} lines would be sent; nothing was" if dry_run else summary.text())
    report.end()
    return 0 if summary.accepted else 1


def _portions(found: Iterable[Letter], reasons: frozenset[str]) -> Iterator[list[Letter]]:
    portion: list[Letter] = []
    size = 0
    for letter in found:
        if letter.reason in reasons or letter.reason not in NOT_REPLAYED:
            portion.append(letter)
            size += len(letter.original) + _LETTER_BYTES
        if size >= PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _try(grouped: Iterable[tuple[list[int], list[bytes]]], report: Report, summary: Summary) -> None:
    for numbers, lines in grouped:
        checked = check_records(lines, numbers, ANYBODY, now_ms(), 1)
        summary.accepted += checked.accepted
        for rejected in checked.rejected:
            report.add(rejected)


def _ignore(_done: int) -> None:
    """Nobody watches."""


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


__all__ = ["Chosen", "FeedFault", "Letter", "letters", "listed", "replay", "shown", "since_ms"]
