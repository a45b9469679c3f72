"""The gateway's Prometheus metrics: open alerts by province, holds, live streams, what it depends on."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from config.provinces import PROVINCE_CODES
from gateway.read_model import REDIS_FAULTS, ReadModel
from gateway.sources import Sources
from schemas.times import parse_rfc3339

HOLDS_EVERY_S: Final = 15.0
HOLD: Final = "price_hold"


class OldestHolds:
    """Since when the oldest hold of each province waits, asked of Redis now and then. ``since_ms``: by province."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model
        self.since_ms: dict[str, int] = {}

    async def keep(self) -> None:
        """Asks again and again, until cancelled. While Redis is away the last answer stays."""
        while True:
            with suppress(*REDIS_FAULTS):
                self.since_ms = await self.ask()
            await asyncio.sleep(HOLDS_EVERY_S)

    async def ask(self) -> dict[str, int]:
        """Returns when the oldest open hold of each province was opened; raises one of REDIS_FAULTS."""
        oldest: dict[str, int] = {}
        for alert in await self._read_model.alerts_of(HOLD):
            province, at_ms = alert.get("province"), parse_rfc3339(str(alert.get("at")))
            if province in PROVINCE_CODES and at_ms is not None:
                oldest[province] = min(at_ms, oldest.get(province, at_ms))
        return oldest


class GatewayMetrics:
    """A collector over the gateway's parts."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.holds = OldestHolds(sources.read_model)

    def describe(self) -> list[Metric]:
        """Returns nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yields everything for Prometheus."""
        hub, summary = self._sources.hub, self._sources.summary
        cells = GaugeMetricFamily(
            "pricelink_province_open_alerts", "Open alerts as the page shows them", labels=["kind", "band", "province"]
        )
        for (kind, province, band), count in list(summary.counts.items()):
            cells.add_metric([kind, band, province], count)
        yield cells
        holds = GaugeMetricFamily("pricelink_oldest_hold_seconds", "Age of the oldest hold", labels=["province"])
        for province, since_ms in list(self.holds.since_ms.items()):
            holds.add_metric([province], max(0.0, time.time() - since_ms / 1_000))
        yield holds
        clients = list(hub.clients)
        streams = GaugeMetricFamily("pricelink_sse_clients", "Live streams that are open", labels=["of"])
        suppliers = sum(bool(client.key_id) for client in clients)
        streams.add_metric(["suppliers"], suppliers)
        streams.add_metric(["page"], len(clients) - suppliers)
        yield streams
        for name, about, count in (
            ("sse_cuts", "Live streams cut because their client did not keep up", hub.clients.cut_total),
            ("sse_events", "Alert events handed to live streams since the start", hub.events_total),
            ("sse_repeats", "Events that came again and were dropped", hub.repeats_total),
        ):
            yield CounterMetricFamily(f"pricelink_{name}", about, count)
        yield GaugeMetricFamily("pricelink_read_model_lag_events", "Alerts not in Redis yet", summary.read_model_lag)
        yield GaugeMetricFamily(
            "pricelink_ingest_in_flight_bytes",
            "Lines that Kafka has not acknowledged",
            self._sources.intake.log.in_flight_bytes,
        )
        up = GaugeMetricFamily("pricelink_dependency_up", "1: it answers", labels=["dependency"])
        up.add_metric(["kafka"], int(self._sources.topic.problem is None))
        up.add_metric(["redis"], int(summary.problem is None))
        yield up
