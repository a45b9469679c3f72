"""The same log gives the same events, byte for byte: run again, and shared by one, two or four workers."""

import asyncio
import hashlib
import os
import random
import time
from typing import Any

import orjson
import pytest

from agents import topics
from agents.machines import real_machines
from config.settings import Settings
from config.topics import ALERTS, FEEDS, PRICE_CHANGES, STATE, TOPICS
from tests.integration.cluster import REAL, Cluster, batch, produce, read, until_committed
from tests.integration.cluster import delete_topics as delete
from tests.integration.cluster import stop as stop_worker
from tests.kafka.price_log import Shape, price_log

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

FULL = bool(os.environ.get("PRICELINK_TEST_FULL"))
SHAPE = Shape(records=1_000_000 if FULL else 200_000, products=20_000, partitions=8, lines=100)
TIMES = (1, 1, 2, 4)
"""Workers of each run: the first twice."""
CAUGHT_UP_S = 300.0
Digests = dict[tuple[str, str], str]
"""SHA-256 of the events of a topic and code."""


def digests(events: dict[str, dict[str, list[bytes]]]) -> Digests:
    return {
        (topic, code): hashlib.sha256(b"\n".join(values)).hexdigest()
        for topic, by_code in events.items()
        for code, values in by_code.items()
    }


async def of_topics(settings: Settings) -> Digests:
    """Of what the topics hold, in which nothing may have come twice."""
    events: dict[str, dict[str, list[bytes]]] = {}
    seen: set[str] = set()
    for topic in (ALERTS.name, PRICE_CHANGES.name):
        for records in (await read(settings, topic)).values():
            for record in records:
                event_id = orjson.loads(record.value)["event_id"]
                assert event_id not in seen
                seen.add(event_id)
                events.setdefault(topic, {}).setdefault(record.key.decode(), []).append(record.value)
    return digests(events)


def of_machines(settings: Settings, feeds: dict[int, list[Any]], pieces: int) -> Digests:
    """Of what the machine makes of the log offline, cut into so many pieces."""
    events: dict[str, dict[str, list[bytes]]] = {ALERTS.name: {}, PRICE_CHANGES.name: {}}
    new_machine = real_machines(settings)
    for number, records in feeds.items():
        machine = new_machine(number)
        step = max(len(records) // pieces, 1)
        for start in range(0, len(records), step):
            effects = machine.apply(batch(number, records[start : start + step]))
            for topic, run in ((ALERTS.name, effects.alerts), (PRICE_CHANGES.name, effects.price_changes)):
                for code, value in zip(run.table["code"].tolist(), run.values(), strict=True):
                    events[topic].setdefault(code.decode(), []).append(value)
    return digests(events)


async def run_workers(cluster: Cluster, number: int, workers: int, ends: dict[int, int]) -> Digests:
    """Everything from the log alone: no state, no events, a group that never was."""
    delete(cluster.settings, {topic.name for topic in TOPICS} - {FEEDS.name})
    topics.apply(cluster.settings)
    for at in await read(cluster.settings, STATE.name), await read(cluster.settings, ALERTS.name):
        assert not any(at.values())
    cluster.settings = cluster.settings.model_copy(update={"worker_group": f"{cluster.settings.worker_group}-{number}"})
    began = time.monotonic()
    processes = [cluster.start_worker(REAL, f"run{number}-{each}") for each in range(workers)]
    await until_committed(cluster.settings, ends, CAUGHT_UP_S)
    print(f"{workers} workers: {time.monotonic() - began:.1f} s with the start")
    for process in processes:
        assert (await asyncio.to_thread(stop_worker, process))[0] == 0
    return await of_topics(cluster.settings)


def test_the_same_log_gives_the_same_events_however_it_is_shared() -> None:
    seed = int(os.environ.get("PRICELINK_TEST_SEED") or random.randrange(1 << 30))
    print(f"PRICELINK_TEST_SEED={seed}")
    with Cluster.make(partitions=SHAPE.partitions, session_timeout_s=3.0) as cluster:

        async def scene() -> None:
            await produce(cluster.settings, price_log(seed, SHAPE))
            feeds = await read(cluster.settings, FEEDS.name)
            records = sum(record.value.count(b"\n") + 1 for each in feeds.values() for record in each)
            assert records >= SHAPE.records
            ends = {number: len(each) for number, each in feeds.items()}
            wanted = of_machines(cluster.settings, feeds, 1)
            assert len(wanted) > SHAPE.products
            assert of_machines(cluster.settings, feeds, 37) == wanted
            for number, workers in enumerate(TIMES):
                assert await run_workers(cluster, number, workers, ends) == wanted
            print(f"{records:,} records, {len(wanted):,} codes' events alike in {len(TIMES)} runs and offline twice")

        asyncio.run(scene())
