"""Two silence processes on one broker: one alert for one silence, its end, and numbers that go on after a kill."""

import asyncio
import signal
import time
from typing import Any

import orjson
import pytest

from config.topics import ALERTS, FEEDS, SILENCE
from schemas.codes import partition_of
from tests.integration.cluster import Cluster, produce, produce_nonsense, read, stop

pytestmark = pytest.mark.integration

CODE = f"C{7:026d}"
SUPPLIER = "91320000MA1XXXXX1A"


def say(cluster: Cluster, *provinces: str) -> None:
    now_ms = time.time_ns() // 1_000_000
    quotes = [
        {"type": "quote", "province": province, "code": CODE, "at": now_ms, "price": 1, "supplier": SUPPLIER}
        for province in provinces
    ]
    place = partition_of(CODE, cluster.settings.partitions)
    asyncio.run(produce(cluster.settings, [(place, CODE.encode(), orjson.dumps(each), None) for each in quotes]))


def events(cluster: Cluster) -> dict[str, list[Any]]:
    """The events by id, each with all bytes in which it came."""
    found: dict[str, list[Any]] = {}
    for messages in asyncio.run(read(cluster.settings, ALERTS.name)).values():
        for message in messages:
            event = orjson.loads(message.value)
            assert dict(message.headers)["ce_id"].decode() == event["event_id"]
            found.setdefault(event["event_id"], []).append(message.value)
    return found


def until(cluster: Cluster, *wanted: str) -> dict[str, list[Any]]:
    deadline = time.monotonic() + 40
    while not set(wanted) <= (found := events(cluster)).keys():
        assert time.monotonic() < deadline, (wanted, sorted(found))
    return found


def test_one_silence_is_opened_once_whoever_runs_and_dies() -> None:
    with Cluster.make(partitions=2, max_silence_minutes=0.1) as cluster:
        asyncio.run(produce_nonsense(cluster.settings, SILENCE.name, FEEDS.name))
        first, second = (cluster.start_process("agents.silence", name) for name in ("a", "b"))
        say(cluster, "320000", "540000")
        until(cluster, "feed_silence:320000:1/1", "feed_silence:540000:1/1")
        say(cluster, "320000")
        until(cluster, "feed_silence:320000:1/2", "feed_silence:320000:2/1")
        for process in (first, second):
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        third = cluster.start_process("agents.silence", "c")
        say(cluster, "320000")
        found = until(cluster, "feed_silence:320000:2/2", "feed_silence:320000:3/1")
        assert stop(third)[0] == 0
        assert {"540000" in name for name in found} == {True, False}
        assert sum("540000" in name for name in found) == 1, "it is silent still, and that was said"
        assert all(len(set(each)) == 1 for each in found.values()), "what comes again has the same bytes"
        assert sum(map(len, found.values())) <= len(found) + 1, "two processes are no reason to say it twice"
