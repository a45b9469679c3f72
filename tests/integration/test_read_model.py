"""The read model against Redis: equal to a recount, whatever came twice, and rebuilt after Redis was flushed."""

import asyncio
import random
import signal
import time
from collections import Counter
from typing import Any

import orjson
import pytest
import redis
from aiokafka import AIOKafkaProducer

from config.topics import ALERTS, PRICE_CHANGES
from tests.integration.cluster import Cluster, produce_nonsense, stop

pytestmark = pytest.mark.integration

PROVINCES = ["110000", "320000", "660000"]
BANDS = ["blue", "yellow", "red"]


def events(rng: random.Random, count: int) -> list[tuple[str, bytes, bytes]]:
    """Alerts and price changes, as (topic, code, value), many of them twice or thrice."""
    numbers: Counter[str] = Counter()
    open_now: dict[str, dict[str, Any]] = {}
    made: list[tuple[str, bytes, bytes]] = []
    for _ in range(count):
        code = f"C{rng.randint(1, 40):026d}"
        if rng.random() < 0.2:
            numbers[code] += 1
            change = {"event_id": f"price.lowest.changed:{code}:{numbers[code]}", "code": code, "lowest": "1.0000"}
            made.append((PRICE_CHANGES.name, code.encode(), orjson.dumps(change)))
        else:
            made.append((ALERTS.name, code.encode(), orjson.dumps(alert(rng, code, numbers, open_now))))
        while rng.random() < 0.2:
            made.append(rng.choice(made[-20:]))
    return made


def alert(rng: random.Random, code: str, numbers: Counter[str], open_now: dict[str, dict[str, Any]]) -> dict[str, Any]:
    kind, province = rng.choice(["price_adjustment", "ceiling_breach", "bargain"]), rng.choice(PROVINCES)
    slot = f"{kind}:{code}:{province}" + (f":o{rng.randint(1, 9)}" if kind == "bargain" else "")
    was = open_now.pop(slot, None)
    if was is None:
        numbers[slot] += 1
        change, revision = ("observed" if kind == "bargain" else "opened"), 1
    else:
        change, revision = rng.choice(["escalated", "revised", "resolved"]), was["revision"] + 1
    alert_id = f"{slot}:{numbers[slot]}"
    band = None if change == "resolved" else rng.choice(BANDS)
    event = {"event_id": f"{alert_id}/{revision}", "alert_id": alert_id, "revision": revision, "kind": kind,
             "change": change, "code": code, "province": province, "band": band}  # fmt: skip
    if change in ("opened", "escalated", "revised"):
        open_now[slot] = event
    return event


def recount(made: list[tuple[str, bytes, bytes]]) -> dict[str, Any]:
    seen: set[str] = set()
    opened: dict[str, bytes] = {}
    lowest: dict[str, bytes] = {}
    alerts = 0
    for topic, _, value in made:
        event = orjson.loads(value)
        if event["event_id"] in seen:
            continue
        seen.add(event["event_id"])
        if topic == PRICE_CHANGES.name:
            lowest[event["code"]] = value
            continue
        alerts += 1
        if event["change"] in ("resolved", "closed", "observed"):
            opened.pop(event["alert_id"], None)
        else:
            opened[event["alert_id"]] = value
    places = Counter("|".join((e["kind"], e["province"], e["band"])) for e in map(orjson.loads, opened.values()))
    counts = dict(places)
    return {"sets": counts, "open": opened, "lowest": lowest, "counts": counts, "alerts": alerts}


def kept(client: Any) -> dict[str, Any]:
    counts = {key.decode(): int(value) for key, value in client.hgetall("pl:counts").items() if int(value)}
    sets = {
        key.decode()[len("pl:open:") :].replace(":", "|"): client.scard(key) for key in client.scan_iter("pl:open:*")
    }
    return {
        "sets": sets,
        "open": {key.decode(): value for key, value in client.hgetall("pl:open").items()},
        "lowest": {key.decode(): value for key, value in client.hgetall("pl:lowest").items()},
        "counts": counts,
        "alerts": client.xlen("pl:events"),
    }


async def write(cluster: Cluster, made: list[tuple[str, bytes, bytes]]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=cluster.settings.bootstrap,
        linger_ms=1,
        enable_idempotence=cluster.settings.idempotent,
        acks="all",
    )
    await producer.start()
    for topic, code, value in made:
        await producer.send(topic, value, key=code)
    await producer.stop()


def until_equal(client: Any, wanted: dict[str, Any], within_s: float = 40) -> None:
    deadline = time.monotonic() + within_s
    while (found := kept(client)) != wanted:
        if time.monotonic() > deadline:
            assert found == wanted
        time.sleep(0.2)


def test_it_equals_a_recount_through_kills_flushes_and_rebuilds() -> None:
    rng = random.Random(11)
    made = events(rng, 3_000)
    with Cluster.make() as cluster:
        client: Any = redis.Redis.from_url(cluster.settings.redis_url)
        follower = cluster.start_read_model()
        asyncio.run(write(cluster, made[:1_000]))
        asyncio.run(produce_nonsense(cluster.settings, ALERTS.name, PRICE_CHANGES.name))
        until_equal(client, recount(made[:1_000]))

        follower.send_signal(signal.SIGKILL)
        follower.wait()
        asyncio.run(write(cluster, made[1_000:2_000]))
        follower = cluster.start_read_model()
        until_equal(client, recount(made[:2_000]))

        client.flushall()
        until_equal(client, recount(made[:2_000]))
        client.flushall()
        asyncio.run(write(cluster, made[2_000:]))
        until_equal(client, recount(made))
        assert stop(follower)[0] == 0

        client.hset("pl:lowest", "C-of-nobody", b"{}")
        client.hincrby("pl:counts", "price_hold|110000|red", 5)
        follower = cluster.start_read_model(rebuild=True)
        until_equal(client, recount(made))
        history = client.lrange(f"pl:history:{next(iter(recount(made)['open']))}", 0, -1)
        assert [orjson.loads(value)["revision"] for value in history] == list(range(1, len(history) + 1))
        code, took_s = stop(follower)
        assert code == 0
        assert took_s < 5
