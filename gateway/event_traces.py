"""Spans of what becomes of events behind the log, where the worker put a trace's context into their headers."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from config.traces import Harmless
from schemas.traced import TRACEPARENT, TRACESTATE, traced_in

MOST_REMEMBERED: Final = 1_000
"""Events whose traces are known; of an older one no more is seen."""
_MS: Final = 1_000_000

_W3C: Final = TraceContextTextMapPropagator()


class EventTraces:
    """The contexts of the last events that traces follow, by lane and offset."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._contexts: OrderedDict[tuple[int, int], Context] = OrderedDict()

    def came(self, lane: int, offset: int, headers: Sequence[tuple[str, bytes]]) -> bool:
        """Remembers an event if a trace follows it; tells whether one does."""
        with Harmless():
            for traced in traced_in(offset, headers)[:1]:
                carrier = {TRACEPARENT: traced.traceparent, TRACESTATE: traced.tracestate}
                self._contexts[lane, offset] = _W3C.extract(carrier)
                if len(self._contexts) > MOST_REMEMBERED:
                    self._contexts.popitem(last=False)
                return True
        return False

    def note(
        self,
        lane: int,
        offset: int,
        name: str,
        kind: SpanKind,
        times_ms: tuple[int, int],
        about: dict[str, Any],
        fault: str | None = None,
    ) -> None:
        """Makes a span of what was done with an event, if a trace follows it. ``times_ms``: from when to when, epoch."""
        context = self._contexts.get((lane, offset))
        if context is not None:
            with Harmless():
                span = self._tracer.start_span(name, context, kind, about, start_time=times_ms[0] * _MS)
                if fault is not None:
                    span.set_status(Status(StatusCode.ERROR, fault))
                span.end(times_ms[1] * _MS)
