"""The scorecards process's Prometheus metrics. Labels never name a supplier or an institution."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.score_tables import Cards


class OrderReading(Protocol):
    """How far ``feeds`` is read."""

    records: int

    @property
    def forgotten(self) -> int:
        """Orders forgotten because there were more than are kept."""


class ScoreMetrics:
    """Counts of this process, and a collector that shows them."""

    def __init__(self, cards: Mapping[str, Cards]) -> None:
        self._cards = cards
        self.overuse: OrderReading | None = None
        self.published = 0

    def describe(self) -> list[Metric]:
        """Returns nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yields everything for Prometheus."""
        counted = CounterMetricFamily("pricelink_scorecard_events", "Events by outcome", labels=["by", "outcome"])
        cards = GaugeMetricFamily("pricelink_scorecards", "Cards", labels=["by"])
        waiting = GaugeMetricFamily("pricelink_scorecards_dirty", "Cards to be published", labels=["by"])
        for name, each in self._cards.items():
            counted.add_metric([name, "counted"], each.counted)
            counted.add_metric([name, "repeated"], each.repeats)
            cards.add_metric([name], len(each.cards))
            waiting.add_metric([name], len(each.dirty))
        yield from (counted, cards, waiting)
        yield CounterMetricFamily("pricelink_scorecards_published", "Cards published", self.published)
        if self.overuse is not None:
            yield CounterMetricFamily("pricelink_orders_read", "Messages of feeds read", self.overuse.records)
            yield CounterMetricFamily("pricelink_orders_forgotten", "Beyond what is kept", self.overuse.forgotten)


def as_text(metrics: Any) -> dict[str, float]:
    """Returns the samples of a collector by name and labels; for a look at them without Prometheus."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in metrics.collect()
        for sample in family.samples
    }
