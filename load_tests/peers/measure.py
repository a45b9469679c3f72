"""One engine measured: its catch-up, its latency, and whether what it answered is right."""

import asyncio
import contextlib
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic

from agents.embedded import die_with_parent
from config.settings import Settings
from config.topics import DEAD_LETTERS
from load_tests.expected import POLICY, Outputs, batch_of, outputs_of
from load_tests.generate import Load, product_codes
from load_tests.harness import PROJECT, BenchFault, fill, surroundings, usage, whole_topic
from load_tests.latency import SplitLog, observe
from load_tests.peers.engines import OUT, Engine
from load_tests.peers.log import Log, key_of
from load_tests.peers.task import LOWEST, Answers, Position, answer_of, reference_answers
from schemas.batches import Batch

_PREFIX: Final = "peer-"
"""Of the names of all topics and groups that are not ours."""
_START_S: Final = 120.0
_CATCHUP_S: Final = 900.0
_DONE_S: Final = 1.0
_STALL_S: Final = 8.0
_SETTLE_S: Final = 3.0
_POLL_S: Final = 0.25
_SAMPLE_S: Final = 0.1
_WARM_S: Final = 3.0
_BATCH_MESSAGES: Final = 5_000


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it all happens. ``address``: a Kafka, None for the embedded broker; ``pid``: of a Kafka of our own."""

    address: str | None = None
    pid: int | None = None


class Process:
    """An engine that runs, with samples of its processor time; a context manager that leaves nothing behind."""

    def __init__(self, engine: Engine, settings: Settings, broker: Broker) -> None:
        self._engine = engine
        self._command = engine.command()
        self._settings = settings
        self._broker = broker
        self._scratch = tempfile.TemporaryDirectory(prefix="pricelink-peer-", ignore_cleanup_errors=True)
        self._ended = threading.Event()
        self._samples: list[tuple[float, float, float]] = []
        self.peak_mb = 0.0

    def __enter__(self) -> Self:
        scratch = Path(self._scratch.name)
        environment = self._engine.environment(self._settings, f"{_PREFIX}{uuid.uuid4()}", scratch / "state")
        (scratch / "state").mkdir()
        with (scratch / "log").open("wb") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  it only calls prctl
                start_new_session=True,
            )
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *_fault: object) -> None:
        self._ended.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._sampler.join()
        self._scratch.cleanup()

    def cpu_s(self, between: tuple[float, float]) -> tuple[float, float | None]:
        """Returns processor seconds of engine and broker between two moments, in seconds of the epoch."""
        samples = np.array(self._samples)
        spent = [float(np.diff(np.interp(between, samples[:, 0], samples[:, column]))[0]) for column in (1, 2)]
        return spent[0], spent[1] if self._broker.pid is not None else None

    def wait_for_events(self, expected: int) -> None:
        """Waits until so many events are there and no more come; raises BenchFault where the engine ends or hangs."""
        consumer = KafkaConsumer(bootstrap_servers=self._settings.bootstrap.split(","), **self._settings.security)
        places = [TopicPartition(name, n) for name in self._engine.topics for n in range(self._settings.partitions)]
        started = moved = time.monotonic()
        events = 0
        try:
            while True:
                if self.process.poll() is not None:
                    raise BenchFault(f"{self._engine.name} ended with {self.process.returncode}:\n{self.said()}")
                now, found = time.monotonic(), sum(consumer.end_offsets(places).values())
                if found != events:
                    events, moved = found, now
                # The embedded broker tells ends that are too low, so there only the quiet tells that all is done.
                if events and now - moved > (_DONE_S if events >= expected else _STALL_S):
                    return
                if (not events and now - started > _START_S) or now - started > _CATCHUP_S:
                    raise BenchFault(f"{self._engine.name}: {events:,} events, not {expected:,}:\n{self.said()}")
                time.sleep(_POLL_S)
        finally:
            consumer.close()

    def said(self) -> str:
        """Returns the end of its log."""
        return (Path(self._scratch.name) / "log").read_text(errors="replace")[-3000:]

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            with contextlib.suppress(OSError, StopIteration, IndexError):  # it has just ended
                engine = usage(self.process.pid)
                broker_s = usage(self._broker.pid).cpu_s if self._broker.pid is not None else 0.0
                self._samples.append((time.time(), engine.cpu_s, broker_s))
                self.peak_mb = max(self.peak_mb, engine.peak_mb)


@dataclass(frozen=True, slots=True)
class Expected:
    """What has to come of a log: of a peer, and of us."""

    records: int
    answers: Answers
    ours: Outputs


@cache
def _expected_of(load: Load) -> Expected:
    log = Log.of(load)
    count = sum(1 for _ in log.warm_up()) + sum(1 for _ in log.measured())
    answers = reference_answers(chain(log.warm_up(), log.measured()))
    return Expected(
        count, answers, outputs_of(_batches(chain(log.warm_up(), log.measured()), load.partitions), load.partitions)
    )


def _batches(messages: Iterable[tuple[int, bytes]], partitions: int) -> Iterator[Batch]:
    waiting: list[list[bytes]] = [[] for _ in range(partitions)]
    offsets = [0] * partitions
    for partition, value in messages:
        waiting[partition].append(value)
        if len(waiting[partition]) >= _BATCH_MESSAGES:
            yield batch_of(partition, offsets[partition], waiting[partition], 2**52)
            offsets[partition] += len(waiting[partition])
            waiting[partition] = []
    for partition, values in enumerate(waiting):
        if values:
            yield batch_of(partition, offsets[partition], values, 2**52)


@contextlib.contextmanager
def _topics(broker: Broker, partitions: int) -> Iterator[Settings]:
    """Yields the settings of a broker that has our topics and the peers'; on Kafka all events get its own timestamps."""
    with surroundings(broker.address, partitions, POLICY) as settings:
        admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap.split(","), **settings.security)
        try:
            config = {"message.timestamp.type": "LogAppendTime"} if broker.address else {}
            admin.create_topics([NewTopic(OUT, partitions, 1, topic_configs=config)])
            if broker.address:
                names = ("alerts", "price-changes")
                admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=config) for name in names])
            yield settings
        finally:
            if broker.address:  # the changelogs that engines made, too
                admin.delete_topics([name for name in admin.list_topics() if name.startswith(_PREFIX)])
            admin.close()


