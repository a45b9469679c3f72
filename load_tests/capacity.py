"""How large it has to be: ``python -m load_tests.capacity`` writes docs/capacity.md and its plot from load_tests/results.

Every figure is an input with the file that it is from, or an assumption that is named as one; the rest is arithmetic.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from load_tests.bars import Results, results
from load_tests.harness import PROJECT
from load_tests.projection import SLOTS

PAGE: Final = PROJECT / "docs" / "capacity.md"
PLOT: Final = PROJECT / "docs" / "capacity.svg"

PROVINCES: Final = 32
DAY_S: Final = 86_400
BUSY_S: Final = 3_600
"""A day's records come within an hour: platforms export in the morning."""
BURST_S: Final = 60
"""A whole day's records at once, as when a contract starts, shall be through in a minute."""
STEADY_PER_S: Final = 2_000
"""Below this rate records come one by one, and each costs a fetch, a batch and an answer of its own."""
REPLICAS: Final = 3
YEAR: Final = 365
EVENT_READERS: Final = 5
"""Read model, scorecards, notifier, two gateways."""
LOG_READERS: Final = 3
"""Worker, silence, scorecards."""
CORE_SHARE: Final = 0.5
"""How much of a core is used on purpose."""
HOST_GB: Final = 64
DISK_GB: Final = 4_000
RESTORE_S: Final = 10
ONE_PROCESS_PER_S: Final = 10_000
"""Assumed of read model, listings and notifier, which do not share their work."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What is to be carried: live (product, province) slots, records a day, partitions."""

    name: str
    slots: int
    records_a_day: int
    partitions: int


