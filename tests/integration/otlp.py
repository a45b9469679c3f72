"""A collector of OpenTelemetry's spans: takes OTLP over HTTP, as protobuf, and shows a trace as text."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it was received. Times: epoch nanoseconds."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    events: list[str]
    failed: bool


@dataclass(slots=True)
class Collector:
    """What has come. ``endpoint``: for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, wanted: Callable[[list[Span]], bool], within_s: float = 30.0) -> list[Span]:
        """Returns the spans when they are as wanted."""
        with self.changed:
            assert self.changed.wait_for(lambda: wanted(self.spans), within_s), as_text(self.spans)
            return list(self.spans)

    def take(self, raw: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(raw)
        with self.changed:
            self.spans += [
                _span(str(_plain(resource.resource.attributes)["service.name"]), span)
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            self.changed.notify_all()


def _span(service: str, span: Any) -> Span:
    return Span(
        service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.start_time_unix_nano,
        span.end_time_unix_nano, _plain(span.attributes), [event.name for event in span.events], span.status.code == 2,
    )  # fmt: skip


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """Gives a collector that listens on a free port."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_about: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def as_text(spans: list[Span]) -> str:
    """Returns a trace as a tree: when each span began and how long it took, in ms, and what is known of it."""
    begin_ns = min((span.start_ns for span in spans), default=0)
    known = {span.span_id for span in spans}
    lines: list[str] = []

    def show(parent_id: str | None, depth: int) -> None:
        for span in sorted(spans, key=lambda each: each.start_ns):
            if span.parent_id == parent_id or (parent_id is None and span.parent_id not in known):
                name = "  " * depth + span.name
                times = f"{(span.start_ns - begin_ns) / 1e6:9.1f} {(span.end_ns - span.start_ns) / 1e6:8.1f}"
                lines.append(f"{times}  {span.service.removeprefix('pricelink-'):8} {name}{' FAILED' * span.failed}")
                lines.extend(
                    f"{'':30}{'  ' * depth}{key}={value}"
                    for key, value in span.attributes.items()
                    if key not in {"messaging.system", "messaging.operation.type", "http.request.method", "http.route"}
                )
                show(span.span_id, depth + 1)

    show(None, 0)
    return "\n".join(lines)
