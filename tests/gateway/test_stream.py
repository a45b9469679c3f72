import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.gateway.fakes import Messages, Parts, event, messages


def serve(work: Callable[[Parts, httpx.AsyncClient], Awaitable[None]], parts: Parts | None = None) -> None:
    async def run() -> None:
        served = parts or Parts()
        async with served.client() as client:
            await asyncio.wait_for(work(served, client), 20)

    asyncio.run(run())


def test_events_come_live_after_the_backlog() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        for number in (1, 2, 3):
            parts.write(event(number))
        async with client.stream("GET", "/events?backlog=2") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            old = await messages_of(answer, parts, after_ready=lambda: parts.write(event(4)))
        assert [happened["event_id"][-3:] for _, happened in old] == ["2/1", "3/1", "4/1"]
        assert [cursor for cursor, _ in old] == ["0:2,1:0", "0:3,1:0", "0:4,1:0"]

    async def messages_of(
        answer: httpx.Response, parts: Parts, after_ready: Callable[[], None]
    ) -> list[tuple[str | None, dict[str, str]]]:
        asyncio.get_running_loop().call_later(0.1, after_ready)
        return await messages(answer, 3)

    serve(work)


@pytest.mark.parametrize("how", ["header", "query"])
def test_a_client_resumes_where_it_was_without_loss_or_repeat(how: str) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        for number in range(1, 7):
            parts.write(event(number), partition=number % 2)
        headers = {"Last-Event-ID": "0:1,1:2"} if how == "header" else {}
        address = "/events" if how == "header" else "/events?after=0:1,1:2"
        async with client.stream("GET", address, headers=headers) as answer:
            found = await messages(answer, 3)
        assert sorted(int(happened["alert_id"][-1]) for _, happened in found) == [4, 5, 6]

    serve(work)


def test_a_client_of_a_gateway_that_is_ahead_is_waited_for() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.write(event(1))
        asyncio.get_running_loop().call_later(0.2, lambda: parts.write(event(2)))
        async with client.stream("GET", "/events", headers={"Last-Event-ID": "0:2,1:0"}) as answer:
            asyncio.get_running_loop().call_later(0.3, lambda: parts.write(event(3)))
            stream = Messages(answer)
            assert await stream.take(1, "ready") == [("0:2,1:0", {})]
            assert [cursor for cursor, _ in await stream.take(1)] == ["0:3,1:0"]

    serve(work)


def test_a_client_that_was_away_long_is_served_from_the_log() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        for number in range(1, 10):
            parts.write(event(number, province="110000" if number % 2 else "320000"))
        async with client.stream("GET", "/events?province=320000", headers={"Last-Event-ID": "0:2,1:0"}) as answer:
            found = await messages(answer, 3)
        assert [int(happened["alert_id"][-1]) for _, happened in found] == [4, 6, 8]
        assert [cursor for cursor, _ in found] == ["0:4,1:0", "0:6,1:0", "0:8,1:0"]

    serve(work, Parts(ring_events=2))


@pytest.mark.parametrize("cursor", ["0:99,1:0", "0:1,1:0"])
def test_a_place_that_is_not_in_the_log_starts_over(cursor: str) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.topic.gone = True
        for number in range(1, 6):
            parts.write(event(number))
        async with client.stream("GET", f"/events?backlog=10&after={cursor}") as answer:
            stream = Messages(answer)
            assert await stream.take(1, "reset") == [(None, {"why": "cursor_not_in_log"})]
            assert len(await stream.take(2)) == 2

    serve(work, Parts(ring_events=2))


def test_the_backlog_comes_from_redis_while_the_log_was_never_reached() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.hub.positions = None
        parts.redis.add(event(1, band="red"))
        parts.redis.add(event(2, band="blue"))
        async with client.stream("GET", "/events?backlog=10&band=blue") as answer:
            found = await messages(answer, 1)
        assert [happened["alert_id"][-1] for _, happened in found] == ["2"]

    serve(work)


def test_counters_come_first_and_then_when_they_change() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.write(event(1))
        await parts.summary.refresh()
        async with client.stream("GET", "/events") as answer:
            stream = Messages(answer)
            ((_, counters),) = await stream.take(1, "summary")
            assert counters["open"]["by_band"] == {"red": 1, "yellow": 0, "blue": 0}
            assert await stream.take(1, "cells") == [(None, [[1, 9, 2, 1]])]

    serve(work)


def test_a_wrong_filter_or_cursor_says_what_is_wrong() -> None:
    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        answer = await client.get("/events?band=purple")
        assert answer.status_code == 422
        assert "use one or more of blue, yellow, red" in answer.json()["error"]["what"]
        answer = await client.get("/events", headers={"Last-Event-ID": "17"})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "bad_cursor"

    serve(work)


def test_streams_end_when_the_gateway_stops() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "/events") as answer:
            asyncio.get_running_loop().call_later(0.1, parts.hub.clients.close)
            assert await messages(answer, 1, "never") == []
        assert not parts.hub.clients

    serve(work)
