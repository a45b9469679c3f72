"""Topics ``alerts`` and ``price-changes`` as the gateway reads them: followed from near their ends, and read again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from opentelemetry.trace import SpanKind

from config.settings import Settings
from config.topics import ALERTS, PRICE_CHANGES
from gateway.audience import Entry
from gateway.cursors import PRICE_LANES
from gateway.event_traces import EventTraces
from gateway.filters import Filter
from gateway.hub import NOBODY, Hub, Repeats, entry_of, identity_of
from schemas.events import NotAnEvent, read_event

TAIL_EVENTS: Final = 500
"""Events of each partition read again at the start, so that a page opened then has something to show."""
CATCH_UP_EVENTS: Final = 50_000
"""A client that is further behind starts over."""
RETRY_S: Final = 1.0
CHECK_S: Final = 3.0
"""How often the broker is asked whether it is there, and how long it may take."""
_STALLED_S: Final = 10.0
_FETCH_WAIT_MS: Final = 500
"""How long Kafka holds a fetch that finds nothing; it answers at once when something comes."""

_log = structlog.get_logger("events")

BROKER_FAULTS: Final = (KafkaError, OSError, TimeoutError, asyncio.TimeoutError)


class TopicMissing(OSError):
    """There is no such topic; the message says what makes it."""


class LogGone(Exception):
    """The events after a cursor cannot be read any more."""


@asynccontextmanager
async def reader(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """Opens a consumer without a group. Raises one of BROKER_FAULTS."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap,
        client_id="pricelink-gateway",
        enable_auto_commit=False,
        request_timeout_ms=10_000,
        retry_backoff_ms=200,
        **settings.security,
        **options,
    )
    try:
        await asyncio.wait_for(consumer.start(), CHECK_S)
        yield consumer
    finally:
        await _stop(consumer)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    # While the broker is away, stop() fails with the cancellation of its own tasks, before it has closed the client.
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait({stopping}, timeout=CHECK_S)
    if not stopping.done() or stopping.cancelled() or stopping.exception():
        stopping.cancel()
        with suppress(*BROKER_FAULTS):
            await asyncio.wait_for(consumer._client.close(), CHECK_S)  # noqa: SLF001


Messages = Sequence[tuple[bytes, int]]
"""Values and their timestamps, epoch milliseconds."""
Listers = Callable[[Messages], Awaitable[Sequence[frozenset[str]]]]
"""Returns who lists the code of each of these price changes."""


