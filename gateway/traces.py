"""Spans of what the gateway does with a request for ``feeds``: the request itself, and each message that it became part of.

A request is followed if its ``traceparent`` says so or if the sampler picks it. The context of the span of a message
goes into the message's headers (``schemas.traced``), where the worker finds it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fastapi import Request
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from config.topics import FEEDS
from config.traces import Harmless
from gateway.problems import Problem
from schemas.traced import TRACEPARENT, TRACESTATE, Header, Traced, trace_headers

MOST_SENDS: Final = 256
"""Messages of one request that are followed; the lines of a larger one go untraced from there on."""

_W3C: Final = TraceContextTextMapPropagator()


class SendSpan:
    """Some lines of a request, from when they are queued until all replicas have them."""

    def __init__(self, span: Span, lines: int) -> None:
        self._span = span
        self._lines = lines

    def headers(self, first_line: int) -> list[Header]:
        """Returns the headers of the message in which the lines begin at ``first_line``."""
        carrier: dict[str, str] = {}
        with Harmless():
            _W3C.inject(carrier, set_span_in_context(self._span))
        if TRACEPARENT not in carrier:
            return []
        last_line = first_line + self._lines - 1
        return trace_headers(Traced(0, carrier[TRACEPARENT], carrier.get(TRACESTATE, ""), first_line, last_line))

    def end(self, offset: int | None, first_line: int, fault: str | None) -> None:
        """The message is in the log, at ``offset``, or may not be there: ``fault`` says why."""
        with Harmless():
            if fault is not None:
                self._span.set_status(Status(StatusCode.ERROR, fault))
            elif offset is not None:
                self._span.set_attribute("messaging.kafka.offset", offset)
                self._span.set_attribute("pricelink.first_line", first_line)
                self._span.set_attribute("pricelink.last_line", first_line + self._lines - 1)
            self._span.end()


class RequestTrace:
    """A request that is followed."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._sends = 0

    def send(self, partition: int, lines: int) -> SendSpan | None:
        """Begins the span of lines that are queued for a message; None from MOST_SENDS on."""
        self._sends += 1
        if self._sends > MOST_SENDS:
            return None
        span: Span | None = None
        with Harmless():
            span = self._tracer.start_span(
                f"send {FEEDS.name}",
                set_span_in_context(self._span),
                SpanKind.PRODUCER,
                {
                    "messaging.system": "kafka",
                    "messaging.operation.type": "send",
                    "messaging.destination.name": FEEDS.name,
                    "messaging.destination.partition.id": str(partition),
                    "pricelink.lines": lines,
                },
            )
        return None if span is None else SendSpan(span, lines)

    def answered(self, status: int, accepted: int, rejected: int) -> None:
        """Notes what the request is answered."""
        with Harmless():
            self._span.set_attribute("http.response.status_code", status)
            self._span.set_attribute("pricelink.accepted", accepted)
            self._span.set_attribute("pricelink.rejected", rejected)

    def failed(self, problem: Problem) -> None:
        """Notes that the request is answered with an error."""
        with Harmless():
            self._span.set_attribute("http.response.status_code", problem.status)
            self._span.set_attribute("error.type", problem.code)
            if problem.status >= 500:
                self._span.set_status(Status(StatusCode.ERROR, problem.what))

    def end(self) -> None:
        """The request is answered."""
        with Harmless():
            if self._sends > MOST_SENDS:
                self._span.set_attribute("pricelink.messages_untraced", self._sends - MOST_SENDS)
            self._span.end()


@contextmanager
def followed(tracer: Tracer | None, request: Request, route: str, province: str) -> Iterator[RequestTrace | None]:
    """Gives the trace of a request while it is answered; None if it is not followed."""
    trace = None if tracer is None else _begin(tracer, request, route, province)
    if trace is None:
        yield None
        return
    try:
        yield trace
    except Problem as problem:
        trace.failed(problem)
        raise
    finally:
        trace.end()


def _begin(tracer: Tracer, request: Request, route: str, province: str) -> RequestTrace | None:
    span: Span | None = None
    with Harmless():
        context = _W3C.extract(
            {name: request.headers[name] for name in (TRACEPARENT, TRACESTATE) if name in request.headers}
        )
        attributes = {
            "http.request.method": request.method,
            "http.route": route,
            "url.path": request.url.path,
            "pricelink.province": province,
        }
        span = tracer.start_span(f"{request.method} {route}", context, SpanKind.SERVER, attributes)
    return RequestTrace(tracer, span) if span is not None and span.is_recording() else None
