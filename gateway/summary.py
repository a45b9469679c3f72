"""The counters of the page: put together once a second, for all clients at once."""

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog

from config.provinces import PROVINCE_CODES
from gateway.alerts_topic import AlertsTopic
from gateway.filters import OPEN_BANDS
from gateway.hub import Hub, frame_of
from gateway.read_model import REDIS_FAULTS, Cell, Figures, ReadModel, totals
from schemas.columns import KINDS

EVERY_S: Final = 1.0
ANSWER_S: Final = 3.0
"""Redis counts as away when it does not answer for so long."""
RATE_OVER_S: Final = 10
"""Events per second are those of so many last seconds."""

_log = structlog.get_logger("summary")


class Summary:
    """Holds the latest counters and sends them to every client.

    ``problem``: why Redis could not be asked the last time, in words; None when it could.
    """

    def __init__(self, read_model: ReadModel, topic: AlertsTopic, hub: Hub, redis_url: str) -> None:
        self.problem: str | None = "not asked yet"
        self._read_model = read_model
        self._topic = topic
        self._hub = hub
        self._redis_url = without_password(redis_url)  # it goes into logs and answers
        self._figures = Figures({})
        self._cells = b""
        self._events: deque[int] = deque(maxlen=RATE_OVER_S + 1)

    async def keep(self) -> None:
        """Puts the counters together once a second, until cancelled."""
        while True:
            await self.refresh()
            self._hub.clients.notify(self.frames().items())
            await asyncio.sleep(EVERY_S)

    async def refresh(self) -> None:
        """Asks Redis. When it is away the old counters stay, and ``problem`` says so."""
        self._events.append(self._hub.events_total)
        try:
            async with asyncio.timeout(ANSWER_S):
                self._figures = await self._read_model.figures(sorted(self._hub.lanes(prices=False)))
        except REDIS_FAULTS as error:
            if self.problem is None:
                _log.warning(
                    "Redis does not answer: the page shows old counters; it is asked again every second",
                    reason="redis_away", fault=error, where=without_password(self._redis_url),
                )  # fmt: skip
            self.problem = str(error) or type(error).__name__
        else:
            self.problem = None

    def frames(self) -> dict[str, bytes]:
        """Returns the latest counters as SSE messages by name; the cells only when they have changed."""
        frames = {"summary": frame_of("summary", orjson.dumps(self.as_json()))}
        cells = cells_frame(self._figures.counts)
        if cells != self._cells:
            self._cells = cells
            frames["cells"] = cells
        return frames

    def first_frames(self) -> bytes:
        """Returns the latest counters for a client that has none yet."""
        return frame_of("summary", orjson.dumps(self.as_json())) + cells_frame(self._figures.counts)

    def as_json(self) -> dict[str, Any]:
        """Returns the counters; ``open`` as Redis had them last."""
        workers = self._figures.workers
        return {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "redis": _state(self.problem, self._redis_url),
            "broker": _state(self._topic.problem, self._topic.bootstrap),
            "simulated": self._figures.market,
            "open": totals(self._figures.counts),
            "events_per_s": self._events_per_s(),
            "read_model_lag": self.read_model_lag,
            "clients": len(self._hub.clients),
            "workers": workers,
            "records_per_s": _sum(workers, "records_per_s"),
            "records_total": _sum(workers, "records_total"),
            "dead_letters_total": _sum(workers, "dead_letters_total"),
            "lag_records": _sum(workers, "lag_records"),
            "lag_seconds": max((_number(worker, "lag_seconds") for worker in workers), default=0),
            "policy_versions": sorted(
                {str(worker["policy_version"]) for worker in workers if worker.get("policy_version")}
            ),
        }

    @property
    def counts(self) -> dict[Cell, int]:
        """Returns how many alerts are open in each cell that has any, as Redis had it last."""
        return self._figures.counts

    @property
    def read_model_lag(self) -> int:
        """Events that were streamed and are not in Redis yet: while there are many, open alerts are old ones."""
        streamed = self._hub.positions or {}
        return sum(max(0, streamed.get(number, 0) - offset) for number, offset in self._figures.reached.items())

    def _events_per_s(self) -> float:
        if len(self._events) < 2:
            return 0.0
        return round((self._events[-1] - self._events[0]) / ((len(self._events) - 1) * EVERY_S), 1)


def _state(problem: str | None, where: str) -> dict[str, Any]:
    return {"ok": problem is None, "where": without_password(where)} | ({"problem": problem} if problem else {})


def without_password(url: str) -> str:
    """Returns an address that may be shown."""
    scheme, at, rest = url.partition("?")[0].rpartition("@")
    return f"{scheme.partition('://')[0]}://…@{rest}" if at else rest


def _number(worker: Mapping[str, Any], name: str) -> float:
    value = worker.get(name)
    return value if isinstance(value, int | float) else 0


def _sum(workers: list[dict[str, Any]], name: str) -> float:
    return round(sum(_number(worker, name) for worker in workers), 1)


def cells_frame(counts: Mapping[Cell, int]) -> bytes:
    """Renders counts as ``[kind, province, band, number]``, the words as their index in their lists."""
    cells = sorted(
        [KINDS.index(kind), PROVINCE_CODES.index(province), OPEN_BANDS.index(band), number]
        for (kind, province, band), number in counts.items()
    )
    return frame_of("cells", orjson.dumps(cells))
