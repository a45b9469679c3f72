"""The gateway's promise on a real broker that is stopped, killed and paused under load: accepted is in the log."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

from agents.clients import new_producer
from agents.real_kafka import RealKafka
from gateway.app import create_app
from gateway.key_ring import now_ms
from gateway.keys import Owner, make_key
from gateway.sources import Sources
from tests.integration.cluster import Cluster, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

PATH = "/v1/feeds/320000/records"
SENDERS = 6
AWAY_S = 7.0
"""Longer than the gateway believes in a broker that does not answer."""
Bounce = Callable[[RealKafka], Awaitable[None]]


@dataclass(slots=True)
class Sent:
    """What senders were told. ``accepted``: ids of records answered 200; ``statuses``: how often each came."""

    accepted: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    stop: bool = False


def body(numbers: list[int]) -> bytes:
    lines = [
        {"type": "quote", "province": "320000", "code": f"C{number % 500:026}", "at": 1_767_225_600_000 + number,
         "price": 1, "supplier": "91320000MA1N4XXXX1", "id": f"r{number}"}
        for number in numbers
    ]  # fmt: skip
    return "\n".join(map(json.dumps, lines)).encode()


async def send(client: httpx.AsyncClient, sent: Sent, count: "itertools.count[int]", rng: random.Random) -> None:
    while not sent.stop:
        numbers = [next(count) for _ in range(rng.choice((1, 20, 600)))]
        answer = await client.post(PATH, content=body(numbers))
        sent.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            assert answer.json()["accepted"] == len(numbers)
            sent.accepted |= {f"r{number}" for number in numbers}
        else:
            assert answer.status_code in {429, 503}, answer.text
            await asyncio.sleep(0.2)


async def stopped(kafka: RealKafka) -> None:
    await asyncio.to_thread(kafka.stop)
    await asyncio.sleep(AWAY_S)
    kafka.launch()  # from the main thread: it ends with the thread that started it
    await asyncio.to_thread(kafka.wait)


async def killed(kafka: RealKafka) -> None:
    kafka.kill()
    await asyncio.sleep(AWAY_S)
    kafka.launch()
    await asyncio.to_thread(kafka.wait)


async def paused(kafka: RealKafka) -> None:
    kafka.pause()
    await asyncio.sleep(AWAY_S)
    kafka.resume()


async def until_accepted(sent: Sent, more: int) -> None:
    wanted = sent.statuses[200] + more
    async with asyncio.timeout(90):
        while sent.statuses[200] < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("bounce", [stopped, killed, paused])
def test_what_was_accepted_is_in_the_log_however_the_broker_went(kafka: RealKafka, bounce: Bounce) -> None:
    async def run(cluster: Cluster) -> None:
        settings = cluster.settings.model_copy(update={"feeds_answer_s": 4.0})
        sources = Sources.of(settings, new_producer)
        key, token = make_key(Owner("province", "320000"), (), 1, now_ms(), ())
        sources.keys.put(key)
        app = create_app(settings, sources, connected=False)
        writing = asyncio.create_task(sources.intake.log.run())
        sent, count = Sent(), itertools.count()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://gateway.test", headers=headers, timeout=60
        ) as client:
            senders = [
                asyncio.create_task(send(client, sent, count, random.Random(number))) for number in range(SENDERS)
            ]
            await until_accepted(sent, 50)
            await bounce(kafka)
            refused = sent.statuses[503]
            await until_accepted(sent, 50)
            sent.stop = True
            await asyncio.gather(*senders)
        assert refused, "the broker was never away"
        log = await read(settings, "feeds")
        writing.cancel()
        lines = [
            json.loads(line) for records in log.values() for record in records for line in record.value.split(b"\n")
        ]
        assert sent.accepted <= {line["id"] for line in lines}
        assert sources.intake.log.in_flight_bytes == 0

    with Cluster.make() as cluster:
        asyncio.run(run(cluster))