@dataclass(slots=True)
class _Read:
    answers: Answers = field(default_factory=Answers)
    ours: Outputs = field(default_factory=Outputs)
    first_ms: int = 2**62
    last_ms: int = 0


async def _read(settings: Settings, engine: Engine, warm_codes: set[bytes]) -> _Read:
    """Returns what the engine wrote, and when it wrote the first and the last event that is measured."""
    found = _Read()
    for topic in engine.topics:
        digest = found.ours.alerts if topic == "alerts" else found.ours.price_changes
        async for message in whole_topic(settings, topic):
            found.answers.add_event(topic, message.value)
            if engine.ours:
                digest.add(message.key, message.value)
            if message.key not in warm_codes:
                found.first_ms = min(found.first_ms, message.timestamp)
                found.last_ms = max(found.last_ms, message.timestamp)
    if engine.ours:
        async for _ in whole_topic(settings, DEAD_LETTERS.name):
            found.ours.dead_letters += 1
    return found


def _verdict(engine: Engine, expected: Expected, found: _Read) -> str | None:
    if engine.ours and (difference := expected.ours.difference(found.ours)):
        return difference
    return expected.answers.difference(found.answers, one_topic=not engine.ours)


def _events(engine: Engine, expected: Expected) -> int:
    if engine.ours:
        return expected.ours.alerts.events + expected.ours.price_changes.events
    return expected.answers.events


