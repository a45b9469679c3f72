"""From append to a consumer of ``alerts``: records at a steady rate, alerts matched to them by their first evidence.

The sender notes when it hands a record to its Kafka client, a reader process when it has the alert: what lies between
is the whole way, both clients and the broker twice.
"""

import asyncio
import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final

import aiokafka
import numpy as np

from config.settings import Settings
from config.topics import ALERTS, FEEDS
from load_tests.generate import Load, lines, messages_of
from load_tests.harness import KeyOf, no_key

_TICK_S: Final = 0.005
_WARM_S: Final = 3.0
_REST_S: Final = 1.5
_READY_S: Final = 240.0
_LINGER_EMBEDDED_MS: Final = 5
"""What Kafka's own clients do since 4.0. The embedded broker looks at every batch of a partition at each fetch."""
_READER_WAIT_MS: Final = 5
"""The embedded broker answers a fetch that finds nothing only when its wait is over, and every fetch costs it much."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from append to consumer. ``samples``: alerts; ``sent_per_s``: what the sender kept up."""

    rate: int
    sent_per_s: float
    samples: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


class SplitLog:
    """A log whose first listings are packed as ``load`` says; refreshes are single messages in turn of their partitions."""

    def __init__(self, load: Load, refreshes: int) -> None:
        self.listings = load.products * load.provinces
        self._load = replace(load, records=self.listings + refreshes)

    def head(self) -> Iterator[tuple[int, bytes]]:
        """Yields the messages of the listings: (partition, value)."""
        done = 0
        for run in lines(self._load):
            done += len(run.ends)
            if done > self.listings:
                return
            yield from ((run.partition, value) for value in messages_of(run, self._load.lines_per_message))

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """Yields the messages of the refreshes, packed like the listings: (partition, value)."""
        done = 0
        for run in lines(self._load):
            done += len(run.ends)
            if done > self.listings:
                yield from ((run.partition, value) for value in messages_of(run, self._load.lines_per_message))

    def tail(self) -> list[tuple[int, bytes]]:
        """Returns the single messages: (partition, value)."""
        done = 0
        by_partition: dict[int, list[bytes]] = {}
        for run in lines(self._load):
            done += len(run.ends)
            if done > self.listings:
                by_partition.setdefault(run.partition, []).extend(messages_of(run, 1))
        turns = [
            ((place + 0.5) / len(values), partition, value)
            for partition, values in by_partition.items()
            for place, value in enumerate(values)
        ]
        return [(partition, value) for _, partition, value in sorted(turns, key=lambda turn: turn[0])]


def measure(settings: Settings, records: list[tuple[int, bytes]], rate: int) -> Latency:
    """Sends ``records`` at ``rate`` a second and returns how long their alerts took."""
    seen = observe(settings, records, rate)
    return summary(seen.sent, seen.arrivals, rate, seen.sent_per_s)


@dataclass(frozen=True, slots=True)
class Observed:
    """When records were handed over, by (partition, offset), and when events came; nanoseconds of the epoch."""

    sent: dict[tuple[int, int], int]
    arrivals: list[tuple[int, bytes]]
    sent_per_s: float


def observe(
    settings: Settings,
    records: list[tuple[int, bytes]],
    rate: int,
    topics: tuple[str, ...] = (ALERTS.name,),
    key_of: KeyOf = no_key,
) -> Observed:
    """Sends ``records`` at ``rate`` a second and notes what comes out of ``topics`` from then on."""
    seen = observe_with(settings, records, rate, {"events": partial(_reader, settings, topics)}, key_of)
    return Observed(seen.sent, seen.arrivals["events"], seen.sent_per_s)


Reader = Callable[[Connection], None]
"""Says ``ready`` once it is where new events come, notes them until told to stop, and sends ``Arrivals``."""
Arrivals = list[tuple[int, bytes]]
"""Events with the nanosecond of the epoch at which they came."""


@dataclass(frozen=True, slots=True)
class ObservedWith:
    """As ``Observed``, by name of the reader."""

    sent: dict[tuple[int, int], int]
    arrivals: dict[str, Arrivals]
    sent_per_s: float


