"""Spans of what a worker does with the lines that traces follow: the batch they came in, its steps, the events they set off.

What is done is told by ``Feeds`` and ``Sinks``, as it is to ``Metrics``, to which everything is passed on. A span costs
some 50 µs, and only chunks with lines that are followed have any.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import orjson
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from agents.machines import MachineLike, Reached
from agents.metrics import Metrics
from agents.record_batches import Chunk
from config.settings import Settings
from config.topics import ALERTS, PRICE_CHANGES
from config.traces import Harmless
from schemas.batches import DeadLetter, Effects, Run, StateRows
from schemas.traced import TRACEPARENT, TRACESTATE, Header, Traced

MOST_OPEN: Final = 256
"""Chunks with followed lines that wait for their checkpoint; those behind go untraced."""
MOST_EVENTS: Final = 200
"""Events of a chunk and topic that are looked at: one policy record may set off a hundred thousand."""
_MOST_LETTERS: Final = 32
_NS: Final = 1_000_000_000

_W3C: Final = TraceContextTextMapPropagator()


@dataclass(slots=True)
class _Lines:
    """Lines that are followed, and the span of the batch they are in."""

    traced: Traced
    span: Span
    context: Context

    def has(self, offset: int, line: int) -> bool:
        return self.traced.offset == offset and self.traced.first_line <= line <= self.traced.last_line


@dataclass(slots=True)
class _Open:
    """A chunk that is applied and not yet in a checkpoint. ``events``: by topic, until all replicas have them.

    ``headers``: by topic, of the events' messages, by their rows.
    """

    partition: int
    next_offset: int
    lines: list[_Lines]
    effects: Effects
    events: dict[str, list[Span]] = field(default_factory=dict)
    headers: dict[str, dict[int, list[Header]]] = field(default_factory=dict)

    def topic_of(self, run: Run) -> str | None:
        if run is self.effects.alerts:
            return ALERTS.name
        return PRICE_CHANGES.name if run is self.effects.price_changes else None


class Traces:
    """Passes on to ``metrics`` what it is told, and makes spans of it."""

    def __init__(
        self, tracer: Tracer, settings: Settings, metrics: Metrics, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._tracer = tracer
        self._metrics = metrics
        self._now_ns = now_ns
        self._about = {
            "messaging.system": "kafka",
            "messaging.consumer.group.name": settings.worker_group,
            "messaging.client.id": f"pricelink-{settings.instance}",
        }
        self._open: list[_Open] = []
        self._stages: list[tuple[str, int]] = []

    # Told by the stream

    def stages(self) -> Reached:
        """A chunk with followed lines is about to be applied: returns what is told the stages that it has reached."""
        self._stages = [("", self._now_ns())]
        return lambda name: self._stages.append((name, self._now_ns()))

    def applied(self, chunk: Chunk, effects: Effects, seconds: float) -> None:
        """A chunk was applied; its effects go out next."""
        self._metrics.applied(chunk, effects, seconds)
        if chunk.traced and len(self._open) < MOST_OPEN:
            with Harmless():
                self._begin(chunk, effects, seconds)

    def headers_of(self, run: Run) -> Mapping[int, list[Header]]:
        """Returns the headers by which whoever reads the events of a run goes on with their traces."""
        found = ((opened, topic) for opened in self._open if (topic := opened.topic_of(run)) is not None)
        return next((opened.headers.get(topic, {}) for opened, topic in found), {})

    def alerts_acked(self, run: Run) -> None:
        """All replicas have these alerts."""
        self._metrics.alerts_acked(run)
        self._acked(ALERTS.name, run)

    def changes_acked(self, run: Run) -> None:
        """All replicas have these price changes."""
        self._acked(PRICE_CHANGES.name, run)

    def checkpointed(self, partition: int, next_offset: int, rows: StateRows, seconds: float) -> None:
        """All before ``next_offset`` is durable: its batches end."""
        self._metrics.checkpointed(partition, next_offset, rows, seconds)
        if self._open:
            with Harmless():
                self._end(partition, next_offset, seconds)

    def restored(self, partition: int, machine: MachineLike, next_offset: int, seconds: float) -> None:
        """A partition was assigned."""
        self._metrics.restored(partition, machine, next_offset, seconds)

    def lost(self, partition: int) -> None:
        """A partition was taken away: what is not in a checkpoint is repeated by its next owner."""
        self._metrics.lost(partition)
        with Harmless():
            for each in self._take(lambda open_: open_.partition == partition):
                for lines in each.lines:
                    lines.span.set_status(Status(StatusCode.ERROR, "the partition was taken away before a checkpoint"))
                self._close(each)

    # Spans

    def _begin(self, chunk: Chunk, effects: Effects, seconds: float) -> None:
        now_ns = self._now_ns()
        stages, self._stages = self._stages or [("", now_ns - int(seconds * _NS))], []
        opened = _Open(chunk.partition, chunk.next_offset, [], effects)
        self._open.append(opened)
        for traced in chunk.traced:
            lines = self._batch(chunk, traced)
            opened.lines.append(lines)
            self._apply(lines.context, effects, stages, now_ns)
        for topic, run in ((ALERTS.name, effects.alerts), (PRICE_CHANGES.name, effects.price_changes)):
            events = self._events(topic, run, opened.lines, now_ns)
            opened.events[topic] = [span for _, span in events]
            opened.headers[topic] = {row: _headers_of(span) for row, span in events}
        _note(effects.dead_letters, opened.lines, now_ns)

    def _batch(self, chunk: Chunk, traced: Traced) -> _Lines:
        parent = _W3C.extract({TRACEPARENT: traced.traceparent, TRACESTATE: traced.tracestate})
        about: dict[str, Any] = {
            **self._about,
            "messaging.operation.type": "process",
            "messaging.destination.name": chunk.topic,
            "messaging.destination.partition.id": str(chunk.partition),
            "messaging.kafka.offset": traced.offset,
            "messaging.batch.message_count": len(chunk.batch.messages),
            "pricelink.batch_first_offset": int(chunk.batch.messages["offset"][0]),
            "pricelink.batch_last_offset": chunk.last_offset,
        }
        span = self._tracer.start_span(
            f"process {chunk.topic}", parent, SpanKind.CONSUMER, about, start_time=chunk.taken_ns or None
        )
        return _Lines(traced, span, set_span_in_context(span))

    def _apply(self, context: Context, effects: Effects, stages: list[tuple[str, int]], now_ns: int) -> None:
        """The machine's work on the whole batch, and its stages: a name, and when it was reached, from the second on."""
        apply = self._tracer.start_span("apply", context, attributes=_size_of(effects), start_time=stages[0][1])
        inside = set_span_in_context(apply)
        for (_, start_ns), (name, end_ns) in pairwise(stages):
            self._tracer.start_span(name, inside, start_time=start_ns).end(end_ns)
        apply.end(now_ns)

    def _events(self, topic: str, run: Run, followed: list[_Lines], now_ns: int) -> list[tuple[int, Span]]:
        """Begins the spans of events that followed lines set off; each with the event's row."""
        rows = np.flatnonzero(np.isin(run.table["offset"], [lines.traced.offset for lines in followed]))
        if rows.size > MOST_EVENTS:
            for lines in followed:
                lines.span.set_attribute(f"pricelink.{topic}_not_looked_at", int(rows.size) - MOST_EVENTS)
        spans = []
        for number in rows[:MOST_EVENTS].tolist():
            row = run.table[number]
            event = orjson.loads(run.data[row["start"] : row["end"]].data)
            line = _line_of(event)
            about = self._about_event(topic, event)
            for lines in followed:
                if lines.has(int(row["offset"]), line):
                    span = self._tracer.start_span(
                        _type_of(event), lines.context, SpanKind.PRODUCER, about, start_time=now_ns
                    )
                    spans.append((number, span))
        return spans

    def _about_event(self, topic: str, event: dict[str, Any]) -> dict[str, Any]:
        about: dict[str, Any] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
            "cloudevents.event_id": event["event_id"],
            "pricelink.code": event["code"],
        }
        for name in ("alert_id", "kind", "change", "reason", "province", "band", "target_price", "lowest"):
            if (value := event.get(name)) is not None:
                about[f"pricelink.{name}"] = value
        return about

    def _acked(self, topic: str, run: Run) -> None:
        if self._open:
            with Harmless():
                now_ns = self._now_ns()
                for opened in self._open:
                    if opened.topic_of(run) == topic:
                        for span in opened.events.pop(topic, []):
                            span.end(now_ns)

    def _end(self, partition: int, next_offset: int, seconds: float) -> None:
        now_ns = self._now_ns()
        for each in self._take(lambda open_: open_.partition == partition and open_.next_offset <= next_offset):
            for lines in each.lines:
                start_ns = now_ns - int(seconds * _NS)
                self._tracer.start_span("checkpoint", lines.context, start_time=start_ns).end(now_ns)
            self._close(each, now_ns)

    def _take(self, wanted: Callable[[_Open], bool]) -> list[_Open]:
        taken = [each for each in self._open if wanted(each)]
        self._open = [each for each in self._open if not wanted(each)]
        return taken

    def _close(self, opened: _Open, now_ns: int | None = None) -> None:
        for spans in opened.events.values():
            for span in spans:
                span.end(now_ns)
        for lines in opened.lines:
            lines.span.end(now_ns)


