import asyncio
import random
from collections.abc import Awaitable, Callable

import httpx
import orjson
import pytest

from gateway.cursors import PRICE_LANES
from gateway.evidence import LINE_SHOWN_BYTES, Position, line_of
from gateway.pages import static_version
from tests.gateway.fakes import Parts, event


def ask(work: Callable[[Parts, httpx.AsyncClient], Awaitable[None]], parts: Parts | None = None) -> None:
    async def run() -> None:
        asked = parts or Parts()
        transport = httpx.ASGITransport(asked.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            await work(asked, client)

    asyncio.run(run())


def test_open_alerts_come_worst_first_in_pages_that_miss_and_repeat_none() -> None:
    parts = Parts()
    made = random.Random(1)
    expected = set()
    for number in range(1, 301):
        happened = event(
            number, band=made.choice(("red", "yellow", "blue")), province=made.choice(("110000", "320000", "660000")),
            kind=made.choice(("price_hold", "price_adjustment")),
        )  # fmt: skip
        parts.redis.add(happened)
        expected.add(happened["alert_id"])

    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        found, cursor = [], None
        for _page in range(100):
            answer = await client.get("/api/alerts", params={"limit": 7} | ({"cursor": cursor} if cursor else {}))
            body = answer.json()
            found += body["alerts"]
            assert body["matching"] is not None
            cursor = body["cursor"]
            if cursor is None:
                break
        assert len(found) == 300
        assert {alert["alert_id"] for alert in found} == expected
        bands = [alert["band"] for alert in found]
        assert bands == sorted(bands, key=["red", "yellow", "blue"].index)

    ask(work, parts)


def test_open_alerts_are_filtered_by_province_kind_band_and_code() -> None:
    parts = Parts()
    parts.redis.add(event(1, band="blue"))
    parts.redis.add(event(2, province="110000"))
    parts.redis.add(event(3, kind="ceiling_breach"))
    parts.redis.add(event(4, code="XL02BBA326A001010102180"))

    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        async def numbers(query: str) -> list[str]:
            answer = await client.get(f"/api/alerts?{query}")
            return sorted(alert["alert_id"][-1] for alert in answer.json()["alerts"])

        assert await numbers("band=blue") == ["1"]
        assert await numbers("province=110000") == ["2"]
        assert await numbers("kind=ceiling_breach,price_hold") == ["3"]
        assert await numbers("kind=ceiling_breach&kind=price_adjustment&band=red") == ["2", "3", "4"]
        assert await numbers("code=bba326") == ["4"]
        assert await numbers("code=320000") == []

    ask(work, parts)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("province=710000", 422),
        ("kind=x", 422),
        ("limit=0", 422),
        ("limit=501", 422),
        ("code=%27", 422),
        ("cursor=x", 400),
    ],
)
def test_wrong_parameters_say_what_is_wrong_and_what_to_do(query: str, status: int) -> None:
    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        answer = await client.get(f"/api/alerts?{query}")
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"code", "what", "where", "remedy"}

    ask(work)


def test_an_alert_is_shown_with_its_history_and_the_records_behind_it() -> None:
    parts = Parts()
    parts.redis.add(event(1))
    parts.redis.add(event(1, 2, change="revised", previous_band="red"))
    parts.evidence.known = {Position(0, 1, 0): '{"type":"quote","price":"1000"}', Position(0, 0, 0): "\ufffd"}

    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        body = (await client.get(f"/api/alerts/{event(1)['alert_id']}")).json()
        assert body["alert"]["revision"] == 2
        assert [each["revision"] for each in body["history"]] == [1, 2]
        assert body["evidence"]["revision"] == 2
        first, second = body["evidence"]["records"]
        assert first["record"]["price"] == "1000"
        assert first["position"] == {"partition": 0, "offset": 1, "line": 0}
        assert "record" not in second
        assert second["text"] == "\ufffd"
        body = (await client.get(f"/api/alerts/{event(1)['alert_id']}?revision=1")).json()
        assert body["evidence"]["revision"] == 1

    ask(work, parts)


def test_ids_of_any_characters_find_their_alert() -> None:
    parts = Parts()
    happened = event(1) | {"alert_id": "bargain:C1:410000:K😀/../a?b#c%2F:d:1"}
    parts.redis.add(happened)

    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        from urllib.parse import quote

        answer = await client.get(f"/api/alerts/{quote(happened['alert_id'], safe='')}")
        assert answer.json()["alert"]["alert_id"] == happened["alert_id"]

    ask(work, parts)


