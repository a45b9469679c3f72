"""One record followed from the gateway to its alert, through a broker and a worker process, by a collector."""

import asyncio
import json
import os

import httpx
import orjson
import pytest

from agents.clients import new_producer
from config.traces import tracer_of
from gateway.app import create_app
from gateway.key_ring import now_ms
from gateway.keys import Owner, make_key
from gateway.sources import Sources
from tests.integration.cluster import REAL, Cluster, at_work, read
from tests.integration.otlp import Collector, Span, as_text, collector

pytestmark = pytest.mark.integration

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = "00f067aa0ba902b7"
CODE = "C09100100000000211790000049"
LOWER, HIGHER = "370000", "320000"


def quote(province: str, price: int, **changes: object) -> bytes:
    record = {"type": "quote", "province": province, "code": CODE, "at": now_ms(), "price": price}
    return json.dumps(record | {"supplier": "91320000MA1N4XXXX1"} | changes).encode()


async def post(client: httpx.AsyncClient, sources: Sources, province: str, body: bytes, **headers: str) -> None:
    key, token = make_key(Owner("province", province), (), 1, now_ms(), ())
    sources.keys.put(key)
    own = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    answer = await client.post(f"/v1/feeds/{province}/records", content=body, headers=own | headers)
    assert answer.status_code == 200, answer.text


async def feed(cluster: Cluster, came: Collector) -> None:
    """A price that nobody follows, then a request that says it wants to be followed: it sets an alert off."""
    await at_work(cluster, "w")
    with tracer_of(cluster.settings, "gateway") as tracer:
        sources = Sources.of(cluster.settings, new_producer, tracer)
        app = create_app(cluster.settings, sources, connected=False)
        tasks = [asyncio.create_task(part) for part in (sources.intake.log.run(), sources.topic.follow())]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test") as client:
            while sources.intake.log.away:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await post(client, sources, LOWER, quote(LOWER, 1_000))
            other = quote(HIGHER, 1_500, code="C09100100000000211790000050")
            lines = b"\n".join([other, quote(HIGHER, 2_000), b""])
            await post(client, sources, HIGHER, lines, traceparent=f"00-{TRACE}-{CLIENT}-01")
            while not any(span.name == "receive alerts" for span in came.spans):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()


def by_name(spans: list[Span]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.name, []).append(span)
    return found


def test_a_record_is_followed_from_the_request_to_its_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as came, Cluster.make(partitions=1, traces_ratio=0.0) as cluster:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", came.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        cluster.start_worker(REAL)
        asyncio.run(asyncio.wait_for(feed(cluster, came), 200))
        spans = came.wait(lambda spans: any(span.name == "process feeds" for span in spans))
        alerts = asyncio.run(read(cluster.settings, "alerts", {0: 1}))[0]
    named = by_name(spans)
    shown = as_text(spans)
    if "SHOW_TRACE" in os.environ:
        print(shown)
    assert {span.trace_id for span in spans} == {TRACE}, shown
    (request,), (sent,), (batch,) = (
        named["POST /v1/feeds/{province}/records"], named["send feeds"], named["process feeds"],
    )  # fmt: skip
    assert (request.service, sent.service, batch.service) == (
        "pricelink-gateway",
        "pricelink-gateway",
        "pricelink-worker",
    )
    assert (request.parent_id, sent.parent_id, batch.parent_id) == (CLIENT, request.span_id, sent.span_id)
    assert (request.attributes["http.response.status_code"], request.attributes["pricelink.accepted"]) == (200, 2)
    (alert,) = named["price_adjustment.opened"]
    event = orjson.loads(alerts[0].value)
    headers = dict(alerts[0].headers)
    assert headers["traceparent"].decode() == f"00-{TRACE}-{alert.span_id}-01"
    assert headers["ce_id"].decode() == event["event_id"]
    (received,) = named["receive alerts"]
    assert (received.service, received.parent_id) == ("pricelink-gateway", alert.span_id)
    assert alert.attributes["cloudevents.event_id"] == event["event_id"]
    assert alert.attributes["pricelink.code"] == CODE
    evidence = event["evidence"][0]
    for span in (sent, batch):
        assert int(span.attributes["messaging.destination.partition.id"]) == evidence["partition"]
        assert span.attributes["messaging.kafka.offset"] == evidence["offset"]
    assert sent.attributes["pricelink.first_line"] <= evidence["line"] <= sent.attributes["pricelink.last_line"]
    assert len(named["price.lowest.changed"]) == 1  # of the other code: the first record of this one was not followed
    for span in (alert, *named["apply"], *named["checkpoint"], *named["price.lowest.changed"]):
        assert span.parent_id == batch.span_id
        assert batch.start_ns <= span.start_ns <= span.end_ns <= batch.end_ns
    (apply,) = named["apply"]
    for stage in ("scan", "rules", "render"):
        assert [span.parent_id for span in named[stage]] == [apply.span_id]
    assert not any(span.failed for span in spans), shown
