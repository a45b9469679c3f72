"""What the gateway's routes read from: the live stream, the read model, the log. Made once, in ``gateway.app``."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from fastapi import Request
from opentelemetry.trace import Tracer
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from config.settings import Settings
from gateway.alerts_topic import AlertsTopic
from gateway.endpoints import EndpointBook
from gateway.event_traces import EventTraces
from gateway.evidence import Evidence
from gateway.feed_log import FeedLog, NewProducer
from gateway.hub import Hub
from gateway.ingest import Intake
from gateway.key_ring import KeyRing, now_ms
from gateway.listers import Listers
from gateway.read_model import ReadModel
from gateway.summary import Summary

KEYS_CHECKED_EVERY_S: Final = 5.0
"""A stream outlives its key by no more."""
CANCEL_AGAIN_S: Final = 4.0
"""A task that still runs so long after it was cancelled is cancelled again; one that closes its consumer takes less."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts that routes share."""

    settings: Settings
    hub: Hub
    topic: AlertsTopic
    prices: AlertsTopic
    read_model: ReadModel
    evidence: Evidence
    summary: Summary
    redis: Any
    keys: KeyRing
    intake: Intake
    endpoints: EndpointBook
    tracer: Tracer | None = None

    @classmethod
    def of(cls, settings: Settings, new_producer: NewProducer, tracer: Tracer | None = None) -> Self:
        """Makes them; nothing is connected yet. ``new_producer``: of acknowledged, ordered writes (agents.clients)."""
        redis = Redis.from_url(
            settings.redis_url,
            socket_timeout=3.0,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 1),
            max_connections=64,
            client_name="pricelink-gateway",
        )
        hub = Hub()
        topic = AlertsTopic(settings, hub)
        read_model = ReadModel(redis)
        prices = AlertsTopic.of_prices(settings, hub, Listers(read_model))
        topic.traces = prices.traces = None if tracer is None else EventTraces(tracer)
        summary = Summary(read_model, topic, hub, settings.redis_url)
        return cls(
            settings, hub, topic, prices, read_model, Evidence(settings), summary, redis,
            KeyRing(settings, redis), Intake(settings, FeedLog(settings, new_producer)), EndpointBook(settings, new_producer),
            tracer,
        )  # fmt: skip

    def ready(self) -> dict[str, bool]:
        """Returns what this gateway needs to serve, and whether each of it is there."""
        return {
            "redis": self.summary.problem is None,
            "broker": self.topic.problem is None and self.prices.problem is None,
            "events": self.hub.caught_up,
            "keys": self.keys.loaded,
            "endpoints": self.endpoints.loaded,
            "feeds": self.intake.warm and self.intake.log.problem is None,
        }

    async def _end_dead_keys(self) -> None:
        """Ends the streams of keys that were revoked or have expired."""
        while True:
            await asyncio.sleep(KEYS_CHECKED_EVERY_S)
            for client in list(self.hub.clients):
                if client.key_id and not self.keys.is_live(client.key_id, now_ms()):
                    client.close()

    async def run(self) -> None:
        """Keeps the stream and the counters going, until cancelled; raises the first fault of any of them."""
        parts = (
            self.topic.follow(),
            self.prices.follow(),
            self._end_dead_keys(),
            self.summary.keep(),
            self.keys.follow(),
            self.endpoints.follow(),
            self.keys.keep_notes(),
        )
        tasks = [asyncio.create_task(part) for part in (*parts, self.intake.warm_up(), self.intake.log.run())]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(tasks)
            self.hub.clients.close()
            self.intake.close()
            await self.keys.note()
            await self.read_model.close()


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks until all have ended: redis-py may swallow a cancellation while it connects."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)


def sources_of(request: Request) -> Sources:
    """Returns the parts of the app that a request came to."""
    sources = request.app.state.sources
    assert isinstance(sources, Sources)
    return sources
