"""How long after a kill -9 the first new alert is there: ``python -m load_tests.recovery --products 1000000 --provinces 8``.

Feeds are filled with a market's listings (packed, lz4); a worker applies them all, and its last checkpoint is committed.
Then it is killed with SIGKILL, records that must give alerts are appended to every partition, and a new worker is
started. Seconds run from the start of its process to when a reader of ``alerts`` has the first alert of these records
(``first_alert_s``), and one of every partition (``all_partitions_s``); from the worker's own log come the moments between:
``started_s`` (imports are done), ``assigned_s`` (the group is joined), ``restored_s`` (kernels are warm, all state is back).
The worker is a static member, as one of `pricelink run --kafka` or of a StatefulSet is: it need not wait until the group
misses the one that was killed. ``cpu_s``: what the new worker used until the last of these alerts. Also the state topic's bytes and both workers' memory.

With ``--kafka HOST:PORT`` on a Kafka that has none of our topics, with ``auto`` on one of its own, else on the embedded broker, which keeps every version
of a row: ``state_rows`` over ``products`` says how many there were to read. Exit code 1 if the bar of 10 s is missed.
"""

import argparse
import asyncio
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import aiokafka
import numpy as np

import config.jit  # noqa: F401  (before the first kernel)
from config.provinces import PROVINCE_CODES
from config.settings import Settings
from config.topics import ALERTS, FEEDS, STATE
from load_tests.core import add_load_arguments, load_of
from load_tests.expected import POLICY
from load_tests.generate import Load, Market, messages
from load_tests.harness import PROJECT, BenchFault, Worker, fill, surroundings, usage, whole_topic
from load_tests.report import RESULTS, heading, machine, save

BAR_S: Final = 10.0
_BACK_MS: Final = 150_000
_LOAD_S: Final = 900.0
_COMMIT_S: Final = 120.0
_ALERTS_S: Final = 180.0
_A_PARTITION: Final = 20
_RISE: Final = 1.5


def alarming(load: Load) -> list[tuple[int, bytes]]:
    """Returns quotes of every partition that are far above the lowest price: each opens or raises an adjustment."""
    market = Market(load)
    now_ms = time.time_ns() // 1_000_000
    found = []
    for partition in range(load.partitions):
        for product in np.flatnonzero(market.partition == partition)[:_A_PARTITION].tolist():
            quote = {
                "type": "quote",
                "province": PROVINCE_CODES[load.provinces - 1],
                "code": market.codes[product].tobytes().decode(),
                "at": now_ms,
                "price": round(int(market.lowest[product]) * _RISE) / 100,
                "kind": "listed",
                "supplier": market.suppliers[product].tobytes().decode(),
            }
            found.append((partition, json.dumps(quote).encode()))
    return found


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process has resident, and had at most."""

    resident_mb: float
    peak_mb: float


def memory(pid: int) -> Memory:
    """Returns the memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return Memory(round(sizes["VmRSS"]), round(sizes["VmHWM"]))


async def _wait_for_commits(settings: Settings, next_offset: dict[int, int]) -> None:
    """Waits until all of feeds is committed: the last checkpoint is written."""
    reader = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap.split(","), group_id=settings.worker_group, enable_auto_commit=False,
        **settings.security,
    )  # fmt: skip
    await reader.start()
    try:
        deadline = time.monotonic() + _COMMIT_S
        while time.monotonic() < deadline:
            places = {number: aiokafka.TopicPartition(FEEDS.name, number) for number in next_offset}
            committed = {number: await reader.committed(place) for number, place in places.items()}
            if committed == next_offset:
                return
            await asyncio.sleep(0.5)
        raise BenchFault(f"committed {committed}, not {next_offset}")
    finally:
        await reader.stop()


async def _state_size(settings: Settings) -> tuple[int, int]:
    """Returns how many rows the state topic has, and their bytes."""
    rows = size = 0
    async for message in whole_topic(settings, STATE.name):
        rows += 1
        size += len(message.key or b"") + len(message.value or b"")
    return rows, size


def _said_at(worker: Worker, event: str) -> float:
    """Returns when the worker last logged an event, in seconds of the epoch."""
    told = worker.lines(event)
    if not told:
        raise BenchFault(f"the worker never said {event!r}:\n{worker.said()}")
    return datetime.fromisoformat(told[-1]["timestamp"]).timestamp()


def _watch(settings: Settings, pipe: Connection) -> None:
    asyncio.run(_watch_alerts(settings, pipe))


