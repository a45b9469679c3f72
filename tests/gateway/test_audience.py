import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.audience import Audience, Subscription
from gateway.filters import Filter
from gateway.hub import Hub
from gateway.stream import Stream
from tests.gateway.test_hub import EVERYTHING, a_hub, ids, publish

OURS = "91320000MA1XXXXX1A"  # the supplier of tests.gateway.fakes.event
Sent = dict[str, Any]


def test_a_suppliers_clients_get_its_own_events_and_no_counters() -> None:
    async def run() -> None:
        hub = a_hub()
        ours = hub.subscribe(Filter(supplier=OURS, prices=True))
        theirs = hub.subscribe(Filter(supplier="91320000MA1YYYYY2B", prices=True))
        page = hub.subscribe(EVERYTHING, counted=True)
        publish(hub, 5, 1)
        hub.clients.notify([("summary", b"counters")])
        hub.clients.close()
        assert ids(taken := await ours.take()) == ["0:6,1:0"]
        assert b"counters" not in taken
        assert await theirs.take() == b""
        assert (await page.take()).endswith(b"counters")

    asyncio.run(run())


def test_clients_are_counted_and_go() -> None:
    async def run() -> None:
        clients = Audience()
        some = [Subscription(Filter(supplier=name), {}) for name in ("a", "a", "b", None)]
        for client in some:
            clients.add(client)
        assert (len(clients), set(clients)) == (4, set(some))
        for client in (*some, some[0]):
            clients.remove(client)
        assert (len(clients), list(clients)) == (0, [])

    asyncio.run(run())


def test_what_comes_in_quick_succession_goes_out_together() -> None:
    async def run() -> None:
        hub = a_hub()
        client = hub.subscribe(EVERYTHING)
        taken: list[int] = []

        async def take() -> None:
            while frames := await client.take():
                taken.append(len(ids(frames)))

        taking = asyncio.create_task(take())
        for number in range(40):
            publish(hub, 5 + number, number + 1)
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        client.close()
        await taking
        assert sum(taken) == 40
        assert len(taken) <= 20  # two or three, on a machine that has nothing else to do

    asyncio.run(run())


def stream(work: Callable[[Hub, asyncio.Queue[Sent], asyncio.Event], Awaitable[None]], stuck: bool = False) -> None:
    """Runs a stream over a server that is told what it sends; ``stuck``: whose client takes nothing but the headers."""

    async def run() -> None:
        hub, sent, left = a_hub(), asyncio.Queue[Sent](), asyncio.Event()

        async def first(_: Subscription) -> Any:
            yield b"first"

        async def send(message: Any) -> None:
            await sent.put(message)
            if stuck and message["type"] == "http.response.body":
                await asyncio.Event().wait()

        async def receive() -> Any:
            await left.wait()
            return {"type": "http.disconnect"}

        serving = asyncio.create_task(Stream(hub, EVERYTHING, first)({"type": "http"}, receive, send))
        assert (await sent.get())["status"] == 200
        assert (await sent.get())["body"] == b"first"
        await work(hub, sent, left)
        await serving
        assert not len(hub.clients)

    asyncio.run(asyncio.wait_for(run(), 20))


def test_who_gets_nothing_for_long_gets_a_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.audience.BEAT_S", 0.01)
    monkeypatch.setattr("gateway.audience.PING_S", 0.02)

    async def work(_: Hub, sent: asyncio.Queue[Sent], left: asyncio.Event) -> None:
        assert [(await sent.get())["body"] for _ in range(2)] == [b": ping\n\n"] * 2
        left.set()

    stream(work)


def test_who_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.audience.BEAT_S", 0.01)
    monkeypatch.setattr("gateway.audience.SEND_S", 0.02)

    async def work(hub: Hub, sent: asyncio.Queue[Sent], _: asyncio.Event) -> None:
        assert len(hub.clients) == 1
        assert sent.empty()

    stream(work, stuck=True)


def test_a_stream_says_when_it_ends() -> None:
    async def work(hub: Hub, sent: asyncio.Queue[Sent], _: asyncio.Event) -> None:
        publish(hub, 5, 1)
        hub.clients.close()
        assert ids((await sent.get())["body"]) == ["0:6,1:0"]
        assert await sent.get() == {"type": "http.response.body", "body": b"", "more_body": False}

    stream(work)
