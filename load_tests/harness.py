"""What a measurement needs around it: a broker of its own, feeds filled beforehand, a worker process, its outputs read back."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import aiokafka
import redis

from agents.embedded import start_broker, start_redis
from agents.real_kafka import RealKafka
from agents.topics import apply as apply_topics
from config.settings import BrokerKind, Settings
from config.topics import ALERTS, DEAD_LETTERS, FEEDS, PRICE_CHANGES, TOPICS
from load_tests.expected import Outputs

PROJECT: Final = Path(__file__).resolve().parent.parent
_BATCH_BYTES: Final = 512_000
_QUIET_S: Final = 3.0
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


class BenchFault(RuntimeError):
    """A measurement that cannot be made, or whose result cannot be trusted."""


OWN_KAFKA: Final = "auto"
"""Instead of an address: a Kafka that is started for the measurement (``agents.real_kafka``)."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it all happens. ``pid``: of a broker of our own; one given by its address has none."""

    kind: BrokerKind
    bootstrap: str
    pid: int | None


@contextlib.contextmanager
def own_broker(kafka: str | None, folder: Path) -> Iterator[Broker]:
    """Yields the Kafka of this address, one that is started with its data in ``folder`` (``auto``), or the embedded one."""
    if kafka is None:
        child = start_broker()
        try:
            yield Broker("embedded", f"127.0.0.1:{child.port}", child.process.pid)
        finally:
            child.stop()
    elif kafka == OWN_KAFKA:
        with RealKafka(folder / "kafka") as started:
            yield Broker("kafka", started.bootstrap, started.pid)
    else:
        yield Broker("kafka", kafka, None)


@contextlib.contextmanager
def surroundings(
    kafka: str | Broker | None, partitions: int, policy: bytes, *, static_member: bool = False
) -> Iterator[Settings]:
    """Starts Redis and, unless one is given, a broker (see ``own_broker``); creates the topics; yields the settings.

    A Kafka given must not have our topics: they are dropped at the end.
    """
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pricelink-bench-")))
        policy_file = scratch / "policy.json"
        policy_file.write_bytes(policy)
        own_redis = start_redis()
        stack.callback(own_redis.stop)
        broker = kafka if isinstance(kafka, Broker) else stack.enter_context(own_broker(kafka, scratch))
        settings = Settings(
            broker_kind=broker.kind,
            bootstrap=broker.bootstrap,
            redis_url=f"redis://127.0.0.1:{own_redis.port}/0",
            partitions=partitions,
            instance="bench",
            policy_file=policy_file,
            static_member=static_member,
        )
        if broker.pid is None:
            _refuse_old_topics(settings)
            stack.callback(_drop_topics, settings)
        apply_topics(settings)
        yield settings


def _admin(settings: Settings) -> Any:
    from kafka.admin import KafkaAdminClient

    return KafkaAdminClient(bootstrap_servers=settings.bootstrap.split(","), **settings.security)


def _names() -> list[str]:
    return [topic.name for topic in TOPICS]


def _refuse_old_topics(settings: Settings) -> None:
    admin = _admin(settings)
    try:
        if there := sorted(set(admin.list_topics()) & set(_names())):
            raise BenchFault(f"{settings.bootstrap} has topics {', '.join(there)}: give a Kafka that has none of ours")
    finally:
        admin.close()


def _drop_topics(settings: Settings) -> None:
    admin = _admin(settings)
    try:
        admin.delete_topics(_names())
        deadline = time.monotonic() + 30
        while set(admin.list_topics()) & set(_names()) and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        admin.close()


@dataclass(slots=True)
class Filled:
    """What was written to feeds. ``next_offset``: by partition."""

    messages: int = 0
    size: int = 0
    seconds: float = 0.0
    next_offset: dict[int, int] = field(default_factory=dict)


KeyOf = Callable[[bytes], bytes | None]
"""What makes the key of a message from its value."""


def no_key(_value: bytes) -> None:
    """Returns no key: the partition is chosen beforehand, and a packed message has many codes."""


def fill(
    settings: Settings, messages: Iterator[tuple[int, bytes]], compression: str | None, key_of: KeyOf = no_key
) -> Filled:
    """Writes (partition, value) messages to feeds in big batches, in order within their partition."""
    return asyncio.run(_fill(settings, messages, compression, key_of))


async def _fill(
    settings: Settings, messages: Iterator[tuple[int, bytes]], compression: str | None, key_of: KeyOf
) -> Filled:
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap.split(","),
        acks="all",
        enable_idempotence=settings.idempotent,
        compression_type=compression,
        max_batch_size=_BATCH_BYTES,
        max_request_size=8_000_000,
        **settings.security,
    )
    await producer.start()
    filled = Filled()
    open_batches: dict[int, Any] = {}
    under_way: dict[int, Any] = {}
    now_ms = time.time_ns() // 1_000_000

    async def send(partition: int) -> None:
        if (last := under_way.pop(partition, None)) is not None:
            await last  # one batch of a partition in flight: their order is the log's
        batch = open_batches.pop(partition)
        batch.close()
        under_way[partition] = await producer.send_batch(batch, FEEDS.name, partition=partition)

    started = time.monotonic()
    try:
        for partition, value in messages:
            filled.messages += 1
            filled.size += len(value)
            filled.next_offset[partition] = filled.next_offset.get(partition, 0) + 1
            while True:
                if (batch := open_batches.get(partition)) is None:
                    batch = open_batches[partition] = producer.create_batch()
                if batch.append(timestamp=now_ms, key=key_of(value), value=value) is not None:
                    break
                await send(partition)
        for partition in list(open_batches):
            await send(partition)
        for last in under_way.values():
            await last
    finally:
        await producer.stop()
    filled.seconds = time.monotonic() - started
    return filled


