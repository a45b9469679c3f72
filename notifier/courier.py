"""One endpoint's courier: reads the logs for it, sends, tries again, keeps the order within a code."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
from opentelemetry.trace import SpanKind

from gateway.alerts_topic import BROKER_FAULTS
from gateway.audience import Entry
from gateway.cursors import place_of
from gateway.endpoints import Endpoint
from gateway.event_traces import EventTraces
from gateway.hub import Tap
from notifier.journal import Journal
from notifier.log_source import LogSource
from notifier.messages import cloud_event, headers_of, message_id
from notifier.metrics import AttemptCounts
from notifier.progress import OUTSTANDING, Delivery, Progress
from notifier.schedule import DELAYS_S, Outcome, lengthened_ms, next_due_ms, why_disabled
from notifier.sender import Sender

AT_ONCE: Final = 8
"""Attempts of an endpoint that are under way at once, each of another code; one only while it fails."""
_BROKER_PAUSE_S: Final = 1.0
_AWAY_MS: Final = 2_000
"""An event that cannot be read again, because the broker is away, waits so long."""

_log = structlog.get_logger("courier")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all couriers share. ``chance``: gives numbers from 0 to below 1, for jitter. ``attempts``: what came of them."""

    source: LogSource
    sender: Sender
    journal: Journal
    chance: Callable[[], float]
    attempts: AttemptCounts = field(default_factory=AttemptCounts)
    traces: EventTraces | None = None


