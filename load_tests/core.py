"""How fast the scanner and the machine are without a broker: ``python -m load_tests.core --market storm``.

Prints one JSON object. ``events_per_record`` counts alerts and price changes; ``eventful_share`` is the share of the
records that gave at least one, known where a message is one record (``--lines 1``). Only time in ``Machine.apply`` counts.
The policy is the default one.
"""

import argparse
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

import config.jit  # noqa: F401  (before the first kernel)
from load_tests.generate import Load, batches
from schemas.batches import Effects


@dataclass(slots=True)
class Tally:
    """What the applied batches caused."""

    records: int = 0
    dead_letters: int = 0
    alerts: int = 0
    price_changes: int = 0
    eventful: int = 0
    event_bytes: int = 0
    stale: int = 0

    def add(self, effects: Effects) -> None:
        """Counts one batch."""
        self.records += effects.records
        self.dead_letters += len(effects.dead_letters)
        self.alerts += len(effects.alerts.table)
        self.price_changes += len(effects.price_changes.table)
        moved = np.concatenate([effects.alerts.table["offset"], effects.price_changes.table["offset"]])
        self.eventful += len(np.unique(moved))
        self.event_bytes += len(effects.alerts.data) + len(effects.price_changes.data)
        self.stale += int(effects.outcomes[:, 1].sum())


def measure_scan(load: Load) -> dict[str, Any]:
    """Returns records and bytes a second of the scanner alone."""
    from schemas.scanner import scan

    for batch in batches(_warm_up(load)):
        scan(batch)
    spent = cpu_s = 0.0
    records = size = 0
    for batch in batches(load):
        started, started_cpu = time.perf_counter(), time.process_time()
        scanned = scan(batch)
        spent += time.perf_counter() - started
        cpu_s += time.process_time() - started_cpu
        records += len(scanned.records)
        size += len(batch.data)
    return {
        "records": records,
        "records_per_s": round(records / spent),
        "records_per_cpu_s": round(records / cpu_s),
        "mb_per_s": round(size / spent / 1e6),
    }


def measure_machine(load: Load, checkpoint_every: int = 0, uncounted: int = 0) -> dict[str, Any]:
    """Returns records a second of scanner and machine together, and what came out.

    Args:
        load: the log.
        checkpoint_every: a checkpoint after so many batches of a partition is timed, too; 0: none.
        uncounted: so many records at the beginning are applied before the clock starts.
    """
    from schemas.policy import Policy, load_policy
    from streams.machine import Machine

    policy = load_policy(b"{}")
    assert isinstance(policy, Policy)
    warm = [Machine(partition, load.partitions, policy) for partition in range(load.partitions)]
    for batch in batches(_warm_up(load)):
        warm[batch.partition].apply(batch)
    del warm
    machines = [Machine(partition, load.partitions, policy) for partition in range(load.partitions)]
    tally = Tally()
    spent = cpu_s = checkpoint_s = slowest_s = 0.0
    rows = row_bytes = 0
    applied = [0] * load.partitions
    passed = 0
    for batch in batches(load):
        machine = machines[batch.partition]
        started, started_cpu = time.perf_counter(), time.process_time()
        effects = machine.apply(batch)
        if passed < uncounted:
            passed += effects.records
            continue
        took = time.perf_counter() - started
        cpu_s += time.process_time() - started_cpu
        spent += took
        slowest_s = max(slowest_s, took)
        tally.add(effects)
        applied[batch.partition] += 1
        if checkpoint_every and applied[batch.partition] % checkpoint_every == 0:
            started = time.perf_counter()
            state = machine.checkpoint(int(batch.messages[-1]["offset"]) + 1)
            checkpoint_s += time.perf_counter() - started
            rows += len(state.spans)
            row_bytes += len(state.data)
    events = tally.alerts + tally.price_changes
    return {
        "records": tally.records,
        "records_per_s": round(tally.records / spent),
        "records_per_cpu_s": round(tally.records / cpu_s),
        "slowest_batch_ms": round(slowest_s * 1000, 1),
        "alerts": tally.alerts,
        "price_changes": tally.price_changes,
        "events_per_record": round(events / tally.records, 4),
        "eventful_share": round(tally.eventful / tally.records, 4) if load.lines_per_message == 1 else None,
        "mean_event_bytes": round(tally.event_bytes / events) if events else 0,
        "stale": tally.stale,
        "dead_letters": tally.dead_letters,
        "checkpoint_s": round(checkpoint_s, 3),
        "checkpoint_rows": rows,
        "checkpoint_mb": round(row_bytes / 1e6, 1),
    }


def _warm_up(load: Load) -> Load:
    return Load(
        products=200,
        provinces=load.provinces,
        records=min(200 * load.provinces * 3, load.records),
        partitions=load.partitions,
        market=load.market,
        seed=load.seed + 1000,
        lines_per_message=load.lines_per_message,
        odd_share=load.odd_share,
        pace_ms=load.pace_ms,
    )


def add_load_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say what log to make."""
    parser.add_argument("--products", type=int, default=50_000)
    parser.add_argument("--provinces", type=int, default=32)
    parser.add_argument("--records", type=int, default=2_400_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--market", choices=("calm", "storm", "mixed", "orders"), default="calm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lines", type=int, default=500, help="records a message")
    parser.add_argument("--pace", type=int, default=0, help="ms of the log's time between records; 0: 100 a ms")
    parser.add_argument("--odd", type=float, default=0.0, help="share of lines that the fast scanner hands over")


def load_of(options: argparse.Namespace) -> Load:
    """Returns the log that the options ask for."""
    return Load(
        pace_ms=options.pace,
        products=options.products,
        provinces=options.provinces,
        records=options.records,
        partitions=options.partitions,
        market=options.market,
        seed=options.seed,
        lines_per_message=options.lines,
        odd_share=options.odd,
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    parser.add_argument("--scan-only", action="store_true")
    parser.add_argument("--checkpoint-every", type=int, default=0, help="batches between checkpoints; 0: none")
    options = parser.parse_args()
    load = load_of(options)
    result: dict[str, Any] = {"market": load.market, "lines_per_message": load.lines_per_message}
    result["scan"] = measure_scan(load)
    if not options.scan_only:
        result["machine"] = measure_machine(load, options.checkpoint_every)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
