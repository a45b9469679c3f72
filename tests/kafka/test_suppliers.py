"""The whole way of an event on a real broker: records in over HTTP, alerts out to a webhook and to a live stream."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import httpx
import orjson
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from agents.clients import new_producer
from agents.embedded import free_port
from agents.real_kafka import RealKafka
from config.settings import Settings
from config.topics import KEYS
from gateway.key_ring import now_ms
from gateway.keys import Owner, make_key
from tests.gateway.fakes import Event
from tests.gateway.test_subscriber_stream import OURS, THEIRS
from tests.integration.cluster import REAL, Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

DEAR, CHEAP = "320000", "370000"
AWAY_S = 4.0
COMMAND = "from cli.main import app; app(['{}'])"


async def serve_hook(hook: Callable[[web.Request], Awaitable[web.Response]]) -> int:
    """Serves ``POST /hook`` on the loopback; returns its port."""
    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    assert runner.addresses
    return int(runner.addresses[0][1])


class Receiver:
    """A supplier's webhook: keeps the events whose signature is right."""

    def __init__(self) -> None:
        self.secret = ""
        self.unverified = 0
        self.got: list[Event] = []

    async def hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            Webhook(self.secret).verify(body, dict(request.headers))  # type: ignore[no-untyped-call,unused-ignore]
        except Exception:  # noqa: BLE001  whatever the library says
            self.unverified += 1
            return web.Response(status=401)
        self.got.append(orjson.loads(body)["data"])
        return web.Response(status=204)


async def tokens(settings: Settings) -> dict[str, dict[str, str]]:
    """Makes keys of both provinces and our supplier; returns the headers to send."""
    producer, found = new_producer(settings), {}
    await producer.start()
    for owner in (Owner("province", DEAR), Owner("province", CHEAP), Owner("supplier", OURS)):
        key, token = make_key(owner, (), 1, now_ms(), ())
        await producer.send_and_wait(KEYS.name, key.to_bytes(), key=key.id.encode())
        found[owner.name] = {"Authorization": f"Bearer {token}"}
    await producer.stop()
    return found


async def until(there: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not await there():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def answers(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> bool:
    try:
        return (await client.get(path, headers=headers)).status_code == 200
    except httpx.TransportError:
        return False


async def put(client: httpx.AsyncClient, headers: dict[str, str], quote: Event) -> None:
    """Sends a record until it is accepted, as a province would: with one key for all attempts."""

    async def accepted() -> bool:
        answer = await client.post(
            f"/v1/feeds/{quote['province']}/records",
            content=json.dumps(quote).encode(),
            headers=headers | {"Content-Type": "application/x-ndjson", "Idempotency-Key": quote["id"]},
        )
        assert answer.status_code in {200, 409, 429, 503}, answer.text
        return answer.status_code == 200

    await until(accepted)


def quote(number: int, province: str, supplier: str, price: int) -> Event:
    return {
        "type": "quote", "province": province, "code": f"C{number:026}", "at": now_ms(), "price": price,
        "supplier": supplier, "id": f"{province}-{number}",
    }  # fmt: skip


async def listen(client: httpx.AsyncClient, headers: dict[str, str], got: list[Event], opened: asyncio.Event) -> None:
    async with client.stream("GET", "/v1/events/stream", headers=headers, timeout=None) as answer:
        async for line in answer.aiter_lines():
            if line == "event: ready":
                opened.set()
            if line.startswith('data: {"event_id"'):
                got.append(orjson.loads(line[6:]))


def test_records_become_a_suppliers_events_and_go_on_doing_so_after_the_broker_was_away(kafka: RealKafka) -> None:
    port = free_port()

    async def run(cluster: Cluster) -> None:
        headers = await tokens(cluster.settings)
        for command in ("gateway", "notifier", "listings"):
            cluster.start(COMMAND.format(command), command)
        cluster.start_worker(REAL)
        receiver, streamed, opened = Receiver(), list[Event](), asyncio.Event()
        hook = await serve_hook(receiver.hook)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            await until(lambda: answers(client, "/readyz", {}))
            await until(lambda: answers(client, "/v1/webhooks", headers[OURS]))
            wishes = {"url": f"http://127.0.0.1:{hook}/hook"}
            made = await client.post("/v1/webhooks", json=wishes, headers=headers[OURS])
            assert made.status_code == 201, made.text
            receiver.secret = made.json()["secret"]
            listening = asyncio.create_task(listen(client, headers[OURS], streamed, opened))
            await asyncio.wait_for(opened.wait(), 60)

            async def alerted(number: int) -> None:
                """A fall of the lowest price elsewhere makes an alert of our supplier's price."""
                await put(client, headers[DEAR], quote(number, DEAR, OURS, 12))
                await put(client, headers[CHEAP], quote(number, CHEAP, THEIRS, 10))
                alert = f"price_adjustment:C{number:026}:{DEAR}:1/1"

                async def there() -> bool:
                    return all(alert in {each["event_id"] for each in got} for got in (receiver.got, streamed))

                await until(there)

            await alerted(1)
            kafka.kill()
            await asyncio.sleep(AWAY_S)
            assert (await client.get("/readyz")).status_code == 503, "the broker was never away"
            kafka.launch()
            await asyncio.to_thread(kafka.wait)
            await alerted(2)
            listening.cancel()
        assert receiver.unverified == 0
        ids = [each["event_id"] for each in streamed]
        assert len(ids) == len(set(ids))
        alerts = [each for each in receiver.got if "alert_id" in each]
        assert {each["supplier"] for each in alerts} == {OURS}
        assert {each["event_id"]: each for each in receiver.got} == {each["event_id"]: each for each in streamed}

    with Cluster.make(gateway_port=port, webhooks_allow_http=True, webhooks_allowed_networks="127.0.0.0/8") as cluster:
        asyncio.run(run(cluster))
