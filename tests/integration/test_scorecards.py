"""Scorecards against a recount: repeats count once, whoever is killed and whatever Redis forgets."""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from typing import Any

import orjson
import pytest
import redis
from aiokafka import AIOKafkaProducer

from config.topics import ALERTS, FEEDS, INSPECTIONS, SCORE_ROWS, SCORECARDS, SCORES_BY
from tests.integration.cluster import Cluster, produce_nonsense, read, stop

pytestmark = pytest.mark.integration

PROVINCES = ["110000", "320000", "660000"]
SUPPLIERS = [f"9132000000000000{number:02}" for number in range(12)]
INSTITUTIONS = [f"第{number}医院|:" for number in range(9)]
KINDS = {
    "price_adjustment": (True, False), "bargain": (True, True), "supply_shortfall": (True, True),
    "settlement_arrears": (True, True), "channel_gap": (False, False), "feed_silence": (False, False),
}  # fmt: skip
BANDS = ["blue", "yellow", "red"]


def story(seed: int, count: int) -> list[bytes]:
    """Alert events in the order of their slots, some of them twice, some with another supplier than before."""
    rng = random.Random(seed)
    open_now: dict[str, dict[str, Any]] = {}
    numbers: Counter[str] = Counter()
    made: list[bytes] = []
    while len(made) < count:
        kind = rng.choice(list(KINDS))
        code, province = f"C{rng.randint(1, 20):026d}", rng.choice(PROVINCES)
        slot = f"{kind}:{code}:{province}" + (f":o{rng.randint(1, 5)}" if KINDS[kind][1] else "")
        if kind == "feed_silence":
            slot, code = f"{kind}:{province}", province
        was = open_now.pop(slot, None)
        if was is None:
            numbers[slot] += 1
            change, revision = ("observed" if kind == "bargain" else "opened"), 1
        else:
            change, revision = rng.choice(["escalated", "revised", "resolved"]), was["revision"] + 1
        alert_id = f"{slot}:{numbers[slot]}"
        event: dict[str, Any] = {
            "event_id": f"{alert_id}/{revision}", "alert_id": alert_id, "revision": revision, "kind": kind,
            "change": change, "code": code, "province": province, "band": None if change == "resolved" else rng.choice(BANDS),
            "at": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip
        if KINDS[kind][0]:
            event["supplier"] = rng.choice(SUPPLIERS) if not was or rng.random() < 0.3 else was["supplier"]
        if KINDS[kind][1]:
            event["institution"] = rng.choice(INSTITUTIONS)
        if kind == "supply_shortfall":
            event["quantity"] = {"due": rng.randint(10, 90), "filled": rng.randint(0, 9), "overdue": rng.randint(1, 9)}
        if kind == "settlement_arrears":
            event["amount"] = {"owed": f"{rng.randint(1, 10**9)}.5000"}
        if change not in ("resolved", "observed"):
            open_now[slot] = event
        made.append(orjson.dumps(event))
        while rng.random() < 0.15:  # what was sent last of the slot comes again
            made.append(made[-1])
    return made


def recount(made: list[bytes]) -> dict[str, dict[str, Any]]:
    """The cards, counted the plain way: each event once."""
    last: dict[str, dict[str, Any]] = {}
    opened: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    owners: set[tuple[str, str]] = set()
    for event in {value["event_id"]: value for value in map(orjson.loads, made)}.values():
        last[event["alert_id"].rpartition(":")[0]] = event
        for dimension in ("supplier", "institution", "province"):
            if event.get(dimension):
                owners.add((dimension, event[dimension]))
                if event["change"] in ("opened", "observed"):
                    opened.setdefault((dimension, event[dimension]), Counter())[event["kind"], event["band"]] += 1
    cards = {}
    for dimension, key in owners:
        mine = [e for e in last.values() if e.get(dimension) == key and e["change"] not in ("resolved", "observed")]
        owed = sum(int(e["amount"]["owed"].replace(".", "")) for e in mine if "amount" in e and e["band"] != "blue")
        cards[f"{dimension}:{key}"] = {
            "open": dict(Counter((e["kind"], e["band"]) for e in mine)),
            "opened": dict(opened.get((dimension, key), {})),
            "overdue": sum(e["quantity"]["overdue"] for e in mine if "quantity" in e),
            "owed": f"{owed // 10_000}.{owed % 10_000:04}",
        }
    return cards


def plain(card: dict[str, Any]) -> dict[str, Any]:
    def cells(name: str) -> dict[tuple[str, str], int]:
        return {(kind, band): count for kind, bands in card[name].items() for band, count in bands.items()}

    return {
        "open": cells("open"), "opened": cells("opened"), "overdue": card["supply"]["overdue"],
        "owed": card["amount_overdue"],
    }  # fmt: skip


def shown(client: Any) -> dict[str, dict[str, Any]]:
    return {
        f"{dimension}:{key.decode()}": plain(orjson.loads(value))
        for dimension in ("supplier", "institution", "province")
        for key, value in client.hgetall(f"pl:cards:{dimension}").items()
    }


def until_shown(client: Any, wanted: dict[str, dict[str, Any]], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while (found := shown(client)) != wanted:
        if time.monotonic() > deadline:
            assert found == wanted
        time.sleep(0.2)


async def write(cluster: Cluster, made: list[bytes]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=cluster.settings.bootstrap, linger_ms=1, enable_idempotence=cluster.settings.idempotent, acks="all"
    )  # fmt: skip
    await producer.start()
    for value in made:
        await producer.send(ALERTS.name, value, key=orjson.loads(value)["code"].encode())
    await producer.stop()


def test_every_event_counts_once_through_kills_and_a_flushed_redis() -> None:
    made = story(5, 6_000)
    parts = [made[start : start + 1_000] for start in range(0, 6_000, 1_000)]
    with Cluster.make(partitions=3) as cluster:
        client = redis.Redis.from_url(cluster.settings.redis_url)
        process = cluster.start_process("agents.scorecards", "s")
        rng = random.Random(3)
        asyncio.run(write(cluster, parts[0]))
        until_shown(client, recount(parts[0]))
        topics = (ALERTS, INSPECTIONS, FEEDS, *SCORES_BY.values(), *SCORE_ROWS.values())
        asyncio.run(produce_nonsense(cluster.settings, *(topic.name for topic in topics)))
        for number in range(1, len(parts)):
            asyncio.run(write(cluster, parts[number]))
            time.sleep(rng.uniform(0.1, 1.2))
            process.send_signal(signal.SIGKILL)  # amid what it was told, its rows and its passing on
            assert process.wait() == -signal.SIGKILL
            process = cluster.start_process("agents.scorecards", "s")
        wanted = recount(made)
        until_shown(client, wanted)

        client.flushall()
        until_shown(client, wanted)
        some = next(key for key, card in wanted.items() if card["open"] and key.startswith("supplier"))
        ids = client.smembers(f"pl:card-open:{some}")
        assert len(ids) == sum(wanted[some]["open"].values())
        code, _ = stop(process)
        assert code == 0

        messages = asyncio.run(read(cluster.settings, SCORECARDS.name))
        last = {message.key.decode(): message.value for number in sorted(messages) for message in messages[number]}
        assert {key: plain(orjson.loads(value)) for key, value in last.items()} == wanted


GOES_AWAY = """
import asyncio, sys
from aiokafka.errors import KafkaConnectionError
from agents import scorecards
from config.settings import settings

async def fail(process):
    while len(process._recovered_tables) < 3:
        await asyncio.sleep(0.05)
    raise KafkaConnectionError("gone for good")

scorecards.Scorecards._watch = fail
sys.exit(scorecards.run(settings()))
"""


def test_a_fault_of_the_surroundings_ends_it_with_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with Cluster.make(partitions=2) as cluster:
        code = cluster.start(GOES_AWAY, "s").wait(40)
    said = capfd.readouterr().err
    assert code == 74, said
    assert "Traceback" not in said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    (fault,) = [line for line in lines if line["level"] == "error"]
    assert (fault["reason"], fault["code"], fault["exit_code"]) == ("infrastructure", "KafkaConnectionError", 74)
    assert "gone for good" in fault["fault"]
