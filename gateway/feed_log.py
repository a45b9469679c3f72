"""Topic ``feeds`` as the gateway writes it: packets gathered into messages, acknowledged by all replicas.

One batch of a partition is under way at a time, on every broker: order holds, and what comes meanwhile makes the next
batch. What waits longer than its request does is given up; what is under way then may still be written, and the answer
says so.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError

from config.settings import Settings
from config.topics import DEAD_LETTERS, FEEDS
from gateway.traces import RequestTrace, SendSpan
from schemas.packets import MESSAGE_BYTES, MESSAGE_LINES, Packet
from schemas.traced import MOST_TRACES

PACK_WAIT_S: Final = 0.02
"""A message that is not full waits so long for more lines, unless the body they come from has ended."""
STALLED_S: Final = 5.0
"""A batch unacknowledged for so long: the broker is away, and nothing more is taken."""
_RETRY_S: Final = 1.0
_STOP_S: Final = 3.0

Header = tuple[str, bytes]
NewProducer = Callable[[Settings], Any]

_log = structlog.get_logger("feed-log")


class BrokerAway(Exception):
    """Lines were not acknowledged; some may be written all the same."""


class Receipt:
    """What of one request is on its way to the broker."""

    def __init__(self, trace: RequestTrace | None = None) -> None:
        """``trace``: follows the request."""
        self.trace = trace
        self.acked_lines = 0
        self.fault: str | None = None
        self.given_up = False
        self.body_ended = False
        self._packets = 0
        self._done = asyncio.Event()

    def sent(self) -> None:
        """A packet was queued."""
        self._packets += 1
        self._done.clear()

    def acked(self, lines: int) -> None:
        """A packet is in the log, on all replicas."""
        self.acked_lines += lines
        self._one_less()

    def failed(self, fault: str) -> None:
        """A packet may not be in the log."""
        self.fault = self.fault or fault
        self._one_less()

    def _one_less(self) -> None:
        self._packets -= 1
        if not self._packets:
            self._done.set()

    async def wait(self, seconds: float) -> None:
        """Returns when every packet is acknowledged; raises BrokerAway."""
        if self._packets:
            try:
                async with asyncio.timeout(seconds):
                    await self._done.wait()
            except TimeoutError:
                self.given_up = True
                raise BrokerAway(f"no acknowledgement within {seconds:g} s") from None
        if self.fault:
            raise BrokerAway(self.fault)


@dataclass(slots=True)
class _Waiting:
    key: bytes | None
    value: bytes
    lines: int
    headers: list[Header]
    receipt: Receipt
    since_s: float
    span: SendSpan | None = None


@dataclass(slots=True)
class _Message:
    key: bytes | None
    headers: list[Header]
    parts: list[_Waiting]

    @property
    def value(self) -> bytes:
        return self.parts[0].value if len(self.parts) == 1 else b"\n".join(part.value for part in self.parts)

    @property
    def spans(self) -> Iterator[tuple[int, SendSpan]]:
        """Yields what traces follow of it: the line where it begins, and its span."""
        line = 0
        for part in self.parts:
            if part.span is not None:
                yield line, part.span
            line += part.lines


@dataclass(slots=True)
class _Lane:
    """A partition of a topic: what waits for it."""

    topic: str
    partition: int
    waiting: deque[_Waiting] = field(default_factory=deque)
    back: _Message | None = None
    dropped: list[_Waiting] = field(default_factory=list)
    change: asyncio.Event = field(default_factory=asyncio.Event)
    sent_s: float | None = None

    def next_message(self) -> _Message | None:
        if self.back is not None:
            message, self.back = self.back, None
            return message
        parts: list[_Waiting] = []
        lines = size = spans = 0
        while self.waiting:
            packet = self.waiting[0]
            if packet.receipt.given_up and not parts:
                self.dropped.append(self.waiting.popleft())
                continue
            lines += packet.lines
            size += len(packet.value) + 1
            spans += packet.span is not None
            full = lines > MESSAGE_LINES or size > MESSAGE_BYTES or spans > MOST_TRACES
            if parts and (self.topic != FEEDS.name or full):
                break
            parts.append(self.waiting.popleft())
        if not parts:
            return None
        message = _Message(parts[0].key, parts[0].headers, parts)
        if spans:
            message.headers = [header for line, span in message.spans for header in span.headers(line)]
        return message

    def linger_s(self, now_s: float) -> float:
        """Returns how long the first message may still wait for more lines."""
        lines = size = 0
        for packet in self.waiting:
            lines += packet.lines
            size += len(packet.value)
            if packet.receipt.body_ended or lines >= MESSAGE_LINES // 2 or size >= MESSAGE_BYTES // 2:
                return 0.0
        return self.waiting[0].since_s + PACK_WAIT_S - now_s if self.waiting else 0.0


class FeedLog:
    """Writes packets and rejected lines. ``in_flight_bytes``: put and not yet acknowledged.

    ``partitions``: of ``feeds``; 0 while the broker was not found yet.
    """

    def __init__(self, settings: Settings, new_producer: NewProducer) -> None:
        self._settings = settings
        self._new_producer = new_producer
        self._producer: Any = None
        self._gone: asyncio.Future[None]
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._broken = asyncio.Event()
        self._here = asyncio.Event()
        self._turn = 0
        self.in_flight_bytes = 0
        self.partitions = 0
        self.problem: str | None = "not connected yet"

    @property
    def away(self) -> str | None:
        """Returns why nothing can be written now, None if it can."""
        if self.problem:
            return self.problem
        now_s = time.monotonic()
        if any(lane.sent_s is not None and now_s - lane.sent_s > STALLED_S for lane in self._lanes.values()):
            return f"no acknowledgement for {STALLED_S:g} s"
        return None

    def has_room(self, reserve_bytes: int = 0) -> bool:
        """Tells whether more may be read."""
        return self.in_flight_bytes + reserve_bytes <= self._settings.feeds_in_flight_bytes

    async def room(self, seconds: float) -> None:
        """Waits until more may be read; raises BrokerAway."""
        try:
            async with asyncio.timeout(seconds):
                while not self.has_room():
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            raise BrokerAway(f"no acknowledgement within {seconds:g} s") from None

    def put(self, packet: Packet, receipt: Receipt) -> None:
        """Queues lines for ``feeds``; ``receipt`` learns what becomes of them."""
        lane = self._lane(FEEDS.name, packet.partition)
        span = None if receipt.trace is None else receipt.trace.send(packet.partition, packet.lines)
        is_copy = packet.key is None and packet.partition > 0  # a record for every partition counts once
        lines = 0 if is_copy else packet.lines
        self._queue(lane, _Waiting(packet.key, packet.value, lines, [], receipt, time.monotonic(), span))

    def put_rejected(self, original: bytes, headers: list[Header], receipt: Receipt) -> None:
        """Queues a line for ``feeds.dead-letter``."""
        self._turn += 1
        lane = self._lane(DEAD_LETTERS.name, self._turn % self.partitions)
        self._queue(lane, _Waiting(None, original, 0, headers, receipt, time.monotonic()))

    def flush(self, receipt: Receipt) -> None:
        """Says that a request's body has ended: its lines wait for no others."""
        receipt.body_ended = True
        for lane in self._lanes.values():
            if lane.waiting:
                lane.change.set()

    def _queue(self, lane: _Lane, packet: _Waiting) -> None:
        packet.receipt.sent()
        self.in_flight_bytes += len(packet.value)
        lane.waiting.append(packet)
        lane.change.set()

    def _lane(self, topic: str, partition: int) -> _Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(topic, partition)
            task = asyncio.create_task(self._run(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return lane

    async def _run(self, lane: _Lane) -> None:
        while True:
            while not lane.waiting and lane.back is None:
                lane.change.clear()
                await lane.change.wait()
            while lane.back is None and (left_s := lane.linger_s(time.monotonic())) > 0:
                lane.change.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):  # wait_for may swallow a cancellation
                        await lane.change.wait()
            await self._send(lane)

    async def _send(self, lane: _Lane) -> None:
        taken: list[_Message] = []
        written: Any = None
        lane.sent_s = time.monotonic()
        try:
            producer, gone = await self._connected()
            batch = producer.create_batch()
            at_ms = time.time_ns() // 1_000_000
            while (message := lane.next_message()) is not None:
                value = message.value
                if batch.append(timestamp=at_ms, key=message.key, value=value, headers=message.headers) is None:
                    lane.back = message
                    break
                taken.append(message)
            batch.close()
            if taken:
                acked = await producer.send_batch(batch, lane.topic, partition=lane.partition)
                # A client that was stopped in despair never tells what became of its batches.
                await asyncio.wait({acked, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not acked.done():
                    raise KafkaError("the connection was given up")
                written = acked.result()
        except (KafkaError, OSError) as error:
            self._settle(taken, str(error) or type(error).__name__)
            self._broken.set()
        else:
            self._settle(taken, None, None if written is None else written.offset)
        finally:
            lane.sent_s = None
            self._settle([_Message(None, [], lane.dropped)], "given up")
            lane.dropped.clear()

    async def _connected(self) -> tuple[Any, "asyncio.Future[None]"]:
        while self._producer is None:
            self._here.clear()
            await self._here.wait()
        return self._producer, self._gone

    def _settle(self, taken: list[_Message], fault: str | None, first_offset: int | None = None) -> None:
        for number, message in enumerate(taken):
            for line, span in message.spans:
                span.end(None if first_offset is None else first_offset + number, line, fault)
            for packet in message.parts:
                self.in_flight_bytes -= len(packet.value)
                if fault is None:
                    packet.receipt.acked(packet.lines)
                else:
                    packet.receipt.failed(fault)
        self._room.set()

    async def run(self) -> None:
        """Connects, and connects anew after a fault that the client does not mend; until cancelled."""
        try:
            while True:
                try:
                    await self._connect()
                    await self._broken.wait()
                except (KafkaError, OSError, TimeoutError) as error:
                    self.problem = str(error) or type(error).__name__
                    await asyncio.sleep(_RETRY_S)
                self._broken.clear()
                await self._disconnect()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await self._disconnect()

    async def _connect(self) -> None:
        producer = self._new_producer(self._settings)
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await producer.start()
                found = await producer.partitions_for(FEEDS.name)
        except BaseException:
            await _stop(producer)
            raise
        if not found:
            await _stop(producer)
            raise OSError(f"there is no topic {FEEDS.name}: `pricelink topics apply`")
        self.partitions = len(found)
        self._producer = producer
        self._gone = asyncio.get_running_loop().create_future()
        self._broken.clear()
        self._here.set()
        self.problem = None
        _log.info("feeds can be written", partitions=self.partitions)

    async def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)
            self._gone.set_result(None)


async def _stop(producer: Any) -> None:
    # While the broker is away, stop() waits for its batches for ever.
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait({stopping}, timeout=_STOP_S)
    if not stopping.done():
        stopping.cancel()
    with suppress(KafkaError, OSError, asyncio.CancelledError):
        await stopping
