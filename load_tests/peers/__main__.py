"""The same task for every engine in turn, on one broker: ``make peers``, or ``python -m load_tests.peers --help``."""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import config.jit  # noqa: F401  (before the first kernel)
from agents.real_kafka import RealKafka
from load_tests.core import add_load_arguments, load_of
from load_tests.generate import Load
from load_tests.harness import BenchFault
from load_tests.peers.engines import ENGINES, Engine, LeftOut
from load_tests.peers.measure import Broker, catch_up, latency
from load_tests.peers.report import table
from load_tests.report import commit, machine

RESULTS: Final = Path(__file__).resolve().parent.parent / "results" / "peers.json"
_BACK_MS: Final = 300_000


def main() -> int:
    """Measures, prints the table, writes the results; returns 1 where an answer is wrong, 2 where an engine failed."""
    options = _options()
    chosen = [engine for engine in ENGINES if not options.only or engine.name in options.only]
    load = replace(load_of(options), lines_per_message=1, start_ms=time.time_ns() // 1_000_000 - _BACK_MS)
    result: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "broker": "embedded" if options.embedded else "kafka",
        "market": load.market,
        "provinces": load.provinces,
        "partitions": load.partitions,
        "engines": {},
    }
    with _broker(options) as broker:
        for engine in chosen:
            result["engines"][engine.name] = _measure(engine, load, broker, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    found = result["engines"].values()
    if any(part.get("difference") for row in found for part in row.values() if isinstance(part, dict)):
        return 1
    return 2 if any("failed" in row for row in found) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    parser.set_defaults(records=2_000_000)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--kafka", metavar="HOST:PORT", help="a Kafka without topics of ours; default: one of our own")
    where.add_argument("--embedded", action="store_true", help="the embedded broker, for the engines that can use it")
    parser.add_argument("--only", nargs="*", choices=[engine.name for engine in ENGINES], help="these engines alone")
    parser.add_argument("--rate", type=int, default=2_000, help="records a second of the latency run")
    parser.add_argument("--latency-seconds", type=float, default=20.0)
    parser.add_argument("--latency-products", type=int, default=5_000)
    parser.add_argument("--skip", nargs="*", choices=("catch-up", "latency"), default=[])
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


@contextlib.contextmanager
def _broker(options: argparse.Namespace) -> Iterator[Broker]:
    if options.embedded:
        yield Broker()
    elif options.kafka:
        yield Broker(options.kafka)
    else:
        with tempfile.TemporaryDirectory(prefix="pricelink-peers-kafka-") as folder, RealKafka(Path(folder)) as kafka:
            yield Broker(kafka.bootstrap, kafka.pid)


def _measure(engine: Engine, load: Load, broker: Broker, options: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = {"how": engine.how, "crash": engine.crash}
    if engine.kafka_only and broker.address is None:
        return row | {
            "left_out": "its clients want what the embedded broker has not: transactions, idempotence, or groups"
        }
    try:
        _say(f"{engine.name}: making it ready")
        engine.command()
        part = replace(load, products=load.products // engine.divisor, records=load.records // engine.divisor)
        if "catch-up" not in options.skip:
            _say(f"{engine.name}: catch-up, {part.records:,} records")
            row["catch_up"] = catch_up(engine, part, broker)
        if "latency" not in options.skip:
            few = replace(load, products=max(options.latency_products // engine.divisor, 100))
            _say(f"{engine.name}: latency at {options.rate:,} records/s for {options.latency_seconds:.0f} s")
            row["latency"] = latency(engine, few, broker, options.rate, options.latency_seconds)
    except LeftOut as reason:
        row["left_out"] = str(reason)
    except (BenchFault, TimeoutError) as fault:
        row["failed"] = str(fault)
        _say(f"{engine.name}: {fault}")
    return row


def _say(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
