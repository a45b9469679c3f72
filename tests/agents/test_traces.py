"""A worker's spans: of the lines that are followed and of no others, from the batch they came in to its checkpoint."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agents import traces
from agents.metrics import Metrics
from agents.record_batches import Chunk
from agents.traces import Traces
from config.settings import Settings
from config.traces import tracer_of
from schemas.batches import DeadLetter, Effects, Run, StateRows
from schemas.columns import EVENT, RECORD_TYPES
from schemas.traced import Traced
from tests.simulation.world import batch_of as messages_of

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ROWS = StateRows(np.zeros(0, np.uint8), np.zeros((0, 3), np.int64))
MS = 1_000_000


class Scene:
    """A worker's traces with a clock of their own, and what was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.metrics = Metrics()
        self.now_ms = 1_000
        settings = Settings(traces_ratio=0.0)
        self._scope = tracer_of(settings, "worker", SimpleSpanProcessor(self.exporter))
        tracer = self._scope.__enter__()
        assert tracer is not None
        self.traces = Traces(tracer, settings, self.metrics, lambda: self.now_ms * MS)

    def spans(self) -> dict[str, list[ReadableSpan]]:
        found: dict[str, list[ReadableSpan]] = {}
        for span in self.exporter.get_finished_spans():
            found.setdefault(span.name, []).append(span)
        return found


def run_of(events: list[tuple[int, dict[str, Any]]]) -> Run:
    """``events``: the offset of what set each off, and the event."""
    values = [orjson.dumps(event) for _, event in events]
    table = np.zeros(len(events), EVENT)
    table["end"] = np.cumsum([len(value) for value in values])
    table["start"][1:] = table["end"][:-1]
    table["offset"] = [offset for offset, _ in events]
    table["broker_ts_ms"] = 1
    return Run(np.frombuffer(b"".join(values), np.uint8), table)


def alert(offset: int, line: int, number: int = 1) -> tuple[int, dict[str, Any]]:
    evidence = [{"partition": 1, "offset": offset, "line": line}, {"partition": 1, "offset": 0, "line": 0}]
    return offset, {
        "event_id": f"bargain:C1:320000:{number}/1", "alert_id": f"bargain:C1:320000:{number}", "kind": "bargain",
        "change": "observed", "code": "C1", "province": "320000", "band": None, "evidence": evidence,
    }  # fmt: skip


def change(offset: int, line: int) -> tuple[int, dict[str, Any]]:
    position = {"partition": 1, "offset": offset, "line": line}
    return offset, {"event_id": "price.lowest.changed:C1:1", "code": "C1", "lowest": "1.0000", "position": position}


def chunk_of(*traced: Traced) -> Chunk:
    batch = messages_of(1, [(offset, b"{}") for offset in range(5, 8)])
    return Chunk("feeds", batch, 5, 8, 8, traced=traced, taken_ns=900 * MS)


