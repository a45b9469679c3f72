"""Stand-ins for Redis, the broker and the log, and a gateway around them that speaks real HTTP."""

import asyncio
import fnmatch
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import uvicorn
from fastapi import FastAPI

from config.settings import Settings
from gateway import repeats
from gateway.alerts_topic import AlertsTopic, LogGone, entry_again
from gateway.app import create_app
from gateway.audience import Entry
from gateway.cursors import PRICE_LANES
from gateway.endpoints import EndpointBook
from gateway.evidence import Evidence, Line, Position
from gateway.feed_log import FeedLog
from gateway.hub import Hub, Repeats
from gateway.ingest import Intake
from gateway.key_ring import KeyRing
from gateway.read_model import ReadModel
from gateway.server import bind
from gateway.sources import Sources
from gateway.summary import Summary

Event = dict[str, Any]
SETTINGS = Settings(redis_url="redis://:secret@redis.test:6379/0", bootstrap="broker.test:9092")


def event(
    number: int = 1,
    revision: int = 1,
    *,
    kind: str = "price_adjustment",
    province: str = "320000",
    code: str = "C09100100000000211790000049",
    change: str = "opened",
    band: str | None = "red",
    previous_band: str | None = None,
) -> Event:
    alert_id = f"{kind}:{code}:{province}:{number}"
    return {
        "event_id": f"{alert_id}/{revision}", "alert_id": alert_id, "revision": revision, "kind": kind, "change": change,
        "reason": "reference_fell", "code": code, "province": province, "supplier": "91320000MA1XXXXX1A", "band": band,
        "previous_band": previous_band, "price": "1200.0000",
        "reference": {"price": "1000.0000", "rule": "lowest", "provinces": ["370000"]}, "target_price": "1000.0000",
        "excess_bp": 2000, "high_value": False, "due_at": "2026-01-31T00:00:01.000Z", "at": "2026-01-01T00:00:01.000Z",
        "evidence": [{"partition": 0, "offset": 1, "line": 0}, {"partition": 0, "offset": 0, "line": 0}],
        "policy_version": "44136fa355b3678a",
    }  # fmt: skip


