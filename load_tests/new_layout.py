"""An upgrade to another layout of rows, and the way back: ``python -m load_tests.new_layout``, on an Apache Kafka of its own.

The next version is this source with a field more in every code's row, which its kernels write (when the lowest price last
changed), and the layout's number moved on; its kernels are compiled. Then as an operator would: the older version works; a worker of
the next one joins it by mistake; all are stopped; the next version rebuilds the state and works; the older one is started on its rows; it
rebuilds, and works. Everything is then compared with `pricelink replay`, and with rows as a machine has them that never
stopped. Writes load_tests/results/new_layout.json; exit code 1 where anything differs, or came twice.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agents.exits import CONFIG, OK
from agents.real_kafka import RealKafka
from agents.standing import admin_of, members
from config import jit
from config.topics import ALERTS, FEEDS
from load_tests.harness import PROJECT
from load_tests.life_cycle import ends_of, rows
from load_tests.report import RESULTS, heading, save, say
from tests.integration.cluster import Cluster, at_work, produce, stop, until_committed
from tests.kafka.judge import judge
from tests.kafka.price_log import Shape, price_log

PACKAGES: Final = ("agents", "cli", "config", "gateway", "market", "notifier", "schemas", "streams")
CHANGED: Final = (
    ("streams/layout.py", '        ("change_count", "u4"),', '        ("changed_ms", "i8"),\n        ("change_count", "u4"),'),
    ("streams/lowest.py", "    code.change_count += 1", "    code.changed_ms = s.meta[0].clock_ms\n    code.change_count += 1"),
    ("streams/pools.py", "    code.change_count = 0", "    code.changed_ms = 0\n    code.change_count = 0"),
    ("streams/checkpoint.py", "ROW_VERSION: Final = 2", "ROW_VERSION: Final = 3"),
)  # fmt: skip
"""File, what stands there, and what the next version has in its place."""
_CAUGHT_UP_S: Final = 600.0
_ENDS_S: Final = 60.0
_MISSED_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Version:
    """A version of pricelink as its source. ``cache``: of its kernels."""

    name: str
    source: Path
    cache: Path

    def _command(self, cluster: Cluster, arguments: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
        environment = {**os.environ, **cluster.settings.environment(), "PRICELINK_CACHE": str(self.cache)}
        environment["PRICELINK_INSTANCE"] = f"worker-{self.name}"
        environment.pop("NUMBA_CACHE_DIR", None)
        return [sys.executable, "-m", "cli", *arguments], environment

    def run(self, cluster: Cluster, *arguments: str) -> float:
        """Runs a command; returns the seconds it took. Raises RuntimeError if it fails."""
        say(f"{self.name}: pricelink {' '.join(arguments)}")
        command, environment = self._command(cluster, arguments)
        began = time.perf_counter()
        done = subprocess.run(command, env=environment, cwd=self.source, capture_output=True, text=True, check=False)
        say(done.stderr)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {arguments} ended with {done.returncode}")
        return round(time.perf_counter() - began, 1)

    def worker(self, cluster: Cluster, log: Path) -> subprocess.Popen[bytes]:
        """Starts a worker that logs to a file."""
        command, environment = self._command(cluster, ("worker",))
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, cwd=self.source, stdout=output, stderr=output)
        cluster.processes.append(process)
        return process


def next_version(folder: Path) -> Version:
    """Copies the source and changes its rows' layout; raises RuntimeError where the source is not as we know it."""
    source = folder / "next"
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in CHANGED:
        path = source / name
        text = path.read_text()
        if text.count(old) != 1:
            raise RuntimeError(f"{name} has not once {old!r}: write CHANGED anew")
        path.write_text(text.replace(old, new))
    cache = folder / "cache"
    (cache / "numba").mkdir(parents=True)
    ours = Path(os.environ["NUMBA_CACHE_DIR"])
    shutil.copytree(ours, cache / "numba" / ours.name)  # kernels that are the same are taken over
    return Version("next", source, cache)


