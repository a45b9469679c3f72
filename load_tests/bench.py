"""Throughput and latency on this machine: ``make bench``, or ``python -m load_tests.bench --help``.

Catch-up (``load_tests.catchup``) with packed messages, with a record a message, in a storm, with 1 % odd lines, with
orders between the quotes and alone; latency at two rates. Every event is compared with what the machine makes of the same log offline, and the machine with
the naive twin on a small log of the same kind.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import config.jit  # noqa: F401  (before the first kernel)
from load_tests import bars
from load_tests.catchup import CATCHUP_S, catchup
from load_tests.core import add_load_arguments, load_of
from load_tests.expected import POLICY, batch_of, check_against_naive, outputs_of
from load_tests.generate import Load
from load_tests.harness import OWN_KAFKA, BenchFault, Worker, fill, read_outputs, surroundings, usage
from load_tests.latency import SplitLog, measure
from load_tests.report import RESULTS, heading, save, say
from schemas.batches import Batch

_BACK_MS: Final = 120_000
_MESSAGES_A_BATCH: Final = 40
_ODD_SHARE: Final = 0.01
_PARTS: Final = ("naive", "packed", "odd", "single", "storm", "mixed", "orders", "latency")
_PACE_MS: Final = 200
"""Between two records of orders: alone they give events only where time passes, and what was ordered falls due. So
2,000,000 records are 4.6 days, in which one record in seven gives an event."""


def latency(load: Load, kafka: str | None, rate: int, seconds: float) -> dict[str, Any]:
    """Returns the latency at ``rate``, the market listed beforehand."""
    log = SplitLog(load, int(rate * seconds))
    tail = log.tail()
    expected = outputs_of(split_batches(log, tail), load.partitions)
    with surroundings(kafka, load.partitions, POLICY) as settings:
        fill(settings, log.head(), "lz4")
        with Worker(settings) as worker:
            worker.wait_for_records(log.listings, CATCHUP_S)
            time.sleep(2)
            before = usage(worker.pid)
            found = measure(settings, tail, rate)
            used = usage(worker.pid)
            worker.wait_for_records(log.listings + len(tail), CATCHUP_S)
            worker.stop()
        outputs = read_outputs(settings).outputs
    return {
        **asdict(found),
        "market": load.market,
        "worker_cpu_share": round((used.cpu_s - before.cpu_s) / seconds, 3),
        "difference": expected.difference(outputs),
    }


def split_batches(log: SplitLog, tail: list[tuple[int, bytes]]) -> Iterator[Batch]:
    """Yields a split log as batches, offsets from 0."""
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


def started_now(load: Load) -> Load:
    """Returns a log whose time ends a little before now, so that no record is from the future."""
    return replace(load, start_ms=time.time_ns() // 1_000_000 - _BACK_MS - (load.last_ms - load.start_ms))


def add_broker_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the option that says on which broker to measure."""
    parser.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        help=f"a Kafka without topics of ours, or `{OWN_KAFKA}` to start one (Java, Maven); default: embedded broker",
    )


def main() -> int:
    """Measures, prints, writes load_tests/results/latest.json; returns 1 where outputs differ or something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    add_broker_argument(parser)
    parser.set_defaults(records=5_600_000)
    parser.add_argument("--single-records", type=int, default=3_600_000, help="of the catch-up with single messages")
    parser.add_argument("--storm-records", type=int, default=3_200_000, help="of the catch-up in a storm")
    parser.add_argument("--traded-records", type=int, default=2_000_000, help="of mixed and orders")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the partitions in a catch-up")
    parser.add_argument("--single-workers", type=int, help="the same with single messages; default: as --workers")
    parser.add_argument("--latency-rates", type=int, nargs="*", default=[2_000, 20_000], help="records a second")
    parser.add_argument("--latency-seconds", type=float, default=20.0)
    parser.add_argument("--skip", nargs="*", choices=_PARTS, default=[])
    parser.add_argument("--out", type=Path, help="default: latest.json, on a Kafka kafka.json")
    options = parser.parse_args()
    load = started_now(load_of(options))
    result = heading("kafka" if options.kafka else "embedded") | {
        "products": load.products,
        "provinces": load.provinces,
        "partitions": load.partitions,
        "workers": options.workers,
    }
    differences = _measure_all(options, load, result)
    result["outputs_exact"] = not differences
    result["differences"] = differences
    save(options.out or RESULTS / ("kafka.json" if options.kafka else "latest.json"), result)
    print(bars.table())
    return 1 if differences else 0


def _measure_all(options: argparse.Namespace, load: Load, result: dict[str, Any]) -> list[str]:
    differences = []

    def note(part: str, name: str, about: str, figures: Callable[[], dict[str, Any]]) -> bool:
        if part in options.skip:
            return False
        say(f"bench: {about}")
        try:
            result[name] = figures()
        except BenchFault as fault:  # the others can be measured all the same
            differences.append(f"{name}: {fault}")
            return False
        if result[name]["difference"]:
            differences.append(f"{name}: {result[name]['difference']}")
        return True

    odd = replace(load, odd_share=_ODD_SHARE)
    single = replace(load, records=options.single_records, lines_per_message=1)
    storm = replace(load, records=options.storm_records, market="storm")
    mixed = replace(load, records=options.traded_records, market="mixed")
    orders = started_now(replace(load, records=options.traded_records, market="orders", pace_ms=_PACE_MS))
    for name, log, compression, key in (
        ("packed", load, "lz4", "catchup_packed"),
        ("odd", odd, "lz4", "catchup_odd"),
        ("single", single, None, "catchup_single"),
        ("storm", storm, "lz4", "catchup_storm"),
        ("mixed", mixed, "lz4", "catchup_mixed"),
        ("orders", orders, "lz4", "catchup_orders"),
    ):
        about = f"{log.records:,} records, {log.lines_per_message} a message, {log.market}, {log.odd_share:.0%} odd"

        def naive(log: Load = log) -> dict[str, Any]:
            return {"difference": check_against_naive(log)}

        workers = (name == "single" and options.single_workers) or options.workers

        def whole(log: Load = log, compression: str | None = compression, workers: int = workers) -> dict[str, Any]:
            return catchup(log, options.kafka, compression, workers)

        if name not in options.skip:
            note("naive", f"naive_{name}", f"the machine against the naive twin, like {name}", naive)
        if note(name, name, f"catch-up, {about}", whole):
            result[f"{key}_records_per_s"] = result[name]["records_per_s"]
    for rate in options.latency_rates:

        def late(rate: int = rate) -> dict[str, Any]:
            return latency(load, options.kafka, rate, options.latency_seconds)

        if note("latency", f"latency_{rate}", f"latency at {rate:,}/s for {options.latency_seconds:.0f} s", late):
            for name in ("p50_ms", "p99_ms"):
                result[f"latency_{rate}_{name}"] = result[f"latency_{rate}"][name]
    return differences


if __name__ == "__main__":
    sys.exit(main())
