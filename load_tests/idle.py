"""What a worker burns while nothing comes but the clock's ticks: ``python -m load_tests.idle``.

A worker catches up with a small market, then the clock ticks every partition once a second and that is all. Processor
time is read from /proc, of the process and of each of its threads; ``worker_cpu_share`` 0.05 is 5 % of a core.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import config.jit  # noqa: F401  (before the first kernel)
from load_tests import bars
from load_tests.bench import add_broker_argument, started_now
from load_tests.catchup import CATCHUP_S
from load_tests.core import add_load_arguments, load_of
from load_tests.expected import POLICY
from load_tests.generate import Load, messages
from load_tests.harness import Process, Worker, fill, surroundings, usage
from load_tests.report import RESULTS, heading, save

_TICKS_A_S: Final = os.sysconf("SC_CLK_TCK")
_CALM_DOWN_S: Final = 5.0


def idle(load: Load, kafka: str | None, seconds: float) -> dict[str, Any]:
    """Returns the processor shares of an idle worker, a clock and their threads over ``seconds``."""
    listed = replace(load, records=load.products * load.provinces)
    with surroundings(kafka, load.partitions, POLICY) as settings:
        fill(settings, messages(listed), "lz4")
        with Worker(settings) as worker:
            worker.wait_for_records(listed.records, CATCHUP_S)
            with Process(settings, "clock") as clock:
                while not clock.lines("ticking"):
                    clock.check()
                    time.sleep(0.1)
                time.sleep(_CALM_DOWN_S)
                records = worker.status()["records_total"]
                before, clock_before, threads = usage(worker.pid), usage(clock.pid), _threads(worker.pid)
                began = time.monotonic()
                time.sleep(seconds)
                took_s = time.monotonic() - began
                after, clock_after, threads_after = usage(worker.pid), usage(clock.pid), _threads(worker.pid)
                ticks = worker.status()["records_total"] - records
                clock.stop()
            worker.stop()
    shares = {
        thread: round((cpu_s - threads.get(thread, 0.0)) / took_s, 4)
        for thread, cpu_s in threads_after.items()
        if cpu_s > threads.get(thread, 0.0)
    }
    return {
        "seconds": round(took_s, 1),
        "partitions": load.partitions,
        "ticks_applied": ticks,
        "worker_cpu_share": round((after.cpu_s - before.cpu_s) / took_s, 4),
        "clock_cpu_share": round((clock_after.cpu_s - clock_before.cpu_s) / took_s, 4),
        "worker_threads": dict(sorted(shares.items(), key=lambda one: -one[1])),
    }


def _threads(pid: int) -> dict[str, float]:
    """Returns the processor seconds of each thread; the first is the event loop's, by the order of their start."""
    found = {}
    for number, folder in enumerate(sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda one: int(one.name))):
        name, rest = (folder / "stat").read_text().rsplit(")", 1)
        fields = rest.split()
        found[f"{number}:{name.split('(', 1)[1]}"] = (int(fields[11]) + int(fields[12])) / _TICKS_A_S
    return found


def main() -> int:
    """Measures, prints, writes load_tests/results/idle.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    add_broker_argument(parser)
    parser.set_defaults(products=1_000, provinces=8)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, help="default: idle.json, on a Kafka idle-kafka.json")
    options = parser.parse_args()
    result = heading("kafka" if options.kafka else "embedded")
    result |= idle(started_now(load_of(options)), options.kafka, options.seconds)
    save(options.out or RESULTS / ("idle-kafka.json" if options.kafka else "idle.json"), result)
    print(bars.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