class AlertsTopic:
    """Follows topic ``alerts``, or ``price-changes``, into a hub, for as long as the process lives.

    ``problem``: why it does not follow at the moment, in words; None while it does. ``first_lane``: of its partitions
    (gateway.cursors). ``listers``: of ``price-changes``, who lists the codes of some events. ``traces``: is told of
    every event's headers.
    """

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        topic: str = ALERTS.name,
        first_lane: int = 0,
        listers: Listers | None = None,
    ) -> None:
        self.first_lane = first_lane
        self._listers = listers
        self.bootstrap = settings.bootstrap
        self.topic = topic
        self.traces: EventTraces | None = None
        self._settings = settings
        self.problem: str | None = "not connected yet"
        self._hub = hub

    @classmethod
    def of_prices(cls, settings: Settings, hub: Hub, listers: Listers) -> Self:
        """Makes the follower of ``price-changes``."""
        return cls(settings, hub, PRICE_CHANGES.name, PRICE_LANES, listers)

    def _lane(self, partition: TopicPartition) -> int:
        return self.first_lane + int(partition.partition)

    async def _suppliers(self, records: Sequence[Any]) -> Sequence[frozenset[str]]:
        if self._listers is None:
            return [NOBODY] * len(records)
        return await self._listers([(record.value or b"", record.timestamp) for record in records])

    async def follow(self) -> None:
        """Reads until cancelled; a broker that goes away is waited for."""
        while True:
            try:
                await self._follow_once()
            except BROKER_FAULTS as error:
                self._report(error)
            await asyncio.sleep(RETRY_S)

    def _report(self, fault: BaseException) -> None:
        problem = str(fault) or type(fault).__name__
        if problem != self.problem:
            _log.warning(
                "a topic cannot be read; it is tried again every second",
                reason="topic_missing" if isinstance(fault, TopicMissing) else "broker_away", fault=fault, topic=self.topic, where=self.bootstrap,
            )  # fmt: skip
        self.problem = problem

    async def _follow_once(self) -> None:
        # The embedded broker answers a fetch that finds nothing only when its wait is over, whatever comes meanwhile.
        wait_ms = self._settings.fetch_wait_ms if self._settings.embedded else _FETCH_WAIT_MS
        async with reader(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=wait_ms) as consumer:
            partitions = await self._partitions(consumer)
            if not partitions:
                raise TopicMissing(f"there is no topic {self.topic}; `pricelink topics apply` makes it")
            consumer.assign(partitions)
            await self._seek(consumer, partitions)
            self.problem = None
            checks = asyncio.create_task(self._check(consumer))
            try:
                while not checks.done():
                    fetched = await consumer.getmany(timeout_ms=500, max_records=2_000)
                    for partition, records in fetched.items():
                        suppliers = await self._suppliers(records)
                        for record, whose in zip(records, suppliers, strict=True):
                            self._hub.publish(self._lane(partition), record.offset, record.value or b"", whose)
                            if self.traces is not None:
                                self._trace(self.traces, self._lane(partition), record)
                    if fetched:
                        await asyncio.sleep(0)
                checks.result()
            finally:
                checks.cancel()

    def _trace(self, traces: EventTraces, lane: int, record: Any) -> None:
        if traces.came(lane, record.offset, record.headers):
            about: dict[str, str | int] = {"messaging.destination.name": self.topic}
            if clients := list(self._hub.clients):
                about["pricelink.live_streams"] = len(clients)
            times_ms = record.timestamp, time.time_ns() // 1_000_000
            traces.note(lane, record.offset, f"receive {self.topic}", SpanKind.CONSUMER, times_ms, about)

    async def _check(self, consumer: AIOKafkaConsumer) -> None:
        """Ends with an exception when the broker no longer answers: the consumer itself would only wait."""
        while True:
            await asyncio.sleep(CHECK_S)
            await asyncio.wait_for(consumer.topics(), CHECK_S)

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        # `topics()` asks for all and keeps nothing; `partitions_for_topic()` knows only what is assigned already.
        cluster = await asyncio.wait_for(consumer._client.fetch_all_metadata(), CHECK_S)  # noqa: SLF001
        numbers = cluster.partitions_for_topic(self.topic) or set()
        return [TopicPartition(self.topic, number) for number in sorted(numbers)]

    async def _seek(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        first = await asyncio.wait_for(consumer.beginning_offsets(partitions), CHECK_S)
        end = await asyncio.wait_for(consumer.end_offsets(partitions), CHECK_S)
        known = self._hub.lanes(prices=self.first_lane == PRICE_LANES)
        if known and not await self._goes_on(consumer, known, end):
            _log.warning(
                "a topic is shorter than it was: its broker lost it, and it began anew; clients start over",
                reason="topic_anew", topic=self.topic, where=self.bootstrap,
            )  # fmt: skip
            self._hub.begin_anew(known)
            known = {}
        if not known:
            known = {self._lane(each): max(first[each], end[each] - TAIL_EVENTS) for each in partitions}
            self._hub.begin(known, {self._lane(each): end[each] for each in partitions})
        for each in partitions:
            consumer.seek(each, max(known.get(self._lane(each), 0), first[each]))

    async def _goes_on(self, consumer: AIOKafkaConsumer, known: dict[int, int], end: dict[TopicPartition, int]) -> bool:
        """Tells whether this is still the log that was read up to ``known``, not one that a broker lost and began anew.

        The embedded broker may name an end that is too small: the last message read must be there, then.
        """
        doubtful = {each for each, offset in end.items() if known.get(self._lane(each), 0) > offset}
        for each in doubtful:
            consumer.seek(each, known[self._lane(each)] - 1)
        deadline = asyncio.get_running_loop().time() + CHECK_S
        while doubtful and asyncio.get_running_loop().time() < deadline:
            doubtful -= set(await consumer.getmany(*doubtful, timeout_ms=200, max_records=1))
        return not doubtful

    async def read_again(
        self,
        cursor: Mapping[int, int],
        until: Mapping[int, int],
        wanted: Filter,
        most: int | None = CATCH_UP_EVENTS,
    ) -> AsyncIterator[Entry]:
        """Gives the events of the topic from ``cursor`` up to ``until`` (both next offsets), repeats dropped.

        The cursor of each is ``cursor``, moved on behind it. Raises LogGone when they are more than ``most`` or not
        there any more, and one of BROKER_FAULTS.
        """
        prices = self.first_lane == PRICE_LANES
        behind = {
            TopicPartition(self.topic, lane - self.first_lane): offset
            for lane, offset in until.items()
            if (lane >= PRICE_LANES) == prices and cursor.get(lane, 0) < offset
        }
        events = sum(offset - cursor.get(self._lane(each), 0) for each, offset in behind.items())
        if most is not None and events > most:
            raise LogGone(f"more than {most} events behind")
        if not behind:
            return
        positions = dict(cursor)
        repeats = Repeats()
        async with reader(self._settings, auto_offset_reset="none") as consumer:
            left = set(behind)
            consumer.assign(list(left))
            for each in left:
                consumer.seek(each, cursor.get(self._lane(each), 0))
            quiet_since = asyncio.get_running_loop().time()
            while left:
                fetched = await consumer.getmany(*left, timeout_ms=200, max_records=2_000)
                now = asyncio.get_running_loop().time()
                if fetched:
                    quiet_since = now
                elif now - quiet_since > _STALLED_S:
                    raise LogGone("the log gives nothing more before the place where the live stream began")
                for partition, records in fetched.items():
                    lane = self._lane(partition)
                    suppliers = await self._suppliers(records)
                    for record, whose in zip(records, suppliers, strict=True):
                        if record.offset >= behind[partition]:
                            break
                        positions[lane] = record.offset + 1
                        entry = entry_again(lane, record.offset, record.value or b"", whose, positions, repeats)
                        if entry and wanted.passes(
                            entry.province, entry.kind, entry.bands, entry.code, entry.suppliers
                        ):
                            yield entry
                for partition in list(left):
                    if await consumer.position(partition) >= behind[partition]:
                        positions[self._lane(partition)] = behind[partition]
                        consumer.pause(partition)
                        left.discard(partition)


def entry_again(
    lane: int, offset: int, value: bytes, suppliers: frozenset[str], positions: Mapping[int, int], repeats: Repeats
) -> Entry | None:
    """Returns the entry of an event that is read again; None for a repeat, or what cannot be read."""
    try:
        event = read_event(value)
    except NotAnEvent:
        return None  # said when the topic was followed
    if repeats.is_repeat(*identity_of(event)):
        return None
    return entry_of(lane, offset, event, value, suppliers, positions)
