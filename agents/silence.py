"""The silence process: opens ``feed_silence`` for a province whose feed stopped, and ends it (SPEC §8).

It reads ``feeds`` by itself, so the workers' path knows nothing of it. What it decided is in topic ``silence``
(compacted, key: the province): first the decision, then, by whoever decided, the event in ``alerts``, then the decision
again as sent. So numbers and revisions go on after a restart, and of several processes one opens each alert. One that
died in between is stood in for after a while; the event then comes again with the same id and bytes.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import aiokafka
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents import logs, record_batches
from agents.app import exit_code, stop_on_signals
from agents.clients import end_offsets, never_give_up, new_producer, new_reader, quieten_clients
from agents.headers import silence_headers
from agents.logs import pass_over
from agents.metrics import epoch_ms
from agents.metrics_server import serve
from agents.silence_watch import Decision, Newest, Watch
from agents.watchdog import Watchdog
from config.settings import Settings
from config.topics import ALERTS, FEEDS, SILENCE
from schemas.codes import partition_of
from schemas.dead_letters import Header
from schemas.events import NotAnEvent
from schemas.scanner import admit, scan

_log = structlog.get_logger("silence")

_LOOK_S: Final = 2.0
_POLL_MS: Final = 500
_MARGIN_MS: Final = 600_000
"""``feeds`` is read from so long before the longest allowed silence began."""
_DECIDED_S: Final = 10.0
"""A decision that was written is awaited for so long before it is made again."""
_STAND_IN_MS: Final = 15_000
"""An event that another process decided and did not send for so long is sent by us."""
_RECORDS_A_POLL: Final = 20_000


def run(settings: Settings) -> int:
    """Watches the provinces until SIGTERM or SIGINT; returns the exit code. Several processes do no harm."""
    logs.set_up(settings, "silence")
    return exit_code(partial(_run, settings))


async def _run(settings: Settings) -> None:
    quieten_clients()
    silence = Silence(settings)
    serve(settings, SilenceMetrics(silence), ready=lambda: {"log_read": silence.read})
    await silence.run(stop_on_signals())


class Silence:
    """The process's parts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._max_ms = int(settings.max_silence_minutes * 60_000)
        self.watch = Watch(self._max_ms, settings.instance)
        self._newest = Newest()
        self._reader = new_reader(settings)
        self._producer = new_producer(settings)
        never_give_up(self._producer)
        self._watchdog = Watchdog(settings.stall_s)
        self._unsent: dict[str, tuple[Decision, int]] = {}
        self._asked: dict[str, tuple[int, int, float]] = {}
        self._ends: dict[Any, int] | None = None
        self._ends_ms = 0
        self.sent = 0
        self.read = False
        """Whether all that was in the topics has been read once."""
        numbers = range(settings.partitions)
        self._feeds = [aiokafka.TopicPartition(FEEDS.name, number) for number in numbers]
        self._decisions = [aiokafka.TopicPartition(SILENCE.name, number) for number in numbers]

    async def run(self, stop: asyncio.Event) -> None:
        """Watches until ``stop`` is set."""
        await self._reader.start()
        await self._producer.start()
        self._watchdog.start()
        try:
            await self._begin()
            loop = asyncio.get_running_loop()
            looked_at = loop.time()
            while not stop.is_set():
                self._take(await self._reader.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_A_POLL))
                self._watchdog.tell(loop.time(), lag=0)
                if loop.time() - looked_at >= _LOOK_S:
                    await self._look()
                    looked_at = loop.time()
        finally:
            self._watchdog.stop()
            await self._reader.stop()
            await self._producer.stop()

    async def _begin(self) -> None:
        self._reader.assign([*self._feeds, *self._decisions])
        await self._reader.seek_to_beginning(*self._decisions)
        if self._settings.embedded:
            await self._reader.seek_to_beginning(*self._feeds)  # it forgets all when it stops: there is not much
            return
        since_ms = epoch_ms() - self._max_ms - _MARGIN_MS
        found = await self._reader.offsets_for_times(dict.fromkeys(self._feeds, since_ms))
        for place in self._feeds:
            if (at := found.get(place)) is not None:
                self._reader.seek(place, at.offset)
            else:
                await self._reader.seek_to_end(place)

    def _take(self, fetched: dict[Any, list[Any]]) -> None:
        for place, messages in fetched.items():
            if place.topic == SILENCE.name:
                for message in messages:
                    if message.value is None:
                        continue
                    try:
                        decision = Decision.from_bytes(message.value)
                    except NotAnEvent as fault:
                        pass_over(place.topic, place.partition, message.offset, fault)
                    else:
                        self._take_decision(decision, message.timestamp)
            else:
                scanned = scan(record_batches.batch_of(place.partition, messages))
                admit(scanned.records, place.partition, self._settings.partitions)
                self.watch.heard(self._newest.accepted(scanned.records))

    def _take_decision(self, decision: Decision, decided_ms: int) -> None:
        if not self.watch.take(decision):
            return
        self._asked.pop(decision.province, None)
        if decision.sent:
            self._unsent.pop(decision.province, None)
        else:
            self._unsent[decision.province] = decision, decided_ms

    async def _look(self) -> None:
        """Sends what is decided, and decides as of the moment up to which all that was in the topics is read."""
        now_ms = epoch_ms()
        for decision, decided_ms in list(self._unsent.values()):
            if decision.by == self._settings.instance or now_ms - decided_ms > _STAND_IN_MS:
                await self._send(decision)
        if self._ends is None:
            self._ends_ms = now_ms
            self._ends = await end_offsets(self._reader, [*self._feeds, *self._decisions])
        for place, end in (self._ends or {}).items():
            if await self._reader.position(place) < end:
                return  # the next look compares with the same ends: new records come all the time
        if self._ends is None:
            return  # what waits is not known
        self._ends, now_ms = None, self._ends_ms
        self.read = True
        loop_s = asyncio.get_running_loop().time()
        for decision in self.watch.due(now_ms):
            asked = self._asked.get(decision.province)
            wanted = decision.number, decision.revision
            if asked is not None and asked[:2] == wanted and loop_s - asked[2] < _DECIDED_S:
                continue
            self._asked[decision.province] = (*wanted, loop_s)
            await self._write(decision)

    async def _write(self, decision: Decision) -> None:
        place = partition_of(decision.province, self._settings.partitions)
        await self._producer.send_and_wait(
            SILENCE.name, decision.as_bytes(), key=decision.province.encode(), partition=place
        )

    async def _send(self, decision: Decision) -> None:
        headers: list[Header] = silence_headers(decision.event)
        place = partition_of(decision.province, self._settings.partitions)
        await self._producer.send_and_wait(
            ALERTS.name, decision.event, key=decision.province.encode(), partition=place, headers=headers
        )
        self.sent += 1
        _log.info("sent", province=decision.province, number=decision.number, open=decision.is_open)
        self._unsent.pop(decision.province, None)
        await self._write(
            Decision(
                decision.province, decision.number, decision.revision, decision.is_open, decision.event, decision.by,
                sent=True,
            )
        )  # fmt: skip


class SilenceMetrics:
    """The process's Prometheus metrics."""

    def __init__(self, silence: Silence) -> None:
        self._silence = silence

    def describe(self) -> list[Metric]:
        """Returns nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yields everything for Prometheus."""
        watch = self._silence.watch
        quiet = GaugeMetricFamily("pricelink_province_quiet_seconds", "Since the last record", labels=["province"])
        for province, last_ms in sorted(watch.last_ms.items()):
            quiet.add_metric([province], max(0.0, (epoch_ms() - last_ms) / 1000))
        yield quiet
        silent = GaugeMetricFamily("pricelink_province_silent", "1: its silence is open", labels=["province"])
        open_ones = {province for province, decision in list(watch.decided.items()) if decision.is_open}
        for province in sorted(watch.last_ms.keys() | open_ones):
            silent.add_metric([province], int(province in open_ones))
        yield silent
        yield CounterMetricFamily("pricelink_silence_events", "Events sent", self._silence.sent)
