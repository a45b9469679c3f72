"""Workers killed with SIGKILL, joining and leaving, on the embedded broker: the events are the offline machine's."""

import asyncio
import random

import pytest

from agents.sinks import Messages
from agents.state_topic import KafkaStateStore
from config.topics import ALERTS, FEEDS
from tests.agents.fake_machine import FakeMachine
from tests.integration.cluster import FAKE, Cluster, at_work, batch, produce, read, stop, until_committed

pytestmark = pytest.mark.integration


def lines(rng: random.Random, count: int) -> list[tuple[int, bytes | None, bytes]]:
    made: list[tuple[int, bytes | None, bytes]] = []
    for _ in range(count):
        number = rng.randrange(4)
        code = f"C{number}{rng.randint(1, 200)}"
        made.append((number, code.encode(), b'{"code":"%s","add":%d}' % (code.encode(), rng.randint(1, 99))))
    return made


class NoWriter:
    """For a store that is only read."""

    async def write(self, topic: str, partition: int, messages: Messages) -> int:
        raise AssertionError(topic, partition, messages)


async def restored(cluster: Cluster, number: int) -> FakeMachine:
    machine = FakeMachine(number)
    await KafkaStateStore(NoWriter(), cluster.settings).restore(number, machine)
    return machine


async def check_all(cluster: Cluster) -> int:
    """Compares the topic of alerts and the state topic with machines that never died; returns how many repeats."""
    feeds = await read(cluster.settings, FEEDS.name)
    await until_committed(cluster.settings, {number: len(records) for number, records in feeds.items()})
    alerts = await read(cluster.settings, ALERTS.name)
    repeats = 0
    for number, records in feeds.items():
        machine = FakeMachine(number)
        effects = machine.apply(batch(number, records))
        wanted = dict(zip([value.decode() for value in _ids(effects)], effects.alerts.values(), strict=True))
        found: dict[str, bytes] = {}
        order: dict[bytes, list[bytes]] = {}
        for record in alerts[number]:
            event_id = dict(record.headers)["ce_id"].decode()
            assert found.setdefault(event_id, record.value) == record.value
            if record.value not in order.setdefault(record.key, []):
                order[record.key].append(record.value)
        assert found == wanted
        in_order: dict[bytes, list[bytes]] = {}
        for code, value in zip(effects.alerts.table["code"].tolist(), effects.alerts.values(), strict=True):
            in_order.setdefault(code, []).append(value)
        assert order == in_order
        repeats += len(alerts[number]) - len(found)
        assert (await restored(cluster, number)).rows == machine.rows
    return repeats


def _ids(effects: object) -> list[bytes]:
    run = effects.alerts  # type: ignore[attr-defined]
    raw = run.data.tobytes()
    return [raw[row["id_start"] : row["id_end"]] for row in run.table]


def test_a_worker_killed_three_times_loses_nothing() -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with Cluster.make() as cluster:

        async def run() -> None:
            worker = cluster.start_worker(FAKE, "w0")
            for kill in range(3):
                writing = asyncio.ensure_future(produce(cluster.settings, lines(rng, 8_000)))
                await at_work(cluster, f"w{kill}")
                await asyncio.sleep(rng.uniform(0, 2))
                assert worker.poll() is None
                worker.kill()
                worker.wait()
                await writing
                worker = cluster.start_worker(FAKE, f"w{kill + 1}")
            await produce(cluster.settings, lines(rng, 2_000))
            await check_all(cluster)
            code, took_s = await asyncio.to_thread(stop, worker)
            assert code == 0
            assert took_s < 5

        asyncio.run(run())


def test_workers_join_and_leave_without_a_loss_or_a_repeat() -> None:
    rng = random.Random(7)
    still_writing = [True]
    with Cluster.make() as cluster:

        async def run() -> None:
            workers = {"w0": cluster.start_worker(FAKE, "w0")}
            await at_work(cluster, *workers)
            writing = asyncio.ensure_future(slowly())
            for number in range(1, 4):
                workers[f"w{number}"] = cluster.start_worker(FAKE, f"w{number}")
                await at_work(cluster, *workers)
                await asyncio.sleep(1)
                leaving = workers.pop(rng.choice(list(workers)))
                code, took_s = await asyncio.to_thread(stop, leaving)
                assert code == 0
                assert took_s < 5
                await at_work(cluster, *workers)
            still_writing.clear()
            await writing
            repeats = await check_all(cluster)
            assert repeats == 0
            for worker in workers.values():
                assert (await asyncio.to_thread(stop, worker))[0] == 0

        async def slowly() -> None:
            while still_writing:
                await produce(cluster.settings, lines(rng, 200))
                await asyncio.sleep(0.1)

        asyncio.run(run())
