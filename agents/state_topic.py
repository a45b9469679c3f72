"""The durable form of the machine's tables: rows in the compacted topic ``pricelink.state``, co-partitioned with feeds."""

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any, Final, Protocol

import aiokafka.errors
from aiokafka.structs import TopicPartition

from agents.clients import new_reader
from agents.machines import MachineLike
from agents.outgoing import Parts, state_rows
from agents.sinks import Writer
from config.settings import Settings
from config.topics import STATE
from schemas.batches import StateRows

Pair = tuple[bytes, bytes]
_BATCHES_AHEAD: Final = 4
"""Fetched lists of rows that wait for the machine while it restores."""


class StateStore(Protocol):
    """Keeps the rows of each partition's tables."""

    async def write(self, partition: int, rows: StateRows) -> None:
        """Writes the rows in their order; returns when all replicas have them."""

    async def restore(self, partition: int, machine: MachineLike) -> int | None:
        """Gives ``machine`` all rows of the partition; returns the offset to go on from in feeds, None if empty."""


class KafkaStateStore:
    """``pricelink.state``. Reads it to its end at every assignment, whoever had the partition before."""

    def __init__(self, writer: Writer, settings: Settings) -> None:
        self._writer = writer
        self._settings = settings

    async def write(self, partition: int, rows: StateRows) -> None:
        """Writes the rows, one batch of the partition under way at a time."""
        count = len(rows.spans)
        parts = Parts()
        parts.append(state_rows(rows))
        while count:
            count -= await self._writer.write(STATE.name, partition, parts)

    async def restore(self, partition: int, machine: MachineLike) -> int | None:
        """Reads the partition from its start to its end into ``machine``, which works in a thread meanwhile."""
        pipe = _Pipe()
        restoring = asyncio.get_running_loop().run_in_executor(None, machine.restore, pipe.pairs())
        try:
            await self._read(partition, pipe)
            pipe.put(None)
        except BaseException:
            pipe.abandon()
            raise
        next_offset: int | None = await restoring
        return next_offset

    async def _read(self, partition: int, pipe: "_Pipe") -> None:
        place = TopicPartition(STATE.name, partition)
        reader = new_reader(self._settings)
        await reader.start()
        try:
            reader.assign([place])
            await reader.seek_to_beginning(place)
            while not await _at_end(reader, place):
                fetched = await reader.getmany(place, timeout_ms=self._settings.fetch_wait_ms * 2)
                rows = [(record.key, record.value) for record in fetched.get(place, ()) if record.value is not None]
                while rows and not pipe.put(rows):  # noqa: ASYNC110  what it waits for is a thread
                    await asyncio.sleep(0.001)
        finally:
            await reader.stop()


async def _at_end(reader: Any, place: TopicPartition) -> bool:
    """The end is what the last fetch said it was: the embedded broker's ListOffsets is wrong about it."""
    try:
        highwater = reader.highwater(place)
    except aiokafka.errors.IllegalStateError:
        return False
    return highwater is not None and await reader.position(place) >= highwater


class _Pipe:
    """Lists of rows from the event loop to the thread in which a machine restores."""

    def __init__(self) -> None:
        self._rows: queue.SimpleQueue[list[Pair] | None] = queue.SimpleQueue()
        self._abandoned = threading.Event()

    def put(self, rows: list[Pair] | None) -> bool:
        """Returns False if it is full; None ends it, and always fits."""
        if rows is not None and self._rows.qsize() >= _BATCHES_AHEAD:
            return False
        self._rows.put(rows)
        return True

    def abandon(self) -> None:
        """Ends it: what was read so far is of no use."""
        self._abandoned.set()
        self.put(None)

    def pairs(self) -> Iterator[Pair]:
        """Yields key and value of each row."""
        while (rows := self._rows.get()) is not None and not self._abandoned.is_set():
            yield from rows
