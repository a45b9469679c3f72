"""The feeds stream: chunk → machine → effects → checkpoint → ack. No Faust and no Kafka in here, only their promises.

Order is everything. A chunk's alerts are acked by the broker before the rows that hold its effects are written; the
rows are acked before the chunk is; and a chunk's offset is committed after that. So whatever a crash leaves behind,
the next owner finds rows that are never ahead of the alerts, and feeds from the rows' own next offset repeat the rest
with the same ids and bytes.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from agents.machines import MachineLike, NewMachine
from agents.record_batches import Chunk
from agents.sinks import Sinks
from agents.state_topic import StateStore
from config.settings import Settings
from config.topics import FEEDS
from schemas.batches import Effects, StateRows

_log = structlog.get_logger("feeds")

_SOON_S: Final = 0.001
"""Nobody waits for less."""

Ack = Callable[[], object]
Apply = Callable[[MachineLike, Chunk], Awaitable[Effects]]
WriteRows = Callable[[MachineLike, int], Awaitable[StateRows]]


async def rows_at_once(machine: MachineLike, next_offset: int) -> StateRows:
    """Returns the changed rows, made where it is called."""
    return machine.checkpoint(next_offset)


MOST_PAUSE_S: Final = 10.0
"""Between two checkpoints, however long the last one took: it may have waited for a broker that was away."""


def pause_s(settings: Settings, took_s: float) -> float:
    """Returns how long to wait after a checkpoint that took ``took_s``."""
    return max(settings.checkpoint_s, min(took_s / settings.checkpoint_share, MOST_PAUSE_S))


class SequenceBroken(RuntimeError):
    """A chunk does not start where the last one ended: going on would lose records, or apply them twice."""


class Fence(Protocol):
    """What asks the broker whether a partition is still ours."""

    async def still_owns(self, partition: int, generation: int) -> bool:
        """Commits what is acked of the partition; False if the group has gone on without us."""


class Observer(Protocol):
    """What is told how it goes; see ``agents.metrics``."""

    def applied(self, chunk: Chunk, effects: Effects, seconds: float) -> None:
        """A chunk was applied, in so many seconds."""

    def checkpointed(self, partition: int, next_offset: int, rows: StateRows, seconds: float) -> None:
        """A checkpoint is written."""

    def restored(self, partition: int, machine: MachineLike, next_offset: int, seconds: float) -> None:
        """A partition was assigned and its state is here."""

    def lost(self, partition: int) -> None:
        """A partition was taken away."""


@dataclass(slots=True)
class Owned:
    """A partition of feeds while it is ours. ``position``: the offset that follows what was applied.

    ``behind``: more waited in feeds, when the last chunk was fetched, than the chunk had.
    """

    number: int
    generation: int
    machine: MachineLike
    position: int
    behind: bool = False
    lost: bool = False
    acks: deque[Ack] = field(default_factory=deque)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    due: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Feeds:
    """The partitions that this worker owns, and what is done with their chunks."""

    def __init__(
        self,
        *,
        new_machine: NewMachine,
        sinks: Sinks,
        store: StateStore,
        fence: Fence,
        observer: Observer,
        settings: Settings,
        spawn: Callable[[Awaitable[None]], asyncio.Future[None]],
        apply: Apply,
        rows: WriteRows = rows_at_once,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_machine = new_machine
        self._sinks = sinks
        self._store = store
        self._fence = fence
        self._observer = observer
        self._settings = settings
        self._spawn = spawn
        self._apply = apply
        self._rows = rows
        self._clock = clock
        self._owned: dict[int, Owned] = {}
        self._assignment = 0

    @property
    def owned(self) -> dict[int, Owned]:
        """Returns the partitions that are ours and restored, by number."""
        return self._owned

    async def assign(self, earliest: Mapping[int, int], generation: int) -> dict[int, int]:
        """Restores the state of each partition from the log; returns the offsets to read feeds from.

        ``earliest``: of each assigned partition, the oldest offset that feeds still has. What was in memory is not
        used, whoever had the partition: only the log knows what was written last. Returns nothing if the partitions
        are taken away meanwhile.
        """
        self.abandon(set(self._owned))
        self._assignment += 1
        assignment = self._assignment
        began = self._clock()
        restored = await asyncio.gather(*(self._restore(number, generation) for number in sorted(earliest)))
        if assignment != self._assignment:
            return {}  # taken away, or assigned anew, meanwhile
        for owned in restored:
            if owned.position < earliest[owned.number]:
                # Retention took what the state had not seen. There is nothing to do but to say so.
                _log.error(
                    "feeds start later than the state: retention took records that were never applied; give topic feeds no retention",
                    reason="records_gone", topic=FEEDS.name, partition=owned.number, offset=owned.position,
                    feeds_offset=earliest[owned.number],
                )  # fmt: skip
                owned.position = earliest[owned.number]
        took_s = self._clock() - began
        for owned in restored:
            self._owned[owned.number] = owned
            self._observer.restored(owned.number, owned.machine, owned.position, took_s)
            self._spawn(self._checkpoints(owned))
        return {owned.number: owned.position for owned in restored}

    async def _restore(self, number: int, generation: int) -> Owned:
        machine = self._new_machine(number)
        next_offset = await self._store.restore(number, machine)
        return Owned(number, generation, machine, next_offset or 0)

    async def process(self, chunk: Chunk, generation: int, ack: Ack) -> None:
        """Applies a chunk and hands on its effects. ``ack`` is called when all of it is durable."""
        owned = self._owned.get(chunk.partition)
        if owned is None or owned.generation != generation:
            return  # handed over before a rebalance
        async with owned.busy:
            if owned.lost:
                return
            if chunk.position != owned.position:
                raise SequenceBroken(
                    f"feeds[{owned.number}]: read from {chunk.position}, applied up to {owned.position}"
                )
            began = self._clock()
            effects = await self._apply(owned.machine, chunk)
            owned.position = chunk.next_offset
            owned.behind = chunk.highwater - chunk.next_offset > len(chunk.batch.messages)
            owned.acks.append(ack)
            self._observer.applied(chunk, effects, self._clock() - began)
            await self._sinks.put(owned.number, effects)
        owned.due.set()

    async def _checkpoints(self, owned: Owned) -> None:
        """One checkpoint after the other: not before ``checkpoint_s``, and no larger share of the time than allowed.

        While the partition is behind, every row changes all the time: rows are then written less often.
        """
        took_s = 0.0
        while not owned.lost:
            if not owned.acks:
                owned.due.clear()
                await owned.due.wait()
            await self._until_due(owned, pause_s(self._settings, took_s))
            began = self._clock()
            await self.checkpoint(owned)
            took_s = self._clock() - began

    async def _until_due(self, owned: Owned, wait_s: float) -> None:
        """Waits so long; while the partition is behind, on to ``catchup_checkpoint_s``."""
        began = self._clock()
        while not owned.gone.is_set():
            waited_s = self._clock() - began
            left_s = max(wait_s, self._settings.catchup_checkpoint_s if owned.behind else 0) - waited_s
            if left_s < _SOON_S:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, wait_s)):  # wait_for may swallow a cancellation
                    await owned.gone.wait()

    async def checkpoint(self, owned: Owned) -> bool:
        """Writes the rows that changed, then acks the chunks they hold. False if the partition is no longer ours."""
        async with owned.writing:  # one after the other: rows are written in the order in which they changed
            async with owned.busy:  # between two chunks
                if owned.lost:
                    return False
                if not owned.acks:
                    return True
                began = self._clock()
                next_offset = owned.position
                rows = await self._rows(owned.machine, next_offset)
                mark = self._sinks.mark(owned.number)
                acks = list(owned.acks)
                owned.acks.clear()
            await self._sinks.acked(mark)
            if not await self._fence.still_owns(owned.number, owned.generation) or owned.lost:
                self._let_go(owned)
                return False
            await self._store.write(owned.number, rows)
            for ack in acks:
                ack()
            self._observer.checkpointed(owned.number, next_offset, rows, self._clock() - began)
            return True

    async def release(self, partitions: set[int]) -> bool:
        """Finishes what was begun of ``partitions`` with a last checkpoint, and lets go of them.

        Gives up after ``drain_s``: the next owner then repeats what is not in a checkpoint. Returns whether all is
        written and acked.
        """
        self._assignment += 1
        going = [self._owned[number] for number in partitions if number in self._owned]
        done = False
        try:
            done = all(await asyncio.wait_for(
                asyncio.gather(*(self.checkpoint(owned) for owned in going)), self._settings.drain_s
            ))  # fmt: skip
        except TimeoutError:
            _log.warning(
                "no last checkpoint in time; the next owner of the partitions repeats what is not in one",
                reason="checkpoint_late", topic=FEEDS.name, partitions=sorted(partitions),
            )  # fmt: skip
        self.abandon(partitions)
        return done

    def abandon(self, partitions: set[int]) -> None:
        """Lets go of partitions as they are: nothing of them is written any more."""
        for number in partitions & self._owned.keys():
            self._let_go(self._owned[number])

    def _let_go(self, owned: Owned) -> None:
        owned.lost = True
        owned.due.set()
        owned.gone.set()
        if self._owned.get(owned.number) is owned:  # it may have been assigned to us anew meanwhile
            del self._owned[owned.number]
            self._observer.lost(owned.number)