def effects_of(alerts: list[Any], changes: list[Any] = [], letters: list[DeadLetter] = []) -> Effects:  # noqa: B006
    return Effects(run_of(alerts), run_of(changes), np.zeros((len(RECORD_TYPES), 3), np.int64), 3, letters)


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_followed_lines_have_a_batch_its_steps_and_their_own_events() -> None:
    scene = Scene()
    letters = [DeadLetter(1, 6, 2, "not_json", b"oops"), DeadLetter(1, 6, 9, "not_json", b"other")]
    effects = effects_of([alert(5, 0), alert(6, 1), alert(6, 4, 2)], [change(6, 2), change(7, 2)], letters)
    scene.now_ms = 980
    reached = scene.traces.stages()
    for stage in ("scan", "rules", "render"):
        scene.now_ms += 5
        reached(stage)
    scene.now_ms = 1_000
    scene.traces.applied(chunk_of(Traced(6, PARENT, "v=1", 1, 3)), effects, 0.02)
    more = {topic: scene.traces.headers_of(run) for topic, run in (("a", effects.alerts), ("p", effects.price_changes))}
    assert [list(rows) for rows in more.values()] == [[1], [0]]
    assert scene.traces.headers_of(effects_of([]).alerts) == {}
    scene.now_ms = 1_030
    scene.traces.alerts_acked(effects.alerts)
    scene.now_ms = 1_040
    scene.traces.changes_acked(effects.price_changes)
    assert "process feeds" not in scene.spans()
    scene.now_ms = 2_000
    scene.traces.checkpointed(1, 8, ROWS, 0.1)
    spans = {name: one for name, (one,) in scene.spans().items()}
    batch = spans["process feeds"]
    assert batch.parent is not None
    assert f"{batch.parent.span_id:016x}" == PARENT[36:52]
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {PARENT[3:35]}
    assert batch.context.trace_state.to_header() == "v=1"
    assert [(event.name, dict(event.attributes or {})["line"]) for event in batch.events] == [("dead letter", 2)]
    times = {name: ((span.start_time or 0) // MS, (span.end_time or 0) // MS) for name, span in spans.items()}
    assert times == {
        "process feeds": (900, 2_000), "apply": (980, 1_000), "checkpoint": (1_900, 2_000),
        "scan": (980, 985), "rules": (985, 990), "render": (990, 995),
        "bargain.observed": (1_000, 1_030), "price.lowest.changed": (1_000, 1_040),
    }  # fmt: skip
    assert about(batch)["messaging.kafka.offset"] == 6
    assert about(spans["bargain.observed"])["cloudevents.event_id"] == "bargain:C1:320000:1/1"
    context = spans["bargain.observed"].context
    assert more["a"][1] == [
        ("traceparent", f"00-{context.trace_id:032x}-{context.span_id:016x}-01".encode()), ("tracestate", b"v=1"),
    ]  # fmt: skip
    parents = {name: span.parent.span_id for name, span in spans.items() if span.parent and span is not batch}
    steps = {name: parents.pop(name) for name in ("scan", "rules", "render")}
    assert set(steps.values()) == {spans["apply"].context.span_id}
    assert set(parents.values()) == {batch.context.span_id}


def test_what_is_told_goes_on_to_the_metrics() -> None:
    scene = Scene()
    effects = effects_of([alert(5, 0)])
    scene.traces.applied(chunk_of(), effects, 0.5)
    scene.traces.alerts_acked(effects.alerts)
    scene.traces.checkpointed(1, 8, StateRows(np.zeros(0, np.uint8), np.zeros((1, 3), np.int64)), 0.1)
    assert (scene.metrics.records_total, scene.metrics.apply_s, scene.metrics.checkpoints_total) == (3, 0.5, 1)
    assert scene.metrics.alerts_total.sum() == 1
    assert scene.spans() == {}


def test_a_checkpoint_ends_what_it_holds_and_a_loss_says_so() -> None:
    scene = Scene()
    first = chunk_of(Traced(6, PARENT))
    scene.traces.applied(first, effects_of([]), 0.0)
    scene.traces.applied(replace(first, next_offset=20), effects_of([alert(6, 0)]), 0.0)
    scene.traces.checkpointed(2, 99, ROWS, 0.0)
    assert "process feeds" not in scene.spans()
    scene.traces.checkpointed(1, 8, ROWS, 0.0)
    assert [span.status.is_ok for span in scene.spans()["process feeds"]] == [True]
    scene.traces.lost(1)
    assert [span.status.is_ok for span in scene.spans()["process feeds"]] == [True, False]
    assert len(scene.spans()["bargain.observed"]) == 1


def test_everything_has_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MOST_EVENTS", 5)
    monkeypatch.setattr(traces, "MOST_OPEN", 2)
    scene = Scene()
    for _ in range(4):
        scene.traces.applied(chunk_of(Traced(6, PARENT)), effects_of([alert(6, 0, n) for n in range(9)]), 0.0)
    scene.traces.checkpointed(1, 8, ROWS, 0.0)
    assert [about(span)["pricelink.alerts_not_looked_at"] for span in scene.spans()["process feeds"]] == [4, 4]
    assert len(scene.spans()["bargain.observed"]) == 2 * 5


def test_an_event_that_cannot_be_read_stops_nothing() -> None:
    scene = Scene()
    effects = effects_of([(6, {"no": "event"})])
    scene.traces.applied(chunk_of(Traced(6, PARENT)), effects, 0.0)
    scene.traces.alerts_acked(effects.alerts)
    scene.traces.checkpointed(1, 8, ROWS, 0.0)
    assert len(scene.spans()["process feeds"]) == 1
