"""What a policy, a rebuild, a backup, a restore and more partitions take: ``python -m load_tests.life_cycle``, on an Apache Kafka of its own.

A log of every record type (``tests.kafka.price_log``) goes through a worker; then each command is run as an operator
would, and the state compared before and after. At the end the log is moved to twice as many partitions, workers get more of it, and every event
is what `pricelink replay` makes of the new log, but for positions of what was sent before. Writes load_tests/results/life_cycle.json: also what the log, the events and the rows
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
from typing import Any, Final

from agents import topics
from agents.machines import real_machines
from agents.real_kafka import RealKafka
from agents.standing import admin_of, standings
from agents.state_topic import KafkaStateStore
from agents.topic_sizes import sizes_of
from config.topics import ALERTS, DEAD_LETTERS, FEEDS, PRICE_CHANGES, STATE, TOPICS
from load_tests.report import RESULTS, heading, save, say
from streams.machine import Machine
from tests.integration.cluster import REAL, Cluster, delete_topics, produce, until_committed
from tests.integration.cluster import stop as stop_worker
from tests.integration.test_kills import NoWriter
from tests.kafka.judge import judge
from tests.kafka.price_log import Shape, in_more, price_log

_CAUGHT_UP_S = 600.0


_POLICY: Final = b'{"default":{"bands":{"blue":0,"yellow":200,"red":900}},"guard_bp":4000}'
_MORE_RECORDS: Final = 20_000


def run(cluster: Cluster, *arguments: str) -> float:
    """Runs a command; returns the seconds it took with its own start. Raises RuntimeError if it fails."""
    say(f"pricelink {' '.join(arguments)}")
    environment = {**os.environ, **cluster.settings.environment()}
    command = [sys.executable, "-m", "cli", *arguments]
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


def ends_of(cluster: Cluster, topic: str) -> dict[int, int]:
    """Returns where a topic's partitions end."""
    with admin_of(cluster.settings) as admin:
        return {number: at.end for number, at in standings(admin, topic, None).items()}


def megabytes(folder: Path) -> float:
    """Returns what a backup's files take."""
    return round(sum(path.stat().st_size for path in folder.rglob("*.gz")) / 1e6, 1)


def apply_policy(cluster: Cluster, file: Path) -> dict[str, Any]:
    """Applies a policy while a worker works; returns the seconds from the command's end until all it changes is durable, and the events."""
    file.write_bytes(_POLICY)
    tick = b'{"type":"tick","at":%d}' % (
        time.time_ns() // 1_000_000
    )  # or all timers since the log's last record would fire with it
    asyncio.run(
        produce(cluster.settings, [(number, None, tick, None) for number in range(cluster.settings.partitions)])
    )
    asyncio.run(until_committed(cluster.settings, ends_of(cluster, FEEDS.name), _CAUGHT_UP_S))
    alerts = sum(ends_of(cluster, ALERTS.name).values())
    run(cluster, "policy", "apply", str(file))
    began = time.perf_counter()
    asyncio.run(until_committed(cluster.settings, ends_of(cluster, FEEDS.name), _CAUGHT_UP_S))
    took_s = round(time.perf_counter() - began, 1)
    return {"policy_s": took_s, "policy_events": sum(ends_of(cluster, ALERTS.name).values()) - alerts}


def move(cluster: Cluster, shape: Shape, folder: Path) -> dict[str, Any]:
    """Moves the backup to twice as many partitions and lets a worker go on there; raises AssertionError where an event differs."""
    more = 2 * shape.partitions
    took = {
        "move_s": run(
            cluster, "topics", "move", str(folder / "backup"), str(folder / "more"), "--partitions", str(more)
        )
    }
    delete_topics(cluster.settings, {topic.name for topic in TOPICS})
    cluster.settings = cluster.settings.model_copy(update={"partitions": more})
    took["move_restore_s"] = run(cluster, "restore", str(folder / "more"))
    run(cluster, "topics", "apply")
    took["move_rebuild_s"] = run(cluster, "state", "rebuild", "--yes")
    moved = {name: ends_of(cluster, name) for name in (FEEDS.name, ALERTS.name, PRICE_CHANGES.name, DEAD_LETTERS.name)}
    lines = price_log(8, Shape(_MORE_RECORDS, shape.products, shape.partitions))
    asyncio.run(produce(cluster.settings, in_more(lines, shape.partitions, more)))
    process = cluster.start_worker(REAL)
    verdict = asyncio.run(judge(cluster.settings, folder / "replay", moved))
    stop_worker(process)
    return took | {"move_partitions": more, "move_events": verdict.events, "move_repeats": verdict.repeats}


def measure(shape: Shape, folder: Path, kafka: RealKafka) -> dict[str, Any]:
    """Returns the figures."""
    os.environ["PRICELINK_TEST_KAFKA"] = kafka.bootstrap
    with Cluster.make(partitions=shape.partitions) as cluster:
        asyncio.run(produce(cluster.settings, price_log(7, shape)))
        process = cluster.start_worker(REAL)
        asyncio.run(until_committed(cluster.settings, ends_of(cluster, FEEDS.name), _CAUGHT_UP_S))
        messages, size = counts(cluster)
        result = apply_policy(cluster, folder / "policy.json")
        stop_worker(process)
        before = asyncio.run(rows(cluster))
        result |= {
            "check_s": run(cluster, "state", "check"),
            "rebuild_s": run(cluster, "state", "rebuild", "--yes"),
        }
        equal = asyncio.run(rows(cluster)) == before
        backed_up = sum(counts(cluster)[0].values())
        result["backup_s"] = run(cluster, "backup", str(folder / "backup"))
        result["backup_again_s"] = run(cluster, "backup", str(folder / "backup"))
        result["backup_mb"] = megabytes(folder / "backup")
        result["backup_feeds_mb"] = megabytes(folder / "backup" / FEEDS.name)
        delete_topics(cluster.settings, {topic.name for topic in TOPICS})
        result["restore_s"] = run(cluster, "restore", str(folder / "backup"))
        topics.apply(cluster.settings)
        equal = equal and asyncio.run(rows(cluster)) == before
        result |= move(cluster, shape, folder)
    names = (FEEDS.name, ALERTS.name, PRICE_CHANGES.name, STATE.name)
    return result | {
        "outputs_exact": equal,
        "rows": sum(len(each[2]) for each in before),
        "row_bytes": sum(len(key) + len(value) for each in before for key, value in each[2].items()),
        "messages": {name: messages[name] for name in names},
        "messages_all": backed_up,
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
