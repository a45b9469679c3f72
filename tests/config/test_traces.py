"""The tracer of a process: none unless asked for, OpenTelemetry's own variables hold, and a collector that is away harms nothing."""

import time

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from agents.embedded import free_port
from config.settings import Settings
from config.traces import CLOSE_S, Harmless, tracer_of


def settings_of(ratio: float | None) -> Settings:
    return Settings(traces_ratio=ratio, instance="here")


def test_there_is_none_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracer_of(Settings(), "worker") as tracer:
        assert tracer is None
    for name, value in (
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with tracer_of(settings_of(1.0), "worker") as tracer:
                assert tracer is None


@pytest.mark.parametrize(("environment", "name", "count"), [
    ({}, "pricelink-worker", 0),
    ({"OTEL_SERVICE_NAME": "ours"}, "ours", 0),
    ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs,deployment.environment=test"}, "theirs", 0),
    ({"OTEL_TRACES_SAMPLER": "always_on"}, "pricelink-worker", 1),
    ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, "pricelink-worker", 0),
])  # fmt: skip
def test_opentelemetrys_own_variables_hold(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str, count: int
) -> None:
    for each in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(each, raising=False)
    for each, value in environment.items():
        monkeypatch.setenv(each, value)
    exporter = InMemorySpanExporter()
    with tracer_of(settings_of(0.0), "worker", SimpleSpanProcessor(exporter)) as tracer:
        assert tracer is not None
        tracer.start_span("x").end()
        assert len(exporter.get_finished_spans()) == count
        about = tracer.resource.attributes  # type: ignore[attr-defined]
        assert (about["service.name"], about["service.instance.id"]) == (name, "here")


def test_a_collector_that_is_away_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    with tracer_of(settings_of(1.0), "worker") as tracer:
        assert tracer is not None
        began_s = time.monotonic()
        for number in range(1_000):
            tracer.start_span(f"{number}").end()
        closing_s = time.monotonic()
    assert (
        closing_s - began_s < time.monotonic() - began_s < 10 * CLOSE_S
    )  # what does not fit into the queue is dropped


def test_what_goes_wrong_with_a_trace_stops_nothing() -> None:
    with capture_logs() as said, Harmless():
        raise KeyError("alert_id")
    assert [(line["reason"], repr(line["fault"])) for line in said] == [("trace_failed", "KeyError('alert_id')")]
    with pytest.raises(KeyboardInterrupt), Harmless():
        raise KeyboardInterrupt
