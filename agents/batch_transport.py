"""A Faust transport in which one message of Faust is a run of consecutive messages of one partition: a ``Chunk``.

Faust spends about 90 µs on every event, so an event must be a batch. URL scheme ``batch+kafka``. What differs from
the transport it derives from:

- the value is a ``Chunk``, the offset that of the chunk's last message;
- acks are kept in a queue a partition (``in_flight``) and an offset is committed only when its chunk and all before it
  are acked; Faust's own lists count an unacked message as acked after any gap in the offsets;
- a seek or a revocation forgets what is in flight, and acks count until the last commit before a revocation;
- a commit that failed is tried again;
- where to start after an assignment may come from elsewhere than the group's committed offsets (``find_positions``);
- the broker answers a fetch that finds nothing after ``fetch_wait_ms``, or less while records come, not after 1.5 s.

It uses private attributes of faust and aiokafka, which are pinned to the letter for this; ``missing_attributes`` tests
them when the transport starts. Where one of aiokafka's is gone, ``getmany`` takes over, and a warning says so once.
"""

# ruff: noqa: SLF001

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, cast

import aiokafka
import structlog
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import ConsumerStoppedError
from aiokafka.structs import TopicPartition
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.threads import WorkerThread
from mode.utils.futures import notify

from agents import record_batches
from agents.clients import read_options
from agents.in_flight import InFlight
from agents.record_batches import Chunk
from config.settings import Settings

SCHEME: Final = "batch+kafka"

FindPositions = Callable[[set[TP], int], Awaitable[Mapping[TP, int]]]
"""Takes the assigned partitions and the generation, returns where to start; the others start where committed."""

_BUSY_S: Final = 0.05
"""For so long after a chunk more of them are expected."""

_STOP_S: Final = 1.0

MOST_TRACED: Final = 64
"""Messages of a chunk that traces follow; those behind go untraced. In a catch-up a chunk has up to 20,000."""

_log = structlog.get_logger("transport")


def missing_attributes() -> list[str]:
    """Returns the private names of faust that this module needs and that are not there. Empty: all is well."""
    needed = {
        driver.Consumer: ("_new_consumer_thread", "_to_message", "_wait_next_records", "_commit", "_add_gap"),
        driver.AIOKafkaConsumerThread: (
            "_create_consumer",
            "_fetch_records",
            "_ensure_consumer",
            "_commit",
            "_seek_wait",
        ),
        faust_consumer.Consumer: ("perform_seek", "force_commit", "ack", "on_buffer_full", "on_buffer_drop"),
    }
    return [f"{owner.__name__}.{name}" for owner, names in needed.items() for name in names if not hasattr(owner, name)]


class _Thread(WorkerThread):  # type: ignore[misc]
    """A thread that is not waited for without end: it may wait for the stream's loop, which then has ended."""

    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True

    def stop(self) -> None:
        """Waits a little while for the thread; called in the stream's loop, which stands still meanwhile."""
        self.is_stopped.wait(_STOP_S)


class BatchConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Fetches chunks, in the consumer's own thread."""

    Worker = _Thread

    def __post_init__(self) -> None:
        """Chooses how to read, once."""
        super().__post_init__()
        self._busy_until = 0.0
        self._epoch: tuple[int, int] | None = None
        self._seeks: dict[TP, int] = {}
        self._sought: dict[TopicPartition, int] = {}
        absent = record_batches.missing()
        self._public_only = bool(absent)
        if not absent:
            record_batches.keep_bytes()
        else:
            _log.warning(
                "aiokafka is not the one that is known: reading through getmany, slower; install what uv.lock says",
                reason="unknown_client", missing=absent,
            )  # fmt: skip

    @property
    def _settings(self) -> Settings:
        return cast("Settings", self.app.pricelink_settings)

    @property
    def _most_traced(self) -> int:
        return 0 if self._settings.traces_ratio is None else MOST_TRACED

    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        del loop  # it is this thread's, and running
        settings = self._settings
        return aiokafka.AIOKafkaConsumer(
            client_id=f"pricelink-{settings.instance}",
            group_id=self.app.conf.id,
            group_instance_id=settings.group_instance_id,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            fetch_max_wait_ms=settings.idle_wait_ms,
            max_partition_fetch_bytes=settings.fetch_bytes,
            max_poll_interval_ms=int(self.app.conf.broker_max_poll_interval * 1000),
            session_timeout_ms=int(settings.session_s * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_s * 1000),
            rebalance_timeout_ms=int((settings.session_s + settings.drain_s) * 1000),
            **read_options(settings),
            **settings.security,
        )

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109  it is Faust's
        max_records: int | None = None,
    ) -> dict[TP, list[Chunk]]:
        del max_records
        if not self.consumer.flow_active:
            return {}
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with fetcher._subscriptions.fetch_context():
            if self._public_only:
                return await self._fetch_publicly(consumer, active_partitions, timeout or 0)
            return await self._fetch_chunks(consumer, fetcher, active_partitions, timeout or 0)

    async def _fetch_chunks(
        self, consumer: Any, fetcher: Any, partitions: set[TP], wait_s: float
    ) -> dict[TP, list[Chunk]]:
        """One chunk of every partition of which something was fetched; waits for the first of them."""
        deadline = self.thread_loop.time() + wait_s
        while True:
            if fetcher._subscriptions.reassignment_in_progress:
                await fetcher._subscriptions.wait_for_assignment()
            chunks: dict[TP, list[Chunk]] = {}
            for partition in list(fetcher._records):
                if partition in partitions:
                    self._take_chunk(consumer, fetcher, partition, chunks)
                elif not fetcher._subscriptions.is_assigned(partition):
                    del fetcher._records[partition]
            now = self.thread_loop.time()
            busy_s = self._set_wait(fetcher, now, came=bool(chunks))
            remaining = deadline - now
            if chunks or remaining <= 0 or fetcher._closed:
                return chunks
            waiter = fetcher._create_fetch_waiter()
            await asyncio.wait([waiter], timeout=min(remaining, busy_s or remaining))
            if waiter.done():
                waiter.result()  # raises what the coordinator ran into
            else:
                waiter.cancel()

    def _set_wait(self, fetcher: Any, now: float, *, came: bool) -> float:
        """While records come the broker shall not hold a fetch for long: see ``Settings``.

        Returns how many seconds that holds if nothing comes, or 0.
        """
        settings = self._settings
        if came:
            self._busy_until = now + _BUSY_S
        busy = now < self._busy_until
        fetcher._fetch_max_wait_ms = settings.busy_wait_ms if busy else settings.idle_wait_ms
        return self._busy_until - now if busy else 0.0

    def _take_chunk(self, consumer: Any, fetcher: Any, partition: Any, chunks: dict[TP, list[Chunk]]) -> None:
        result = fetcher._records[partition]
        if not hasattr(result, "has_more"):  # it is an error; what was taken before it comes first
            if not chunks:
                del fetcher._records[partition]
                fetcher._notify(fetcher._wait_consume_future)
                result.check_raise()
            return
        settings = self._settings
        highwater = consumer.highwater(partition) or 0
        chunk = record_batches.take(result, settings.chunk_records, settings.chunk_bytes, highwater, self._most_traced)
        if not result.has_more():
            del fetcher._records[partition]
            fetcher._notify(fetcher._wait_consume_future)
        if chunk is not None:
            tp = TP(chunk.topic, chunk.partition)
            chunks[tp] = [replace(chunk, epoch=self._epoch, seeks=self._seeks.get(tp, 0))]

    async def _fetch_publicly(self, consumer: Any, partitions: set[TP], wait_s: float) -> dict[TP, list[Chunk]]:
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in partitions]
        epoch = self._epoch
        self._sought = {}
        before = {tp: await consumer.position(tp) for tp in wanted}
        fetched = await consumer.getmany(
            *wanted, timeout_ms=int(wait_s * 1000), max_records=self._settings.chunk_records
        )
        chunks: dict[TP, list[Chunk]] = {}
        for tp, records in fetched.items():
            if not records:
                continue
            if self._epoch != epoch or tp in self._sought:
                # What came may be of before the seek or from behind it: it is read again from where it was to be.
                if tp in consumer.assignment():
                    consumer.seek(tp, self._sought.get(tp, records[0].offset))
                continue
            chunk = record_batches.chunk_of(
                tp.topic, tp.partition, records, before[tp], consumer.highwater(tp) or 0, self._most_traced
            )
            place = TP(tp.topic, tp.partition)
            chunks[place] = [replace(chunk, epoch=epoch, seeks=self._seeks.get(place, 0))]
        return chunks

    async def seek_all(self, offsets: Mapping[TP, int], epoch: tuple[int, int]) -> None:
        """Seeks; whatever is taken from then on is of ``epoch``. No fetch of this thread comes in between."""
        consumer = self._ensure_consumer()
        places = {TopicPartition(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
        for place, offset in places.items():
            consumer.seek(place, offset)
        self._sought |= places
        self._epoch = epoch

    async def seek_one(self, tp: TP, offset: int, seeks: int) -> None:
        """Seeks a partition; whatever is taken of it from then on has this number of a seek."""
        place = TopicPartition(tp.topic, tp.partition)
        self._seeks[tp] = seeks
        self._ensure_consumer().seek(place, offset)
        self._sought[place] = offset

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:
        await super()._seek_wait(consumer, partitions)
        self._sought |= {TopicPartition(tp.topic, tp.partition): offset for tp, offset in partitions.items()}

    async def fenced_commit(self, offsets: Mapping[TP, int], generation: int) -> bool:
        """Commits ``offsets`` if this member still is in ``generation`` of the group, and the broker agrees."""
        consumer = self._ensure_consumer()
        if consumer._coordinator.generation != generation:
            # Committing without a generation would be taken from anybody while the group is empty.
            return False
        assigned = consumer.assignment()
        if any(TopicPartition(tp.topic, tp.partition) not in assigned for tp in offsets):
            return False
        return bool(await self._commit(offsets))


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Hands chunks to the stream, and commits what is acked from the head of each partition's queue."""

    find_positions: FindPositions | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        absent = missing_attributes()
        if absent:
            raise RuntimeError(f"faust is not the one that is known: {', '.join(absent)} missing")
        super().__init__(*args, **kwargs)
        self.in_flight: InFlight[TP] = InFlight()
        self._revocations = 0
        self._seeks: Counter[TP] = Counter()

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Chunk) -> Any:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.last_offset,
            float(record.batch.messages["broker_ts_ms"][-1]) / 1000,
            0,
            (),
            None,
            record,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109  it is Faust's
        """Yields what was fetched; from then on it is in flight."""
        records, _active = await self._wait_next_records(timeout)
        for tp, chunks in (records or {}).items():
            for chunk in chunks:
                # What was taken behind the seek comes but once: it waits until Faust, which seeks before it resumes
                # the flow, is done. What was taken before it is dropped: a fetch may outlive a rebalance, and a
                # recovery that ends late resumes the flow amid the next one.
                while chunk.epoch == self._epoch and not self.flow_active and not self.should_stop:
                    await self.wait(self.can_resume_flow)
                if chunk.epoch != self._epoch or self.should_stop:
                    return
                if chunk.seeks != self._seeks[tp]:
                    continue  # it was taken before its partition was sought, and comes again
                self.in_flight.hand_over(tp, chunk.last_offset, chunk.next_offset)
                yield tp, self._to_message(tp, chunk)

    @property
    def _epoch(self) -> tuple[int, int]:
        """What changes with every revocation and every assignment."""
        return self._revocations, self.app.consumer_generation_id

    def ack(self, message: Any) -> bool:
        """Marks a chunk as done. Called by ``event.ack()``."""
        message.acked = True
        self._unacked_messages.discard(message)
        if message.generation_id != self.app.consumer_generation_id:
            return False  # it was handed over before a rebalance, and will be again, to us or another
        done = self.in_flight.ack(message.tp, message.offset)
        notify(self._waiting_for_ack)
        return done

    async def perform_seek(self) -> None:
        """Seeks every assigned partition to where it starts: where ``find_positions`` says, else where committed."""
        epoch = self._epoch
        assigned = set(self.assignment())
        found: Mapping[TP, int] = {}
        if self.find_positions is not None:
            found = await self.find_positions(assigned, self.app.consumer_generation_id)
        if found.keys() < assigned:
            committed = await self.seek_to_committed()
            found = {
                **{TP(*tp): offset for tp, offset in committed.items() if offset is not None and offset >= 0},
                **found,
            }
        if epoch != self._epoch:
            return
        for tp in assigned:
            self._read_offset[tp] = None
            if tp in found:
                self.in_flight.start(tp, found[tp])
            else:
                self.in_flight.forget([tp])
        places = {tp: offset for tp, offset in found.items() if tp in assigned}
        await self._thread.call_thread(self._thread.seek_all, places, epoch)

    async def seek_chunks(self, tp: TP, offset: int) -> None:
        """Seeks one partition; what is in flight of it is forgotten."""
        # In this order: what is taken behind the seek may be here before the seek is told as done.
        self._seeks[tp] += 1
        self._read_offset[tp] = None
        self.in_flight.start(tp, offset)
        await self._thread.call_thread(self._thread.seek_one, tp, offset, self._seeks[tp])

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commits what is acked, and remembers it only if the broker confirmed."""
        del topics, start_new_transaction
        assigned = self.assignment()
        offsets = {tp: offset for tp, offset in self.in_flight.committable().items() if tp in assigned}
        return bool(offsets) and await self._commit_and_note(offsets, self.app.consumer_generation_id)

    async def still_owns(self, tp: TP, generation: int) -> bool:
        """Asks the broker, by a commit, whether this member still owns ``tp``: the fence before state is written."""
        reached = self.in_flight.reached(tp)
        if reached is None:
            return False
        return await self._commit_and_note({tp: reached}, generation)

    async def _commit_and_note(self, offsets: dict[TP, int], generation: int) -> bool:
        done = bool(await self._thread.call_thread(self._thread.fenced_commit, offsets, generation))
        if done:
            self.in_flight.committed(offsets)
            self.app.monitor.on_tp_commit(offsets)
        return done

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forgets the partitions, after the application had its chance to finish and commit."""
        self._revocations += 1
        await super().on_partitions_revoked(revoked)
        self.in_flight.forget(revoked)

    def on_buffer_full(self, tp: TP) -> None:
        """Does nothing: a full stream blocks the fetcher in ``put``; Faust would sleep a second at a time."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Does nothing; see ``on_buffer_full``."""

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Does nothing: gaps need no list where an offset is committed from the head of a queue."""

    async def verify_all_partitions_active(self) -> None:
        """Does nothing: the watchdog looks at lag and progress."""


class Transport(driver.Transport):  # type: ignore[misc]
    """``batch+kafka://``: see the module."""

    Consumer = BatchConsumer


def register() -> None:
    """Makes Faust know the URL scheme, installed or not."""
    from faust.transport import drivers

    drivers.TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"


def tps(topic: str, partitions: Iterable[int]) -> set[TP]:
    """Returns Faust's names of the partitions of a topic."""
    return {TP(topic, partition) for partition in partitions}
