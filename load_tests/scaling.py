"""What a record costs with 1, 2 and 4 workers on 8 partitions: ``python -m load_tests.scaling``.

Workers share nothing but the broker: so a record's processor time must stay the same. Records a second only grow while
there are cores for the workers and the broker; the results say how many there were.
"""

import argparse
import sys
from pathlib import Path

import config.jit  # noqa: F401  (before the first kernel)
from load_tests import bars
from load_tests.bench import add_broker_argument, started_now
from load_tests.catchup import catchup
from load_tests.core import add_load_arguments, load_of
from load_tests.harness import BenchFault
from load_tests.report import RESULTS, heading, save, say


def main() -> int:
    """Measures, prints, writes load_tests/results/scaling.json; returns 1 where outputs are not exact."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    add_broker_argument(parser)
    parser.set_defaults(partitions=8, records=5_600_000)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--out", type=Path, help="default: scaling.json, on a Kafka scaling-kafka.json")
    options = parser.parse_args()
    load = started_now(load_of(options))
    result = heading("kafka" if options.kafka else "embedded")
    runs = []
    try:
        for workers in options.workers:
            say(f"scaling: {workers} workers on {load.partitions} partitions, {load.records:,} records")
            runs.append(catchup(load, options.kafka, "lz4", workers))
    except BenchFault as fault:
        print(fault, file=sys.stderr)
        return 2
    result |= {"runs": runs, "outputs_exact": all(run["difference"] is None for run in runs)}
    save(options.out or RESULTS / ("scaling-kafka.json" if options.kafka else "scaling.json"), result)
    print("| workers | records/s | worker CPU µs/record | broker CPU µs/record | largest worker MB |")
    print("|---|---|---|---|---|")
    for run in runs:
        costs = f"{run['worker_cpu_us_per_record']} | {run['broker_cpu_us_per_record'] or ''}"
        print(f"| {run['workers']} | {run['records_per_s']:,} | {costs} | {run['worker_peak_mb']} |")
    print(bars.table())
    return int(not result["outputs_exact"])


if __name__ == "__main__":
    sys.exit(main())