def test_an_unknown_alert_is_404_with_a_remedy() -> None:
    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        answer = await client.get("/api/alerts/price_hold:x:1")
        assert answer.status_code == 404
        assert "pricelink explain" in answer.json()["error"]["remedy"]

    ask(work)


def test_redis_away_is_503_and_says_where_without_the_password() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.redis.away = True
        for address in ("/api/alerts", "/api/alerts/price_hold:x:1"):
            answer = await client.get(address)
            assert answer.status_code == 503
            error = answer.json()["error"]
            assert (error["code"], error["where"]) == ("redis_away", "redis://…@redis.test:6379/0")
            assert "secret" not in answer.text
        assert (await client.get("/healthz")).status_code == 200

    ask(work)


def test_readiness_tells_what_is_away_and_recovers() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.redis.away = True
        await parts.summary.refresh()
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["redis"]["problem"] == "Connection refused"
        assert answer.json()["broker"]["ok"]
        parts.redis.away = False
        await parts.summary.refresh()
        body = (await client.get("/readyz")).json()
        assert body["checks"] == {
            "redis": True, "broker": True, "events": False, "keys": True, "endpoints": True, "feeds": False,
        }  # fmt: skip
        parts.hub.begin({PRICE_LANES: 0}, {})
        parts.intake.warm, parts.intake.log.problem = True, None
        assert (await client.get("/readyz")).status_code == 200
        parts.topic.problem = "no answer"
        assert (await client.get("/readyz")).json()["broker"] == {
            "ok": False, "where": "broker.test:9092", "problem": "no answer",
        }  # fmt: skip

    ask(work)


def test_counters_add_up_workers_and_open_alerts_and_keep_standing_while_redis_is_away() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        for name, rate, lag in (("a", 100.5, 0.5), ("b", 200.0, 2.0)):
            figures = {"records_per_s": rate, "lag_records": 10, "lag_seconds": lag, "records_total": 5}
            parts.redis.data[f"pl:worker:{name}"] = orjson.dumps(figures | {"policy_version": "p"})
        parts.redis.data["pl:market"] = b'{"simulated":true,"seed":7,"rate":50}'
        parts.redis.data["pl:offset:alerts:0"] = b"3"
        for number in range(5):
            parts.topic.write(0, event(number + 1))
        parts.redis.add(event(1))
        parts.redis.add(event(1, kind="price_hold", province="110000"))
        parts.redis.data["pl:counts"]["unknown|x|y"] = b"7"
        for away in (False, True):
            parts.redis.away = away
            await parts.summary.refresh()
            body = (await client.get("/api/summary")).json()
            assert (body["records_per_s"], body["lag_records"], body["lag_seconds"]) == (300.5, 20, 2.0)
            assert body["simulated"] == {"simulated": True, "seed": 7, "rate": 50}
            assert body["open"]["total"] == 2
            assert body["open"]["holds"] == 1
            assert body["open"]["by_province"] == {"110000": {"red": 1}, "320000": {"red": 1}}
            assert body["policy_versions"] == ["p"]
            assert body["read_model_lag"] == 2
            assert body["redis"]["ok"] is not away

    ask(work)


def test_the_page_brings_everything_itself_and_allows_nothing_else() -> None:
    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        answer = await client.get("/")
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert static_version() in answer.text
        for name in ("main.js", "page.css", "words.json", "icon.svg"):
            assert (await client.get(f"/static/{name}")).status_code == 200
        assert (await client.get("/docs")).status_code == 404

    ask(work)


def test_a_line_of_a_message_is_found_by_its_number() -> None:
    value = b'{"a":1}\n\n{"b":2}\r\n\xff'
    assert [line_of(value, line) for line in range(5)] == ['{"a":1}', "", '{"b":2}\r', "\ufffd", None]
    assert line_of(b"", 0) == ""
    assert line_of(b"x", -1) is None


def test_a_line_is_cut_where_it_is_shown_and_whole_where_it_is_sent_again() -> None:
    value = b"x" * (LINE_SHOWN_BYTES + 1)
    assert line_of(value, 0) == "x" * LINE_SHOWN_BYTES
    assert line_of(value, 0, None) == "x" * (LINE_SHOWN_BYTES + 1)
