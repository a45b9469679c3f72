"""A log, a consumer group and workers that die, lose partitions, or lose them and do not know."""

import asyncio
import random
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import numpy as np

from agents.feeds import Feeds
from agents.in_flight import InFlight
from agents.machines import MachineLike
from agents.outgoing import Message, Parts
from agents.record_batches import Chunk
from agents.record_rows import rows_of
from agents.sinks import Sinks
from agents.state_topic import KafkaStateStore
from config.settings import Settings
from config.topics import ALERTS, FEEDS, STATE
from schemas.batches import Batch, Effects, StateRows
from schemas.columns import MESSAGE
from tests.agents.fake_machine import OWN, FakeMachine
from tests.simulation.loop import SimLoop

SETTINGS = Settings(
    broker_kind="embedded", checkpoint_s=0.05, catchup_checkpoint_s=0.15, drain_s=0.2, sink_bytes=1_000_000
)

FeedMessage = tuple[int, bytes]
"""Offset and value."""


class Log:
    """Topics in memory. A write becomes visible some time after it was sent and some time before it is acked."""

    def __init__(self, rng: random.Random, feeds: dict[int, list[FeedMessage]]) -> None:
        self.rng = rng
        self.feeds = feeds
        self.topics: dict[tuple[str, int], list[Message]] = {}
        self.visible = dict.fromkeys(feeds, 0)
        self.committed = dict.fromkeys(feeds, 0)
        self.owner: dict[int, tuple[str, int]] = {}
        self.wanted_alerts: dict[int, list[tuple[int, str]]] = {}

    async def delay(self) -> None:
        if self.rng.random() < 0.3:
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(self.rng.expovariate(1 / 0.004))

    def append(self, topic: str, partition: int, messages: list[Message]) -> None:
        log = self.topics.setdefault((topic, partition), [])
        log += messages
        if topic == STATE.name:
            self._check_state_is_behind_alerts(partition, messages)

    def _check_state_is_behind_alerts(self, partition: int, messages: list[Message]) -> None:
        """Whoever reads this state row never repeats what was before it: the alerts must be there."""
        ends = [int(value.strip(b"[]").split(b",")[0]) for key, value, _ in messages if key == OWN]
        if ends:
            there = {headers[1][1].decode() for _, _, headers in self.topics.get((ALERTS.name, partition), [])}
            before = {event_id for offset, event_id in self.wanted_alerts[partition] if offset < max(ends)}
            assert before <= there, f"state of partition {partition} is ahead of its alerts: {before - there}"


class SimWriter:
    """One worker's producer. What it sent just before the worker died may still arrive, and late."""

    def __init__(self, log: Log, loop: SimLoop) -> None:
        self._log = log
        self._loop = loop
        self._busy: set[tuple[str, int]] = set()

    async def write(self, topic: str, partition: int, messages: Parts) -> int:
        while (topic, partition) in self._busy:  # as in aiokafka, even where the writing task was cancelled
            assert topic == STATE.name, "a lane has one batch under way"
            await asyncio.sleep(0.001)
        batch = []
        for message in messages:
            batch.append(message)
            if len(batch) >= self._log.rng.randint(1, 6):
                break
        if batch:
            self._busy.add((topic, partition))
            arrived = self._loop.create_future()
            self._loop.start("world", self._arrive(topic, partition, batch, arrived))
            await arrived
            await self._log.delay()
        return len(batch)

    async def _arrive(self, topic: str, partition: int, batch: list[Message], arrived: asyncio.Future[None]) -> None:
        await self._log.delay()
        self._log.append(topic, partition, batch)
        self._busy.discard((topic, partition))
        if not arrived.done():
            arrived.set_result(None)


def saved_rows(messages: list[Message]) -> list[StateRows]:
    """Returns messages of the state topic as blocks of a row each."""
    return [rows_of([SimpleNamespace(key=key, value=value)]) for key, value, _ in messages]


class SimStore(KafkaStateStore):
    """Writes as in production; reads the log's list."""

    def __init__(self, log: Log, writer: SimWriter) -> None:
        super().__init__(writer, SETTINGS)
        self._log = log

    async def restore(self, partition: int, machine: MachineLike) -> int | None:
        await self._log.delay()
        rows = saved_rows(self._log.topics.get((STATE.name, partition), []))
        if self._log.rng.random() < 0.3:
            self._log.rng.shuffle(rows)
        await self._log.delay()
        return machine.restore(rows)


