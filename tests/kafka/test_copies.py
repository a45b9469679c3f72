"""Suppliers' own topics on a real broker: a copier that is killed loses nothing, and one whose broker was away goes on."""

import asyncio
import signal
import time
from collections import defaultdict
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from agents.exits import CONFIG
from agents.real_kafka import RealKafka
from config.settings import Settings
from config.topics import ALERTS, FEEDS, PRICE_CHANGES, events_of
from gateway.key_ring import now_ms
from gateway.read_model import ReadModel
from schemas.codes import partition_of
from tests.integration.cluster import REAL, Cluster, produce, read, stop, until_committed

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

OURS, THEIRS, OTHERS = "91320000MA1XXXXX1A", "91320000MA1YYYYY2B", "91320000MA1ZZZZZ3C"
COPIES = {"big": OURS, "other": THEIRS}
SETTING = ",".join(f"{name}={supplier}" for name, supplier in COPIES.items())
CODES = [f"C{number:026}" for number in range(3_000)]
PROVINCES = ("320000", "330000", "370000")
COMMAND = "from cli.main import app; app(['copier'])"
KILL_AT = 6_000
"""Copies; more than what two topics have in hand, so that something was committed."""
AWAY_S = 3.0
PATIENCE_S = 60.0


def listers(number: int) -> tuple[str, str, str]:
    """Who has a quote of the code with this number in each of the provinces."""
    return OURS if number % 3 else OTHERS, THEIRS if number % 2 else OTHERS, OTHERS


async def quote(settings: Settings, prices: tuple[int, int, int]) -> None:
    """Sends a quote of every code from every province."""
    at = now_ms()
    await produce(settings, [
        (partition_of(code, settings.partitions), code.encode(), orjson.dumps({
            "type": "quote", "province": province, "code": code, "at": at, "price": price, "supplier": supplier,
        }), None)
        for number, code in enumerate(CODES)
        for province, price, supplier in zip(PROVINCES, prices, listers(number), strict=True)
    ])  # fmt: skip


async def until_applied(settings: Settings) -> None:
    await until_committed(settings, await ends(settings, FEEDS.name))


async def ends(settings: Settings, topic: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(settings.partitions)]
        return {place.partition: end for place, end in (await consumer.end_offsets(places)).items()}
    finally:
        await consumer.stop()


async def until_listed(settings: Settings) -> None:
    """Waits until Redis knows who lists each code."""
    model = ReadModel(Redis.from_url(settings.redis_url))
    deadline = time.monotonic() + PATIENCE_S
    wanted = [frozenset(listers(number)) for number in range(len(CODES))]
    while await model.listers(CODES) != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    await model.close()


def as_copied(record: Any) -> tuple[Any, ...]:
    return record.partition, record.timestamp, record.key, record.value, tuple(record.headers)


async def wanted_of(settings: Settings, supplier: str) -> dict[tuple[str, bytes], list[Any]]:
    """What the supplier is to get, by topic and code, in order."""
    found: dict[tuple[str, bytes], list[Any]] = defaultdict(list)
    for topic in (ALERTS.name, PRICE_CHANGES.name):
        for record in (each for records in (await read(settings, topic)).values() for each in records):
            event = orjson.loads(record.value)
            is_own = (
                event["supplier"] == supplier if topic == ALERTS.name else supplier in listers(int(event["code"][1:]))
            )
            if is_own:
                found[topic, record.key].append(as_copied(record))
    return dict(found)


async def got_by(settings: Settings, name: str) -> tuple[dict[tuple[str, bytes], list[Any]], int]:
    """The same of what is in its topic, repeats left out; and how many messages there are."""
    found: dict[tuple[str, bytes], dict[Any, None]] = defaultdict(dict)
    count = 0
    for record in (each for records in (await read(settings, events_of(name).name)).values() for each in records):
        count += 1
        topic = ALERTS.name if b'"alert_id"' in record.value else PRICE_CHANGES.name
        found[topic, record.key][as_copied(record)] = None
    return {key: list(events) for key, events in found.items()}, count


