"""`pricelink notifier` as a process: one courier for each endpoint, and what they share."""

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import orjson
import structlog
from opentelemetry.trace import Tracer
from redis.asyncio import Redis

from config.settings import Settings
from config.topics import DELIVERIES
from config.traces import tracer_of
from gateway.alerts_topic import BROKER_FAULTS, AlertsTopic
from gateway.endpoints import EndpointBook
from gateway.event_traces import EventTraces
from gateway.hub import Hub
from gateway.listers import Listers
from gateway.read_model import ReadModel
from gateway.sources import end
from notifier.courier import Courier, Surroundings
from notifier.guard import networks_of
from notifier.journal import Journal
from notifier.log_source import LogSource
from notifier.metrics import AttemptCounts, NotifierMetrics
from notifier.progress import ProgressLog
from notifier.sender import Sender

WRITE_S: Final = 1.0
"""Between two writes of what changed: so much is sent again after a kill."""
LOOK_S: Final = 0.1
_JOURNAL_S: Final = 0.5
_NAMES_AT_ONCE: Final = 64
"""Host names looked up at once: one that its server does not answer must not hold up the others."""
FINISH_S: Final = 3.0
"""SIGTERM: attempts under way may take so long. Those that take longer are made again, with the same id."""
_STOP_S: Final = 7.0

_log = structlog.get_logger("notifier")
NewProducer = Callable[[Settings], Any]
ServeMetrics = Callable[..., object]


async def run(
    settings: Settings, new_producer: NewProducer, stopping: Callable[[], asyncio.Event], serve_metrics: ServeMetrics
) -> None:
    """Sends until the event that ``stopping`` returns is set. Raises one of BROKER_FAULTS at its start, and OSError.

    ``serve_metrics``: serves a Prometheus collector.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # gateway.alerts_topic says once what it says often
    stop = stopping()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_NAMES_AT_ONCE, "names"))
    redis = Redis.from_url(settings.redis_url, socket_timeout=3.0, socket_connect_timeout=1.0)
    try:
        with tracer_of(settings, "notifier") as tracer:
            await _send(Notifier(settings, new_producer, redis, tracer), settings, stop, serve_metrics)
    finally:
        await redis.aclose()


async def _send(notifier: "Notifier", settings: Settings, stop: asyncio.Event, serve_metrics: ServeMetrics) -> None:
    serve_metrics(
        settings, NotifierMetrics(notifier),
        ready=lambda: {
            "endpoints": notifier.book.loaded, "progress": notifier.progress.loaded, "logs": notifier.source.ready,
        },
    )  # fmt: skip
    running = asyncio.create_task(notifier.run())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        stopped.cancel()
        running.cancel()
        with suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(running, _STOP_S)


class Notifier:
    """The couriers of all endpoints."""

    def __init__(self, settings: Settings, new_producer: NewProducer, redis: Any, tracer: Tracer | None = None) -> None:
        self._settings = settings
        self._traces = None if tracer is None else EventTraces(tracer)
        hub = Hub()
        self.book = EndpointBook(settings, new_producer)
        self.progress = ProgressLog(settings, new_producer)
        self.couriers: dict[str, Courier] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._alerts = AlertsTopic(settings, hub)
        self._prices = AlertsTopic.of_prices(settings, hub, Listers(ReadModel(redis)))
        self._alerts.traces = self._prices.traces = self._traces
        self.source = LogSource(settings, hub, self._alerts, self._prices)
        self._journal = Journal(redis)
        self._gone: list[str] = []
        self.attempts = AttemptCounts()

    @property
    def positions(self) -> dict[int, int]:
        """Returns how far the logs are read, by lane; empty while the broker is away."""
        return {} if self._alerts.problem else dict(self.source.hub.positions or {})

    async def run(self) -> None:
        """Works until cancelled; what changed is written before it ends. Raises one of BROKER_FAULTS at its start."""
        await self.progress.start()
        sender = Sender(networks_of(self._settings.webhooks_allowed_networks))
        around = Surroundings(self.source, sender, self._journal, random.random, self.attempts, self._traces)
        parts = (self._alerts.follow(), self._prices.follow(), self.book.follow(), self._write_journal())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            await self._read_progress()
            tasks.append(asyncio.create_task(self._write_progress()))
            while True:
                for task in tasks:
                    if task.done():
                        task.result()
                if self.book.loaded:
                    self._appoint(around)
                await asyncio.sleep(LOOK_S)
        finally:
            if under_way := set().union(*(courier.finish() for courier in self.couriers.values())):
                await asyncio.wait(under_way, timeout=FINISH_S)
            await end([*self._running.values(), *tasks])
            await self._write_changed()
            await self._journal.write()
            await sender.close()
            await self.progress.stop()

    async def _read_progress(self) -> None:
        reading = asyncio.create_task(self.progress.follow())
        while not self.progress.loaded:  # noqa: ASYNC110  another task reads it
            await asyncio.sleep(0.05)
        reading.cancel()

    def _appoint(self, around: Surroundings) -> None:
        """Gives each new endpoint a courier, tells the others what changed, and dismisses those of deleted ones."""
        for endpoint_id, endpoint in self.book.endpoints.items():
            courier = self.couriers.get(endpoint_id)
            if courier is None:
                courier = Courier(endpoint, self.progress.found.pop(endpoint_id, None), around)
                self.couriers[endpoint_id] = courier
                self._running[endpoint_id] = asyncio.create_task(courier.run())
            elif courier.endpoint is not endpoint:
                courier.change(endpoint)
            if self._running[endpoint_id].done():
                self._running[endpoint_id].result()
        for endpoint_id in self.couriers.keys() - self.book.endpoints.keys():
            del self.couriers[endpoint_id]
            self._running.pop(endpoint_id).cancel()
            self._gone.append(endpoint_id)

    async def _write_progress(self) -> None:
        while True:
            await asyncio.sleep(WRITE_S)
            await self._write_changed()

    async def _write_changed(self) -> None:
        changed = [(endpoint_id, courier) for endpoint_id, courier in self.couriers.items() if courier.dirty]
        states: list[tuple[str, bytes | None]] = []
        for endpoint_id, courier in changed:
            courier.dirty = False
            states.append((endpoint_id, courier.progress.to_bytes()))
            self._journal.states[endpoint_id] = orjson.dumps(_shown(courier))
        gone, self._gone = self._gone, []
        try:
            await self.progress.write([*states, *((endpoint_id, None) for endpoint_id in gone)])
        except BROKER_FAULTS as error:
            _log.warning(
                "how far endpoints are could not be written; it is tried again, and a restart would send the last events again",
                reason="broker_away", fault=error, topic=DELIVERIES.name,
            )  # fmt: skip
            self._gone += gone
            for _, courier in changed:
                courier.dirty = True

    async def _write_journal(self) -> None:
        while True:
            await asyncio.sleep(_JOURNAL_S)
            await self._journal.write()


def _shown(courier: Courier) -> dict[str, Any]:
    progress = courier.progress
    return {
        "state": "on" if courier.is_on else "disabled" if courier.endpoint.enabled else "off",
        "disabled": None if courier.is_on else progress.disabled,
        "failing_since_ms": progress.failing_since_ms,
        "outstanding": len(progress.outstanding),
    }
