"""Copies each big supplier's own events into a Kafka topic of its own: Kafka has no rights within a topic.

An event goes on as it is: key, value, headers, time. Offsets are committed once all replicas have the copies, so a
crash repeats some and loses none. Each of the two topics is followed by itself: who lists the code of a price change is
asked in Redis, and alerts do not wait for that. The batch transport knows no headers; a consumer of aiokafka's does.
"""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.app import Tasks, stop_on_signals
from agents.clients import END_OFFSETS_S, end_offsets, never_give_up, new_member, new_producer, quieten_clients
from agents.exits import ConfigFault
from agents.logs import pass_over
from agents.metrics_server import serve
from agents.topics import copies_of
from agents.watchdog import Watchdog
from config.settings import Settings
from config.topics import ALERTS, PRICE_CHANGES, events_of
from schemas.events import NotAnEvent, read_alert, read_price_change

_log = structlog.get_logger("copier")

_EVENTS_A_ROUND: Final = 2_000
_MOST_UNACKED: Final = 5_000
"""Copies that wait for the broker; an event has as many as suppliers list its code."""
_WAIT_MS: Final = 200
_WATCH_S: Final = 1.0
_ASKED_LONG_S: Final = 5.0
"""Who lists a code is known by then, new codes too, unless Redis is away."""
_STOP_S: Final = 3.0

Owners = Sequence[frozenset[str]]
Listers = Callable[[Sequence[tuple[bytes, int]]], Awaitable[Owners]]
"""Says of price changes, given as values and times, who lists their codes; waits while it cannot tell."""


async def run(settings: Settings, listers: Listers) -> None:
    """Copies until SIGTERM or SIGINT; raises what ends it sooner."""
    copies = copies_of(settings)
    if not copies:
        raise ConfigFault(
            "PRICELINK_COPIES is empty: NAME=USCC for each supplier whose topic events.NAME is to be filled"
        )
    quieten_clients()
    producer = new_producer(settings)
    never_give_up(producer)
    await Copier(settings, copies, listers, producer).run(stop_on_signals())


def topics_by_supplier(copies: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns each supplier's topics; it may have several principals."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, supplier in copies.items():
        found[supplier].append(events_of(name).name)
    return dict(found)


def picked(
    records: Iterable[Any], owners: Iterable[frozenset[str]], topics: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Any]]:
    """Gives each event that belongs to somebody of ``topics``, and the topic it goes to, in their order."""
    for record, suppliers in zip(records, owners, strict=True):
        for supplier in sorted(suppliers & topics.keys()):
            for topic in topics[supplier]:
                yield topic, record


def read_events(
    records: Iterable[Any], read: Callable[[bytes | None], dict[str, Any]]
) -> list[tuple[Any, dict[str, Any]]]:
    """Returns the records that are events, read; the others are passed over, which is said."""
    found = []
    for record in records:
        try:
            found.append((record, read(record.value)))
        except NotAnEvent as fault:
            pass_over(record.topic, record.partition, record.offset, fault)
    return found


