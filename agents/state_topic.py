"""The durable form of the machine's tables: rows in the compacted topic ``pricelink.state``, co-partitioned with feeds.

A partition is read back as whole fetch results, whose records compiled code reads in the machine's thread; where aiokafka
is not the one that is known, ``getmany`` takes over, ten times slower, and a warning says so once.
"""

import asyncio
import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import aiokafka.errors
import structlog
from aiokafka.structs import TopicPartition

from agents import record_batches
from agents.clients import new_reader
from agents.machines import MachineLike
from agents.outgoing import Parts, state_rows
from agents.record_rows import rows_of, take_rows
from agents.sinks import Writer
from config.settings import Settings
from config.topics import STATE
from schemas.batches import StateRows

_BATCHES_AHEAD: Final = 4
"""Fetch results that wait for the machine while it restores."""
_AT_ONCE: Final = 3
"""Partitions that are restored at the same time: one computes while others fetch."""
_FETCH_BYTES: Final = 8_000_000

_log = structlog.get_logger("state")


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
        self._turns = asyncio.Semaphore(_AT_ONCE)
        absent = record_batches.missing()
        self._public_only = bool(absent)
        if not absent:
            record_batches.keep_bytes()
        else:
            _log.warning(
                "aiokafka is not the one that is known: reading through getmany, slower; install what uv.lock says",
                reason="unknown_client", missing=absent,
            )  # fmt: skip

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
        async with self._turns:
            thread = ThreadPoolExecutor(1, f"restore-{partition}")
            try:
                restoring = asyncio.get_running_loop().run_in_executor(thread, machine.restore, pipe.blocks())
                await self._read(partition, pipe, restoring)
                pipe.put(None)
                next_offset: int | None = await restoring
            except BaseException:
                pipe.abandon()
                raise
            finally:
                thread.shutdown(wait=False)
            return next_offset

    async def _read(self, partition: int, pipe: "_Pipe", restoring: asyncio.Future[int | None]) -> None:
        place = TopicPartition(STATE.name, partition)
        reader = new_reader(self._settings, _FETCH_BYTES)
        await reader.start()
        try:
            reader.assign([place])
            await reader.seek_to_beginning(place)
            while not (restoring.done() or await _at_end(reader, place)):
                rows = await self._next_rows(reader, place)
                while rows and not (pipe.put(rows) or restoring.done()):  # noqa: ASYNC110  it waits for a thread
                    await asyncio.sleep(0.001)
        finally:
            await reader.stop()

    async def _next_rows(self, reader: Any, place: TopicPartition) -> Iterable[StateRows]:
        wait_ms = self._settings.fetch_wait_ms * 2
        if self._public_only:
            fetched = await reader.getmany(place, timeout_ms=wait_ms)
            return [rows_of(fetched[place])] if place in fetched else []
        return await _fetch(reader, place, wait_ms / 1000)


async def _fetch(reader: Any, place: TopicPartition, wait_s: float) -> Iterable[StateRows]:
    """Takes what was fetched of the partition, as aiokafka's own ``getmany`` does; waits for it so long."""
    result = await record_batches.pop_result(reader, place, wait_s)
    return () if result is None else take_rows(result)


async def _at_end(reader: Any, place: TopicPartition) -> bool:
    """The end is what the last fetch said it was: the embedded broker's ListOffsets is wrong about it."""
    try:
        highwater = reader.highwater(place)
    except aiokafka.errors.IllegalStateError:
        return False
    return highwater is not None and await reader.position(place) >= highwater


class _Pipe:
    """Fetched rows from the event loop to the thread in which a machine restores."""

    def __init__(self) -> None:
        self._rows: queue.SimpleQueue[Iterable[StateRows] | None] = queue.SimpleQueue()
        self._abandoned = threading.Event()

    def put(self, rows: Iterable[StateRows] | None) -> bool:
        """Returns False if it is full; None ends it, and always fits."""
        if rows is not None and self._rows.qsize() >= _BATCHES_AHEAD:
            return False
        self._rows.put(rows)
        return True

    def abandon(self) -> None:
        """Ends it: what was read so far is of no use."""
        self._abandoned.set()
        self.put(None)

    def blocks(self) -> Iterator[StateRows]:
        """Yields the rows, read where it is iterated over."""
        while (rows := self._rows.get()) is not None and not self._abandoned.is_set():
            yield from rows
