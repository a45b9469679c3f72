"""A stand-in for the worker and the read model: made-up alerts, their records in ``feeds``, and what Redis then holds.

Runs on its own, too, to look at the page: ``python -m tests.gateway.feeder --redis URL --bootstrap HOST:PORT``.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from config.provinces import PROVINCE_CODES
from config.settings import Settings
from gateway.app import known_policy

Event = dict[str, Any]
Position = dict[str, int]
PriceKinds = ("price_adjustment", "ceiling_breach", "price_hold")
POLICY_VERSION = (known_policy(Settings().policy_file) or {}).get("version", "44136fa355b3678a")


def stamp(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def money(price_e4: int) -> str:
    return f"{price_e4 // 10_000}.{price_e4 % 10_000:04}"


class ReadModelWriter:
    """Writes what the read model would hold after an event."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def clear(self) -> None:
        keys = [key async for key in self._redis.scan_iter("pl:*", count=1_000)]
        if keys:
            await self._redis.delete(*keys)

    async def take(self, event: Event) -> None:
        value = orjson.dumps(event)
        alert_id = event["alert_id"]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.rpush(f"pl:history:{alert_id}", value)
            pipe.xadd("pl:events", {"event": value}, maxlen=10_000, approximate=True)
            pipe.hset("pl:last", alert_id.rpartition(":")[0], f"{alert_id.rpartition(':')[2]}/{event['revision']}")
            for band, step in ((event["previous_band"], -1), (event["band"], 1)):
                if band and event["change"] != "observed":
                    cell = f"pl:open:{event['kind']}:{event['province']}:{band}"
                    pipe.hincrby("pl:counts", f"{event['kind']}|{event['province']}|{band}", step)
                    pipe.sadd(cell, alert_id) if step > 0 else pipe.srem(cell, alert_id)
            if event["change"] in ("resolved", "closed"):
                pipe.hdel("pl:open", alert_id)
            elif event["change"] != "observed":
                pipe.hset("pl:open", alert_id, value)
            await pipe.execute()

    async def worker(self, rate: float, total: int) -> None:
        figures = {
            "records_per_s": rate, "lag_records": random.randrange(40), "lag_seconds": 0.1, "partitions": [0, 1, 2, 3],
            "records_total": total, "dead_letters_total": 17, "checkpoint_age_s": 0.8, "version": "0.1.0",
            "policy_version": POLICY_VERSION, "at": stamp(datetime.now(UTC)),
        }  # fmt: skip
        await self._redis.set("pl:worker:host-1", orjson.dumps(figures), ex=15)
        await self._redis.set("pl:market", orjson.dumps({"simulated": True, "seed": 7, "rate": rate}), ex=15)