def _headers_of(span: Span) -> list[Header]:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span))
    return [(name, value.encode()) for name, value in carrier.items()]


def _size_of(effects: Effects) -> dict[str, int]:
    return {
        "pricelink.batch_lines": effects.records,
        "pricelink.batch_alerts": len(effects.alerts.table),
        "pricelink.batch_price_changes": len(effects.price_changes.table),
        "pricelink.batch_dead_letters": len(effects.dead_letters),
    }


def _line_of(event: dict[str, Any]) -> int:
    """Returns the line of the record that set an event off: the first of an alert's evidence (SPEC §8)."""
    evidence = event.get("evidence") or [event.get("position") or {}]
    return int(evidence[0].get("line", -1))


def _type_of(event: dict[str, Any]) -> str:
    return f"{event['kind']}.{event['change']}" if "kind" in event else str(event["event_id"]).partition(":")[0]


def _note(letters: Iterable[DeadLetter], followed: list[_Lines], now_ns: int) -> None:
    """Notes on the batch's span which of its lines are no records."""
    noted = 0
    for letter in letters:
        for lines in followed:
            if noted < _MOST_LETTERS and lines.has(letter.offset, letter.line):
                lines.span.add_event("dead letter", {"reason": letter.reason, "line": letter.line}, now_ns)
                noted += 1
