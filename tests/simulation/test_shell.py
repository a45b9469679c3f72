"""The shell under kills between any two steps, rebalances and zombies: no alert lost, none with other bytes.

Every seed is a world of its own, and the same one each time: ``pytest tests/simulation -k 'seed[17]'``.
"""

import asyncio
import os
import random
from collections.abc import Iterator

import orjson
import pytest

from agents.outgoing import Message
from config.topics import ALERTS, DEAD_LETTERS, STATE
from schemas.batches import Effects
from tests.agents.fake_machine import FakeMachine
from tests.simulation.loop import SimLoop
from tests.simulation.world import FeedMessage, Log, SimWorker, batch_of, saved_rows

PARTITIONS = 2
SEEDS = int(os.environ.get("PRICELINK_SIMULATION_SEEDS", "300"))
MOST_STEPS = 400_000


def feed(rng: random.Random, partition: int) -> list[FeedMessage]:
    messages = []
    for offset in range(rng.randint(20, 70)):
        lines = [line(rng, partition) for _ in range(rng.choice([1, 1, 1, 2, 5]))]
        messages.append((offset, b"\n".join(lines)))
    return messages


def line(rng: random.Random, partition: int) -> bytes:
    if rng.random() < 0.1:
        return rng.choice([b"{", b"\xff\xfe", b"[1", b" "])
    return orjson.dumps({"code": f"C{partition}{rng.randint(1, 6)}", "add": rng.randint(1, 9)})


