"""From what was measured here to a whole country: 15 million slots, 100 partitions. Every figure is an input shown."""

from collections.abc import Iterator
from typing import Any, Final

SLOTS: Final = 15_000_000
PARTITIONS: Final = 100
BURST_RECORDS: Final = 5_000_000
"""A contract starts everywhere on one day."""
LOG_RECORDS: Final = 2_000_000_000
"""A year of five million records a day, read again from its beginning."""


def projection(found: dict[str, Any]) -> str:
    """Returns the arithmetic in Markdown, from the results that are there."""
    return "\n".join(_lines(found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    source = next(
        (name for name in ("kafka", "latest") if "worker_cpu_us_per_record" in found.get(name, {}).get("packed", {})),
        None,
    )
    if source is None:
        yield "Not measured yet: `make bench`."
        return
    packed = found[source]["packed"]
    worker_us = packed["worker_cpu_us_per_record"]
    broker_us = packed["broker_cpu_us_per_record"]
    broker = "Kafka" if source == "kafka" else "the embedded broker"
    per_core = 1e6 / worker_us
    yield f"Inputs: a worker takes {worker_us:.2f} µs of CPU a record, {broker} {broker_us or 0:.2f} µs (packed, calm)."
    yield ""
    yield "| question | arithmetic | answer |"
    yield "|---|---|---|"
    yield f"| slots a partition | {SLOTS:,} ÷ {PARTITIONS} | {SLOTS // PARTITIONS:,} |"
    memory = found.get("memory", {}).get("grown", {}).get("bytes_per_slot")
    if memory:
        yield f"| memory of all slots | {SLOTS:,} × {memory:.0f} bytes | {SLOTS * memory / 1e9:.1f} GB in all workers together |"
    yield f"| records/s one core of workers takes | 1 ÷ {worker_us:.2f} µs | {per_core:,.0f} |"
    yield (
        f"| a burst of {BURST_RECORDS:,} on one core of workers | {BURST_RECORDS:,} ÷ {per_core:,.0f}/s "
        f"| {BURST_RECORDS / per_core:.1f} s |"
    )
    yield (
        f"| listing all {SLOTS:,} anew, 10 cores | {SLOTS:,} ÷ (10 × {per_core:,.0f}/s) | {SLOTS / per_core / 10:.1f} s |"
    )
    hours = LOG_RECORDS / per_core / 10 / 3600
    yield f"| a log of {LOG_RECORDS:,} again, 10 cores | {LOG_RECORDS:,} ÷ (10 × {per_core:,.0f}/s) | {hours:.2f} h |"
    if broker_us:
        yield (
            f"| broker cores that go with 10 of workers | 10 × {broker_us:.2f} ÷ {worker_us:.2f} "
            f"| {10 * broker_us / worker_us:.1f} |"
        )
    growth = found.get("growth", {}).get("products", [])
    if len(growth) > 1:
        first, last = growth[0], growth[-1]
        yield (
            f"| a record at {last['slots']:,} slots in one machine, against {first['slots']:,} "
            f"| {last['cpu_us_per_record']:.2f} ÷ {first['cpu_us_per_record']:.2f} µs "
            f"| {last['cpu_us_per_record'] / first['cpu_us_per_record']:.2f} times |"
        )
