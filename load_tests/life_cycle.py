"""What a rebuild, a backup and a restore take: ``python -m load_tests.life_cycle``, on an Apache Kafka of its own.

A log of every record type (``tests.kafka.price_log``) goes through a worker; then each command is run as an operator
would, and the state compared before and after. Writes load_tests/results/life_cycle.json: also what the log, the events and the rows
take on the broker's disk, which the page of capacity is computed from. Exit code 1 if the state was not the same.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agents import topics
from agents.machines import real_machines
from agents.real_kafka import RealKafka
from agents.standing import admin_of, standings
from agents.state_topic import KafkaStateStore
from agents.topic_sizes import sizes_of
from config.topics import ALERTS, FEEDS, PRICE_CHANGES, STATE, TOPICS
from load_tests.report import RESULTS, heading, save, say
from streams.machine import Machine
from tests.integration.cluster import REAL, Cluster, delete_topics, produce, until_committed
from tests.integration.cluster import stop as stop_worker
from tests.integration.test_kills import NoWriter
from tests.kafka.price_log import Shape, price_log

_CAUGHT_UP_S = 600.0


def run(cluster: Cluster, *arguments: str) -> float:
    """Runs a command; returns the seconds it took with its own start. Raises RuntimeError if it fails."""
    say(f"pricelink {' '.join(arguments)}")
    environment = {**os.environ, **cluster.settings.environment()}
    command = [sys.executable, "-m", "cli", *arguments, "--kafka", cluster.settings.bootstrap]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    say(done.stderr)
    return round(time.perf_counter() - began, 1)


async def rows(cluster: Cluster) -> list[Any]:
    """Returns offset, clock and rows of each partition, as the state topic has them."""
    found = []
    for number in range(cluster.settings.partitions):
        machine = real_machines(cluster.settings)(number)
        assert isinstance(machine, Machine)
        offset = await KafkaStateStore(NoWriter(), cluster.settings).restore(number, machine)
        found.append((offset, machine.clock_ms, machine.rows()))
    return found


def counts(cluster: Cluster) -> tuple[dict[str, int], dict[str, int]]:
    """Returns messages and bytes on the disk of each topic."""
    with admin_of(cluster.settings) as admin:
        messages = {
            topic.name: sum(at.end - at.first for at in standings(admin, topic.name, None).values()) for topic in TOPICS
        }
        return messages, sizes_of(admin.describe_log_dirs())


def measure(shape: Shape, folder: Path, kafka: RealKafka) -> dict[str, Any]:
    """Returns the figures."""
    os.environ["PRICELINK_TEST_KAFKA"] = kafka.bootstrap
    with Cluster.make(partitions=shape.partitions) as cluster:
        asyncio.run(produce(cluster.settings, price_log(7, shape)))
        process = cluster.start_worker(REAL)
        with admin_of(cluster.settings) as admin:
            ends = {number: at.end for number, at in standings(admin, FEEDS.name, None).items()}
        asyncio.run(until_committed(cluster.settings, ends, _CAUGHT_UP_S))
        stop_worker(process)
        before = asyncio.run(rows(cluster))
        result: dict[str, Any] = {
            "check_s": run(cluster, "state", "check"),
            "rebuild_s": run(cluster, "state", "rebuild", "--yes"),
        }
        equal = asyncio.run(rows(cluster)) == before
        messages, size = counts(cluster)
        result["backup_s"] = run(cluster, "backup", str(folder / "backup"))
        result["backup_again_s"] = run(cluster, "backup", str(folder / "backup"))
        result["backup_mb"] = round(sum(path.stat().st_size for path in (folder / "backup").rglob("*.gz")) / 1e6, 1)
        delete_topics(cluster.settings, {topic.name for topic in TOPICS})
        result["restore_s"] = run(cluster, "restore", str(folder / "backup"))
        topics.apply(cluster.settings)
        equal = equal and asyncio.run(rows(cluster)) == before
    names = (FEEDS.name, ALERTS.name, PRICE_CHANGES.name, STATE.name)
    return result | {
        "outputs_exact": equal,
        "rows": sum(len(each[2]) for each in before),
        "row_bytes": sum(len(key) + len(value) for each in before for key, value in each[2].items()),
        "messages": {name: messages[name] for name in names},
        "messages_all": sum(messages.values()),
        "disk_bytes": {name: size.get(name, 0) for name in names},
    }


def main() -> int:
    """Measures and prints; returns 1 where the state was not the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=50_000)
    parser.add_argument("--lines", type=int, default=50, help="of a message")
    parser.add_argument("--out", type=Path, default=RESULTS / "life_cycle.json")
    options = parser.parse_args()
    shape = Shape(options.records, options.products, 4, options.lines)
    about = {
        "records": shape.records,
        "products": shape.products,
        "lines_per_message": shape.lines,
        "partitions": shape.partitions,
    }
    with tempfile.TemporaryDirectory() as name, RealKafka(Path(name) / "kafka") as kafka:
        result = heading("kafka") | about | measure(shape, Path(name), kafka)
    save(options.out, result)
    return int(not result["outputs_exact"])


if __name__ == "__main__":
    sys.exit(main())
