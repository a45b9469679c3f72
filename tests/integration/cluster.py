"""An embedded broker with our topics, and worker processes on it that can be killed.

With ``PRICELINK_TEST_KAFKA=HOST:PORT`` the tests run on that Kafka instead, which must have no topics of ours: each
test creates them, and deletes them at its end.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from agents import topics
from agents.embedded import Child, start_broker, start_redis
from agents.record_batches import batch_of
from config.settings import Settings
from config.topics import FEEDS, TOPICS, events_of
from schemas.batches import Batch

ROOT = Path(__file__).resolve().parent.parent.parent
FAKE = "from tests.agents.fake_machine import FakeMachine as machine"
REAL = "machine = None"
_PATIENCE_S = 60.0
_numbers = itertools.count()
_START_S = 300.0  # the first worker may have to compile its kernels


@dataclass(slots=True)
class Cluster:
    """The broker, Redis, and settings that lead to them. A context manager."""

    settings: Settings
    children: list[Child]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def make(cls, **options: Any) -> "Cluster":
        children = [start_redis()]
        where: dict[str, Any] = {"broker_kind": "kafka", "bootstrap": os.environ.get("PRICELINK_TEST_KAFKA")}
        if where["bootstrap"] is None:
            children.append(start_broker())
            where = {"broker_kind": "embedded", "bootstrap": f"127.0.0.1:{children[-1].port}"}
        group = f"-{os.getpid()}-{next(_numbers)}"  # Kafka keeps the offsets of a group, topics or no topics
        settings = Settings(
            redis_url=f"redis://127.0.0.1:{children[0].port}/0",
            worker_group=f"worker{group}",
            read_model_group=f"read-model{group}",
            scorecards_group=f"scorecards{group}",
            copier_group=f"copier{group}",
            **where,
            **options,
        )
        topics.apply(settings)
        return cls(settings, children)

    @staticmethod
    def settings_of(**options: Any) -> Settings:
        """Settings for what needs no broker."""
        return Settings(broker_kind="embedded", **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        if not self.settings.embedded:
            own = map(events_of, topics.copies_of(self.settings))
            delete_topics(self.settings, {topic.name for topic in (*TOPICS, *own)})
        for child in reversed(self.children):
            child.stop()

    def start(self, code: str, name: str) -> subprocess.Popen[bytes]:
        """Starts Python code as a process of its own, with the cluster's settings."""
        environment = {**os.environ, **self.settings.environment(), "PRICELINK_INSTANCE": name, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=ROOT)
        self.processes.append(process)
        return process

    def start_worker(self, machine: str, name: str = "w") -> subprocess.Popen[bytes]:
        return self.start(
            f"import sys; from agents.worker import run; from config.settings import settings; {machine}; "
            "sys.exit(run(settings(), machine))",
            name,
        )

    def start_read_model(self, *, rebuild: bool = False) -> subprocess.Popen[bytes]:
        return self.start(
            f"import sys; from agents.read_model import run; from config.settings import settings; "
            f"sys.exit(run(settings(), rebuild={rebuild}))",
            "r",
        )

    def start_process(self, module: str, name: str) -> subprocess.Popen[bytes]:
        """Starts a process whose module has ``run(settings)``."""
        return self.start(
            f"import sys; from {module} import run; from config.settings import settings; sys.exit(run(settings()))",
            name,
        )


def delete_topics(settings: Settings, names: set[str]) -> None:
    """Deletes topics, and waits until they are gone."""
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap.split(","))
    try:
        admin.delete_topics(sorted(names))
        deadline = time.monotonic() + _PATIENCE_S
        while names & set(admin.list_topics()):
            assert time.monotonic() < deadline, "topics are not deleted"
            time.sleep(0.1)
    finally:
        admin.close()


