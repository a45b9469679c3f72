import asyncio
import re
from functools import partial
from typing import Any

import httpx
import pytest

from gateway.cursors import PRICE_LANES, format_cursor, parse_cursor
from gateway.filters import PRICE_CHANGED
from gateway.key_ring import now_ms
from gateway.keys import Key, Owner, make_key, revoked
from gateway.listers import Listers
from tests.gateway.fakes import Event, Messages, Parts, event
from tests.gateway.test_stream import serve

OURS = "91320000MA1XXXXX1A"
THEIRS = "91320000MA1YYYYY2B"
CODE = "C09100100000000211790000049"


SUPPLIER = Owner("supplier", OURS)


def key_of(parts: Parts, owner: Owner = SUPPLIER, *scopes: str) -> tuple[Key, dict[str, str]]:
    key, token = make_key(owner, scopes, 1, now_ms(), ())
    parts.keys.put(key)
    return key, {"Authorization": f"Bearer {token}"}


def change(number: int, province: str | None = "320000", code: str = CODE) -> Event:
    return {
        "event_id": f"price.lowest.changed:{code}:{number}", "code": code, "lowest": "1.0000", "previous": None,
        "province": province, "rolling_lowest": "1.0000", "at": "2026-01-01T00:00:01.000Z",
        "position": {"partition": 0, "offset": number, "line": 0},
    }  # fmt: skip


def made() -> Parts:
    parts = Parts()
    parts.hub.begin({PRICE_LANES: 0, PRICE_LANES + 1: 0}, {})
    return parts


def mine(number: int, **others: Any) -> Event:
    return event(number, **others)


def foreign(number: int) -> Event:
    return event(number, province="330000") | {"supplier": THEIRS}


def test_cursors_name_both_topics() -> None:
    positions = {0: 17, 1: 5, PRICE_LANES: 3, PRICE_LANES + 2: 9}
    assert format_cursor(positions) == "0:17,1:5,p0:3,p2:9"
    assert parse_cursor("0:17,1:5,p0:3,p2:9") == positions


def test_a_supplier_gets_its_own_alerts_and_the_lowest_prices_of_codes_it_lists() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        async with client.stream("GET", "/v1/events/stream", headers=headers) as answer:
            assert answer.status_code == 200
            stream = Messages(answer)
            assert await stream.take(1, "ready") == [("0:0,1:0,p0:0,p1:0", {})]
            parts.write(foreign(1))
            parts.write(mine(2))
            parts.prices.write(0, change(1), frozenset({THEIRS}))
            parts.prices.write(1, change(2), frozenset({THEIRS, OURS}))
            parts.write(event(3) | {"supplier": None})
            ((cursor, alert),) = await stream.take(1, "alert")
            assert (cursor, alert["event_id"][-3:]) == ("0:2,1:0,p0:0,p1:0", "2/1")
            ((cursor, price),) = await stream.take(1, "price")
            assert (cursor, price["event_id"][-2:]) == ("0:2,1:0,p0:1,p1:1", ":2")

    serve(work, made())


def test_an_operator_gets_everything() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts, Owner("operator", "desk"))
        async with client.stream("GET", "/v1/events/stream", headers=headers) as answer:
            stream = Messages(answer)
            await stream.take(1, "ready")
            parts.write(foreign(1))
            parts.prices.write(0, change(1))
            assert len(await stream.take(1)) == 1
            assert len(await stream.take(1, "price")) == 1

    serve(work, made())


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (f"code={CODE}", [1, 2]),
        ("kind=price_hold", [2]),
        ("province=110000", [3]),
        ("kind=price.lowest.changed", []),
        ("code=C00000000000000000000000001", [3]),
    ],
)
def test_filters(query: str, wanted: list[int]) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        parts.write(mine(1))
        parts.write(mine(2, kind="price_hold"))
        parts.write(mine(3, province="110000", code="C00000000000000000000000001"))
        address = f"/v1/events/stream?{query}&after=0:0,1:0"
        async with client.stream("GET", address, headers=headers) as answer:
            found = []
            async for line in answer.aiter_lines():
                if line.startswith('data: {"event_id"'):
                    found.append(line)
                if line == "event: ready":
                    break
        assert [int(line.split('"')[3].split("/")[0][-1]) for line in found] == wanted

    serve(work, made())


@pytest.mark.parametrize("ring_events", [1_000, 2])
def test_a_client_resumes_on_both_topics_without_loss_or_repeat(ring_events: int) -> None:
    """With a ring of two events what it missed is read from the logs."""

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        for number in range(1, 9):
            parts.write(mine(number), partition=number % 2)
            parts.write(foreign(100 + number), partition=number % 2)
            parts.prices.write(number % 2, change(number, code=f"C{number:026}"), frozenset({OURS}))
        cursor = "0:0,1:0,p0:0,p1:0"
        seen: list[str] = []
        for count in (5, 4, 7):
            resumed = headers | {"Last-Event-ID": cursor}
            async with client.stream("GET", "/v1/events/stream", headers=resumed) as answer:
                fields: dict[str, str] = {}
                taken = 0
                async for line in answer.aiter_lines():
                    if line:
                        name, _, value = line.partition(": ")
                        fields[name] = value
                    elif fields.get("event") in {"alert", "price"}:
                        seen.append(fields["data"].split('"')[3])
                        cursor, fields, taken = fields["id"], {}, taken + 1
                        if taken == count:
                            break
                    else:
                        assert fields.get("event") != "reset"
                        fields = {}
        assert len(seen) == len(set(seen)) == 16
        assert not any(":10" in each for each in seen)

    parts = Parts(ring_events)
    parts.hub.begin({PRICE_LANES: 0, PRICE_LANES + 1: 0}, {})
    serve(work, parts)


