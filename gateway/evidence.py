"""The records behind an alert, read from topic ``feeds`` at the positions that the alert names."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from config.settings import Settings
from config.topics import FEEDS
from gateway.alerts_topic import BROKER_FAULTS, reader

POSITIONS_SHOWN: Final = 64
"""Positions of one alert that are read; a policy may name more."""
LINES_KEPT: Final = 2_048
"""Lines kept in memory: the log never changes, and colleagues open the same alerts."""
ANSWER_S: Final = 4.0
"""How long all positions of one alert may take."""
LINE_SHOWN_BYTES: Final = 65_536


class Position(NamedTuple):
    """A record's place in ``feeds``."""

    partition: int
    offset: int
    line: int


@dataclass(frozen=True, slots=True)
class Line:
    """A record as it stands in the log. ``text``: its line; ``broker_ts_ms``: its message's timestamp.

    ``problem``: why there is no text, in a word: ``gone`` (the log no longer has it), ``no_such_line``,
    ``broker_away``, ``not_read`` (beyond POSITIONS_SHOWN).
    """

    position: Position
    text: str | None = None
    broker_ts_ms: int | None = None
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns what the interface shows of it; ``record`` only if the text is a JSON object."""
        shown: dict[str, Any] = {"position": self.position._asdict()}
        if self.text is not None:
            shown |= {"text": self.text, "broker_ts_ms": self.broker_ts_ms}
            record = _object(self.text)
            if record is not None:
                shown["record"] = record
        if self.problem:
            shown["problem"] = self.problem
        return shown


def _object(text: str) -> dict[str, Any] | None:
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def line_of(value: bytes, line: int, longest: int | None = LINE_SHOWN_BYTES) -> str | None:
    """Returns one line of a message's value, cut to ``longest`` bytes; None if it has fewer lines.

    Bytes that are not UTF-8 show as U+FFFD.
    """
    lines = value.split(b"\n")
    return lines[line][:longest].decode("utf-8", "replace") if 0 <= line < len(lines) else None


class Evidence:
    """Reads positions of ``feeds``, one alert at a time, with one consumer that is opened when first needed.

    ``longest``: bytes of a line, which is to be shown; None: lines are given whole.
    """

    def __init__(self, settings: Settings, topic: str = FEEDS.name, longest: int | None = LINE_SHOWN_BYTES) -> None:
        self._settings = settings
        self._topic = topic
        self._longest = longest
        self._kept: OrderedDict[Position, Line] = OrderedDict()
        self._turn = asyncio.Lock()

    async def lines(self, positions: Sequence[Position]) -> list[Line]:
        """Returns the lines at these positions, in their order. A fault is told in the line, never raised."""
        wanted = list(positions[:POSITIONS_SHOWN])
        missing = [position for position in wanted if position not in self._kept]
        found: dict[Position, Line] = {}
        if missing:
            try:
                async with asyncio.timeout(ANSWER_S), self._turn:
                    await self._read(missing, found)
            except BROKER_FAULTS:
                pass  # what was read until then is shown, the rest says that the broker is away
        for position in wanted:
            if position in self._kept:
                self._kept.move_to_end(position)
                found[position] = self._kept[position]
        for line in found.values():
            self._keep(line)
        shown = [found.get(position) or Line(position, problem="broker_away") for position in wanted]
        return shown + [Line(position, problem="not_read") for position in positions[POSITIONS_SHOWN:]]

    def _keep(self, line: Line) -> None:
        if line.text is not None:
            self._kept[line.position] = line
            if len(self._kept) > LINES_KEPT:
                self._kept.popitem(last=False)

    async def _read(self, positions: list[Position], found: dict[Position, Line]) -> None:
        options = {"auto_offset_reset": "none", "fetch_max_wait_ms": 50, "max_partition_fetch_bytes": 1 << 20}
        async with reader(self._settings, **options) as consumer:
            partitions = [
                TopicPartition(self._topic, number) for number in sorted({each.partition for each in positions})
            ]
            consumer.assign(partitions)
            first = await consumer.beginning_offsets(partitions)
            for position in positions:
                partition = TopicPartition(self._topic, position.partition)
                if position.offset < first[partition]:
                    found[position] = Line(position, problem="gone")
                else:
                    found[position] = await self._one(consumer, partition, position)

    async def _one(self, consumer: AIOKafkaConsumer, partition: TopicPartition, position: Position) -> Line:
        consumer.seek(partition, position.offset)
        try:
            async with asyncio.timeout(1.0):
                message = await consumer.getone(partition)
        except (OffsetOutOfRangeError, TimeoutError):
            return Line(position, problem="gone")
        except KafkaError:
            return Line(position, problem="broker_away")
        if message.offset != position.offset:
            return Line(position, problem="gone")
        text = line_of(message.value or b"", position.line, self._longest)
        if text is None:
            return Line(position, problem="no_such_line")
        return Line(position, text, message.timestamp)
