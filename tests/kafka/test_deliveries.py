"""Webhooks on a real broker while the notifier is killed: no event is lost, order holds, attempts go on being counted."""

import asyncio
import signal
from collections import defaultdict

import orjson
import pytest
import redis.asyncio
from aiohttp import web
from standardwebhooks import Webhook

from agents.clients import new_producer
from gateway.endpoints import Endpoint, EndpointBook, Secret, new_secret
from gateway.key_ring import now_ms
from notifier.journal import JOURNAL
from tests.gateway.fakes import Event, event
from tests.gateway.test_subscriber_stream import OURS
from tests.integration.cluster import Cluster
from tests.kafka.test_suppliers import COMMAND, serve_hook, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

ENDPOINT = "ep_killed"
CODES = 5
KILLS = 2
A_LIFE = 60
"""Events between two kills: long enough that some of what was done is written down."""


class Receiver:
    """Fails all events of code 0; keeps the others, and which message carried which."""

    def __init__(self, secret: str) -> None:
        self.secret = Webhook(secret)
        self.got: list[Event] = []
        self.failed: list[str] = []
        self.messages: dict[str, set[str]] = defaultdict(set)

    async def hook(self, request: web.Request) -> web.Response:
        sent = self.secret.verify(await request.read(), dict(request.headers))  # type: ignore[no-untyped-call,unused-ignore]
        self.messages[sent["id"]].add(request.headers["webhook-id"])
        if sent["data"]["code"] == code_of(0):
            self.failed.append(sent["id"])
            return web.Response(status=500)
        self.got.append(sent["data"])
        return web.Response(status=204)

    def ids(self) -> list[str]:
        return list(dict.fromkeys(each["event_id"] for each in self.got))


def code_of(number: int) -> str:
    return f"C{number:026}"


def test_a_notifier_that_is_killed_loses_no_event_and_no_count_of_attempts() -> None:
    async def run(cluster: Cluster) -> None:
        settings, secret = cluster.settings, new_secret()
        receiver = Receiver(secret)
        url = f"http://127.0.0.1:{await serve_hook(receiver.hook)}/hook"
        at_ms = now_ms() - 1_000
        made = Endpoint(ENDPOINT, OURS, url, "", (), (), (), (Secret(secret),), True, at_ms, at_ms)
        await EndpointBook(settings, new_producer).put(made)
        producer = new_producer(settings)
        await producer.start()
        written: list[str] = []

        async def write(count: int) -> None:
            for _ in range(count):
                number = len(written)
                happened = event(number, code=code_of(number % CODES)) | {"supplier": OURS}
                await producer.send_and_wait("alerts", orjson.dumps(happened), key=happened["code"].encode())
                written.append(happened["event_id"])
                await asyncio.sleep(0.03)

        async def has_all_but_code_0() -> bool:
            return {each for each in written if code_of(0) not in each} <= set(receiver.ids())

        for _ in range(KILLS):
            process = cluster.start(COMMAND.format("notifier"), "notifier")
            before = len(receiver.got)
            while len(receiver.got) == before:  # not many: an endpoint has no room for more than 200 that wait
                await write(1)
                await asyncio.sleep(0.3)
            await write(A_LIFE)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            await write(4)
        cluster.start(COMMAND.format("notifier"), "notifier")
        await until(has_all_but_code_0)
        for code in map(code_of, range(1, CODES)):
            assert [each for each in receiver.ids() if code in each] == [each for each in written if code in each]
        assert {len(messages) for messages in receiver.messages.values()} == {1}, "a repeat had another webhook-id"

        first = written[0]
        assert set(receiver.failed) == {first}, "what follows in its code did not wait"

        async def was_tried_again() -> bool:
            return (await attempts_of(cluster, first))[-1:] >= [2]

        await until(was_tried_again)
        attempts = await attempts_of(cluster, first)
        assert attempts == sorted(attempts), "a kill began its attempts anew"
        assert len(receiver.failed) <= 2 * attempts[-1] + KILLS, "more was done again than was not written down"
        await producer.stop()

    with Cluster.make(webhooks_allow_http=True, webhooks_allowed_networks="127.0.0.0/8") as cluster:
        asyncio.run(run(cluster))


async def attempts_of(cluster: Cluster, event_id: str) -> list[int]:
    """Returns the attempts of an event that the delivery log has, oldest first."""
    client = redis.asyncio.from_url(cluster.settings.redis_url)
    notes = [orjson.loads(note) for note in await client.lrange(JOURNAL + ENDPOINT, 0, -1)]
    await client.aclose()
    found = sorted((note["at_ms"], note["attempt"]) for note in notes if note["event_id"] == event_id)
    return [attempt for _, attempt in found]