async def at_work(cluster: Cluster, *names: str) -> None:
    """Waits until each named worker has told Redis that it has partitions, and together they have all."""
    client = redis.asyncio.from_url(cluster.settings.redis_url)
    deadline = time.monotonic() + _START_S
    try:
        while True:
            told = [orjson.loads(value) for name in names if (value := await client.get(f"pl:worker:{name}"))]
            shares = [set(status["partitions"]) for status in told]
            if len(shares) == len(names) and all(shares) and sum(map(len, shares)) == cluster.settings.partitions:
                return
            assert time.monotonic() < deadline, f"{names}: {told}"
            await asyncio.sleep(0.1)
    finally:
        await client.aclose()


def stop(process: subprocess.Popen[bytes], within_s: float = 15.0) -> tuple[int, float]:
    """SIGTERM; returns the exit code and the seconds it took."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    return process.wait(within_s), time.monotonic() - began


NONSENSE: Final = (
    None,
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b"7",
    b"null",
    b"{}",
    b'{"alert_id":[]}',
    b'{"alert_id":"x:1","revision":"2"}',
)
"""Values that are no message of any of our topics."""


async def produce_nonsense(settings: Settings, *topics: str) -> None:
    """Writes what is none into every partition of topics."""
    for topic in topics:
        messages = [
            (place, key, value, None)
            for place in range(settings.partitions)
            for value in NONSENSE
            for key in (None, b"\xff", b"6|320000x")
            if key is not None or value is not None  # Kafka's clients do not send what is nothing at all
        ]
        await produce(settings, messages, topic)


async def produce(
    settings: Settings, messages: Iterable[tuple[int, bytes | None, bytes | None, int | None]], topic: str = FEEDS.name
) -> None:
    """Writes (partition, key, value, time) to a topic, in their order within a partition."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap, linger_ms=1, enable_idempotence=settings.idempotent, acks="all"
    )
    await producer.start()
    try:
        sent = [
            await producer.send(topic, value, key=key, partition=partition, timestamp_ms=at_ms)
            for partition, key, value, at_ms in messages
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def read(settings: Settings, topic: str, at_least: dict[int, int] | None = None) -> dict[int, list[Any]]:
    """Reads a topic from its start until each partition has ``at_least`` messages, and to its end.

    Where the broker is the embedded one, which is wrong about the end, that is where nothing more comes.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    await consumer.start()
    places = [TopicPartition(topic, number) for number in range(settings.partitions)]
    found: dict[int, list[Any]] = {place.partition: [] for place in places}
    wanted = at_least or {}
    try:
        consumer.assign(places)
        ends = {} if settings.embedded else await consumer.end_offsets(places)
        deadline = time.monotonic() + _PATIENCE_S
        quiet = 0
        while (
            (settings.embedded and quiet < 3)
            or any(len(found[number]) < count for number, count in wanted.items())
            or any([await consumer.position(place) < end for place, end in ends.items()])
        ):
            fetched = await consumer.getmany(timeout_ms=200)
            quiet = 0 if fetched else quiet + 1
            if fetched:
                deadline = time.monotonic() + _PATIENCE_S
            for place, records in fetched.items():
                found[place.partition] += records
            assert time.monotonic() < deadline, f"{topic}: { ({n: len(r) for n, r in found.items()}) } of {wanted}"
    finally:
        await consumer.stop()
    return found


async def committed(settings: Settings) -> dict[int, int]:
    """Returns the worker group's committed offsets of feeds."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap, group_id=settings.worker_group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        places = [TopicPartition(FEEDS.name, number) for number in range(settings.partitions)]
        consumer.assign(places)
        return {place.partition: await consumer.committed(place) or 0 for place in places}
    finally:
        await consumer.stop()


async def until_committed(settings: Settings, wanted: dict[int, int], within_s: float = _PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while (found := await committed(settings)) != wanted:
        assert time.monotonic() < deadline, f"committed {found}, wanted {wanted}"
        await asyncio.sleep(0.2)


def batch(partition: int, records: list[Any]) -> Batch:
    return batch_of(partition, records)
