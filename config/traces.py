"""OpenTelemetry's traces: the tracer of a process, where ``PRICELINK_TRACES_RATIO`` asks for one.

The rest is said as everywhere with OpenTelemetry, by ``OTEL_*``: where spans go (``OTEL_EXPORTER_OTLP_ENDPOINT``), what
the service is called, how long the queue is. What goes wrong with a trace is logged, and stops nothing.
"""

import importlib.metadata
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final

import structlog

from config.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Tracer

CLOSE_S: Final = 1.0
"""What waits for the collector when a process ends has so long to get there."""

_log = structlog.get_logger("traces")


@contextmanager
def tracer_of(settings: Settings, process: str, processor: "SpanProcessor | None" = None) -> Iterator["Tracer | None"]:
    """Gives a process's tracer for as long as it runs; None where there is none, and nothing of it is imported.

    ``process``: the last part of the service's name. ``processor``: of spans that have ended, in place of a queue to
    the exporter that ``OTEL_TRACES_EXPORTER`` names.
    """
    if settings.traces_ratio is None or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield None
        return
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    try:
        processor = processor or _queue()
    except (ValueError, OSError) as fault:
        _log.warning("there are no traces: OpenTelemetry's variables do not fit", reason="traces_off", fault=fault)
        processor = None
    if processor is None:
        yield None
        return
    sampler = None if os.environ.get("OTEL_TRACES_SAMPLER") else ParentBased(TraceIdRatioBased(settings.traces_ratio))
    provider = TracerProvider(sampler=sampler, resource=_resource(settings, process), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    try:
        yield provider.get_tracer("pricelink", _version())
    finally:
        # A collector that is away may hold it for half a minute.
        closing = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(CLOSE_S)


def _queue() -> "SpanProcessor | None":
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    chosen = os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower()
    if chosen == "none":
        return None
    exporter: SpanExporter
    if chosen == "console":
        exporter = ConsoleSpanExporter()
    elif chosen == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    else:
        raise ValueError(f"OTEL_TRACES_EXPORTER is {chosen}; otlp (over HTTP), console and none are known")
    return BatchSpanProcessor(exporter)


def _resource(settings: Settings, process: str) -> "Resource":
    from opentelemetry.sdk.resources import Resource

    found = Resource.create({"service.instance.id": settings.instance, "service.version": _version()})
    if str(found.attributes["service.name"]).startswith("unknown_service"):  # neither OTEL_ variable says another
        found = found.merge(Resource({"service.name": f"pricelink-{process}"}))
    return found


def _version() -> str:
    try:
        return importlib.metadata.version("pricelink")
    except importlib.metadata.PackageNotFoundError:
        return "0+source"


class Harmless:
    """Logs whatever goes wrong inside: no trace is worth a record."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(fault, Exception):
            return False
        _log.warning("a span is not as it should be; the record is", reason="trace_failed", fault=fault)
        return True
