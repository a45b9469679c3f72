"""Where effects go: record batches filled from rendered runs, one under way a partition, order kept, acks awaited."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog

from agents import outgoing
from agents.outgoing import Events, Part, Parts, RecordBatch
from config.settings import Settings
from config.topics import ALERTS, DEAD_LETTERS, PRICE_CHANGES
from schemas.batches import Effects, Run
from schemas.dead_letters import Header

_log = structlog.get_logger("sinks")


class Writer(Protocol):
    """Writes messages to one partition of a topic, and returns when all replicas have them."""

    async def write(self, topic: str, partition: int, parts: Parts) -> int:
        """Writes what fits into one batch, at least one message; returns how many it took from ``parts``."""


class KafkaWriter:
    """Fills record batches by compiled code, or, where aiokafka is not the one that is known, by its own builder."""

    def __init__(self, producer: Any, settings: Settings, now_ms: Callable[[], int]) -> None:
        self._producer = producer
        self._settings = settings
        self._now_ms = now_ms
        absent = outgoing.missing()
        self._public_only = bool(absent)
        if absent:
            _log.warning(
                "aiokafka is not the one that is known: writing through its builder, slower; install what uv.lock says",
                reason="unknown_client", missing=absent,
            )  # fmt: skip

    async def write(self, topic: str, partition: int, parts: Parts) -> int:
        """Writes one batch, filled from ``parts`` until it is full."""
        batch = self._public_batch(parts) if self._public_only else self._batch(parts)
        count: int = batch.record_count()
        if count:
            acked = await self._producer.send_batch(batch, topic, partition=partition)
            await acked
        return count

    def _batch(self, parts: Parts) -> RecordBatch:
        batch = RecordBatch(self._settings.batch_bytes, self._settings.compression_type, self._now_ms())
        parts.fill(batch)
        return batch

    def _public_batch(self, parts: Parts) -> Any:
        batch = self._producer.create_batch()
        now_ms = self._now_ms()
        for key, value, headers in parts:
            if batch.append(timestamp=now_ms, key=key, value=value, headers=headers) is None:
                parts.put_back()
                break
        batch.close()
        return batch


class Lane:
    """One partition of one topic: what waits for it, in order. Work starts with ``run``."""

    def __init__(self, writer: Writer, topic: str, partition: int, most_bytes: int) -> None:
        self._writer = writer
        self._topic = topic
        self._partition = partition
        self._most_bytes = most_bytes
        self._parts = Parts()
        self._bytes = 0
        self._change = asyncio.Event()
        self._room = asyncio.Event()
        self.put_count = 0
        self.acked_count = 0

    @property
    def has_room(self) -> bool:
        """Tells whether more may be put without waiting."""
        return self._bytes < self._most_bytes

    def put(self, part: Part) -> None:
        """Queues messages."""
        self._parts.append(part)
        self._bytes += part.size
        self.put_count += part.count
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
            self.acked_count += await self._writer.write(self._topic, self._partition, self._parts)
            for done in self._parts.finished:
                self._bytes -= done.size
                done.acked()
            self._parts.finished.clear()
            self._room.set()


def no_headers(_run: Run) -> Mapping[int, list[Header]]:
    """Says that no event has headers beside those that all have."""
    return {}


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
        on_changes: Callable[[Run], None] | None = None,
        headers_of: Callable[[Run], Mapping[int, list[Header]]] = no_headers,
    ) -> None:
        """``on_alerts``, ``on_changes``: told of each run of alerts, of price changes, that all replicas have.

        ``headers_of``: says which events of a run have headers beside those that all have.
        """
        self._writer = writer
        self._settings = settings
        self._spawn = spawn
        self._on_alerts = on_alerts
        self._on_changes = on_changes
        self._headers_of = headers_of
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
            alerts.put(Events(effects.alerts, self._on_alerts, self._headers_of(effects.alerts)))
        if len(effects.price_changes.table):
            more = self._headers_of(effects.price_changes)
            changes.put(Events(effects.price_changes, self._on_changes, more))
        if effects.dead_letters:
            letters.put(outgoing.dead_letters(effects.dead_letters))

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