def now_ms() -> int:
    """Returns epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Courier:
    """``progress`` is what must be written when ``dirty``; it is complete between any two awaits."""

    def __init__(self, endpoint: Endpoint, progress: Progress | None, around: Surroundings) -> None:
        self.endpoint = endpoint
        self.progress = progress or Progress()
        self.dirty = progress is None
        self._around = around
        self._changed = asyncio.Event()
        self._values: dict[tuple[int, int], bytes] = {}
        self._queues: OrderedDict[str, deque[Delivery]] = OrderedDict()
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._finishing = False
        for delivery in self.progress.outstanding:
            self._queues.setdefault(delivery.code, deque()).append(delivery)

    def change(self, endpoint: Endpoint) -> None:
        """Takes the endpoint as it is now."""
        self.endpoint = endpoint
        self._changed.set()

    @property
    def is_on(self) -> bool:
        """Tells whether anything is to be sent."""
        void = self.progress.disabled_number < self.endpoint.enabled_number
        return self.endpoint.enabled and (self.progress.disabled is None or void)

    @property
    def is_wanted(self) -> bool:
        """Tells whether its owner wants it on."""
        return self.endpoint.enabled

    def finish(self) -> set[asyncio.Task[None]]:
        """Starts nothing more; returns the attempts that are under way: whoever waits for them sends nothing twice."""
        self._finishing = True
        return set(self._under_way)

    async def run(self) -> None:
        """Works until cancelled."""
        reading = asyncio.create_task(self._read())
        try:
            await self._send()
        finally:
            reading.cancel()
            for task in self._under_way:
                task.cancel()

    # reading

    async def _read(self) -> None:
        away = False
        while True:
            try:
                await self._read_on()
                away = False
            except BROKER_FAULTS as error:
                if not away:
                    _log.warning(
                        "an endpoint's events cannot be read: Kafka does not answer; they wait in the log",
                        reason="broker_away", fault=error, endpoint=self.endpoint.id,
                    )  # fmt: skip
                away = True
                await asyncio.sleep(_BROKER_PAUSE_S)

    async def _read_on(self) -> None:
        """Catches up from the cursor, then goes on live; returns when it has to catch up again."""
        hub = self._around.source.hub
        while not (self._around.source.ready and self.is_on):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await self._take_wishes()
        wish, wanted = self.endpoint.since_number, self.endpoint.wanted
        tap = hub.tap(wanted)
        try:
            start = dict(tap.start)
            async for entry in self._around.source.between(self.progress.cursor, start, wanted):
                await self._room()
                self._take(entry)
                if self._is_stale(wish, tap):
                    return
            self.progress.cursor = start
            self.dirty = True
            while not self._is_stale(wish, tap):
                entry_or_none = tap.take()
                if entry_or_none is None:
                    self._move_on(tap)
                    await tap.wait(0.5)
                    continue
                self._take(entry_or_none)
                await self._room()
        finally:
            hub.untap(tap)

    def _is_stale(self, wish: int, tap: Tap) -> bool:
        changed = self.endpoint.since_number != wish or self.endpoint.wanted != tap.wanted
        replays = max((each.number for each in self.endpoint.replays), default=0) > self.progress.replay_number
        return changed or replays or tap.behind or not self.is_on

    def _move_on(self, tap: Tap) -> None:
        """Everything of its own up to here is taken: the cursor follows what others get."""
        positions = self._around.source.hub.positions
        if positions and not tap.behind and positions != self.progress.cursor:
            self.progress.cursor = dict(positions)
            self.dirty = True

    async def _take_wishes(self) -> None:
        """Goes back in time, and takes single events again, as far as its owner asked for it since."""
        if self.progress.since_number < self.endpoint.since_number:
            number = self.endpoint.since_number
            self.progress.cursor = await self._around.source.since(self.endpoint.since_ms)
            self.progress.since_number = number
        for each in self.endpoint.replays:
            if each.number > self.progress.replay_number:
                code = f"replay {each.number}"
                self._add(Delivery(each.lane, each.offset, each.event_id, code, now_ms(), replay=True))
                self.progress.replay_number = each.number
        self.dirty = True

    async def _room(self) -> None:
        while len(self.progress.outstanding) >= OUTSTANDING:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    def _take(self, entry: Entry) -> None:
        if entry.offset < self.progress.cursor.get(entry.partition, 0):
            return
        self.progress.cursor[entry.partition] = entry.offset + 1
        place = (entry.partition, entry.offset)
        self._values[place] = entry.value
        self._add(Delivery(*place, "", entry.code, now_ms()))

    def _add(self, delivery: Delivery) -> None:
        delivery.taken_ms = now_ms()
        self.progress.outstanding.append(delivery)
        self._queues.setdefault(delivery.code, deque()).append(delivery)
        self.dirty = True
        self._changed.set()

    # sending

    async def _send(self) -> None:
        while True:
            self._changed.clear()
            if self.progress.disabled is not None and self.is_on:
                self._enable()
            due_ms = self._start_attempts() if self.is_on and not self._finishing else None
            wait_s = 60.0 if due_ms is None else max(0.0, (due_ms - now_ms()) / 1_000)
            try:
                async with asyncio.timeout(min(wait_s, 60.0) + 0.001):  # wait_for may swallow a cancellation
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _enable(self) -> None:
        self.progress.disabled = self.progress.failing_since_ms = None
        for delivery in self.progress.outstanding:
            delivery.scheduled_ms = 0
        self._hurry()

    def _hurry(self) -> None:
        """It works again: what waits for another attempt need not wait for long.

        That attempt is an extra one: an event that fails for its own sake, while others arrive, keeps to the schedule.
        """
        for delivery in self.progress.outstanding:
            delivery.hurry(now_ms() + int(self._around.chance() * 5_000))
        self.dirty = True

    def _start_attempts(self) -> int | None:
        """Starts what may start; returns when the next one is due, None if nothing waits for its time alone."""
        most = 1 if self.progress.failing_since_ms is not None else AT_ONCE
        busy = set(self._under_way.values())
        next_ms: int | None = None
        for code, queue in list(self._queues.items()):
            if len(self._under_way) >= most:
                return None  # the end of an attempt wakes us
            if code in busy:
                continue
            head = queue[0]
            if head.due_ms > now_ms():
                next_ms = head.due_ms if next_ms is None else min(next_ms, head.due_ms)
                continue
            task = asyncio.create_task(self._attempt(head))
            self._under_way[task] = code
            task.add_done_callback(self._attempt_ended)
        return next_ms

    def _attempt_ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error(
                "an attempt to send to an endpoint failed in a way it should not: please report it; it is made again",
                reason="bug", fault=error, exc_info=error, endpoint=self.endpoint.id,
            )  # fmt: skip

    async def _attempt(self, delivery: Delivery) -> None:
        place = (delivery.lane, delivery.offset)
        topic, partition = place_of(delivery.lane)
        try:
            value = self._values.get(place) or await self._around.source.value(*place)
            if value is None:
                delivery.due_ms = now_ms() + _AWAY_MS
                return
            delivery.event_id, body = cloud_event(value)
        except (LookupError, ValueError) as error:
            _log.warning(
                "an event cannot be sent to an endpoint and is given up: the log no longer has it, or it is none",
                reason="event_gone", fault=error, endpoint=self.endpoint.id, event_id=delivery.event_id,
                topic=topic, partition=partition, offset=delivery.offset,
            )  # fmt: skip
            self._settle(delivery)
            return
        self._values[place] = value
        began_ms = now_ms()
        message = message_id(self.endpoint.id, delivery.event_id)
        headers = headers_of(message, body, self.endpoint.signing_secrets(began_ms), began_ms // 1_000)
        outcome = await self._around.sender.send(self.endpoint.url, headers, body)
        if self._around.traces is not None:
            self._trace(self._around.traces, delivery, outcome, began_ms)
        self._judge(delivery, outcome, began_ms)

    def _trace(self, traces: EventTraces, delivery: Delivery, outcome: Outcome, began_ms: int) -> None:
        about: dict[str, str | int] = {
            "pricelink.endpoint": self.endpoint.id,
            "pricelink.attempt": delivery.attempts + 1,
        }
        if outcome.status is not None:
            about["http.response.status_code"] = outcome.status
        times_ms = began_ms, began_ms + outcome.took_ms
        traces.note(delivery.lane, delivery.offset, "POST webhook", SpanKind.CLIENT, times_ms, about, outcome.problem)

    def _judge(self, delivery: Delivery, outcome: Outcome, began_ms: int) -> None:
        progress = self.progress
        extra_before_ms = delivery.scheduled_ms if delivery.is_extra else None
        if extra_before_ms is None:
            delivery.attempts += 1
            delivery.scheduled_ms = 0
        self._around.attempts.note(delivery.attempts, outcome)
        next_ms: int | None = None
        if outcome.succeeded:
            if progress.failing_since_ms is not None:
                progress.failing_since_ms = None
                self._hurry()
            self._settle(delivery)
        else:
            if progress.failing_since_ms is None:
                progress.failing_since_ms = began_ms
            if extra_before_ms is not None:
                next_ms = delivery.scheduled_ms = lengthened_ms(extra_before_ms, outcome, now_ms())
            else:
                next_ms = next_due_ms(delivery.attempts, outcome, now_ms(), self._around.chance)
            if next_ms is None:
                self._settle(delivery)
            else:
                delivery.due_ms = next_ms
            why = why_disabled(outcome, progress.failing_since_ms, now_ms())
            if why is not None and self.is_on:
                progress.disabled, progress.disabled_number = why, self.endpoint.enabled_number
                _log.warning(
                    "an endpoint is disabled: its events wait in the log until its owner enables it again",
                    reason="endpoint_disabled", code=why, endpoint=self.endpoint.id, supplier=self.endpoint.supplier,
                )  # fmt: skip
        self.dirty = True
        self._around.journal.note(
            self.endpoint.id, delivery, outcome, began_ms, next_ms, len(DELAYS_S), extra=extra_before_ms is not None
        )

    def _settle(self, delivery: Delivery) -> None:
        """It is delivered or given up: the next of its code may go."""
        self.progress.outstanding.remove(delivery)
        self._values.pop((delivery.lane, delivery.offset), None)
        queue = self._queues[delivery.code]
        queue.remove(delivery)
        if not queue:
            del self._queues[delivery.code]
        self.dirty = True
