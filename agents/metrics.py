"""A worker's Prometheus metrics. Labels never name a product or a supplier: their number has no bound.

The counts are numpy arrays that a chunk is added to in one operation; they become Prometheus's only when it asks.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from agents.machines import MachineLike
from agents.record_batches import Chunk
from schemas.batches import Effects, Run, StateRows
from schemas.columns import BANDS, CHANGES, KINDS, REASONS, RECORD_TYPES

OUTCOMES: Final = ("applied", "stale", "dead_lettered")
LATENCY_BOUNDS_S: Final = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_BOUNDS_MS: Final = np.array(LATENCY_BOUNDS_S) * 1000


def epoch_ms() -> int:
    """Returns the wall clock's time."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class PartitionProgress:
    """Where a partition stands. Times are seconds of ``time.monotonic`` but for ``broker_ts_ms``."""

    machine: MachineLike
    position: int
    done: int
    """The offset up to which everything is durable: events, rows, then this."""
    highwater: int = 0
    broker_ts_ms: int = 0
    checkpoint_at: float = field(default_factory=time.monotonic)

    @property
    def lag_records(self) -> int:
        """Returns how many messages of the partition wait; a packed one has many records."""
        return max(0, self.highwater - self.position)

    def lag_s(self, now_ms: int) -> float:
        """Returns how long ago the newest message applied was appended; 0 when nothing waits."""
        if self.lag_records == 0 or self.broker_ts_ms == 0:
            return 0.0
        return max(0.0, (now_ms - self.broker_ts_ms) / 1000)