class World:
    """Workers in one consumer group over a log that grows, and a fate that strikes until it has had enough."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.loop = SimLoop()  # type: ignore[abstract]  # sockets and signals are not simulated
        self.log = Log(self.rng, {number: feed(self.rng, number) for number in range(PARTITIONS)})
        self.reference = {number: FakeMachine(number) for number in range(PARTITIONS)}
        self.wanted = {number: self._wanted(number) for number in range(PARTITIONS)}
        self.log.wanted_alerts = {number: list(_positions(effects)) for number, effects in self.wanted.items()}
        self.workers: list[SimWorker] = []
        self.generation = 0
        self.kills = 0
        self.strikes_left = self.rng.randint(0, 6)
        self.kill_at_step = 0

    def _wanted(self, number: int) -> Effects:
        return self.reference[number].apply(batch_of(number, self.log.feeds[number]))

    def run(self) -> None:
        self.loop.before_step = self._fate
        self.loop.start("world", self._grow())
        self.loop.start("world", self._group())
        try:
            self.loop.run_while(lambda: not self._done(), MOST_STEPS)
        finally:
            self.loop.close()
        assert not self.loop.faults, self.loop.faults

    def _done(self) -> bool:
        ends = {number: len(messages) for number, messages in self.log.feeds.items()}
        assert not self.loop.faults, self.loop.faults
        return self.strikes_left <= 0 and self.log.committed == ends

    async def _grow(self) -> None:
        while any(self.log.visible[number] < len(messages) for number, messages in self.log.feeds.items()):
            number = self.rng.randrange(PARTITIONS)
            self.log.visible[number] = min(
                len(self.log.feeds[number]), self.log.visible[number] + self.rng.randint(1, 9)
            )
            await asyncio.sleep(self.rng.expovariate(1 / 0.02))

    async def _group(self) -> None:
        """The coordinator: starts workers, and now and then does something to them."""
        await self._rebalance(self.rng.randint(1, 2))
        while True:
            await asyncio.sleep(self.rng.uniform(0.01, 0.15))
            if not any(worker.alive for worker in self.workers):
                await self._rebalance(self.rng.randint(1, 2))
            elif self.strikes_left > 0:
                self.strikes_left -= 1
                strike = self.rng.choice(["kill", "kill", "rebalance", "zombie"])
                if strike == "kill":
                    self.kill_at_step = self.loop.steps + self.rng.randint(1, 60)
                elif strike == "rebalance":
                    await self._rebalance(self.rng.randint(1, 2))
                else:
                    await self._rebalance(self.rng.randint(1, 2), tell=False)

    def _fate(self, step: int) -> None:
        """Kills a worker between two steps."""
        if self.kill_at_step and step >= self.kill_at_step:
            self.kill_at_step = 0
            alive = [worker for worker in self.workers if worker.alive]
            if alive:
                victim = self.rng.choice(alive)
                victim.alive = False
                self.loop.kill(victim.name)
                self.kills += 1
                for number, (name, _) in list(self.log.owner.items()):
                    if name == victim.name:
                        del self.log.owner[number]
                survivors = [worker for worker in self.workers if worker.alive]
                if survivors:
                    self.loop.start("world", self._rebalance(len(survivors)))

    async def _rebalance(self, count: int, *, tell: bool = True) -> None:
        """Gives the partitions to ``count`` workers. Untold, those who had them go on: only the fence stops them."""
        self.generation += 1
        generation = self.generation
        had = [worker for worker in self.workers if worker.alive]
        if tell:
            await asyncio.gather(*(self._as(worker, worker.revoke()) for worker in had), return_exceptions=True)
            if generation != self.generation:
                return  # another one has begun meanwhile
            members = had[:count]
        else:
            members = []
        while len(members) < count:
            worker = SimWorker(f"worker-{len(self.workers)}", self.log, self.loop)
            self.workers.append(worker)
            members.append(worker)
            self.loop.start(worker.name, worker.work())
            self.loop.start(worker.name, worker.commit_now_and_then())
        for worker in had:
            if worker not in members and tell:
                worker.alive = False
                self.loop.kill(worker.name)
        shares: dict[str, set[int]] = {worker.name: set() for worker in members}
        for number in range(PARTITIONS):
            owner = self.rng.choice(members)
            shares[owner.name].add(number)
            self.log.owner[number] = (owner.name, generation)
        for worker in members:
            self.loop.start(worker.name, worker.assign(shares[worker.name], generation))

    async def _as(self, worker: SimWorker, work: object) -> None:
        """Awaits work of a worker, or its death."""
        task = self.loop.start(worker.name, work)  # type: ignore[arg-type]
        while not task.done() and worker.alive:  # noqa: ASYNC110  the dead set no event
            await asyncio.sleep(0.002)


def _positions(effects: Effects) -> Iterator[tuple[int, str]]:
    for row, value in zip(effects.alerts.table, effects.alerts.values(), strict=True):
        yield int(row["offset"]), orjson.loads(value)["event_id"]


def by_code(messages: list[Message]) -> dict[bytes, list[bytes]]:
    """Each code's events as a consumer sees them that drops repeats by id; a repeat must have the same bytes."""
    seen: dict[bytes, bytes] = {}
    found: dict[bytes, list[bytes]] = {}
    for key, value, headers in messages:
        event_id = dict(headers)["ce_id"]
        assert seen.setdefault(event_id, value) == value, f"{event_id!r} came with other bytes"
        if value not in found.setdefault(key or b"", []):
            found[key or b""].append(value)
    return found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_seed(seed: int) -> None:
    world = World(seed)
    world.run()
    for number, effects in world.wanted.items():
        wanted: dict[bytes, list[bytes]] = {}
        for code, value in zip(effects.alerts.table["code"].tolist(), effects.alerts.values(), strict=True):
            wanted.setdefault(code, []).append(value)
        assert by_code(world.log.topics.get((ALERTS.name, number), [])) == wanted

        letters = {(dict(headers)["offset"], dict(headers)["line"], value)
                   for _, value, headers in world.log.topics.get((DEAD_LETTERS.name, number), [])}  # fmt: skip
        assert letters == {
            (b"%d" % letter.offset, b"%d" % letter.line, letter.original) for letter in effects.dead_letters
        }

        recovered = FakeMachine(number)
        rows = world.log.topics.get((STATE.name, number), [])
        assert recovered.restore(saved_rows(rows)) == len(world.log.feeds[number])
        assert recovered.rows == world.reference[number].rows


def test_the_worlds_are_not_all_quiet() -> None:
    worlds = [World(seed) for seed in range(40)]
    for world in worlds:
        world.run()
    assert sum(world.kills for world in worlds) > 20
    assert sum(len(world.workers) for world in worlds) > 80