def test_a_client_that_reads_nothing_is_cut_and_resumes_without_loss_or_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """More happens than its queue and the sockets hold; its neighbour gets everything meanwhile."""
    limit, count, size = 100, 600, 20_000

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        address = f"/v1/events/stream?kind={PRICE_CHANGED}"
        slow, asked = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        asked.write(f"GET {address} HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n\r\n".encode())
        await slow.readuntil(b"event: ready")
        async with client.stream("GET", address, headers=headers) as answer:
            neighbour = Messages(answer)
            await neighbour.take(1, "ready")
            got = []
            for number in range(count):
                parts.prices.write(number % 2, change(number) | {"note": "x" * size}, frozenset({OURS}))
                if number % limit == limit - 1:
                    got += await neighbour.take(limit, "price")
        assert len({each["event_id"] for _, each in got}) == count
        raw = await slow.read()
        assert parts.hub.clients.cut_total == 1
        found = re.findall(rb'id: (\S+)\nevent: price\ndata: {"event_id":"([^"]+)"[^\n]*}\n\n', raw)
        assert 0 < len(found) < count
        rest = headers | {"Last-Event-ID": found[-1][0].decode()}
        async with client.stream("GET", address, headers=rest) as answer:
            more = await Messages(answer).take(count - len(found), "price")
        resumed = [each["event_id"] for _, each in more]
        assert [event_id.decode() for _, event_id in found] + resumed == [
            change(number)["event_id"] for number in range(count)
        ]
        asked.close()

    parts = made()
    monkeypatch.setattr(parts.hub, "subscribe", partial(parts.hub.subscribe, limit=limit))
    serve(work, parts)


def test_who_may_not_is_told_so() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        address = "/v1/events/stream"
        assert (await client.get(address)).status_code == 401
        assert (await client.get(address, headers={"Authorization": "Bearer pl_x_y"})).status_code == 401
        _, province = key_of(parts, Owner("province", "320000"))
        assert (await client.get(address, headers=province)).status_code == 403
        _, narrow = key_of(parts, Owner("supplier", OURS), "prices:read")
        assert (await client.get(address, headers=narrow)).status_code == 403
        _, headers = key_of(parts)
        assert (await client.get(f"{address}?kind=nothing", headers=headers)).status_code == 422
        assert (await client.get(f"{address}?code=nothing", headers=headers)).status_code == 422
        assert (await client.get(f"{address}?after=nothing", headers=headers)).status_code == 400
        parts.hub.begin_anew([PRICE_LANES])
        answer = await client.get(address, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")

    serve(work, made())


def test_an_owner_has_a_bounded_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.subscriber_stream.STREAMS_OF_AN_OWNER", 1)

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        _, others = key_of(parts, Owner("supplier", THEIRS))
        async with client.stream("GET", "/v1/events/stream", headers=headers) as answer:
            stream = Messages(answer)  # dropped, it would close the connection
            await stream.take(1, "ready")
            assert (await client.get("/v1/events/stream", headers=headers)).status_code == 429
            async with client.stream("GET", "/v1/events/stream", headers=others) as another:
                assert another.status_code == 200

    serve(work, made())


def test_a_stream_ends_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sources.KEYS_CHECKED_EVERY_S", 0.05)

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        checking = asyncio.create_task(parts.sources._end_dead_keys())
        key, headers = key_of(parts)
        async with client.stream("GET", "/v1/events/stream", headers=headers) as answer:
            stream = Messages(answer)
            await stream.take(1, "ready")
            parts.keys.put(revoked(key, now_ms()))
            assert await stream.take(1, "never") == []
        checking.cancel()

    serve(work, made())


class AnyRows:
    """A read model that knows a code from its second answer on, and is away before that."""

    def __init__(self) -> None:
        self.asked = 0

    async def listers(self, codes: list[str]) -> list[frozenset[str] | None]:
        self.asked += 1
        if self.asked == 1:
            raise ConnectionRefusedError
        return [None if self.asked == 2 else frozenset({OURS}) for _ in codes]


def test_the_first_change_of_a_code_waits_for_its_row_and_for_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        rows: Any = AnyRows()
        value = b'{"code":"%s"}' % CODE.encode()
        assert await Listers(rows)([(value, now_ms()), (b"?", 0)]) == [frozenset({OURS}), frozenset()]
        assert rows.asked == 3
        rows.asked = 1
        assert await Listers(rows)([(value, now_ms() - 60_000)]) == [frozenset()]
        assert rows.asked == 2

    asyncio.run(asyncio.wait_for(run(), 20))