class Metrics:
    """Counts of this process, and a collector that shows them. Told by ``Feeds`` and ``Sinks`` how it goes."""

    def __init__(self, now_ms: Callable[[], int] = epoch_ms) -> None:
        self._now_ms = now_ms
        self.outcomes: npt.NDArray[np.int64] = np.zeros((len(RECORD_TYPES), len(OUTCOMES)), np.int64)
        self.dead_letters: Counter[str] = Counter()
        self.records_total = 0
        self.alerts_total: npt.NDArray[np.int64] = np.zeros((len(KINDS), len(CHANGES)), np.int64)
        self.price_changes_total = 0
        self.latency_counts: npt.NDArray[np.int64] = np.zeros(len(_BOUNDS_MS) + 1, np.int64)
        self.latency_sum_ms = 0.0
        self.apply_s = 0.0
        self.checkpoints_total = 0
        self.checkpoint_rows_total = 0
        self.checkpoint_bytes_total = 0
        self.rebalances_total = 0
        self.checkpoint_s = 0.0
        self.restore_s = 0.0
        self.partitions: dict[int, PartitionProgress] = {}
        self.fallback = False

    # Told by the stream

    def applied(self, chunk: Chunk, effects: Effects, seconds: float) -> None:
        """Counts a chunk's records and effects."""
        self.outcomes += effects.outcomes
        self.records_total += effects.records
        self.price_changes_total += len(effects.price_changes.table)
        for letter in effects.dead_letters:
            self.dead_letters[letter.reason] += 1
        self.apply_s += seconds
        progress = self.partitions.get(chunk.partition)
        if progress is not None:
            progress.position = chunk.next_offset
            progress.highwater = max(progress.highwater, chunk.highwater)
            progress.broker_ts_ms = int(chunk.batch.messages["broker_ts_ms"][-1])

    def alerts_acked(self, run: Run) -> None:
        """Counts alerts that every replica has, and how long that took since their record was appended."""
        late_ms = self._now_ms() - run.table["broker_ts_ms"]
        self.latency_counts += np.bincount(np.searchsorted(_BOUNDS_MS, late_ms), minlength=len(_BOUNDS_MS) + 1)
        self.latency_sum_ms += float(late_ms.sum())
        cells = run.table["kind"] * np.int64(len(CHANGES)) + run.table["change"]
        self.alerts_total += np.bincount(cells, minlength=self.alerts_total.size).reshape(self.alerts_total.shape)

    def checkpointed(self, partition: int, next_offset: int, rows: StateRows, seconds: float) -> None:
        """Counts a checkpoint."""
        self.checkpoints_total += 1
        self.checkpoint_rows_total += len(rows.spans)
        self.checkpoint_bytes_total += int(rows.spans[-1, 2] - rows.spans[0, 0]) if len(rows.spans) else 0
        self.checkpoint_s += seconds
        progress = self.partitions.get(partition)
        if progress is not None:
            progress.done = next_offset
            progress.checkpoint_at = time.monotonic()

    def restored(self, partition: int, machine: MachineLike, next_offset: int, seconds: float) -> None:
        """Takes up a partition."""
        self.restore_s = seconds
        self.partitions[partition] = PartitionProgress(machine, next_offset, next_offset)

    def lost(self, partition: int) -> None:
        """Lets go of a partition."""
        self.partitions.pop(partition, None)

    # Asked by others

    @property
    def lag_records(self) -> int:
        """Returns how many messages wait in all our partitions."""
        return sum(progress.lag_records for progress in self.partitions.values())

    @property
    def lag_s(self) -> float:
        """Returns the largest lag of a partition in seconds."""
        now_ms = self._now_ms()
        return max((progress.lag_s(now_ms) for progress in self.partitions.values()), default=0.0)

    @property
    def checkpoint_age_s(self) -> float:
        """Returns how old the oldest of the partitions' last checkpoints is."""
        now = time.monotonic()
        return max((now - progress.checkpoint_at for progress in self.partitions.values()), default=0.0)

    def describe(self) -> list[Metric]:
        """Returns nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yields everything for Prometheus."""
        yield _counters("pricelink_records", "Records by type and outcome",
                        {"type": RECORD_TYPES, "outcome": OUTCOMES}, self.outcomes)  # fmt: skip
        yield _counter("pricelink_dead_letters", "Lines that are no valid records", "reason",
                       {reason: self.dead_letters.get(reason, 0) for reason in REASONS[1:]})  # fmt: skip
        yield _counters("pricelink_alerts", "Alert events that all replicas have",
                        {"kind": KINDS, "change": CHANGES}, self.alerts_total)  # fmt: skip
        yield self._open_alerts()
        yield self._latency()
        yield from self._per_partition()
        for name, about, value in (
            ("lines", "Lines read from feeds, whatever became of them", self.records_total),
            ("rebalances", "Assignments of partitions by the group", self.rebalances_total),
            ("price_changes", "Changes of a national lowest price", self.price_changes_total),
            ("apply_seconds", "Time in the machine", self.apply_s),
            ("checkpoints", "Checkpoints written", self.checkpoints_total),
            ("checkpoint_rows", "Rows written by checkpoints", self.checkpoint_rows_total),
            ("checkpoint_bytes", "Keys and values written by checkpoints, uncompressed", self.checkpoint_bytes_total),
            ("checkpoint_seconds", "Time from a checkpoint's start to its acks", self.checkpoint_s),
        ):
            yield CounterMetricFamily(f"pricelink_{name}", about, value)
        yield GaugeMetricFamily("pricelink_restore_seconds", "How long the last restore took", self.restore_s)

    def _open_alerts(self) -> Metric:
        family = GaugeMetricFamily("pricelink_open_alerts", "Open alerts by kind and band", labels=["kind", "band"])
        total = np.zeros((len(KINDS), len(BANDS)), np.int64)
        for progress in list(self.partitions.values()):
            total += progress.machine.open_alerts()
        for kind, row in zip(KINDS, total.tolist(), strict=True):
            for band, count in list(zip(BANDS, row, strict=True))[1:]:
                family.add_metric([kind, band], count)
        return family

    def _latency(self) -> Metric:
        family = HistogramMetricFamily("pricelink_ingest_to_alert_seconds", "From append to the alert's acks")
        cumulated = np.cumsum(self.latency_counts).tolist()
        bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
        family.add_metric([], buckets=list(zip(bounds, cumulated, strict=True)), sum_value=self.latency_sum_ms / 1000)
        return family

    def _per_partition(self) -> Iterable[Metric]:
        now_ms, now = self._now_ms(), time.monotonic()
        lag = GaugeMetricFamily("pricelink_lag_records", "Messages that wait", labels=["partition"])
        behind = GaugeMetricFamily("pricelink_lag_seconds", "Age of the newest message applied", labels=["partition"])
        age = GaugeMetricFamily("pricelink_checkpoint_age_seconds", "Since the last checkpoint", labels=["partition"])
        applied = GaugeMetricFamily("pricelink_applied_offset", "Next offset of feeds to apply", labels=["partition"])
        for number, progress in sorted(self.partitions.items()):
            applied.add_metric([str(number)], progress.position)
            lag.add_metric([str(number)], progress.lag_records)
            behind.add_metric([str(number)], progress.lag_s(now_ms))
            age.add_metric([str(number)], now - progress.checkpoint_at)
        return lag, behind, age, applied


def _counter(name: str, about: str, label: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _counters(
    name: str, about: str, labels: dict[str, tuple[str, ...]], counts: npt.NDArray[np.int64]
) -> CounterMetricFamily:
    """``labels``: the two labels and their values, in the order of the rows and columns of ``counts``."""
    family = CounterMetricFamily(name, about, labels=list(labels))
    rows, columns = labels.values()
    for row, numbers in zip(rows, counts.tolist(), strict=True):
        for column, count in zip(columns, numbers, strict=True):
            family.add_metric([row, column], count)
    return family