class FakeRedis:
    """The few commands of Redis that the gateway uses, in memory. ``away``: every command fails."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.away = False

    def _get(self, key: str | bytes, empty: Any) -> Any:
        if self.away:
            raise ConnectionRefusedError("Connection refused")
        return self.data.get(key.decode() if isinstance(key, bytes) else key, empty)

    async def ping(self) -> bool:
        self._get("", None)
        return True

    async def aclose(self) -> None:
        pass

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        return {name.encode(): value for name, value in self._get(key, {}).items()}

    async def hmget(self, key: str, names: Sequence[str | bytes]) -> list[bytes | None]:
        known = self._get(key, {})
        return [known.get(name.decode() if isinstance(name, bytes) else name) for name in names]

    async def hget(self, key: str, name: str) -> bytes | None:
        found: bytes | None = self._get(key, {}).get(name)
        return found

    async def smembers(self, key: str) -> set[bytes]:
        return set(self._get(key, set()))

    async def zrevrange(self, key: str, first: int, last: int) -> list[bytes]:
        scores: dict[str, int] = self._get(key, {})
        return [name.encode() for name in sorted(scores, key=lambda name: -scores[name])][first : last + 1]

    async def lrange(self, key: str, first: int, last: int) -> list[bytes]:
        return list(self._get(key, [])[first : last + 1])

    async def zrangebylex(self, key: str, first: str, last: str, start: int, num: int) -> list[bytes]:
        names = sorted(self._get(key, set()))
        return [name.encode() for name in names if first == "-" or name > first[1:]][start : start + num]

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._get(key, None) for key in keys]

    async def scan_iter(self, pattern: str, count: int = 0) -> AsyncIterator[bytes]:
        self._get("", None)
        for key in list(self.data):
            if fnmatch.fnmatch(key, pattern):
                yield key.encode()

    async def xrevrange(self, key: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        return [(b"0-0", {b"event": value}) for value in self._get(key, [])[::-1][:count]]

    async def eval(self, script: str, keys: int, *rest: Any) -> Any:
        """The scripts of ``gateway.repeats``."""
        name = rest[0]
        kept = self._get(name, None)
        if script == repeats._TAKE:
            if kept is None:
                self.data[name] = rest[1]
            return kept
        if script == repeats._KEEP:
            self.data[name] = rest[2]
        elif kept == rest[1]:
            del self.data[name]
        return None

    async def hset(self, key: str, mapping: dict[str, Any]) -> None:
        self._get("", None)
        self.data.setdefault(key, {}).update(mapping)

    def pipeline(self, transaction: bool = True) -> "FakePipeline":
        return FakePipeline(self)

    def add(self, happened: Event) -> None:
        """Holds an open alert as the read model would."""
        value = orjson.dumps(happened)
        kind, province, band = happened["kind"], happened["province"], happened["band"]
        self.data.setdefault(f"pl:history:{happened['alert_id']}", []).append(value)
        self.data.setdefault("pl:events", []).append(value)
        if band:
            counts = self.data.setdefault("pl:counts", {})
            cell = f"{kind}|{province}|{band}"
            counts[cell] = str(int(counts.get(cell, b"0")) + 1).encode()
            self.data.setdefault("pl:open", {})[happened["alert_id"]] = value
            self.data.setdefault(f"pl:open-of:{happened.get('supplier')}", set()).add(happened["alert_id"])
            self.data.setdefault(f"pl:open:{kind}:{province}:{band}", set()).add(happened["alert_id"].encode())


class FakePipeline:
    def __init__(self, redis: FakeRedis) -> None:
        self._redis = redis
        self._answers: list[Any] = []

    async def __aenter__(self) -> "FakePipeline":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def hgetall(self, key: str) -> None:
        self._answers.append({str(name).encode(): value for name, value in self._redis._get(key, {}).items()})

    def smembers(self, key: str) -> None:
        self._answers.append(self._redis._get(key, set()))

    def lrange(self, key: str, first: int, last: int) -> None:
        assert last == -1
        self._answers.append(self._redis._get(key, [])[first:])

    def hget(self, key: str, name: str) -> None:
        self._answers.append(self._redis._get(key, {}).get(name))

    async def execute(self) -> list[Any]:
        return self._answers


class FakeTopic(AlertsTopic):
    """A log of alerts in memory: what ``read_again`` gives is what was ``written``."""

    def __init__(self, hub: Hub, first_lane: int = 0) -> None:
        super().__init__(SETTINGS, hub, first_lane=first_lane)
        self.problem = None
        self.gone = False
        self.written: list[tuple[int, int, bytes, frozenset[str]]] = []

    def write(self, partition: int, happened: Event, suppliers: frozenset[str] = frozenset()) -> None:
        lane = self.first_lane + partition
        offset = sum(1 for each, *_ in self.written if each == lane)
        value = orjson.dumps(happened)
        self.written.append((lane, offset, value, suppliers))
        self._hub.publish(lane, offset, value, suppliers)

    async def read_again(self, cursor: Any, until: Any, wanted: Any, most: int | None = None) -> AsyncIterator[Entry]:

        if self.gone:
            raise LogGone("deleted")
        positions, repeats = dict(cursor), Repeats()
        for lane, offset, value, suppliers in self.written:
            if cursor.get(lane, 0) <= offset < until[lane]:
                positions[lane] = offset + 1
                entry = entry_again(lane, offset, value, suppliers, positions, repeats)
                if entry and wanted.passes(entry.province, entry.kind, entry.bands, entry.code, entry.suppliers):
                    yield entry


class FakeBroker:
    """What was acknowledged, by topic and partition: (key, value, headers). ``fault``: every batch fails so."""

    def __init__(self, partitions: int = 4) -> None:
        self.partitions = partitions
        self.written: dict[tuple[str, int], list[tuple[bytes | None, bytes, dict[str, bytes]]]] = {}
        self.fault: Exception | None = None
        self.silent = False
        self.under_way: dict[tuple[str, int], int] = {}
        self.batches = 0
        self.headers: list[list[tuple[str, bytes]]] = []
        """Of every message, as they were given: some names come more than once."""

    def values(self, topic: str = "feeds") -> list[bytes]:
        return [value for (name, _), messages in self.written.items() if name == topic for _, value, _ in messages]

    def lines(self) -> list[bytes]:
        return [line for value in self.values() for line in value.split(b"\n")]


class FakeBatch:
    def __init__(self) -> None:
        self.messages: list[tuple[bytes | None, bytes, dict[str, bytes]]] = []
        self.headers: list[list[tuple[str, bytes]]] = []
        self.size = 0

    def append(self, *, timestamp: int, key: bytes | None, value: bytes, headers: Any) -> object | None:
        if self.messages and self.size + len(value) > SETTINGS.batch_bytes:
            return None
        self.size += len(value)
        self.headers.append(list(headers))
        self.messages.append((key, value, dict(headers)))
        return self

    def close(self) -> None:
        pass


class FakeProducer:
    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker

    async def start(self) -> None:
        if self.broker.fault:
            raise self.broker.fault

    async def stop(self) -> None:
        pass

    async def partitions_for(self, _topic: str) -> set[int]:
        return set(range(self.broker.partitions))

    def create_batch(self) -> FakeBatch:
        return FakeBatch()

    async def send_batch(self, batch: FakeBatch, topic: str, *, partition: int) -> "asyncio.Future[SimpleNamespace]":
        place = topic, partition
        assert not self.broker.under_way.get(place), "one batch of a partition at a time"
        self.broker.under_way[place] = 1

        async def deliver() -> SimpleNamespace:
            await asyncio.sleep(0.001)
            self.broker.under_way[place] = 0
            if self.broker.silent:
                await asyncio.Event().wait()
            if self.broker.fault:
                raise self.broker.fault
            self.broker.batches += 1
            self.broker.headers += batch.headers
            written = self.broker.written.setdefault(place, [])
            first = len(written)
            written += batch.messages
            return SimpleNamespace(offset=first)

        return asyncio.ensure_future(deliver())


class FakeEvidence(Evidence):
    def __init__(self, lines: dict[Position, str]) -> None:
        super().__init__(SETTINGS)
        self.known = lines

    async def lines(self, positions: Sequence[Position]) -> list[Line]:
        return [
            Line(position, self.known[position], 1767225602000)
            if position in self.known
            else Line(position, problem="gone")
            for position in positions
        ]


class FakeEndpoints(EndpointBook):
    """Endpoints in memory. ``fault``: nothing is written."""

    def __init__(self) -> None:
        super().__init__(SETTINGS, lambda _: None)
        self.loaded = True
        self.fault: Exception | None = None

    async def _write(self, endpoint_id: str, value: bytes | None) -> None:
        if self.fault:
            raise self.fault
        self.take(endpoint_id.encode(), value)


class Parts:
    """A gateway's fakes."""

    def __init__(self, ring_events: int = 1_000) -> None:
        self.redis = FakeRedis()
        self.hub = Hub(ring_events)
        self.hub.begin({0: 0, 1: 0}, {})
        self.topic = FakeTopic(self.hub)
        self.prices = FakeTopic(self.hub, PRICE_LANES)
        self.evidence = FakeEvidence({})
        read_model = ReadModel(self.redis)  # type: ignore[arg-type]
        self.summary = Summary(read_model, self.topic, self.hub, SETTINGS.redis_url)
        self.broker = FakeBroker()
        self.keys = KeyRing(SETTINGS, self.redis)
        self.keys.loaded = True
        self.intake = Intake(SETTINGS, FeedLog(SETTINGS, lambda _: FakeProducer(self.broker)))
        self.endpoints = FakeEndpoints()
        self.sources = Sources(
            SETTINGS, self.hub, self.topic, self.prices, read_model, self.evidence, self.summary, self.redis, self.keys, self.intake, self.endpoints,
        )  # fmt: skip
        self.app: FastAPI = create_app(SETTINGS, self.sources, connected=False)

    def write(self, happened: Event, partition: int = 0) -> None:
        """Lets an event happen: it is in the log, in the stream, and in Redis."""
        self.topic.write(partition, happened)
        self.redis.add(happened)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Serves the app on a port of its own, and gives a client of it."""
        server = uvicorn.Server(uvicorn.Config(self.app, log_config=None, timeout_graceful_shutdown=1))
        listening = bind("127.0.0.1", 0)
        serving = asyncio.create_task(server.serve([listening]))
        while not (server.started or serving.done()):  # noqa: ASYNC110  uvicorn tells nobody
            await asyncio.sleep(0.002)
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=10, trust_env=False
            ) as client:
                yield client
        finally:
            self.hub.clients.close()
            server.should_exit = True
            await asyncio.wait_for(serving, 10)


class Messages:
    """Reads the messages of an SSE stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def take(self, count: int, name: str = "alert") -> list[tuple[str | None, Any]]:
        """Reads on until there were ``count`` messages of a name, or the end: their ids and data."""
        found: list[tuple[str | None, Any]] = []
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line:
                key, _, value = line.partition(": ")
                fields[key] = value
                continue
            if fields.get("event") == name:
                found.append((fields.get("id"), orjson.loads(fields["data"])))
                if len(found) == count:
                    break
            fields = {}
        return found


async def messages(answer: httpx.Response, count: int, name: str = "alert") -> list[tuple[str | None, Any]]:
    """Reads an SSE stream until it gave ``count`` messages of a name: their ids and data."""
    return await Messages(answer).take(count, name)
