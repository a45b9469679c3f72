"""Where effects go: record batches filled from rendered runs, one under way a partition, order kept, acks awaited."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from agents.headers import alert_headers, dead_letter_headers
from config.settings import Settings
from config.topics import ALERTS, DEAD_LETTERS, PRICE_CHANGES
from schemas.batches import DeadLetter, Effects, Run

Header = tuple[str, bytes]
Message = tuple[bytes | None, bytes, list[Header]]
"""Key, value, headers."""

_NO_HEADERS: Final[list[Header]] = []


class Messages(Protocol):
    """Messages to be written, in order; one that does not fit is put back, and comes first next time."""

    def __iter__(self) -> Iterator[Message]:
        """Returns itself."""

    def __next__(self) -> Message:
        """Returns the next message."""

    def put_back(self, message: Message) -> None:
        """Takes back the message that was returned last."""


class Listed:
    """``Messages`` from any iterator."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self._back: list[Message] = []

    def __iter__(self) -> "Listed":
        return self

    def __next__(self) -> Message:
        return self._back.pop() if self._back else next(self._messages)

    def put_back(self, message: Message) -> None:
        """Takes back the message that was returned last."""
        self._back.append(message)


class Writer(Protocol):
    """Writes messages to one partition of a topic, and returns when all replicas have them."""

    async def write(self, topic: str, partition: int, messages: Messages) -> int:
        """Writes what fits into one batch, at least one message; returns how many it took from ``messages``."""


class KafkaWriter:
    """Fills record batches of aiokafka, which costs a tenth of its ``send``."""

    def __init__(self, producer: Any, now_ms: Callable[[], int]) -> None:
        self._producer = producer
        self._now_ms = now_ms

    async def write(self, topic: str, partition: int, messages: Messages) -> int:
        """Writes one batch, filled from ``messages`` until it is full."""
        batch = self._producer.create_batch()
        now_ms = self._now_ms()
        for message in messages:
            if batch.append(timestamp=now_ms, key=message[0], value=message[1], headers=message[2]) is None:
                messages.put_back(message)
                break
        batch.close()
        count: int = batch.record_count()
        if count:
            acked = await self._producer.send_batch(batch, topic, partition=partition)
            await acked
        return count


def _nothing() -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class _Waiting:
    messages: Iterator[Message]
    size: int
    on_acked: Callable[[], None]


class Lane:
    """One partition of one topic: what waits for it, in order. Work starts with ``run``."""

    def __init__(self, writer: Writer, topic: str, partition: int, most_bytes: int) -> None:
        self._writer = writer
        self._topic = topic
        self._partition = partition
        self._most_bytes = most_bytes
        self._waiting: deque[_Waiting] = deque()
        self._rendered: list[_Waiting] = []
        self._back: list[Message] = []
        self._bytes = 0
        self._change = asyncio.Event()
        self._room = asyncio.Event()
        self.put_count = 0
        self.acked_count = 0

    @property
    def has_room(self) -> bool:
        """Tells whether more may be put without waiting."""
        return self._bytes < self._most_bytes

    def put(self, messages: Iterator[Message], count: int, size: int, on_acked: Callable[[], None] = _nothing) -> None:
        """Queues ``count`` messages of together ``size`` bytes; ``on_acked`` is called when all replicas have them."""
        self._waiting.append(_Waiting(messages, size, on_acked))
        self._bytes += size
        self.put_count += count
        self._change.set()

    async def room(self) -> None:
        """Waits until there is room: how a slow broker holds the stream back."""
        while not self.has_room:
            self._room.clear()
            await self._room.wait()

    async def acked(self, count: int) -> None:
        """Waits until the first ``count`` messages ever put are acked."""
        while self.acked_count < count:
            self._room.clear()
            await self._room.wait()

    async def run(self) -> None:
        """Writes what waits, for ever; all that came while one batch was under way goes into the next."""
        while True:
            if self.acked_count == self.put_count:
                self._change.clear()
                await self._change.wait()
            self.acked_count += await self._writer.write(self._topic, self._partition, self)
            for done in self._rendered:
                self._bytes -= done.size
                done.on_acked()
            self._rendered.clear()
            self._room.set()

    def __iter__(self) -> "Lane":
        return self

    def __next__(self) -> Message:
        """Returns the next message that waits."""
        if self._back:
            return self._back.pop()
        while self._waiting:
            for message in self._waiting[0].messages:
                return message
            self._rendered.append(self._waiting.popleft())
        raise StopIteration

    def put_back(self, message: Message) -> None:
        """Takes back the message that was returned last: it did not fit."""
        self._back.append(message)


class Sinks:
    """The lanes of alerts, price changes and dead letters of the partitions of ``feeds`` that we own.

    A code's partition is the same in every topic: all have as many, and the same partitioner.
    """

    def __init__(
        self,
        writer: Writer,
        settings: Settings,
        spawn: Callable[[Awaitable[None]], Any],
        on_alerts: Callable[[Run], None],
    ) -> None:
        self._writer = writer
        self._settings = settings
        self._spawn = spawn
        self._on_alerts = on_alerts
        self._lanes: dict[tuple[str, int], Lane] = {}

    def _lane(self, topic: str, partition: int) -> Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane(self._writer, topic, partition, self._settings.sink_bytes)
            self._spawn(lane.run())
        return lane

    async def put(self, partition: int, effects: Effects) -> None:
        """Queues a batch's effects in their order; waits while too much waits already."""
        alerts = self._lane(ALERTS.name, partition)
        changes = self._lane(PRICE_CHANGES.name, partition)
        letters = self._lane(DEAD_LETTERS.name, partition)
        for lane in (alerts, changes, letters):
            await lane.room()
        if len(effects.alerts.table):
            run = effects.alerts
            alerts.put(_alerts(run), len(run.table), len(run.data), partial(self._on_alerts, run))
        if len(effects.price_changes.table):
            run = effects.price_changes
            changes.put(_price_changes(run), len(run.table), len(run.data))
        if effects.dead_letters:
            size = sum(len(letter.original) for letter in effects.dead_letters)
            letters.put(_dead_letters(effects.dead_letters), len(effects.dead_letters), size)

    def mark(self, partition: int) -> list[tuple[Lane, int]]:
        """Returns what ``acked`` is to wait for: everything put for the partition until now."""
        return [
            (lane, lane.put_count)
            for topic in (ALERTS.name, PRICE_CHANGES.name, DEAD_LETTERS.name)
            if (lane := self._lanes.get((topic, partition))) is not None
        ]

    async def acked(self, mark: list[tuple[Lane, int]]) -> None:
        """Waits until all of a mark is acked by the broker."""
        for lane, count in mark:
            await lane.acked(count)


def _alerts(run: Run) -> Iterator[Message]:
    raw = run.data.tobytes()
    table = run.table
    for start, end, code, headers in zip(
        table["start"].tolist(), table["end"].tolist(), table["code"].tolist(), alert_headers(raw, table), strict=True
    ):
        yield code, raw[start:end], headers


def _price_changes(run: Run) -> Iterator[Message]:
    raw = run.data.tobytes()
    table = run.table
    for start, end, code in zip(table["start"].tolist(), table["end"].tolist(), table["code"].tolist(), strict=True):
        yield code, raw[start:end], _NO_HEADERS


def _dead_letters(letters: list[DeadLetter]) -> Iterator[Message]:
    for letter in letters:
        yield None, letter.original, dead_letter_headers(letter)