SCALES: Final = (
    Scale("one province", SLOTS // PROVINCES, 5_000_000 // PROVINCES, 4),
    Scale("ten provinces", SLOTS * 10 // PROVINCES, 5_000_000 * 10 // PROVINCES, 32),
    Scale("the nation", SLOTS, 5_000_000, 100),
    Scale("the nation × 100", SLOTS * 100, 500_000_000, 1_000),
)


@dataclass(frozen=True, slots=True)
class Input:
    """A figure and where it is from."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one record, event, slot costs."""

    worker_us: Input
    steady_cores: Input
    broker_us: Input
    gateway_us: Input
    record_bytes: Input
    disk_record_bytes: Input
    events_per_record: Input
    event_bytes: Input
    disk_event_bytes: Input
    slot_bytes: Input
    row_bytes: Input
    restore_slots_per_s: Input
    process_mb: Input
    redis_bytes: Input


ABOUT: Final = {
    "worker_us": "µs of CPU a record, worker",
    "steady_cores": "cores of a worker that gets 2,000 records a second one by one",
    "broker_us": "µs of CPU a record, broker, events included",
    "gateway_us": "µs of CPU a record, gateway",
    "record_bytes": "bytes a record",
    "disk_record_bytes": "bytes a record on the broker's disk, not compressed",
    "events_per_record": "events a record, calm market",
    "event_bytes": "bytes an event",
    "disk_event_bytes": "bytes an event on the broker's disk, lz4",
    "slot_bytes": "bytes a slot in a worker's memory",
    "row_bytes": "bytes a slot in the state topic",
    "restore_slots_per_s": "slots a second that one worker restores",
    "process_mb": "MB of a process that has nothing",
    "redis_bytes": "bytes a slot in Redis",
}


def inputs(found: Results) -> Inputs:
    """Returns the inputs from results; what was not measured is an assumption, and says so."""
    name = "kafka" if "packed" in found.get("kafka", {}) else "latest"
    packed: dict[str, Any] = found.get(name, {}).get("packed", {})
    cycle: dict[str, Any] = found.get("life_cycle", {})
    memory: dict[str, Any] = found.get("memory", {})
    records = packed.get("records")

    def take(value: float | None, source: str, assumed: float) -> Input:
        return Input(assumed, "assumed") if value is None else Input(float(value), source)

    worker_us = packed.get("worker_cpu_us_per_record")
    if worker_us is None and records:
        worker_us = packed["worker_cpu_s"] * 1e6 / records
    disk, messages = cycle.get("disk_bytes", {}), cycle.get("messages", {})
    restored = memory.get("restored", {})
    slots = memory.get("packed", {}).get("slots")
    return Inputs(
        worker_us=take(worker_us, f"{name}.json", 4.0),
        steady_cores=take(found.get(name, {}).get("latency_2000", {}).get("worker_cpu_share"), f"{name}.json", 0.3),
        broker_us=take(packed.get("broker_cpu_us_per_record"), f"{name}.json", 4.0),
        gateway_us=take(found.get("ingest", {}).get("gateway_cpu_us_per_record"), "ingest.json", 2.2),
        record_bytes=take(packed["mb"] * 1e6 / records if records else None, f"{name}.json", 172),
        disk_record_bytes=take(disk["feeds"] / cycle["records"] if disk else None, "life_cycle.json", 200),
        events_per_record=take(packed.get("events_per_record"), f"{name}.json", 0.05),
        event_bytes=take(packed.get("mean_event_bytes"), f"{name}.json", 600),
        disk_event_bytes=take(disk["alerts"] / messages["alerts"] if disk else None, "life_cycle.json", 200),
        slot_bytes=take(memory.get("grown", {}).get("bytes_per_slot"), "memory.json", 96),
        row_bytes=Input(110, "assumed: a listing is 74 bytes, a product's own 130 are shared by its provinces"),
        restore_slots_per_s=take(slots / restored["seconds"] if slots and restored.get("seconds") else None,
                                 "memory.json, without the broker", 2_000_000),
        process_mb=Input(300, "assumed: what every worker of the measurements has before its first record"),
        redis_bytes=Input(150, "assumed"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Need:
    """What a scale needs. Cores are whole processors' shares; memory, disk and network of all machines together."""

    busy_per_s: float
    worker_cores: float
    burst_cores: float
    broker_cores: float
    gateway_cores: float
    workers: int
    worker_memory_gb: float
    slots_a_partition: float
    restore_s: float
    log_gb_a_year: float
    events_gb_kept: float
    state_gb: float
    network_mb_per_s: float
    events_per_s: float
    redis_gb: float


def need(scale: Scale, given: Inputs) -> Need:
    """Returns the arithmetic for one scale."""
    rate = scale.records_a_day / BUSY_S
    burst_cores = scale.records_a_day * given.worker_us.value / 1e6 / BURST_S
    memory_gb = scale.slots * given.slot_bytes.value / 1e9
    steady = min(rate / STEADY_PER_S, 1) * given.steady_cores.value
    worker_cores = (steady + max(rate - STEADY_PER_S, 0) * given.worker_us.value / 1e6) / CORE_SHARE
    # As many as cores want for a burst, or as memory wants, two at least: one may die.
    workers = max(2, -(-int(burst_cores * 100) // 100), -(-int(memory_gb * 1.5) // (HOST_GB // 2)))
    events = rate * given.events_per_record.value
    event_bytes = given.event_bytes.value * given.events_per_record.value
    traffic = given.record_bytes.value * (REPLICAS + LOG_READERS) + event_bytes * (REPLICAS + EVENT_READERS)
    return Need(
        busy_per_s=rate,
        worker_cores=worker_cores,
        burst_cores=burst_cores,
        broker_cores=rate * given.broker_us.value / 1e6 / CORE_SHARE * REPLICAS,
        gateway_cores=rate * given.gateway_us.value / 1e6 / CORE_SHARE,
        workers=workers,
        worker_memory_gb=memory_gb + workers * given.process_mb.value / 1e3,
        slots_a_partition=scale.slots / scale.partitions,
        restore_s=scale.slots / workers / given.restore_slots_per_s.value,
        log_gb_a_year=scale.records_a_day * YEAR * given.disk_record_bytes.value / 1e9 * REPLICAS,
        events_gb_kept=scale.records_a_day
        * 400
        * given.events_per_record.value
        * given.disk_event_bytes.value
        / 1e9
        * REPLICAS,
        state_gb=scale.slots * given.row_bytes.value * 2 / 1e9 * REPLICAS,
        network_mb_per_s=rate * traffic / 1e6,
        events_per_s=events,
        redis_gb=scale.slots * given.redis_bytes.value / 1e9,
    )


def shares(scale: Scale, found: Need) -> dict[str, float]:
    """Returns how much of what cannot simply be had more of is used, by its name; 1 is all of it."""
    return {
        "a burst, one core a partition": found.burst_cores / scale.partitions,
        f"Redis, one host of {HOST_GB} GB": found.redis_gb / HOST_GB,
        f"restoring within {RESTORE_S} s": found.restore_s / RESTORE_S,
        f"a year's feeds on three disks of {DISK_GB / 1000:.0f} TB": found.log_gb_a_year / REPLICAS / DISK_GB,
        "network of three brokers, 1 Gbit/s each": found.network_mb_per_s / REPLICAS / 125,
        "processes that are one by design, 10,000 events/s": found.events_per_s / ONE_PROCESS_PER_S,
    }


def breaks_first(scale: Scale, found: Need) -> str:
    """Returns what the scale runs into, the most used first: all that is too much, or the two nearest to it."""
    ranked = sorted(shares(scale, found).items(), key=lambda each: -each[1])
    count = max(2, sum(share > 1 for _, share in ranked))
    return "; ".join(f"{name}: {share:.0%}" for name, share in ranked[:count])


def page(found: Results) -> Iterator[str]:
    """Yields the page's lines."""
    given = inputs(found)
    needs = [need(scale, given) for scale in SCALES]
    yield "# Capacity"
    yield ""
    yield "Written by `python -m load_tests.capacity` from [load_tests/results](../load_tests/results): change it there. How it was measured: [performance.md](performance.md)."
    yield ""
    yield "## What one thing costs"
    yield ""
    yield "| input | value | from |"
    yield "|---|---|---|"
    for each in fields(Inputs):
        value: Input = getattr(given, each.name)
        yield f"| {ABOUT[each.name]} | {_number(value.value)} | {value.source} |"
    yield ""
    yield "## What is needed"
    yield ""
    yield f"The nation: {SLOTS:,} slots (a product in a province that lists it), 5 million records a day, all within an hour of the morning. Cores are used to {CORE_SHARE:.0%}; "
    yield f"{REPLICAS} replicas; `feeds` for ever, events 400 days. *Breaks first*: how much is used of what cannot simply be had more of; at 100 % it is over."
    yield ""
    yield f"| | {' | '.join(scale.name for scale in SCALES)} |"
    yield f"|---|{'---|' * len(SCALES)}"
    yield from _table(needs)
    yield f"| **breaks first** | {' | '.join(breaks_first(scale, each) for scale, each in zip(SCALES, needs, strict=True))} |"
    yield ""
    yield f"![Cores and gigabytes by scale]({PLOT.name})"
    yield ""
    yield "## The formula"
    yield ""
    yield "With *r* records a second in the busy hour, *s* slots, *d* records a day, and the inputs above:"
    yield ""
    yield f"- worker cores = (the share of *r* in {STEADY_PER_S:,} × cores at {STEADY_PER_S:,} one by one, and what is above × µs a record ÷ 10⁶) ÷ {CORE_SHARE}; for a burst, *d* × µs ÷ 10⁶ ÷ {BURST_S} s. Workers share nothing, so cores add up, to one worker a partition"
    yield f"- broker cores = *r* × µs ÷ 10⁶ ÷ {CORE_SHARE} × {REPLICAS} replicas; gateway cores likewise, without replicas"
    yield "- workers: as many as a burst wants cores, as memory wants hosts, and two, as one may die"
    yield "- memory of workers = *s* × bytes a slot + workers × what a process has before its first record"
    yield f"- disk = *d* × {YEAR} × bytes a record on disk × {REPLICAS}, a year; events: *d* × 400 × events a record × bytes; state: *s* × bytes a row × 2 (versions until compaction) × {REPLICAS}"
    yield f"- network of the brokers = *r* × (bytes a record × ({REPLICAS} + {LOG_READERS} readers) + events × bytes × ({REPLICAS} + {EVENT_READERS} readers))"
    yield "- restore after a death = *s* ÷ workers ÷ slots a second: what the others read when all of one worker's partitions move"
    yield ""
    yield "Not in it: TLS (some 10 to 30 % of the broker's processor time), other tenants of the brokers, webhooks' own waiting (no processor), Prometheus. What was *assumed* becomes measured when its command has run."


def _table(needs: list[Need]) -> Iterator[str]:
    rows: tuple[tuple[str, str], ...] = (
        ("records/s in the busy hour", "busy_per_s"), ("events/s then", "events_per_s"), ("worker cores", "worker_cores"),
        ("worker cores, a day's records in a minute", "burst_cores"), ("broker cores, all replicas", "broker_cores"),
        ("gateway cores", "gateway_cores"), ("workers", "workers"), ("memory of all workers, GB", "worker_memory_gb"), ("memory of Redis, GB", "redis_gb"),
        ("slots a partition", "slots_a_partition"), ("restore after a death, s", "restore_s"),
        ("disk a year of `feeds`, GB", "log_gb_a_year"), ("disk of events, GB", "events_gb_kept"),
        ("disk of the state topic, GB", "state_gb"), ("network of the brokers, MB/s", "network_mb_per_s"),
    )  # fmt: skip
    for about, name in rows:
        yield f"| {about} | {' | '.join(_number(getattr(each, name)) for each in needs)} |"


def draw(found: Results) -> str:
    """Returns the plot: cores, memory, disk by slots, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    given = inputs(found)
    needs = [need(scale, given) for scale in SCALES]
    panels = (
        ("Cores", {"workers, busy hour": "worker_cores", "workers, a day in a minute": "burst_cores",
                   "brokers, busy hour": "broker_cores", "gateways, busy hour": "gateway_cores"}),
        ("Memory, GB", {"all workers": "worker_memory_gb", "Redis": "redis_gb"}),
        ("Disk with three replicas, GB", {"feeds, a year": "log_gb_a_year", "events": "events_gb_kept", "state topic": "state_gb"}),
    )  # fmt: skip
    with mpl.rc_context({"svg.hashsalt": "capacity", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(1, len(panels), figsize=(12, 3.8), layout="constrained")
        for axis, (title, lines) in zip(axes, panels, strict=True):
            for name, what in lines.items():
                axis.loglog(
                    [scale.slots for scale in SCALES], [getattr(each, what) for each in needs], "o-", label=name
                )
            axis.set_title(title)
            names = [scale.name.removeprefix("the ") for scale in SCALES]
            axis.set_xticks([scale.slots for scale in SCALES], names, rotation=20, ha="right")
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            axis.legend(frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        plt.close(figure)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    if value < 0.01:
        return "< 0.01"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def write(page_file: Path = PAGE, plot: Path = PLOT) -> None:
    """Writes page and plot from the results that are there."""
    found = results()
    page_file.write_text("\n".join(page(found)) + "\n")
    plot.write_text(draw(found))


if __name__ == "__main__":
    write()
