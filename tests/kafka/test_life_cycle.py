"""The state topic lost under a worker, and made anew; rows of another layout; a backup, and all of it restored; a policy applied,
and the log moved to more partitions."""

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaProducer
from kafka import TopicPartition

from agents import topics
from agents.exits import CONFIG
from agents.known_rows import UnknownLayout
from agents.listings import ROWS
from agents.machines import real_machines
from agents.standing import admin_of, members, standings
from agents.state_rebuild import CannotRebuild, compare, make_topic_anew, rebuild, targets
from agents.state_topic import KafkaStateStore
from cli.backup import PASSING, backup
from cli.backup_files import BackupFault
from cli.repartition import move
from cli.replay import read_policy
from cli.restore import restore
from config.topics import ALERTS, DEAD_LETTERS, FEEDS, PRICE_CHANGES, STATE, TOPICS
from gateway.saved_rows import read_row
from streams.machine import Machine
from tests.integration.cluster import REAL, Cluster, delete_topics, produce, read, until_committed
from tests.integration.cluster import stop as stop_worker
from tests.integration.test_kills import NoWriter
from tests.kafka.judge import Ends, judge
from tests.kafka.price_log import Line, Shape, in_more, price_log

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

SHAPE = Shape(records=15_000, products=2_000, partitions=4, lines=10)
STAND_S = 2.5


