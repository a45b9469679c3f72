"""Requests that are followed: which, where their contexts go, and that nothing else is different for them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from config.traces import tracer_of
from gateway import feed_log, traces
from gateway.ingest import BODIES_A_KEY
from schemas.traced import traced_in
from tests.gateway.fakes import SETTINGS, Parts
from tests.gateway.test_feeds import NDJSON, PATH, quote, token_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"}

Work = Callable[[Parts, httpx.AsyncClient], Awaitable[None]]


def spans_of(work: Work, ratio: float = 0.0, partitions: int = 1) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()

    async def run() -> None:
        parts = Parts()
        parts.broker.partitions = partitions
        settings = SETTINGS.model_copy(update={"traces_ratio": ratio})
        with tracer_of(settings, "gateway", SimpleSpanProcessor(exporter)) as tracer:
            parts.app.state.sources = replace(parts.sources, tracer=tracer)
            writing = asyncio.create_task(parts.intake.log.run())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            headers = NDJSON | token_of(parts)
            transport = httpx.ASGITransport(parts.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://gateway.test", headers=headers
            ) as client:
                await work(parts, client)
            writing.cancel()

    asyncio.run(run())
    return list(exporter.get_finished_spans())


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_that_says_so_is_followed_into_its_message() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        body = b"\n".join([quote(1), b"oops", quote(2), b""])
        assert (await client.post(PATH, content=body, headers=SAMPLED)).json()["accepted"] == 2
        (traced,) = traced_in(0, parts.broker.headers[0])  # the rejected line's message is the second
        assert (traced.first_line, traced.last_line, traced.traceparent[3:35]) == (0, 1, TRACE)
        sent.append(traced.traceparent[36:52])

    sent: list[str] = []
    send, request = spans_of(work)
    assert (request.name, send.name) == ("POST /v1/feeds/{province}/records", "send feeds")
    assert request.parent is not None
    assert send.parent is not None
    assert (f"{request.parent.span_id:016x}", send.parent.span_id) == ("00f067aa0ba902b7", request.context.span_id)
    assert {f"{span.context.trace_id:032x}" for span in (send, request)} == {TRACE}
    assert sent == [f"{send.context.span_id:016x}"]
    noted = about(request)
    assert (noted["http.response.status_code"], noted["pricelink.accepted"], noted["pricelink.rejected"]) == (200, 2, 1)
    noted = about(send)
    assert (noted["messaging.kafka.offset"], noted["pricelink.first_line"], noted["pricelink.last_line"]) == (0, 0, 1)
    assert request.resource.attributes["service.name"] == "pricelink-gateway"


@pytest.mark.parametrize(("ratio", "headers", "followed"), [
    (0.0, {}, False), (1.0, {}, True), (0.0, SAMPLED, True), (1.0, NOT_SAMPLED, False), (0.0, {"traceparent": "x"}, False),
])  # fmt: skip
def test_who_is_followed(ratio: float, headers: dict[str, str], followed: bool) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        assert (await client.post(PATH, content=quote(1), headers=headers)).status_code == 200
        assert [bool(each) for each in parts.broker.headers] == [followed]
        assert parts.broker.lines() == [quote(1)]

    assert bool(spans_of(work, ratio)) == followed


def test_requests_packed_into_one_message_keep_their_lines_apart() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        await asyncio.gather(*(
            client.post(PATH, content=quote(2 * n) + b"\n" + quote(2 * n + 1) + b"\n", headers=SAMPLED if n % 2 else {})
            for n in range(BODIES_A_KEY)
        ))  # fmt: skip
        assert len(parts.broker.values()) < BODIES_A_KEY
        for value, headers in zip(parts.broker.values(), parts.broker.headers, strict=True):
            lines = value.split(b"\n")
            found.extend(lines[each.first_line : each.last_line + 1] for each in traced_in(0, headers))

    found: list[list[bytes]] = []
    spans = spans_of(work)
    assert sorted(found) == sorted([quote(2 * n), quote(2 * n + 1)] for n in range(1, BODIES_A_KEY, 2))
    assert sum(span.name == "send feeds" for span in spans) == BODIES_A_KEY // 2


def test_a_message_is_closed_before_it_has_too_many_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_log, "MOST_TRACES", 3)

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        await asyncio.gather(*(client.post(PATH, content=quote(n), headers=SAMPLED) for n in range(BODIES_A_KEY)))
        counts.extend(len(traced_in(0, headers)) for headers in parts.broker.headers)

    counts: list[int] = []
    assert len(spans_of(work)) == 2 * BODIES_A_KEY
    assert sum(counts) == BODIES_A_KEY
    assert max(counts) == 3


def test_a_large_request_is_followed_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MOST_SENDS", 2)

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        body = b"\n".join(quote(n) for n in range(2_000))
        assert (await client.post(PATH, content=body, headers=SAMPLED)).json()["accepted"] == 2_000
        assert sorted(parts.broker.lines()) == sorted(body.split(b"\n"))

    spans = spans_of(work)
    assert sum(span.name == "send feeds" for span in spans) == 2
    assert about(spans[-1])["pricelink.messages_untraced"] >= 2


def test_a_request_that_fails_says_so() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        assert (
            await client.post(PATH, content=b"\xff\xfe", headers=SAMPLED | {"Content-Encoding": "gzip"})
        ).status_code == 400
        parts.broker.fault = OSError("gone")
        assert (await client.post(PATH, content=quote(1), headers=SAMPLED)).status_code == 503

    bad, send, failed = spans_of(work)
    assert (about(bad)["error.type"], bad.status.is_ok) == ("bad_body", True)
    assert (about(failed)["http.response.status_code"], failed.status.is_ok, send.status.is_ok) == (503, False, False)