def refused(version: Version, cluster: Cluster, folder: Path) -> str:
    """Starts a worker on rows that it does not know; returns what it says. Raises RuntimeError if it does not end with 78."""
    log = folder / "refused.log"
    code = version.worker(cluster, log).wait(_ENDS_S)
    told = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    fault = [line["fault"] for line in told if line["event"].startswith("ended by a fault")]
    if code != CONFIG or not fault:
        raise RuntimeError(f"{version.name} ended with {code}: {log.read_text()[-2000:]}")
    say(f"{version.name}: worker ended with {code}: {fault[0]}")
    return str(fault[0])


def until_nobody_works(cluster: Cluster) -> float:
    """Waits until the group has no member; returns the seconds that took."""
    began = time.monotonic()
    while time.monotonic() < began + _MISSED_S:
        with admin_of(cluster.settings) as admin:
            if not members(admin, cluster.settings.worker_group):
                return round(time.monotonic() - began, 1)
        time.sleep(0.1)
    raise RuntimeError("the group does not miss its worker")


def work(version: Version, cluster: Cluster, folder: Path, lines: list[Any]) -> subprocess.Popen[bytes]:
    """Sends records and starts a worker, which takes them; returns it while it works."""
    asyncio.run(produce(cluster.settings, lines))
    process = version.worker(cluster, folder / f"{version.name}.log")
    asyncio.run(until_committed(cluster.settings, ends_of(cluster, FEEDS.name), _CAUGHT_UP_S))
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Stops a worker as an operator does."""
    if (code := stop(process)[0]) != OK:
        raise RuntimeError(f"a worker ended with {code}")


def measure(shape: Shape, folder: Path, kafka: RealKafka) -> dict[str, Any]:
    """Goes there and back; returns the figures."""
    os.environ["PRICELINK_TEST_KAFKA"] = kafka.bootstrap
    older, newer = Version("older", PROJECT, jit.cache_root().parent), next_version(folder)
    lines = list(price_log(7, shape))
    half, rest = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    few = [rest[: len(rest) // 2], rest[len(rest) // 2 :]]
    with Cluster.make(partitions=shape.partitions) as cluster:
        result: dict[str, Any] = {"compile_s": newer.run(cluster, "warm-up")}
        process = work(older, cluster, folder, half)
        result["joined_said"] = refused(newer, cluster, folder)
        asyncio.run(at_work(cluster, "worker-older"))
        end(process)
        events = sum(ends_of(cluster, ALERTS.name).values())
        result["stopped_said"] = refused(newer, cluster, folder)
        result["missed_s"] = until_nobody_works(cluster)
        result["upgrade_s"] = newer.run(cluster, "state", "rebuild", "--yes")
        if sum(ends_of(cluster, ALERTS.name).values()) != events:
            raise RuntimeError("a rebuild sends nothing")
        process = work(newer, cluster, folder, few[0])
        newer.run(cluster, "state", "check")
        end(process)
        result["back_said"] = refused(older, cluster, folder)
        until_nobody_works(cluster)
        result["back_s"] = older.run(cluster, "state", "rebuild", "--yes")
        process = work(older, cluster, folder, few[1])
        verdict = asyncio.run(judge(cluster.settings, folder / "replay"))
        end(process)
        return result | {
            "rows": sum(len(each[2]) for each in asyncio.run(rows(cluster))),
            "events": verdict.events,
            "repeats": verdict.repeats,
            "outputs_exact": True,
        }


def main() -> int:
    """Measures and prints; returns 1 where anything differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "new_layout.json")
    options = parser.parse_args()
    shape = Shape(options.records, options.products, 4, 10)
    with tempfile.TemporaryDirectory() as name, RealKafka(Path(name) / "kafka") as kafka:
        try:
            found = measure(shape, Path(name), kafka)
        except (AssertionError, RuntimeError) as fault:
            say(f"it is not the same: {fault}")
            return 1
    save(options.out, heading("kafka") | {"records": shape.records, "products": shape.products} | found)
    return int(bool(found["repeats"]))


if __name__ == "__main__":
    sys.exit(main())
