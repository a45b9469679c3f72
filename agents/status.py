"""What a worker tells the page once a second, through Redis. Redis being gone never holds up the stream."""

import asyncio
import contextlib
import time
from typing import Any, Final

import orjson
import structlog

from agents.feeds import Feeds
from agents.headers import rfc3339
from agents.metrics import Metrics, epoch_ms
from agents.metrics_server import version
from config.settings import Settings

_log = structlog.get_logger("status")

PREFIX: Final = "pl:worker:"
_EVERY_S: Final = 1.0
_EXPIRES_S: Final = 15
_TIMEOUT_S: Final = 1.0


class Status:
    """Writes ``pl:worker:{instance}``."""

    def __init__(self, settings: Settings, metrics: Metrics, feeds: Feeds) -> None:
        self._settings = settings
        self._metrics = metrics
        self._feeds = feeds
        self._records = 0
        self._at = time.monotonic()
        self._warned = False

    async def run(self) -> None:
        """Writes once a second, for ever."""
        import redis.asyncio  # takes a sixth of a worker's start

        client = redis.asyncio.from_url(
            self._settings.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        try:
            while True:
                await asyncio.sleep(_EVERY_S)
                await self._write(client)
        finally:
            with contextlib.suppress(Exception):
                await client.delete(PREFIX + self._settings.instance)
                await client.aclose()

    async def _write(self, client: Any) -> None:
        import redis.exceptions

        try:
            await client.set(PREFIX + self._settings.instance, orjson.dumps(self.now()), ex=_EXPIRES_S)
            self._warned = False
        except (redis.exceptions.RedisError, OSError) as fault:
            if not self._warned:
                _log.warning(
                    "Redis does not answer: the page does not see this worker until it is back; alerts go on",
                    reason="redis_away", fault=fault,
                )  # fmt: skip
                self._warned = True

    def now(self) -> dict[str, Any]:
        """Returns what is to be written."""
        metrics = self._metrics
        now = time.monotonic()
        rate = (metrics.records_total - self._records) / max(now - self._at, 1e-3)
        self._records, self._at = metrics.records_total, now
        machines = [owned.machine for owned in self._feeds.owned.values()]
        return {
            "records_per_s": round(rate, 1),
            "lag_records": metrics.lag_records,
            "lag_seconds": round(metrics.lag_s, 3),
            "partitions": sorted(self._feeds.owned),
            "records_total": metrics.records_total,
            "dead_letters_total": sum(metrics.dead_letters.values()),
            "checkpoint_age_s": round(metrics.checkpoint_age_s, 3),
            "version": version(),
            "policy_version": next((version_of(machine) for machine in machines), None),
            "at": rfc3339(epoch_ms()),
        }


def version_of(machine: Any) -> str | None:
    """Returns the version of the policy that holds in a machine, where it tells."""
    policy = getattr(machine, "policy", None)
    found = getattr(policy, "version", None)
    return found if isinstance(found, str) else None