def pricelink(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as an operator would."""
    environment = {**os.environ, **cluster.settings.environment()}
    command = [sys.executable, "-m", "cli", *arguments, "--kafka", cluster.settings.bootstrap]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


async def rows_of(cluster: Cluster) -> dict[int, tuple[int | None, int, dict[bytes, bytes]]]:
    """What the state topic has: of each partition the offset, the clock, and every row."""
    found = {}
    for number in range(cluster.settings.partitions):
        machine = real_machines(cluster.settings)(number)
        assert isinstance(machine, Machine)
        offset = await KafkaStateStore(NoWriter(), cluster.settings).restore(number, machine)
        found[number] = offset, machine.clock_ms, machine.rows()
    return found


def ends_of(cluster: Cluster, topic: str = FEEDS.name) -> dict[int, int]:
    with admin_of(cluster.settings) as admin:
        return {number: at.end for number, at in standings(admin, topic, None).items()}


def until_missed(cluster: Cluster) -> None:
    """The group misses a member that was killed after its session."""
    deadline = time.monotonic() + 30
    while True:
        with admin_of(cluster.settings) as admin:
            if not members(admin, cluster.settings.worker_group):
                return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def halves() -> tuple[list[Line], list[Line]]:
    seed = int(os.environ.get("PRICELINK_TEST_SEED") or random.randrange(1 << 30))
    print(f"PRICELINK_TEST_SEED={seed}", flush=True)
    lines = list(price_log(seed, SHAPE))
    return lines[: len(lines) * 2 // 3], lines[len(lines) * 2 // 3 :]


def work(cluster: Cluster, lines: list[Line]) -> None:
    """A worker takes all of ``lines``, and stops in order."""
    asyncio.run(produce(cluster.settings, lines))
    process = cluster.start_worker(REAL)
    asyncio.run(until_committed(cluster.settings, ends_of(cluster)))
    assert stop_worker(process)[0] == 0


def test_a_state_topic_that_was_lost_or_is_of_another_layout_is_made_anew_equal_to_the_byte(tmp_path: Path) -> None:
    before, after = halves()
    with Cluster.make(partitions=SHAPE.partitions, session_timeout_s=3.0) as cluster:
        asyncio.run(produce(cluster.settings, before))
        process = cluster.start_worker(REAL)
        ends = ends_of(cluster)
        asyncio.run(until_committed(cluster.settings, ends))
        wanted = asyncio.run(rows_of(cluster))
        with pytest.raises(CannotRebuild, match="stop them all"):
            targets(cluster.settings)

        delete_topics(cluster.settings, {STATE.name})
        asyncio.run(produce(cluster.settings, after))
        time.sleep(STAND_S)
        process.kill()
        process.wait()
        events = sum(ends_of(cluster, ALERTS.name).values())
        asyncio.run(until_committed(cluster.settings, ends))  # the rows had nowhere to go, so nothing more is committed

        until_missed(cluster)
        said = pricelink(cluster, "state", "rebuild", "--yes")
        assert said.returncode == 0, said.stderr
        print(said.stderr)
        assert asyncio.run(rows_of(cluster)) == wanted
        assert sum(ends_of(cluster, ALERTS.name).values()) == events, "a rebuild sends nothing"
        process = cluster.start_worker(REAL)
        verdict = asyncio.run(judge(cluster.settings, tmp_path))
        assert verdict.records >= SHAPE.records / SHAPE.lines
        assert verdict.repeats > 0, "the worker had sent nothing before it was killed"
        assert stop_worker(process)[0] == 0
        rows_of_another_layout(cluster)


def rows_of_another_layout(cluster: Cluster) -> None:
    """End a worker, which says so; what is made anew has none of them."""
    wanted = asyncio.run(rows_of(cluster))
    asyncio.run(write_row(cluster, next(iter(wanted[2][2])), b"\x63 is 99, a layout of the future"))
    process = cluster.start_worker(REAL)
    assert process.wait(60) == CONFIG
    new_machine = real_machines(cluster.settings)
    with pytest.raises(UnknownLayout):
        asyncio.run(compare(cluster.settings, new_machine, quiet))
    nobody = cluster.settings.model_copy(update={"worker_group": "nobody-was-ever-in-it"})
    assert all(at.committed is None and at.end for at in targets(nobody).values())
    make_topic_anew(cluster.settings)
    ends = {number: row[0] or 0 for number, row in wanted.items()}
    asyncio.run(rebuild(cluster.settings, new_machine, ends, quiet))
    assert asyncio.run(rows_of(cluster)) == wanted


async def write_row(cluster: Cluster, key: bytes, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=cluster.settings.bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(STATE.name, value, key=key, partition=2)
    finally:
        await producer.stop()


async def all_of(cluster: Cluster, topic: str) -> list[tuple[Any, ...]]:
    return [
        (number, each.offset, each.timestamp, each.key, each.value, each.headers)
        for number, records in (await read(cluster.settings, topic)).items()
        for each in records
    ]


def quiet(*_told: object) -> None:
    """Nobody looks at the progress."""


def test_what_a_backup_has_is_restored_and_workers_go_on_from_it(tmp_path: Path) -> None:
    before, after = halves()
    folder = tmp_path / "backup"
    names = {topic.name for topic in TOPICS} - PASSING
    with Cluster.make(partitions=SHAPE.partitions, session_timeout_s=3.0) as cluster:
        work(cluster, before)
        with admin_of(cluster.settings) as admin:  # what retention does to the head of a topic
            admin.delete_records({TopicPartition(ALERTS.name, 1): 50})
        backup(cluster.settings, folder, names, quiet)
        asyncio.run(produce(cluster.settings, after[:50]))
        made = backup(cluster.settings, folder, names, quiet)
        parts = made.topics[FEEDS.name].parts[2]
        assert len(parts) == 2, "the second one only adds"
        assert made.topics[ALERTS.name].parts[1][0].first == 50
        wanted = asyncio.run(rows_of(cluster))
        messages = {name: asyncio.run(all_of(cluster, name)) for name in (FEEDS.name, ALERTS.name)}
        assert len(messages[FEEDS.name]) == len(before) + 50
        with pytest.raises(BackupFault, match="is not empty"):
            restore(cluster.settings, folder, None, quiet)

        delete_topics(cluster.settings, {topic.name for topic in TOPICS})
        whole = (folder / parts[0].file).read_bytes()
        (folder / parts[0].file).write_bytes(whole[:-1])
        with pytest.raises(BackupFault, match="SHA-256"):
            restore(cluster.settings, folder, None, quiet)
        (folder / parts[0].file).write_bytes(whole)
        restore(cluster.settings, folder, None, quiet)
        topics.apply(cluster.settings)  # those that are in no backup
        for name, was in messages.items():
            assert asyncio.run(all_of(cluster, name)) == was
        assert asyncio.run(rows_of(cluster)) == wanted

        work(cluster, after[50:])
        stamps = [each[2] for each in asyncio.run(all_of(cluster, FEEDS.name))]
        assert max(stamps) > max(each[2] for each in messages[FEEDS.name]), "feeds stamps by itself again"
        found = asyncio.run(compare(cluster.settings, real_machines(cluster.settings), quiet))
        assert [each.different for each in found] == [()] * SHAPE.partitions
        assert all(each.next_offset and each.rows for each in found)


MOVED_SHAPE = Shape(records=4_500, products=500, partitions=2)
MORE = 4


def test_more_partitions_and_another_policy_leave_every_event_as_replay_has_it(tmp_path: Path) -> None:
    lines = list(price_log(int(os.environ.get("PRICELINK_TEST_SEED") or 3), MOVED_SHAPE))
    before, with_policy, after = lines[:1500], lines[1500:3000], lines[3000:]
    policy = tmp_path / "policy.json"
    policy.write_text('{"default":{"bands":{"blue":0,"yellow":200,"red":900}},"guard_bp":4000}')
    with Cluster.make(partitions=MOVED_SHAPE.partitions, session_timeout_s=3.0) as cluster:
        asyncio.run(produce(cluster.settings, before))
        process, listings = cluster.start_worker(REAL), cluster.start_process("agents.listings", "l")
        said = pricelink(cluster, "policy", "apply", str(policy))
        assert said.returncode == 0, said.stderr
        version = said.stderr.split()[1]
        asyncio.run(produce(cluster.settings, with_policy))
        asyncio.run(until_committed(cluster.settings, ends_of(cluster)))
        until_listed(cluster)
        assert stop_worker(process)[0] == stop_worker(listings)[0] == 0

        backup(cluster.settings, tmp_path / "old", {topic.name for topic in TOPICS} - PASSING, quiet)
        policy_then = read_policy(cluster.settings.policy_file)
        _, compared, _ = move(
            tmp_path / "old", tmp_path / "new", MORE, policy_then, cluster.settings.worker_group, quiet
        )
        events = sum(sum(ends_of(cluster, name).values()) for name in (ALERTS.name, PRICE_CHANGES.name))
        assert compared == events > 1000
        delete_topics(cluster.settings, {topic.name for topic in TOPICS})
        cluster.settings = cluster.settings.model_copy(update={"partitions": MORE})
        restore(cluster.settings, tmp_path / "new", None, quiet)
        topics.apply(cluster.settings)
        ends = {number: at.committed or 0 for number, at in targets(cluster.settings).items()}
        asyncio.run(rebuild(cluster.settings, real_machines(cluster.settings), ends, quiet))
        moved: Ends = {
            name: ends_of(cluster, name) for name in (FEEDS.name, ALERTS.name, PRICE_CHANGES.name, DEAD_LETTERS.name)
        }

        asyncio.run(produce(cluster.settings, in_more(after, MOVED_SHAPE.partitions, MORE)))
        process, listings = cluster.start_worker(REAL), cluster.start_process("agents.listings", "l")
        verdict = asyncio.run(judge(cluster.settings, tmp_path / "after", moved))
        assert verdict.events > events + 500
        made = (tmp_path / "after" / "alerts.ndjson").read_text()
        assert made.count(f'"policy_version":"{version}"') > 500
        assert '"reason":"policy_changed"' in made
        assert verdict.repeats == 0
        until_listed(cluster)
        assert stop_worker(process)[0] == stop_worker(listings)[0] == 0


def until_listed(cluster: Cluster) -> None:
    """Prices by code are those of the state topic, also where its positions are smaller than those of an older one."""
    rows = [each[2] for each in asyncio.run(rows_of(cluster)).values()]
    wanted = {key: read_row(row) for each in rows for key, row in each.items() if b"/" not in key}
    client: Any = redis.Redis.from_url(cluster.settings.redis_url)
    deadline = time.monotonic() + 30
    while {key: read_row(row) for key, row in client.hgetall(ROWS).items()} != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    client.close()
