"""How far each endpoint is: topic ``pricelink.deliveries``, compacted, one message an endpoint and second at most.

A message says everything at once: up to where the logs are dealt with, and which events before that are not delivered
yet. So whenever the process is killed, nothing is lost, and what was sent since the last message is sent again with the same id.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

import orjson

from config.settings import Settings
from config.topics import DELIVERIES
from gateway.compacted import Compacted
from gateway.cursors import format_cursor, parse_cursor
from gateway.typed_json import read_json
from schemas.codes import partition_of
from schemas.events import object_of, text

OUTSTANDING: Final = 200
"""Events of an endpoint that may be under way or wait for another attempt; more are not read from the log."""


@dataclass(slots=True)
class Delivery:
    """An event on its way. ``attempts``: made so far; ``replay``: it was asked for again.

    ``taken_ms``: when it was read for this endpoint; 0: before that was written down. ``scheduled_ms``: when it was due,
    once it was hurried; 0: it was not, since its last attempt.
    """

    lane: int
    offset: int
    event_id: str
    code: str
    due_ms: int
    attempts: int = 0
    replay: bool = False
    taken_ms: int = 0
    scheduled_ms: int = 0

    @property
    def is_extra(self) -> bool:
        """Tells whether the attempt that is due comes beside those of the schedule."""
        return self.due_ms < self.scheduled_ms

    def hurry(self, soon_ms: int) -> None:
        """Makes an extra attempt due, once before each that is scheduled."""
        if not self.scheduled_ms and self.due_ms > soon_ms:
            self.due_ms, self.scheduled_ms = soon_ms, self.due_ms


@dataclass(slots=True)
class Progress:
    """An endpoint's state. ``cursor``: all before it is delivered, given up, or in ``outstanding``.

    ``since_number``, ``replay_number``: of the wishes that are dealt with. ``disabled``: why, in a word, and the
    ``enabled_number`` at which. ``failing_since_ms``: since when nothing but failures; None while it works.
    """

    cursor: dict[int, int] = field(default_factory=dict)
    since_number: int = 0
    replay_number: int = 0
    outstanding: list[Delivery] = field(default_factory=list)
    failing_since_ms: int | None = None
    disabled: str | None = None
    disabled_number: int = 0

    def to_bytes(self) -> bytes:
        """Returns it as it is written."""
        return orjson.dumps(asdict(self) | {"cursor": format_cursor(self.cursor)})

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Reads what ``to_bytes`` wrote; raises ValueError."""
        given = object_of(raw)
        given["cursor"] = parse_cursor(text(given, "cursor"))
        return read_json(cls, orjson.dumps(given, option=orjson.OPT_NON_STR_KEYS))


class ProgressLog(Compacted):
    """Reads all endpoints' progress at the start, and writes it."""

    def __init__(self, settings: Settings, new_producer: Callable[[Settings], Any]) -> None:
        super().__init__(settings, DELIVERIES.name)
        self._producer = new_producer(settings)
        self._partitions = 0
        self.found: dict[str, Progress] = {}

    def take(self, key: bytes, value: bytes | None) -> None:
        """Takes an endpoint's progress; where it cannot be read the endpoint begins anew: raises ValueError."""
        name = key.decode(errors="replace")
        self.found.pop(name, None)
        if value:
            self.found[name] = Progress.from_bytes(value)

    async def start(self) -> None:
        """Connects. Raises one of BROKER_FAULTS."""
        await self._producer.start()
        self._partitions = len(await self._producer.partitions_for(DELIVERIES.name))

    async def stop(self) -> None:
        """Closes its connection."""
        await self._producer.stop()

    async def write(self, states: Sequence[tuple[str, bytes | None]]) -> None:
        """Writes endpoints' states; returns when all replicas have them. Raises one of BROKER_FAULTS."""
        for endpoint_id, value in states:
            place = partition_of(endpoint_id, self._partitions)
            await self._producer.send_and_wait(DELIVERIES.name, value, key=endpoint_id.encode(), partition=place)
