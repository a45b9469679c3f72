"""Records that flow at a steady rate, and how far the workers are: what recovery is measured with."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from config.settings import Settings
from config.topics import FEEDS
from tests.kafka.price_log import Line

_EVERY_S: Final = 0.1
_LOOK_S: Final = 0.2
_AGAIN_S: Final = 0.5


class Flow:
    """Writes lines to feeds, ``rate`` a second, until told to write the rest at once. A context manager.

    What the broker did not acknowledge is written again, as any client would: ``acked`` counts what it did.
    """

    def __init__(self, settings: Settings, lines: Iterable[Line], rate: float) -> None:
        self._settings = settings
        self._lines = iter(lines)
        self._rate = rate
        self._task: asyncio.Task[None] | None = None
        self.acked = 0
        self.failures = 0
        self.exhausted = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def rest(self) -> None:
        """Writes what is left as fast as it goes."""
        self._rate = 1e9
        assert self._task is not None
        await self._task

    async def _write(self) -> None:
        producer: Any = None
        began, written = time.monotonic(), 0
        try:
            while True:
                await asyncio.sleep(_EVERY_S if self._rate < 1e6 else 0)
                due = min(int((time.monotonic() - began) * self._rate) - written, 2_000)
                if due > 0 and not (part := list(islice(self._lines, due))):
                    self.exhausted = True
                    return
                failed = False
                while due > 0:
                    try:
                        producer = producer or await self._producer()
                        sent = [await producer.send(FEEDS.name, value, key=key, partition=number)
                                for number, key, value, _ in part]  # fmt: skip
                        await asyncio.gather(*sent)
                        break
                    except (KafkaError, OSError):
                        failed = True
                        self.failures += 1
                        if producer is not None:
                            with contextlib.suppress(Exception):
                                async with asyncio.timeout(1):
                                    await producer.stop()
                        producer = None
                        await asyncio.sleep(_AGAIN_S)
                written += max(due, 0)
                self.acked += max(due, 0) and len(part)
                if failed:  # a broker that was away is no reason to write a flood
                    began, written = time.monotonic(), 0
        finally:
            if producer is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(5):
                        await producer.stop()

    async def _producer(self) -> Any:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap, linger_ms=1, enable_idempotence=True, acks="all",
            request_timeout_ms=10_000,
        )  # fmt: skip
        await producer.start()
        return producer


async def written(settings: Settings, topic: str) -> int:
    """Returns how many messages a topic has by now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(settings.partitions)]
        return sum((await consumer.end_offsets(places)).values())
    finally:
        await consumer.stop()


class Progress:
    """Follows the committed offsets of feeds: when each partition last went on. A context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Any = None
        self._task: asyncio.Task[None] | None = None
        self._looks = 0
        self.committed: dict[int, int] = dict.fromkeys(range(settings.partitions), 0)
        self.moved_at: dict[int, float] = dict.fromkeys(range(settings.partitions), 0.0)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._consumer is not None:
            await self._consumer.stop()

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap, group_id=self._settings.worker_group,
            enable_auto_commit=False, request_timeout_ms=5_000,
        )  # fmt: skip
        await consumer.start()
        self._consumer = consumer
        consumer.assign([TopicPartition(FEEDS.name, number) for number in self.committed])
        while True:
            for number in self.committed:
                try:
                    async with asyncio.timeout(5):  # wait_for of Python 3.11 may swallow our own cancellation
                        offset = await consumer.committed(TopicPartition(FEEDS.name, number)) or 0
                except (KafkaError, TimeoutError, OSError):
                    continue
                if offset > self.committed[number]:
                    self.committed[number], self.moved_at[number] = offset, time.monotonic()
            self._looks += 1
            await asyncio.sleep(_LOOK_S)

    async def after(self, moment: float, within_s: float) -> float:
        """Waits until every partition went on after ``moment``; returns the seconds from there to the last of them."""
        deadline = moment + within_s
        looks = self._looks
        while self._looks < looks + 2:  # what was committed before is known now
            assert time.monotonic() < deadline, f"no offsets are told within {within_s:.0f} s"
            await asyncio.sleep(0.05)
        before = dict(self.committed)
        while late := [number for number, offset in self.committed.items() if offset <= before[number]]:
            assert time.monotonic() < deadline, f"no progress of {late} within {within_s:.0f} s"
            await asyncio.sleep(0.05)
        return max(self.moved_at.values()) - moment