def observe_with(
    settings: Settings,
    records: list[tuple[int, bytes]],
    rate: int,
    readers: Mapping[str, Reader],
    key_of: KeyOf = no_key,
) -> ObservedWith:
    """Sends ``records`` at ``rate`` a second; each of ``readers`` notes in a process of its own when events come."""
    with beside(readers) as pipes:
        sent, seconds = asyncio.run(_send(settings, records, rate, key_of))
        time.sleep(_REST_S)
        arrivals = told(pipes)
    return ObservedWith(sent, arrivals, len(records) / seconds)


@contextlib.contextmanager
def beside(readers: Mapping[str, Callable[[Connection], None]]) -> Iterator[dict[str, Connection]]:
    """Runs each of ``readers`` in a process of its own; yields their pipes once all are ready. Raises TimeoutError."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    with contextlib.ExitStack() as stack:
        for name, read in readers.items():
            pipes[name], theirs = context.Pipe()
            process = context.Process(target=read, args=(theirs,), daemon=True)
            process.start()
            stack.callback(process.kill)
            theirs.close()
        for name, pipe in pipes.items():
            if not pipe.poll(_READY_S):
                raise TimeoutError(f"{name} did not get to where new ones come")
            pipe.recv()
        yield pipes


def told(pipes: Mapping[str, Connection]) -> dict[str, Any]:
    """Stops what runs beside; returns what each has noted."""
    for pipe in pipes.values():
        pipe.send("stop")
    return {name: pipe.recv() for name, pipe in pipes.items()}


def summary(sent: dict[tuple[int, int], int], arrivals: Arrivals, rate: int, sent_per_s: float) -> Latency:
    """Returns how long alerts took; raises ValueError where none came of the records sent."""
    warm_ns = min(sent.values()) + int(_WARM_S * 1e9)
    late_ms = []
    for received_ns, value in arrivals:
        trigger = json.loads(value)["evidence"][0]
        sent_ns = sent.get((trigger["partition"], trigger["offset"]))
        if sent_ns is not None and sent_ns >= warm_ns:
            late_ms.append((received_ns - sent_ns) / 1e6)
    if not late_ms:
        raise ValueError("no alert came of the records sent: nothing is measured")
    p50, p90, p99 = np.percentile(late_ms, (50, 90, 99)).round(2).tolist()
    return Latency(rate, round(sent_per_s, 1), len(late_ms), p50, p90, p99, round(max(late_ms), 2))


async def _send(
    settings: Settings, records: list[tuple[int, bytes]], rate: int, key_of: KeyOf
) -> tuple[dict[tuple[int, int], int], float]:
    """Returns when each (partition, offset) was handed to the client, and how long all took."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap.split(","),
        acks="all",
        enable_idempotence=settings.idempotent,
        linger_ms=_LINGER_EMBEDDED_MS if settings.embedded else 0,
        **settings.security,
    )
    await producer.start()
    handed: list[tuple[int, Any]] = []
    started = time.monotonic()
    try:
        for number, (partition, value) in enumerate(records):
            due = started + number / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(max(wait, _TICK_S))
            now_ns = time.time_ns()
            handed.append((now_ns, await producer.send(FEEDS.name, value, key_of(value), partition)))
        seconds = time.monotonic() - started
        acked = [(now_ns, await future) for now_ns, future in handed]
    finally:
        await producer.stop()
    return {(meta.partition, meta.offset): now_ns for now_ns, meta in acked}, seconds


def alerts_reader(settings: Settings) -> Reader:
    """Returns what reads topic ``alerts`` with a Kafka client."""
    return partial(_reader, settings, (ALERTS.name,))


def _reader(settings: Settings, topics: tuple[str, ...], pipe: Connection) -> None:
    asyncio.run(_read(settings, topics, pipe))


async def _read(settings: Settings, topics: tuple[str, ...], pipe: Connection) -> None:
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap.split(","),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=_READER_WAIT_MS,
        max_partition_fetch_bytes=4_000_000,
        **settings.security,
    )
    await consumer.start()
    arrivals: list[tuple[int, bytes]] = []
    ready = False
    try:
        places = [aiokafka.TopicPartition(topic, number) for topic in topics for number in range(settings.partitions)]
        consumer.assign(places)
        while not (ready and pipe.poll()):
            fetched = await consumer.getmany(timeout_ms=50 if ready else 1_000)
            now_ns = time.time_ns()
            if ready:
                arrivals += [(now_ns, message.value) for messages in fetched.values() for message in messages]
            elif not fetched:
                ready = True
                pipe.send("ready")
    finally:
        await consumer.stop()
    pipe.send(arrivals)
