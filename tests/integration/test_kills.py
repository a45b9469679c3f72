"""Workers killed with SIGKILL, joining and leaving, on the embedded broker: the events are the offline machine's."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.machines import MachineLike, NewMachine, real_machines
from agents.outgoing import Parts
from agents.state_topic import KafkaStateStore
from agents.warm_up import warm_up
from config.topics import ALERTS, DEAD_LETTERS, FEEDS, PRICE_CHANGES
from schemas.batches import Batch, Effects, Run
from tests.agents.fake_machine import FakeMachine
from tests.hostile import hostile_log
from tests.integration.cluster import (
    FAKE,
    REAL,
    Cluster,
    at_work,
    batch,
    produce,
    read,
    stop,
    until_committed,
)

pytestmark = pytest.mark.integration

PARTITIONS = 4
Line = tuple[int, bytes | None, bytes, int | None]


@dataclass(slots=True)
class Case:
    """A machine, lines for it, and lines to apply afterwards to what was restored."""

    machine: str
    new_machine: NewMachine
    lines: list[Line]
    after: list[Line] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


def fake_case(rng: random.Random) -> Case:
    def lines(count: int) -> list[Line]:
        made: list[Line] = []
        for _ in range(count):
            number = rng.randrange(PARTITIONS)
            code = f"C{number}{rng.randint(1, 200)}"
            made.append((number, code.encode(), b'{"code":"%s","add":%d}' % (code.encode(), rng.randint(1, 99)), None))
        return made

    return Case(FAKE, FakeMachine, lines(20_000), lines(500))


def real_case(rng: random.Random, folder: Path) -> Case:
    """Eight hostile logs, one behind the other: each has codes of its own, and a clock that jumps."""
    logs = [hostile_log(rng.randrange(1 << 30), 800, "prices", PARTITIONS) for _ in range(8)]
    file = folder / "policy.json"
    file.write_text(json.dumps(logs[0][1]))
    options = {"policy_file": file, "partitions": PARTITIONS}
    lines: list[Line] = [
        (message.partition, None, message.value, message.broker_ts_ms) for messages, _ in logs for message in messages
    ]
    cut = len(lines) * 4 // 5
    machines = real_machines(Cluster.settings_of(**options))
    return Case(REAL, machines, lines[:cut], lines[cut:], options)


class NoWriter:
    """For a store that is only read."""

    async def write(self, topic: str, partition: int, messages: Parts) -> int:
        raise AssertionError(topic, partition, messages)


def appended(number: int, lines: list[Line], offset: int) -> Batch:
    """The batch of a partition's ``lines``, as if they were written from ``offset`` on."""
    mine = [(value, at_ms or 0) for partition, _, value, at_ms in lines if partition == number]
    records = [Appended(offset + at, at_ms, value) for at, (value, at_ms) in enumerate(mine)]
    return batch(number, records)


@dataclass(slots=True)
class Appended:
    offset: int
    timestamp: int
    value: bytes


def deduplicated(records: list[Any], event_id: Callable[[Any], bytes]) -> dict[bytes, list[bytes]]:
    """Each code's events, repeats dropped by id; a repeat must have the same bytes."""
    seen: dict[bytes, bytes] = {}
    found: dict[bytes, list[bytes]] = {}
    for record in records:
        name = event_id(record)
        if name not in seen:
            found.setdefault(record.key, []).append(record.value)
        assert seen.setdefault(name, record.value) == record.value
    return found


def by_code(run: Run) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for code, value in zip(run.table["code"].tolist(), run.values(), strict=True):
        found.setdefault(code, []).append(value)
    return found


def id_of_alert(record: Any) -> bytes:
    return bytes(dict(record.headers)["ce_id"])


def id_of_change(record: Any) -> bytes:
    return str(json.loads(record.value)["event_id"]).encode()


async def check_all(cluster: Cluster, case: Case) -> int:
    """Compares the topics and the tables with machines that never died; returns how many alerts came again."""
    settings = cluster.settings
    feeds = await read(settings, FEEDS.name)
    assert sum(map(len, feeds.values())) == len(case.lines)
    await until_committed(settings, {number: len(records) for number, records in feeds.items()})
    alerts = await read(settings, ALERTS.name)
    changes = await read(settings, PRICE_CHANGES.name)
    letters = await read(settings, DEAD_LETTERS.name)
    repeats = 0
    for number, records in feeds.items():
        machine = case.new_machine(number)
        effects = machine.apply(batch(number, records))
        found = deduplicated(alerts[number], id_of_alert)
        assert found == by_code(effects.alerts)
        assert deduplicated(changes[number], id_of_change) == by_code(effects.price_changes)
        assert {letter_of(record) for record in letters[number]} == wanted_letters(effects)
        repeats += len(alerts[number]) - sum(map(len, found.values()))
        await check_tables(cluster, case, number, machine, len(records))
    return repeats


