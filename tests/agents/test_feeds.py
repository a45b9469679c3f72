"""Chunk → effects → checkpoint → ack: in this order, and not at all where a partition is no longer ours."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from agents.feeds import MOST_PAUSE_S, Feeds, SequenceBroken, pause_s
from agents.machines import MachineLike
from agents.outgoing import Parts
from agents.record_batches import Chunk
from agents.sinks import Sinks
from config.settings import Settings
from config.topics import ALERTS, STATE
from schemas.batches import Batch, Effects, StateRows
from schemas.columns import MESSAGE
from tests.agents.fake_machine import FakeMachine
from tests.simulation.world import batch_of

SETTINGS = Settings(checkpoint_s=0.01, catchup_checkpoint_s=0.05, drain_s=0.2)


class SinkWriter:
    """Writes alerts when it is let."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def write(self, topic: str, partition: int, messages: Parts) -> int:
        taken = list(messages)
        await self._world.alerts_gate.wait()
        self._world.happened.append((topic, len(taken)))
        return len(taken)


class World:
    """The broker, the group and the observer of a ``Feeds``; ``happened`` is what they saw, in order."""

    def __init__(self) -> None:
        self.happened: list[Any] = []
        self.rows: dict[int, list[StateRows]] = {}
        self.owned = True
        self.watched: set[int] = set()
        self.alerts_gate = asyncio.Event()
        self.alerts_gate.set()
        self.state_gate = asyncio.Event()
        self.state_gate.set()
        self.tasks: list[asyncio.Future[None]] = []
        self.feeds = self.new_feeds()

    def new_feeds(self) -> Feeds:
        return Feeds(
            new_machine=FakeMachine, sinks=Sinks(SinkWriter(self), SETTINGS, self.spawn, lambda _run: None), store=self, fence=self,
            observer=self, settings=SETTINGS, spawn=self.spawn, apply=self.apply,
        )  # fmt: skip

    def spawn(self, work: Awaitable[None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(work)
        self.tasks.append(task)
        return task

    async def apply(self, machine: MachineLike, chunk: Chunk) -> Effects:
        return machine.apply(chunk.batch)

    async def write(self, partition: int, rows: StateRows) -> None:
        await self.state_gate.wait()
        self.rows.setdefault(partition, []).append(rows)
        self.happened.append((STATE.name, len(rows.spans)))

    async def restore(self, partition: int, machine: MachineLike) -> int | None:
        return machine.restore(self.rows.get(partition, []))

    async def still_owns(self, partition: int, generation: int) -> bool:
        self.happened.append("fence")
        return self.owned

    def applied(self, chunk: Chunk, effects: Effects, seconds: float) -> None: ...

    def checkpointed(self, partition: int, next_offset: int, rows: StateRows, seconds: float) -> None:
        self.happened.append(("checkpoint", next_offset))

    def restored(self, partition: int, machine: MachineLike, next_offset: int, seconds: float) -> None:
        self.watched.add(partition)

    def lost(self, partition: int) -> None:
        self.happened.append(("lost", partition))

    def ack(self, name: str) -> Callable[[], object]:
        return lambda: self.happened.append(("ack", name))

    async def until(self, what: Any) -> None:
        async with asyncio.timeout(5):
            while what not in self.happened:  # noqa: ASYNC110  what happens sets no event
                await asyncio.sleep(0.001)


def chunk(position: int, *amounts: int, partition: int = 0) -> Chunk:
    lines = [b'{"code":"C%d","add":%d}' % (amount % 3, amount) for amount in amounts]
    batch = batch_of(partition, [(position + number, line) for number, line in enumerate(lines)])
    return Chunk("feeds", batch, position, position + len(lines), position + len(lines))


def play(scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        world = World()
        try:
            await scene(world)
        finally:
            for task in world.tasks:
                task.cancel()
            await asyncio.gather(*world.tasks, return_exceptions=True)

    asyncio.run(whole())


def test_alerts_then_fence_then_rows_then_acks() -> None:
    async def scene(world: World) -> None:
        assert await world.feeds.assign({0: 0}, 1) == {0: 0}
        await world.feeds.process(chunk(0, 1, 2), 1, world.ack("a"))
        await world.until(("checkpoint", 2))
        assert world.happened == [(ALERTS.name, 2), "fence", (STATE.name, 3), ("ack", "a"), ("checkpoint", 2)]

    play(scene)


def test_no_row_is_written_while_an_alert_is_on_its_way() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 1)
        world.alerts_gate.clear()
        await world.feeds.process(chunk(0, 1), 1, world.ack("a"))
        await asyncio.sleep(0.05)
        assert world.happened == []
        world.alerts_gate.set()
        await world.until(("ack", "a"))

    play(scene)


def test_the_stream_goes_on_while_a_checkpoint_is_written() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 1)
        world.state_gate.clear()
        await world.feeds.process(chunk(0, 1), 1, world.ack("a"))
        await world.until("fence")
        await world.feeds.process(chunk(1, 2), 1, world.ack("b"))
        await asyncio.sleep(0.03)
        assert world.happened.count((ALERTS.name, 1)) == 2
        assert ("ack", "a") not in world.happened
        world.state_gate.set()
        await world.until(("checkpoint", 2))
        assert world.happened.index(("ack", "a")) < world.happened.index(("ack", "b"))

    play(scene)


def test_a_worker_that_lost_its_partition_writes_no_row_and_acks_nothing() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 1)
        world.owned = False
        await world.feeds.process(chunk(0, 1), 1, world.ack("a"))
        await world.until(("lost", 0))
        assert world.happened == [(ALERTS.name, 1), "fence", ("lost", 0)]
        assert world.feeds.owned == {}
        await world.feeds.process(chunk(1, 2), 1, world.ack("b"))
        assert world.happened[-1] == ("lost", 0)

    play(scene)