@dataclass(slots=True)
class Usage:
    """What a process used up to now."""

    cpu_s: float
    peak_mb: float


def usage(pid: int) -> Usage:
    """Returns processor seconds and the most memory that a process had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return Usage((int(fields[11]) + int(fields[12])) / _CLOCK_TICKS, peak_kb / 1024)


class Process:
    """``pricelink COMMAND`` as a process, its log in a file; a context manager that leaves nothing behind."""

    def __init__(self, settings: Settings, command: str) -> None:
        self.settings = settings
        self._command = command
        self._log = tempfile.NamedTemporaryFile(prefix="pricelink-load-", suffix=".log", delete=False)  # noqa: SIM115
        environment = os.environ | settings.environment() | {"PRICELINK_LOG_FORMAT": "json"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", command], cwd=PROJECT, env=environment, stdout=self._log, stderr=self._log
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_fault: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        Path(self._log.name).unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """Returns the process's number."""
        return self.process.pid

    def check(self) -> None:
        """Raises BenchFault if it has ended."""
        if self.process.poll() is not None:
            raise BenchFault(f"the {self._command} ended with {self.process.returncode}:\n{self.said()}")

    def stop(self) -> float:
        """Asks it to end, as a supervisor would; returns how long it took. Raises BenchFault if it was not clean."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired as fault:
            raise BenchFault(f"the {self._command} did not end within 30 s of SIGTERM:\n{self.said()}") from fault
        if code != 0:
            raise BenchFault(f"the {self._command} ended with {code}:\n{self.said()}")
        return time.monotonic() - started

    def said(self) -> str:
        """Returns the end of its log."""
        return Path(self._log.name).read_text(errors="replace")[-4000:]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Returns the lines of its log that tell of ``event``."""
        found = []
        for line in Path(self._log.name).read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                item = json.loads(line)
                if isinstance(item, dict) and item.get("event") == event:
                    found.append(item)
        return found


class Worker(Process):
    """A worker process, and what it tells of itself through its log and Redis."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "worker")
        self._redis = redis.Redis.from_url(settings.redis_url)

    def status(self) -> dict[str, Any]:
        """Returns what it last wrote of itself into Redis; empty: nothing yet."""
        raw = self._redis.get(f"pl:worker:{self.settings.instance}")
        return json.loads(raw) if raw else {}

    def wait_for_records(self, records: int, timeout_s: float) -> None:
        """Waits until the worker says that it has applied so many records; raises BenchFault."""
        deadline = time.monotonic() + timeout_s
        done = 0
        while done < records:
            self.check()
            if time.monotonic() > deadline:
                raise BenchFault(f"{done:,} of {records:,} records after {timeout_s:.0f} s:\n{self.said()}")
            time.sleep(0.2)
            done = self.status().get("records_total", 0)

    def restored(self) -> tuple[float, dict[int, int]]:
        """Returns when it last got partitions, in seconds of the epoch, and where it reads each from; none: not yet."""
        told = self.lines("restored")
        if not told:
            return 0.0, {}
        positions = {int(partition): offset for partition, offset in told[-1]["positions"].items()}
        return datetime.fromisoformat(told[-1]["timestamp"]).timestamp(), positions


@dataclass(slots=True)
class ReadBack:
    """What the topics hold. ``last_ms``: the latest timestamp among them, in epoch milliseconds."""

    outputs: Outputs = field(default_factory=Outputs)
    first_ms: int = 2**62
    last_ms: int = 0


def read_outputs(settings: Settings) -> ReadBack:
    """Returns what the worker wrote."""
    return asyncio.run(_read_outputs(settings))


async def _read_outputs(settings: Settings) -> ReadBack:
    found = ReadBack()
    digests = {ALERTS.name: found.outputs.alerts, PRICE_CHANGES.name: found.outputs.price_changes}
    for topic in (ALERTS.name, PRICE_CHANGES.name, DEAD_LETTERS.name):
        digest = digests.get(topic)
        async for message in whole_topic(settings, topic):
            found.first_ms = min(found.first_ms, message.timestamp)
            found.last_ms = max(found.last_ms, message.timestamp)
            if digest is None:
                found.outputs.dead_letters += 1
            else:
                digest.add(message.key, message.value)
    return found


async def whole_topic(settings: Settings, topic: str) -> Any:
    """Yields the messages of a topic from its beginning to where it ends now."""
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap.split(","),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=8_000_000,
        check_crcs=False,
        **settings.security,
    )
    await consumer.start()
    try:
        places = [aiokafka.TopicPartition(topic, partition) for partition in range(settings.partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        quiet_since = time.monotonic()
        # The embedded broker does not tell where a topic ends: it has ended when nothing more comes.
        while time.monotonic() - quiet_since < _QUIET_S:
            fetched = await consumer.getmany(timeout_ms=200, max_records=50_000)
            for messages in fetched.values():
                quiet_since = time.monotonic()
                for message in messages:
                    yield message
            at_end = [consumer.highwater(place) == await consumer.position(place) for place in places]
            if not fetched and all(at_end):
                return
    finally:
        await consumer.stop()