def letter_of(record: Any) -> tuple[bytes, bytes, bytes, bytes]:
    headers = dict(record.headers)
    return headers["offset"], headers["line"], headers["reason"], record.value


def wanted_letters(effects: Effects) -> set[tuple[bytes, bytes, bytes, bytes]]:
    return {
        (b"%d" % letter.offset, b"%d" % letter.line, letter.reason.encode(), letter.original)
        for letter in effects.dead_letters
    }


async def check_tables(cluster: Cluster, case: Case, number: int, machine: MachineLike, offset: int) -> None:
    """The restored machine has the tables of the one that never died: it goes on in the same way."""
    restored = case.new_machine(number)
    assert await KafkaStateStore(NoWriter(), cluster.settings).restore(number, restored) == offset
    assert restored.clock_ms == machine.clock_ms
    assert np.array_equal(restored.open_alerts(), machine.open_alerts())
    more = appended(number, case.after, offset)
    if not len(more.messages):
        return
    wanted, found = machine.apply(more), restored.apply(more)
    assert by_code(found.alerts) == by_code(wanted.alerts)
    assert by_code(found.price_changes) == by_code(wanted.price_changes)
    assert found.dead_letters == wanted.dead_letters
    assert np.array_equal(restored.open_alerts(), machine.open_alerts())


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await scene()

    asyncio.run(whole())


@pytest.mark.parametrize("machine", ["fake", "real"])
def test_a_worker_killed_three_times_loses_nothing(machine: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    case = fake_case(rng) if machine == "fake" else real_case(rng, tmp_path)
    warm_up(case.new_machine, PARTITIONS)  # the workers load from the cache what is compiled here
    with Cluster.make(checkpoint_s=0.3, catchup_checkpoint_s=0.6, **case.options) as cluster:

        async def scene() -> None:
            share = len(case.lines) // 4
            worker = cluster.start_worker(case.machine, "w0")
            for kill in range(3):
                await at_work(cluster, f"w{kill}")
                writing = asyncio.ensure_future(slowly(cluster, case.lines[kill * share : (kill + 1) * share]))
                await asyncio.sleep(rng.uniform(1, 3))
                assert worker.poll() is None
                worker.kill()
                worker.wait()
                await writing
                worker = cluster.start_worker(case.machine, f"w{kill + 1}")
            await produce(cluster.settings, case.lines[3 * share :])
            await check_all(cluster, case)
            code, took_s = await asyncio.to_thread(stop, worker)
            assert code == 0
            assert took_s < 5

        play(scene)


async def slowly(cluster: Cluster, lines: list[Line]) -> None:
    step = max(1, len(lines) // 40)
    for start in range(0, len(lines), step):
        await produce(cluster.settings, lines[start : start + step])
        await asyncio.sleep(0.05)


def test_workers_join_and_leave_without_a_loss_or_a_repeat() -> None:
    rng = random.Random(7)
    case = fake_case(rng)
    with Cluster.make() as cluster:

        async def scene() -> None:
            workers = {"w0": cluster.start_worker(FAKE, "w0")}
            await at_work(cluster, *workers)
            lines = iter(case.lines)
            still_writing = [True]

            async def write() -> None:
                while part := list(islice(lines, 30 if still_writing else 500)):
                    await produce(cluster.settings, part)
                    if still_writing:
                        await asyncio.sleep(0.1)

            writing = asyncio.ensure_future(write())
            for number in range(1, 4):
                workers[f"w{number}"] = cluster.start_worker(FAKE, f"w{number}")
                await at_work(cluster, *workers)
                await asyncio.sleep(1)
                leaving = workers.pop(rng.choice(list(workers)))
                code, took_s = await asyncio.to_thread(stop, leaving)
                assert code == 0
                assert took_s < 5
                await at_work(cluster, *workers)
            assert not writing.done()
            still_writing.clear()
            await writing
            assert await check_all(cluster, case) == 0
            for worker in workers.values():
                assert (await asyncio.to_thread(stop, worker))[0] == 0

        play(scene)
