"""Throughput and latency on this machine: ``make bench``, or ``python -m load_tests.bench --help``.

Catch-up: feeds are filled with a whole log, then a worker starts and reads it all. Records a second count from when the
worker has its partitions to when the last event's batch is written. Every event is compared with what the machine makes
of the same log offline, and the machine with the naive twin on a small log.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import config.jit  # noqa: F401  (before the first kernel)
from load_tests.core import add_load_arguments, load_of
from load_tests.expected import POLICY, batch_of, check_against_naive, outputs_of
from load_tests.generate import Load, batches, messages
from load_tests.harness import PROJECT, BenchFault, Worker, fill, read_outputs, surroundings, usage
from load_tests.latency import SplitLog, measure
from schemas.batches import Batch

RESULTS: Final = Path(__file__).resolve().parent / "results"
TRADED: Final[tuple[tuple[Literal["mixed", "orders"], int], ...]] = (("mixed", 0), ("orders", 300))
"""Markets, and their pace: orders alone give events only where time passes, and what was ordered falls due."""
_CATCHUP_S: Final = 600.0
_BACK_MS: Final = 120_000
_MESSAGES_A_BATCH: Final = 40


def catchup(load: Load, kafka: str | None, compression: str | None) -> dict[str, Any]:
    """Returns one catch-up's figures; raises BenchFault where it cannot be measured."""
    expected = outputs_of(batches(load), load.partitions)
    with surroundings(kafka, load.partitions, POLICY) as settings:
        filled = fill(settings, messages(load), compression)
        with Worker(settings) as worker:
            worker.wait_for_records(load.records, _CATCHUP_S)
            used = usage(worker.process.pid)
            stopped_s = worker.stop()
            began_s = worker.restored_at()
        found = read_outputs(settings)
    seconds = found.last_ms / 1000 - began_s
    events = expected.alerts.events + expected.price_changes.events
    return {
        "records": load.records,
        "market": load.market,
        "lines_per_message": load.lines_per_message,
        "compression": compression,
        "messages": filled.messages,
        "mb": round(filled.size / 1e6, 1),
        "filled_records_per_s": round(load.records / filled.seconds),
        "seconds": round(seconds, 3),
        "records_per_s": round(load.records / seconds),
        "events": events,
        "events_per_record": round(events / load.records, 4),
        "mean_event_bytes": round((expected.alerts.size + expected.price_changes.size) / max(events, 1)),
        "worker_cpu_s": round(used.cpu_s, 2),
        "worker_peak_mb": round(used.peak_mb),
        "stop_s": round(stopped_s, 2),
        "difference": expected.difference(found.outputs),
    }


def latency(load: Load, kafka: str | None, rate: int, seconds: float) -> dict[str, Any]:
    """Returns the latency at ``rate``, the market listed beforehand."""
    log = SplitLog(load, int(rate * seconds))
    tail = log.tail()
    expected = outputs_of(_split_batches(log, tail), load.partitions)
    with surroundings(kafka, load.partitions, POLICY) as settings:
        fill(settings, log.head(), "lz4")
        with Worker(settings) as worker:
            worker.wait_for_records(log.listings, _CATCHUP_S)
            before = usage(worker.process.pid)
            time.sleep(2)
            found = measure(settings, tail, rate)
            used = usage(worker.process.pid)
            worker.wait_for_records(log.listings + len(tail), _CATCHUP_S)
            worker.stop()
        outputs = read_outputs(settings).outputs
    return {
        **asdict(found),
        "market": load.market,
        "worker_cpu_share": round((used.cpu_s - before.cpu_s) / seconds, 3),
        "difference": expected.difference(outputs),
    }


def _split_batches(log: SplitLog, tail: list[tuple[int, bytes]]) -> Iterator[Batch]:
    waiting: dict[int, list[bytes]] = {}
    offsets: dict[int, int] = {}

    def close(partition: int) -> Batch:
        values = waiting.pop(partition)
        offset = offsets.get(partition, 0)
        offsets[partition] = offset + len(values)
        return batch_of(partition, offset, values, 2**52)

    for source in (log.head(), tail):
        for partition, value in source:
            waiting.setdefault(partition, []).append(value)
            if len(waiting[partition]) >= _MESSAGES_A_BATCH:
                yield close(partition)
    for partition in sorted(waiting):
        yield close(partition)


def machine() -> dict[str, Any]:
    """Returns what it ran on."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory_gb, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Returns the commit, with a plus sign where the tree has changes of its own."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main() -> int:
    """Measures, prints, writes load_tests/results/latest.json; returns 1 where outputs are not exact."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    parser.set_defaults(records=4_000_000)
    parser.add_argument("--single-records", type=int, default=2_000_000, help="of the catch-up with single messages")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a Kafka without topics of ours; default: embedded broker")
    parser.add_argument("--latency-rates", type=int, nargs="*", default=[2_000], help="records a second")
    parser.add_argument("--latency-seconds", type=float, default=20.0)
    parser.add_argument("--skip", nargs="*", choices=("packed", "trade", "single", "latency", "naive"), default=[])
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.json")
    options = parser.parse_args()
    now_ms = time.time_ns() // 1_000_000
    load = replace(load_of(options), start_ms=now_ms - _BACK_MS)
    about = machine()
    result: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": about,
        "broker": "kafka" if options.kafka else "embedded",
        "products": load.products,
        "provinces": load.provinces,
        "partitions": load.partitions,
        "workers": 1,
    }
    try:
        differences = _measure_all(options, load, result)
    except BenchFault as fault:
        print(fault, file=sys.stderr)
        return 2
    result["outputs_exact"] = not differences
    result["differences"] = differences
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 1 if differences else 0


def _measure_all(options: argparse.Namespace, load: Load, result: dict[str, Any]) -> list[str]:
    differences = []

    def note(name: str, figures: dict[str, Any]) -> None:
        result[name] = figures
        if figures["difference"]:
            differences.append(f"{name}: {figures['difference']}")

    if "naive" not in options.skip:
        _say("the machine against the naive twin")
        note("naive_sample", {"difference": check_against_naive(load)})
    if "packed" not in options.skip:
        _say(f"catch-up, {load.records:,} records in messages of {load.lines_per_message}, {load.market}")
        note("packed", catchup(load, options.kafka, "lz4"))
        result["catchup_packed_records_per_s"] = result["packed"]["records_per_s"]
    for market, pace_ms in () if "trade" in options.skip else TRADED:
        traded = replace(load, market=market, pace_ms=pace_ms)
        _say(f"catch-up, {load.records:,} records in messages of {load.lines_per_message}, {market}")
        note(market, catchup(traded, options.kafka, "lz4"))
        result[f"catchup_{market}_records_per_s"] = result[market]["records_per_s"]
    if "single" not in options.skip:
        single = replace(load, records=options.single_records, lines_per_message=1)
        _say(f"catch-up, {single.records:,} records in messages of their own, {load.market}")
        note("single", catchup(single, options.kafka, None))
        result["catchup_single_records_per_s"] = result["single"]["records_per_s"]
    for rate in [] if "latency" in options.skip else options.latency_rates:
        _say(f"latency at {rate:,} records/s for {options.latency_seconds:.0f} s")
        note(f"latency_{rate}", latency(load, options.kafka, rate, options.latency_seconds))
        for name in ("p50_ms", "p99_ms"):
            result[f"latency_{rate}_{name}"] = result[f"latency_{rate}"][name]
    return differences


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