def catch_up(engine: Engine, load: Load, broker: Broker) -> dict[str, Any]:
    """Returns an engine's figures over a whole log that is there when it starts, its warm-up left out."""
    expected = _expected_of(load)
    log = Log.of(load)
    warm_codes = {row.tobytes() for row in product_codes(log.warm.products, log.warm.seed)}
    with _topics(broker, load.partitions) as settings:
        fill(settings, chain(log.warm_up(), log.measured()), None, key_of)
        with Process(engine, settings, broker) as process:
            process.wait_for_events(_events(engine, expected))
        found = asyncio.run(_read(settings, engine, warm_codes))
    seconds = (found.last_ms - found.first_ms) / 1000
    if seconds <= 0:
        raise BenchFault(f"{engine.name}: no events to measure by")
    records = sum(1 for _ in log.measured())
    engine_s, broker_s = process.cpu_s((found.first_ms / 1000, found.last_ms / 1000))
    return {
        "records": records,
        "products": load.products,
        "seconds": round(seconds, 2),
        "records_per_s": round(records / seconds),
        "cpu_us_per_record": round(engine_s / records * 1e6, 2),
        "broker_cpu_us_per_record": None if broker_s is None else round(broker_s / records * 1e6, 2),
        "peak_mb": round(process.peak_mb),
        "answers": found.answers.events,
        "repeats": found.answers.repeats,
        "difference": _verdict(engine, expected, found),
    }


def latency(engine: Engine, load: Load, broker: Broker, rate: int, seconds: float) -> dict[str, Any]:
    """Returns milliseconds from handing a record to a producer to having its events in a consumer, at a steady rate."""
    log = SplitLog(replace(load, lines_per_message=1), int(rate * seconds))
    head, tail = list(log.head()), log.tail()
    before = reference_answers(head)
    answers = reference_answers(chain(head, tail))
    ours = outputs_of(_batches(chain(head, tail), load.partitions), load.partitions) if engine.ours else Outputs()
    head_ours = outputs_of(_batches(head, load.partitions), load.partitions) if engine.ours else Outputs()
    expected = Expected(len(head) + len(tail), answers, ours)
    with _topics(broker, load.partitions) as settings:
        fill(settings, iter(head), None, key_of)
        with Process(engine, settings, broker) as process:
            process.wait_for_events(_events(engine, Expected(len(head), before, head_ours)))
            time.sleep(_SETTLE_S)
            began = time.time()
            seen = observe(settings, tail, rate, engine.topics, key_of)
            spent_s, _ = process.cpu_s((began, time.time()))
            process.wait_for_events(_events(engine, expected))
        found = asyncio.run(_read(settings, engine, set()))
    late_ms = _late_ms(engine, before, answers, seen.sent, seen.arrivals)
    if not late_ms:
        raise BenchFault(f"{engine.name}: no event of the records sent came while the reader read")
    p50, p90, p99 = np.percentile(late_ms, (50, 90, 99)).round(2).tolist()
    return {
        "rate": rate,
        "sent_per_s": round(seen.sent_per_s, 1),
        "products": load.products,
        "samples": len(late_ms),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "max_ms": round(max(late_ms), 2),
        "cpu_share": round(spent_s / seconds, 3),
        "repeats": found.answers.repeats,
        "difference": _verdict(engine, expected, found),
    }


def _late_ms(
    engine: Engine,
    before: Answers,
    answers: Answers,
    sent: dict[Position, int],
    arrivals: list[tuple[int, bytes]],
) -> list[float]:
    """Matches a code's events to the reference's by their order, bands and lowest prices apart."""
    causes: dict[tuple[str, bool], list[Position]] = {}
    for code, found in answers.by_code.items():
        for (kind, _), position in list(zip(found, answers.where[code], strict=True))[
            len(before.by_code.get(code, [])) :
        ]:
            causes.setdefault((code, kind == LOWEST), []).append(position)
    warm_ns = min(sent.values()) + int(_WARM_S * 1e9)
    turns = {queue: iter(positions) for queue, positions in causes.items()}
    late_ms = []
    for received_ns, value in arrivals:
        topic = next(
            (name for name in engine.topics if engine.ours and (b'"lowest":' in value) == (name != "alerts")), OUT
        )
        code, answer = answer_of(topic, value)
        if answer is None:
            continue
        cause = next(turns.get((code, answer[0] == LOWEST), iter(())), None)
        if cause is not None and sent.get(cause, 0) >= warm_ns:
            late_ms.append((received_ns - sent[cause]) / 1e6)
    return late_ms