class Story:
    """Makes up alerts that open, change and end. ``send_record`` writes a record and returns its position."""

    def __init__(self, seed: int, send_record: Callable[[Event], Awaitable[Position]]) -> None:
        self._random = random.Random(seed)
        self._send = send_record
        self._opened: dict[str, int] = {}
        self.open: list[Event] = []
        self._codes = [self._code() for _ in range(400)]

    def _code(self) -> str:
        if self._random.random() < 0.12:
            letters = "".join(self._random.choices("ABCDEFGHJKLMN", k=1))
            return f"X{letters}02BBA{self._random.randrange(1000):03}A001010{self._random.randrange(10**6):06}"
        level = f"{self._random.choice((1, 2, 3, 5, 9)):02}"
        return f"C{level}{self._random.randrange(10**17):017}00{self._random.randrange(10**5):05}"

    def _supplier(self) -> str:
        return f"91{self._random.choice(PROVINCE_CODES)}MA{self._random.randrange(10**7):07}X"

    async def next(self) -> Event:
        if self.open and self._random.random() < 0.55:
            event = await self._change(self._random.randrange(len(self.open)))
            if event:
                return event
        kinds = (*PriceKinds, "bargain", "supply_shortfall", "purchase_shortfall", "channel_gap", "settlement_arrears")
        kind = self._random.choices(kinds, weights=(60, 8, 6, 10, 6, 3, 2, 5))[0]
        return await self._start(kind)

    async def _quote(self, code: str, province: str, price_e4: int, now: datetime) -> Position:
        pack = self._random.choice((1, 1, 1, 10))
        return await self._send(
            {
                "type": "quote", "province": province, "code": code, "at": stamp(now), "price": money(price_e4 * pack),
                "unit": "box" if pack > 1 else "piece", "pack_size": pack, "supplier": "91320000MA1XXXXX1A",
                "id": f"q-{self._random.randrange(10**6)}",
            }
        )  # fmt: skip

    async def _start(self, kind: str) -> Event:
        now = datetime.now(UTC)
        code, province = self._random.choice(self._codes), self._random.choice(PROVINCE_CODES)
        ids = {"bargain": "PO", "settlement_arrears": "PO", "supply_shortfall": "VBP", "purchase_shortfall": "VBP"}
        slot = f"{kind}:{code}:{province}"
        if kind in ids:
            slot += f":{ids[kind]}-{self._random.randrange(10**5)}"
        if any(each["alert_id"].rpartition(":")[0] == slot for each in self.open):
            return await self.next()
        self._opened[slot] = self._opened.get(slot, 0) + 1
        alert_id = f"{slot}:{self._opened[slot]}"
        event: Event = {
            "event_id": f"{alert_id}/1",
            "alert_id": alert_id,
            "revision": 1,
            "kind": kind,
            "change": "opened",
        }
        event["change"] = "observed" if kind == "bargain" else "opened"
        if kind in (*PriceKinds, "bargain"):
            await self._price(event, code, province, now)
        else:
            await self._supply(event, code, province, now)
        event["policy_version"] = POLICY_VERSION
        if event["change"] != "observed":
            self.open.append(event)
        return event

    async def _price(self, event: Event, code: str, province: str, now: datetime) -> None:
        kind = event["kind"]
        target = self._random.choice((9_800, 123_400, 1_000_0000, 2_480_0000, 18_600_0000)) + self._random.randrange(
            9_000
        )
        over = 1 + self._random.choice((0.02, 0.04, 0.08, 0.15, 0.31, 0.9, 2.5)) * (1 + self._random.random()) / 2
        price = int(target * over)
        other = self._random.choice([each for each in PROVINCE_CODES if each != province])
        if kind == "price_hold":
            price, target = target // 10, target
        own = await self._quote(code, province, price, now)
        reference = await self._quote(code, other, target, now)
        excess_bp = (price - target) * 10_000 // target
        band = (
            "red"
            if excess_bp >= 2000 or kind in ("price_hold", "ceiling_breach")
            else "yellow"
            if excess_bp >= 500
            else "blue"
        )
        rule, where = {"ceiling_breach": ("ceiling", province)}.get(kind, ("lowest", other))
        reasons = {"price_hold": ("unit_mismatch", "outlier_low"), "bargain": ("above_lowest",)}
        reason = self._random.choice(reasons.get(kind, ("reference_fell", "new_listing", "own_price_rose")))
        event |= {
            "reason": reason,
            "source_id": f"js-{self._random.randrange(10**6)}",
            "code": code,
            "province": province,
        }
        event |= {"supplier": self._supplier()}
        event |= {"institution": "省人民医院"} if kind == "bargain" else {}
        event |= {"band": band, "previous_band": None, "price": money(price)}
        event |= {"reference": {"price": money(target), "rule": rule, "provinces": [where]}}
        event |= {} if kind == "price_hold" else {"target_price": money(target)}
        event |= {"excess_bp": excess_bp, "high_value": price > 2_000_0000}
        event |= {"due_at": stamp(now + timedelta(days=30))} if kind == "price_adjustment" else {}
        event |= {"at": stamp(now), "evidence": [own, reference]}

    async def _supply(self, event: Event, code: str, province: str, now: datetime) -> None:
        kind = event["kind"]
        record = {
            "type": "order",
            "province": province,
            "code": code,
            "at": stamp(now),
            "order_id": "PO-1",
            "quantity": 100,
        }
        event |= {"code": code, "province": province}
        if kind != "channel_gap":
            event |= {"supplier": self._supplier(), "institution": "省立医院"}
        event |= {"band": self._random.choice(("blue", "yellow", "red")), "previous_band": None}
        if "shortfall" in kind:
            event["quantity"] = {"due": 1000, "filled": 760, "overdue": 240, "fill_rate_bp": 7600}
            event["due_at"] = stamp(now - timedelta(hours=30))
        if kind == "settlement_arrears":
            event["amount"] = {"owed": "22499.9991", "due_at": stamp(now - timedelta(days=3))}
        event |= {"at": stamp(now), "evidence": [await self._send(record)]}

    async def _change(self, index: int) -> Event | None:
        before = self.open[index]
        change = self._random.choices(
            ("revised", "escalated", "eased", "resolved", "overdue"), weights=(3, 2, 2, 5, 1)
        )[0]
        if before["kind"] not in PriceKinds or (before["kind"] != "price_adjustment" and change != "resolved"):
            change = "resolved"
        bands = ("blue", "yellow", "red")
        rank = bands.index(before["band"])
        if (change == "escalated" and rank == 2) or (change == "eased" and rank == 0):
            return None
        now = datetime.now(UTC)
        band = {"resolved": None, "escalated": bands[min(rank + 1, 2)], "eased": bands[rank - 1]}.get(
            change, before["band"]
        )
        reason = {
            "resolved": "own_price_fell", "escalated": "reference_fell", "eased": "own_price_fell",
            "revised": "reference_fell", "overdue": "policy_deadline",
        }[change]  # fmt: skip
        if before["kind"] == "price_hold":
            reason = self._random.choice(("confirmed", "rejected", "corroborated", "superseded"))
        revision = before["revision"] + 1
        event = before | {"event_id": f"{before['alert_id']}/{revision}", "revision": revision, "change": change}
        event |= {"band": band, "previous_band": before["band"], "at": stamp(now)}
        if "reason" in before:
            event["reason"] = reason
        if change == "resolved":
            self.open.pop(index)
        else:
            self.open[index] = event
        return event


async def feed(redis_url: str, bootstrap: str, rate: float, opening: int) -> None:
    writer = ReadModelWriter(Redis.from_url(redis_url))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()

    async def send_record(record: Event) -> Position:
        value = json.dumps(record, ensure_ascii=False).encode()
        sent = await producer.send_and_wait("feeds", value, key=record["code"].encode())
        return {"partition": sent.partition, "offset": sent.offset, "line": 0}

    await writer.clear()
    story = Story(7, send_record)
    total = 0
    try:
        while True:
            started = time.monotonic()
            for _ in range(max(1, round(rate))) if len(story.open) >= opening else range(200):
                event = await story.next()
                await producer.send("alerts", orjson.dumps(event), key=event["code"].encode())
                await writer.take(event)
                total += 1
            await writer.worker(rate * 25, total * 25)
            if len(story.open) >= opening:
                await asyncio.sleep(max(0.0, 1 - (time.monotonic() - started)))
    finally:
        await producer.stop()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--redis", required=True)
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--rate", type=float, default=5)
    arguments.add_argument("--open", type=int, default=300)
    given = arguments.parse_args()
    asyncio.run(feed(given.redis, given.bootstrap, given.rate, given.open))