async def until_copied(settings: Settings, name: str, count: int) -> int:
    """Waits until a supplier's topic has so many messages; returns how many it has then."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := sum((await ends(settings, events_of(name).name)).values())) < count:
        assert time.monotonic() < deadline, f"{name} has {found} of {count}"
        await asyncio.sleep(0.02)
    return found


def test_a_copier_that_is_killed_loses_no_event_and_gives_none_to_others() -> None:
    async def run(cluster: Cluster) -> None:
        settings = cluster.settings
        cluster.start_worker(REAL)
        cluster.start_process("agents.listings", "listings")
        for prices in ((12, 11, 10), (12, 11, 9), (12, 8, 9)):
            await quote(settings, prices)
        await until_applied(settings)
        await until_listed(settings)
        first = {name: sum(map(len, (await wanted_of(settings, its)).values())) for name, its in COPIES.items()}
        copier = cluster.start(COMMAND, "c0")
        await until_copied(settings, "big", KILL_AT)
        copier.kill()
        assert copier.wait() == -signal.SIGKILL
        before = await until_copied(settings, "big", KILL_AT)
        assert before < first["big"], "it was through before it was killed"
        await quote(settings, (7, 8, 9))
        await until_applied(settings)
        copier = cluster.start(COMMAND, "c1")
        for name, supplier in COPIES.items():
            wanted = await wanted_of(settings, supplier)
            assert {topic for topic, _ in wanted} == {ALERTS.name, PRICE_CHANGES.name}
            events = sum(map(len, wanted.values()))
            await until_copied(settings, name, events)
            deadline = time.monotonic() + PATIENCE_S
            while True:  # repeats make it as long before all are there
                got, count = await got_by(settings, name)
                if got.keys() >= wanted.keys() and sum(map(len, got.values())) >= events:
                    break
                assert time.monotonic() < deadline
            assert got == wanted
            assert count - events < before, "nothing was committed"
            print(f"\n{name}: {events} events, {count - events} repeated; killed at {before}")
        assert stop(copier, 10.0)[0] == 0

    with Cluster.make(copies=SETTING) as cluster:
        asyncio.run(run(cluster))


def test_a_topic_that_nobody_made_is_a_fault_of_settings() -> None:
    with Cluster.make() as cluster:
        cluster.settings = cluster.settings.model_copy(update={"copies": f"{SETTING},third={OTHERS}"})
        assert cluster.start(COMMAND, "c0").wait(PATIENCE_S) == CONFIG
        cluster.settings = cluster.settings.model_copy(update={"copies": ""})


def test_a_copier_goes_on_when_its_broker_is_back(kafka: RealKafka) -> None:
    def alert(number: int) -> bytes:
        return orjson.dumps({
            "alert_id": f"price_adjustment:{CODES[number]}:320000:1", "revision": 1, "kind": "price_adjustment", "change": "opened",
            "supplier": OURS,
        })  # fmt: skip

    async def run(cluster: Cluster) -> None:
        settings = cluster.settings
        messages = [(number % settings.partitions, b"k", alert(number), None) for number in range(200)]
        copier = cluster.start(COMMAND, "c0")
        await produce(settings, messages[:100], ALERTS.name)
        assert await until_copied(settings, "big", 100) == 100
        kafka.kill()
        await asyncio.sleep(AWAY_S)
        assert copier.poll() is None
        kafka.launch()
        await asyncio.to_thread(kafka.wait)
        await produce(settings, messages[100:], ALERTS.name)
        await until_copied(settings, "big", 200)
        got = [each.value for records in (await read(settings, events_of("big").name)).values() for each in records]
        assert set(got) == {value for _, _, value, _ in messages}
        kafka.kill()
        code, took_s = stop(copier, 10.0)
        kafka.launch()
        await asyncio.to_thread(kafka.wait)
        assert code == 0, took_s

    with Cluster.make(copies=SETTING) as cluster:
        asyncio.run(run(cluster))
