"""Small topics that are read whole: one message that cannot be read keeps nobody from the others, nor from the next start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from config.settings import Settings
from gateway import compacted
from gateway.compacted import Compacted
from gateway.endpoints import EndpointBook
from gateway.key_ring import KeyRing
from gateway.keys import Owner, make_key
from notifier.progress import Delivery, Progress, ProgressLog

KEY, TOKEN = make_key(Owner("province", "320000"), ("feeds:write",), 365, 1, ())


class FakeConsumer:
    """One partition with these values, and then nothing more."""

    def __init__(self, values: list[bytes | None]) -> None:
        self._records = [SimpleNamespace(key=b"ep", value=value, offset=at) for at, value in enumerate(values)]
        self._ends = {TopicPartition("keys", 0): len(values)}
        cluster = SimpleNamespace(partitions_for_topic=lambda _topic: {0})
        self._client = SimpleNamespace(fetch_all_metadata=lambda: asyncio.sleep(0, cluster))

    def assign(self, _places: Any) -> None: ...

    async def seek_to_beginning(self, *_places: Any) -> None: ...

    async def getmany(self, **_options: Any) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        fetched, self._records = self._records, []
        return {TopicPartition("topic", 0): fetched} if fetched else {}

    def highwater(self, _place: Any) -> int:
        return next(iter(self._ends.values()))

    async def position(self, _place: Any) -> int:
        return next(iter(self._ends.values()))


def follow(monkeypatch: pytest.MonkeyPatch, topic: Compacted, values: list[bytes | None]) -> list[int]:
    """Reads the values to their end; returns the offsets of what was passed over."""

    @asynccontextmanager
    async def reader(*_settings: Any, **_options: Any) -> AsyncIterator[FakeConsumer]:
        yield FakeConsumer(values)

    async def until_loaded() -> None:
        following = asyncio.create_task(topic.follow())
        while not topic.loaded:
            assert not following.done(), following
            await asyncio.sleep(0)
        following.cancel()

    monkeypatch.setattr(compacted, "reader", reader)
    with capture_logs() as lines:
        asyncio.run(until_loaded())
    warned = [line for line in lines if line["log_level"] == "warning"]
    assert {line["reason"] for line in warned} <= {"unreadable"}
    assert KEY.secret_sha256 not in str(warned)
    return [line["offset"] for line in warned]


def broken(good: bytes, **changed: Any) -> list[bytes | None]:
    """A message in which something is not as it should be, in many ways; each of ``changed`` in one of them."""
    whole = orjson.loads(good)
    return [b"\xff", b"{", b"[]", b"{}", orjson.dumps(whole | {"unheard_of": 1}),
            *(orjson.dumps(whole | {name: wrong}) for name, wrong in changed.items())]  # fmt: skip


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    good = KEY.to_bytes()
    bad = broken(good, id=["x"], owner="me", scopes=7, secret_sha256={}, expires_ms="soon", revoked_ms=[])
    ring = KeyRing(Settings())
    assert follow(monkeypatch, ring, [*bad, good, None, *bad]) == [
        *range(len(bad)), *range(len(bad) + 2, 2 * len(bad) + 2),
    ]  # fmt: skip
    assert ring.find(TOKEN, 2) == KEY


def test_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    good = orjson.dumps(
        {"id": "ep", "supplier": "S", "url": "https://x/", "description": "", "kinds": [], "codes": [], "provinces": [],
         "secrets": [{"value": "whsec_x", "until_ms": None}], "enabled": True, "created_ms": 1, "since_ms": 1}
    )  # fmt: skip
    bad = broken(good, id={}, secrets=["whsec_x"], kinds=[1], created_ms="today", enabled=[], since_ms=None)
    book = EndpointBook(Settings(), lambda _settings: None)
    assert follow(monkeypatch, book, [good, *bad]) == list(range(1, len(bad) + 1))
    assert [each.to_bytes() for each in book.of("S")] == [
        orjson.dumps(orjson.loads(good) | {"since_number": 1, "enabled_number": 1, "replays": []})
    ]


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Progress(
        cursor={0: 17, 1_000_003: 4}, outstanding=[Delivery(0, 16, "e", "C1", 5, attempts=2)], since_number=1
    )
    bad = broken(good.to_bytes(), cursor="0:", outstanding=[{"lane": 0}], since_number="many", disabled=1)
    log = ProgressLog(Settings(), lambda _settings: None)
    assert follow(monkeypatch, log, [*bad, good.to_bytes()]) == list(range(len(bad)))
    assert log.found == {"ep": good}