async def _watch_alerts(settings: Settings, pipe: Connection) -> None:
    """Says when each alert came, by trigger, from when ``alerts`` was read to its end."""
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap.split(","), group_id=None, enable_auto_commit=False,
        auto_offset_reset="earliest", fetch_max_wait_ms=10, max_partition_fetch_bytes=4_000_000, **settings.security,
    )  # fmt: skip
    await consumer.start()
    ready = False
    try:
        consumer.assign([aiokafka.TopicPartition(ALERTS.name, number) for number in range(settings.partitions)])
        while True:
            fetched = await consumer.getmany(timeout_ms=20 if ready else 2_000)
            now_s = time.time()
            if ready:
                for messages_of in fetched.values():
                    triggers = [json.loads(message.value)["evidence"][0] for message in messages_of]
                    pipe.send([(now_s, trigger["partition"], trigger["offset"]) for trigger in triggers])
            elif not fetched:
                ready = True
                pipe.send("ready")
    finally:
        await consumer.stop()


def _arrivals(pipe: Connection, first_offset: dict[int, int], worker: Worker) -> Iterator[float]:
    """Yields when the first alert of each partition came, in the order in which they did."""
    waiting = set(first_offset)
    deadline = time.monotonic() + _ALERTS_S
    while waiting:
        if worker.process.poll() is not None or time.monotonic() > deadline:
            raise BenchFault(f"no alert of partitions {sorted(waiting)}:\n{worker.said()}")
        if not pipe.poll(0.1):
            continue
        for now_s, partition, offset in pipe.recv():
            if partition in waiting and offset >= first_offset[partition]:
                waiting.discard(partition)
                yield now_s


def measure(load: Load, kafka: str | None) -> dict[str, Any]:
    """Returns the figures of one kill; raises BenchFault where it cannot be measured."""
    with surroundings(kafka, load.partitions, POLICY, static_member=True) as settings:
        _say(f"filling feeds with {load.records:,} listings")
        filled = fill(settings, messages(load), "lz4")
        _say("a worker applies them")
        with Worker(settings) as first:
            first.wait_for_records(load.records, _LOAD_S)
            asyncio.run(_wait_for_commits(settings, filled.next_offset))
            before = memory(first.process.pid)
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            reader = context.Process(target=_watch, args=(settings, theirs), daemon=True)
            reader.start()
            try:
                if not ours.poll(_COMMIT_S):
                    raise BenchFault("the reader of alerts did not get to the end of the topic")
                ours.recv()
                first.process.kill()
                first.process.wait()
                _say("killed; a new one starts")
                fill(settings, iter(alarming(load)), None)
                began_s, load_before = time.time(), machine()["load_before"]
                with Worker(settings) as second:
                    arrived = [now_s - began_s for now_s in _arrivals(ours, filled.next_offset, second)]
                    cpu_s = usage(second.process.pid).cpu_s
                    after = memory(second.process.pid)
                    moments = {name: _said_at(second, name) for name in ("metrics", "assigned", "restored")}
            finally:
                reader.kill()
                reader.join()
        rows, size = asyncio.run(_state_size(settings))
    return {
        "products": load.products,
        "provinces": load.provinces,
        "partitions": load.partitions,
        "load_before": load_before,
        "first_alert_s": round(arrived[0], 2),
        "all_partitions_s": round(arrived[-1], 2),
        "cpu_s": round(cpu_s, 2),
        **{
            f"{name}_s": round(moments[event] - began_s, 2)
            for name, event in (("started", "metrics"), ("assigned", "assigned"), ("restored", "restored"))
        },
        "restore_s": round(moments["restored"] - moments["assigned"], 2),
        "state_rows": rows,
        "state_mb": round(size / 1e6),
        "loaded_worker_rss_mb": before.resident_mb,
        "loaded_worker_peak_mb": before.peak_mb,
        "recovered_worker_rss_mb": after.resident_mb,
        "recovered_worker_peak_mb": after.peak_mb,
    }


def _say(text: str) -> None:
    print(f"recovery: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Measures and prints; returns 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    parser.set_defaults(products=1_000_000, provinces=8, partitions=8)
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a Kafka without topics of ours; default: embedded broker")
    parser.add_argument("--out", type=Path, help="default: recovery.json on a Kafka, recovery-embedded.json without")
    options = parser.parse_args()
    options.records = options.products * options.provinces
    load = replace(load_of(options), start_ms=time.time_ns() // 1_000_000 - _BACK_MS)
    subprocess.run([sys.executable, "-m", "cli", "warm-up"], cwd=PROJECT, stdout=sys.stderr, check=True)
    try:
        found = measure(load, options.kafka)
    except BenchFault as fault:
        print(fault, file=sys.stderr)
        return 2
    name = "recovery.json" if options.kafka else "recovery-embedded.json"
    save(options.out or RESULTS / name, heading("kafka" if options.kafka else "embedded") | found)
    return 0 if found["first_alert_s"] <= BAR_S else 1


if __name__ == "__main__":
    sys.exit(main())