def test_the_next_owner_goes_on_from_the_rows() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 1)
        await world.feeds.process(chunk(0, 1, 2, 3), 1, world.ack("a"))
        await world.until(("checkpoint", 3))
        next_owner = world.new_feeds()
        assert await next_owner.assign({0: 0}, 2) == {0: 3}
        machine = next_owner.owned[0].machine
        assert isinstance(machine, FakeMachine)
        assert machine.rows == {b"C1": (1, 1, 0), b"C2": (1, 2, 1000), b"C0": (1, 3, 2000)}

    play(scene)


def test_state_is_read_from_the_log_even_by_the_same_worker() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 1)
        world.alerts_gate.clear()
        await world.feeds.process(chunk(0, 1, 2), 1, world.ack("a"))
        assert await world.feeds.assign({0: 0}, 2) == {0: 0}
        machine = world.feeds.owned[0].machine
        assert isinstance(machine, FakeMachine)
        assert machine.rows == {}

    play(scene)


def test_what_was_handed_over_before_a_rebalance_is_not_applied() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 2)
        await world.feeds.process(chunk(0, 1), 1, world.ack("old"))
        assert world.feeds.owned[0].position == 0
        assert world.happened == []

    play(scene)


@pytest.mark.parametrize("position", [1, 7])
def test_a_chunk_out_of_sequence_ends_the_worker(position: int) -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 1)
        await world.feeds.process(chunk(0, 1, 2), 1, world.ack("a"))
        with pytest.raises(SequenceBroken, match=f"read from {position}, applied up to 2"):
            await world.feeds.process(chunk(position, 3), 1, world.ack("b"))

    play(scene)


def test_retention_beyond_the_state_is_said_and_survived() -> None:
    async def scene(world: World) -> None:
        assert await world.feeds.assign({0: 40}, 1) == {0: 40}
        await world.feeds.process(chunk(40, 1), 1, world.ack("a"))
        await world.until(("checkpoint", 41))

    play(scene)


def test_a_release_finishes_with_a_checkpoint() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0, 1: 0}, 1)
        await world.feeds.process(chunk(0, 1), 1, world.ack("a"))
        await world.feeds.process(chunk(0, 1, partition=1), 1, world.ack("b"))
        assert await world.feeds.release({0, 1})
        assert ("ack", "a") in world.happened
        assert ("ack", "b") in world.happened
        assert world.feeds.owned == {}

    play(scene)


def test_a_release_gives_up_in_time() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 1)
        world.alerts_gate.clear()
        await world.feeds.process(chunk(0, 1), 1, world.ack("a"))
        began = asyncio.get_running_loop().time()
        assert not await world.feeds.release({0})
        assert asyncio.get_running_loop().time() - began < 2
        world.alerts_gate.set()
        await asyncio.sleep(0.05)
        assert ("ack", "a") not in world.happened
        assert 0 not in world.rows

    play(scene)


def test_an_assignment_that_is_overtaken_installs_nothing() -> None:
    async def scene(world: World) -> None:
        gate = asyncio.Event()

        async def slow_restore(partition: int, machine: MachineLike) -> int | None:
            await gate.wait()
            return machine.restore([])

        world.restore = slow_restore  # type: ignore[method-assign]
        assigning = asyncio.ensure_future(world.feeds.assign({0: 0}, 1))
        await asyncio.sleep(0)
        await world.feeds.release({0})
        gate.set()
        assert await assigning == {}
        assert world.feeds.owned == {}
        assert world.watched == set()  # else the watchdog would wait for records that go to another worker

    play(scene)


def test_an_empty_partition_needs_no_checkpoint() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 1)
        await asyncio.sleep(0.05)
        assert await world.feeds.release({0})
        assert world.happened == [("lost", 0)]

    play(scene)


def empty_chunk() -> Chunk:
    return Chunk("feeds", Batch(0, np.zeros(0, np.uint8), np.zeros(1, MESSAGE)), 0, 1, 1)


def test_a_chunk_without_effects_still_moves_the_offset() -> None:
    async def scene(world: World) -> None:
        await world.feeds.assign({0: 0}, 1)
        await world.feeds.process(empty_chunk(), 1, world.ack("a"))
        await world.until(("checkpoint", 1))
        assert world.happened[-2:] == [("ack", "a"), ("checkpoint", 1)]

    play(scene)


def test_a_checkpoint_that_waited_for_the_broker_does_not_put_off_the_next() -> None:
    settings = Settings(checkpoint_s=1, checkpoint_share=0.2)
    assert pause_s(settings, 0.01) == 1
    assert pause_s(settings, 1.5) == 7.5
    assert pause_s(settings, 60) == MOST_PAUSE_S
    assert pause_s(settings.model_copy(update={"checkpoint_s": 30.0}), 60) == 30