class Follower(ConsumerRebalanceListener):  # type: ignore[misc]
    """Follows one topic as a member of the group. ``listers``: None for alerts, which name their supplier."""

    def __init__(
        self, settings: Settings, topic: str, listers: Listers | None, write: Callable[[Any, Owners], Awaitable[None]]
    ) -> None:
        self.topic = topic
        self.assigned = False
        self.lag: int | None = None
        self._settings = settings
        self._listers = listers
        self._write = write
        self._busy = asyncio.Lock()
        self._asked_at_s: float | None = None
        self._reached: dict[TopicPartition, int] = {}
        self._away = False
        self.member: Any = None

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Lets what is in hand be committed before another member goes on from there."""
        del revoked
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._settings.drain_s, self._settings.session_s / 2)), self._busy:
                self._reached.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Notes that it has its share of the topic."""
        self._reached.clear()
        self.assigned = True
        _log.info("assigned", follows=self.topic, partitions=sorted(place.partition for place in assigned))

    async def start(self) -> None:
        """Joins the group."""
        self.member = new_member(self._settings, self._settings.copier_group, self.topic, self)
        await self.member.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Copies until ``stop`` is set and what is in hand is committed."""
        while not stop.is_set():
            fetched = await self.member.getmany(timeout_ms=_WAIT_MS, max_records=_EVENTS_A_ROUND)
            if fetched:
                async with self._busy:
                    for place, records in fetched.items():
                        self._reached.setdefault(place, records[0].offset)
                        await self._copy(records)
                    await self._commit({place: records[-1].offset + 1 for place, records in fetched.items()})

    async def _copy(self, records: Sequence[Any]) -> None:
        if self._listers is None:
            events = read_events(records, read_alert)
            owners: Owners = [frozenset(filter(None, (event.get("supplier"),))) for _, event in events]
        else:
            events = read_events(records, read_price_change)
            self._asked_at_s = time.monotonic()
            owners = await self._listers([(record.value, record.timestamp) for record, _ in events])
            self._asked_at_s = None
        await self._write([record for record, _ in events], owners)

    async def _commit(self, reached: dict[TopicPartition, int]) -> None:
        try:
            await self.member.commit(reached)
        except (CommitFailedError, IllegalStateError):
            _log.info(
                "partitions went to another process meanwhile; what it copies again has the same ids",
                follows=self.topic,
            )
        else:
            self._reached |= reached

    @property
    def waits_for_redis(self) -> bool:
        """Tells whether who lists a code was asked long ago."""
        asked_at_s = self._asked_at_s
        return asked_at_s is not None and time.monotonic() - asked_at_s > _ASKED_LONG_S

    async def look(self) -> tuple[object, int]:
        """Asks the broker how much waits; returns how far this is, and the lag, for the watchdog."""
        self.lag = await self._ask_lag()
        if self.lag is None and not self._away:
            _log.warning(
                "Kafka does not answer; it is waited for, and nothing is lost", reason="broker_away", topic=self.topic
            )
        self._away = self.lag is None
        # Waiting for Redis is no fault of this process, which a restart would not cure. Where nobody can tell, something may wait.
        lag = 0 if self._asked_at_s is not None else 1 if self.lag is None else self.lag
        return dict(self._reached), lag

    async def _ask_lag(self) -> int | None:
        places = list(self.member.assignment())
        ends = await end_offsets(self.member, places) if places else {}
        if ends is None:
            return None
        lag = 0
        try:
            async with asyncio.timeout(END_OFFSETS_S):
                for place, end in ends.items():
                    reached = self._reached.get(place)
                    lag += max(0, end - (await self.member.position(place) if reached is None else reached))
        except (KafkaError, TimeoutError):
            return None
        return lag


class Copier:
    """The process's parts, and its metrics: a Prometheus collector."""

    def __init__(self, settings: Settings, copies: Mapping[str, str], listers: Listers, producer: Any) -> None:
        self._settings = settings
        self._topics = topics_by_supplier(copies)
        self._copied = Counter({topic: 0 for topics in self._topics.values() for topic in topics})
        self._producer = producer
        self.followers = (
            Follower(settings, ALERTS.name, None, self._write),
            Follower(settings, PRICE_CHANGES.name, listers, self._write),
        )
        self._watchdog = Watchdog(settings.stall_s)
        self._tasks = Tasks()

    async def run(self, stop: asyncio.Event) -> None:
        """Copies until ``stop`` is set; raises the first fault of any part."""
        serve(self._settings, self, ready=self._ready)
        stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            await self._producer.start()
            await self._look_for_topics()
            for follower in self.followers:
                await follower.start()
            self._watchdog.start()
            copying = [self._tasks.spawn(follower.run(stop)) for follower in self.followers]
            self._tasks.spawn(self._watch())
            await asyncio.wait([stopping, self._tasks.fault], return_when=asyncio.FIRST_COMPLETED)
            if not self._tasks.fault.done():
                await asyncio.wait(copying, timeout=self._settings.drain_s)
            if self._tasks.fault.done():
                self._tasks.fault.result()
        finally:
            stopping.cancel()
            self._watchdog.stop()
            await self._tasks.cancel()
            await self._close()
        _log.info("stopped")

    async def _close(self) -> None:
        """Leaves the group and closes connections; aiokafka may hang, or be cancelled by itself, while the broker is away."""
        parts = (*(follower.member for follower in self.followers if follower.member), self._producer)
        ending: list[asyncio.Future[None]] = [asyncio.ensure_future(part.stop()) for part in parts]
        _, late = await asyncio.wait(ending, timeout=_STOP_S)
        for closing in late:
            closing.cancel()

    async def _look_for_topics(self) -> None:
        """Raises ConfigFault for a topic that is not there, before a client's question makes it."""
        there = (await self._producer.client.fetch_all_metadata()).topics()
        for topic in (ALERTS.name, PRICE_CHANGES.name, *self._copied):
            if topic not in there:
                raise ConfigFault(
                    f"there is no topic {topic}, or it is not ours to use: `pricelink topics apply` makes it, and with "
                    "--acls gives the rights"
                )
        for topic in self._copied:
            await self._producer.partitions_for(topic)

    def _ready(self) -> dict[str, bool]:
        return {
            "assigned": all(follower.assigned for follower in self.followers),
            "lag_known": all(follower.lag is not None for follower in self.followers),
            "redis": not any(follower.waits_for_redis for follower in self.followers),
        }

    async def _watch(self) -> None:
        """Tells the watchdog how far both are: a consumer can die quietly."""
        while True:
            self._watchdog.tell_parts({follower.topic: await follower.look() for follower in self.followers})
            await asyncio.sleep(_WATCH_S)

    async def _write(self, records: Iterable[Any], owners: Owners) -> None:
        """Writes the copies, and returns when all replicas have them."""
        waiting: list[tuple[str, Any]] = []
        for topic, record in picked(records, owners, self._topics):
            # By its key, as everywhere: events of a code stay in order, however many partitions the topic has.
            sent = await self._producer.send(
                topic, record.value, key=record.key, headers=list(record.headers), timestamp_ms=record.timestamp
            )
            waiting.append((topic, sent))
            if len(waiting) >= _MOST_UNACKED:
                await self._acked(waiting)
        await self._acked(waiting)

    async def _acked(self, waiting: list[tuple[str, Any]]) -> None:
        await asyncio.gather(*(sent for _, sent in waiting))
        self._copied.update(topic for topic, _ in waiting)
        waiting.clear()

    def describe(self) -> list[Metric]:
        """Returns nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yields everything for Prometheus."""
        copied = CounterMetricFamily("pricelink_copied", "Events written, by the supplier's topic", labels=["topic"])
        for topic, count in sorted(self._copied.items()):
            copied.add_metric([topic], count)
        lag = GaugeMetricFamily("pricelink_copier_lag_events", "Events that are not copied yet", labels=["topic"])
        for follower in self.followers:
            if follower.lag is not None:
                lag.add_metric([follower.topic], follower.lag)
        yield from (copied, lag)