class SimWorker:
    """A worker's parts around ``Feeds``, without Faust."""

    def __init__(self, name: str, log: Log, loop: SimLoop) -> None:
        self.name = name
        self.alive = True
        self._log = log
        self._loop = loop
        self._in_flight: InFlight[int] = InFlight()
        self._acked_to: dict[int, int] = {}
        self._generation = 0
        self._epoch = 0
        self._positions: dict[int, int] = {}
        writer = SimWriter(log, loop)
        self.feeds = Feeds(
            new_machine=FakeMachine,
            sinks=Sinks(writer, SETTINGS, self._spawn, lambda _run: None),
            store=SimStore(log, writer),
            fence=self,
            observer=self,
            settings=SETTINGS,
            spawn=self._spawn,
            apply=self._apply,
            clock=loop.time,
        )

    def _spawn(self, work: Awaitable[None]) -> Any:
        task = self._loop.start(self.name, work)  # type: ignore[arg-type]
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._loop.faults.append({"worker": self.name, "fault": repr(task.exception())})

    async def _apply(self, machine: MachineLike, chunk: Chunk) -> Effects:
        if self._log.rng.random() < 0.5:
            await self._log.delay()
        effects = machine.apply(chunk.batch)
        if self._log.rng.random() < 0.5:
            await self._log.delay()
        return effects

    async def assign(self, partitions: set[int], generation: int) -> None:
        self._generation = generation
        self._positions = {}
        self._epoch += 1
        epoch = self._epoch
        positions = await self.feeds.assign(dict.fromkeys(partitions, 0), generation)
        if epoch != self._epoch:
            return
        self._positions = positions
        for number, offset in positions.items():
            self._in_flight.start(number, offset)

    async def revoke(self) -> None:
        self._epoch += 1
        epoch = self._epoch
        await self.feeds.release(set(self.feeds.owned))
        for number in list(self._positions):
            await self._commit(number, self._generation)
        if epoch != self._epoch:
            return  # what is there now was assigned since
        self._in_flight.forget(list(self._positions))
        self._positions = {}

    async def work(self) -> None:
        """What the stream does: one chunk after the other, of whatever partition has something."""
        while True:
            ready = [number for number, at in self._positions.items() if at < self._log.visible[number]]
            if not ready:
                await asyncio.sleep(0.005)
                continue
            number = self._log.rng.choice(ready)
            generation = self._generation
            chunk = self._fetch(number)
            self._in_flight.hand_over(number, chunk.last_offset, chunk.next_offset)
            await self._log.delay()
            await self.feeds.process(chunk, generation, self._ack_of(number, chunk.last_offset, generation))

    async def commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(0.03)
            for number in list(self._positions):
                if (self._in_flight.reached(number) or 0) > self._log.committed[number]:
                    await self._commit(number, self._generation)

    def _fetch(self, number: int) -> Chunk:
        at = self._positions[number]
        until = min(self._log.visible[number], at + self._log.rng.randint(1, 7))
        self._positions[number] = until
        return Chunk(FEEDS.name, batch_of(number, self._log.feeds[number][at:until]), at, until, until)

    def _ack_of(self, number: int, last_offset: int, generation: int) -> Any:
        def ack() -> None:
            if generation == self._generation:
                self._in_flight.ack(number, last_offset)

        return ack

    async def still_owns(self, partition: int, generation: int) -> bool:
        return await self._commit(partition, generation)

    async def _commit(self, partition: int, generation: int) -> bool:
        await self._log.delay()
        reached = self._in_flight.reached(partition)
        if reached is None or self._log.owner.get(partition) != (self.name, generation):
            return False
        assert reached >= self._log.committed[partition], "a commit went back"
        self._log.committed[partition] = reached
        await self._log.delay()
        return True

    def applied(self, chunk: Chunk, effects: Effects, seconds: float) -> None: ...

    def checkpointed(self, partition: int, next_offset: int, rows: StateRows, seconds: float) -> None: ...

    def restored(self, partition: int, machine: MachineLike, next_offset: int | None, seconds: float) -> None: ...

    def lost(self, partition: int) -> None: ...


def batch_of(partition: int, messages: list[FeedMessage]) -> Batch:
    rows = np.zeros(len(messages), MESSAGE)
    ends = np.cumsum([len(value) for _, value in messages])
    rows["end"] = ends
    rows["start"][1:] = ends[:-1]
    rows["offset"] = [offset for offset, _ in messages]
    return Batch(partition, np.frombuffer(b"".join(value for _, value in messages), np.uint8), rows)
