"""The scorecards process's Prometheus metrics. Labels never name a supplier or an institution."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.score_tables import Cards


class ScoreMetrics:
    """Counts of this process, and a collector that shows them."""

    def __init__(self, cards: Mapping[str, Cards]) -> None:
        self._cards = cards
        self.unreadable = 0
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
        yield CounterMetricFamily("pricelink_scorecard_unreadable", "Alerts that are none", self.unreadable)


def as_text(metrics: Any) -> dict[str, float]:
    """Returns the samples of a collector by name and labels; for a look at them without Prometheus."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in metrics.collect()
        for sample in family.samples
    }
