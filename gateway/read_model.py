"""The read model in Redis as the gateway asks it: open alerts, their histories, counts, workers."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.provinces import PROVINCE_CODES
from config.topics import ALERTS
from gateway.filters import OPEN_BANDS, Filter
from gateway.saved_rows import SavedRow, read_row
from schemas.columns import KINDS

REDIS_FAULTS: Final = (RedisError, OSError, TimeoutError)
PAGE_ALERTS: Final = 500
"""Most alerts that one page of a list has."""
IDS_A_ROUND: Final = 20_000
"""About so many ids are asked for at once."""
IDS_SEARCHED: Final = 200_000
"""A search by code looks at no more ids."""
HISTORY_EVENTS: Final = 100
WORKERS_SOUGHT_EVERY_S: Final = 10.0
"""Finding workers walks over Redis's keys: seldom. A known worker's figures are read every time."""
NO_WORKER_SOUGHT_EVERY_S: Final = 2.0

_log = structlog.get_logger("read-model")

Cell = tuple[str, str, str]
"""kind, province code, band."""


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    """A page of open alerts: red first, then by kind, province and id. ``matching``: how many there are.

    ``cursor``: hands out the next page; None: this was the last. ``incomplete``: a search that ended early.
    """

    alerts: list[dict[str, Any]]
    matching: int | None
    cursor: str | None
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Figures:
    """What the counters of the page are made of.

    ``workers``: each worker's own figures. ``market``: the demo's. ``reached``: per partition of ``alerts`` the offset
    up to which Redis has taken it in.
    """

    counts: dict[Cell, int]
    workers: list[dict[str, Any]] = field(default_factory=list)
    market: dict[str, Any] | None = None
    reached: dict[int, int] = field(default_factory=dict)


def _rank(cell: Cell) -> tuple[int, int, str]:
    kind, province, band = cell
    return -OPEN_BANDS.index(band), KINDS.index(kind), province


class ReadModel:
    """Asks Redis. Every method raises one of REDIS_FAULTS when it is away."""

    def __init__(self, redis: Redis) -> None:
        # The client's types leave open whether answers are bytes; ours are.
        self._redis: Any = redis
        self._workers: list[bytes] = []
        self._workers_sought_at = float("-inf")

    async def ping(self) -> None:
        """Asks whether Redis is there."""
        await self._redis.ping()

    async def close(self) -> None:
        """Closes its connections."""
        await self._redis.aclose()

    async def counts(self) -> dict[Cell, int]:
        """Returns how many alerts are open in each cell that has any."""
        found: Mapping[bytes, bytes] = await self._redis.hgetall("pl:counts")
        counts: dict[Cell, int] = {}
        for name, number in found.items():
            kind, _, rest = name.decode().partition("|")
            province, _, band = rest.partition("|")
            if kind in KINDS and province in PROVINCE_CODES and band in OPEN_BANDS and int(number) > 0:
                counts[kind, province, band] = int(number)
        return counts

    async def figures(self, partitions: Sequence[int] = ()) -> Figures:
        """Returns the counters of this moment. ``partitions``: of ``alerts``, whose progress is asked for."""
        counts = await self.counts()
        now = time.monotonic()
        if now - self._workers_sought_at > (WORKERS_SOUGHT_EVERY_S if self._workers else NO_WORKER_SOUGHT_EVERY_S):
            self._workers_sought_at = now
            self._workers = sorted([key async for key in self._redis.scan_iter("pl:worker:*", count=1_000)])
        offsets = [f"pl:offset:{ALERTS.name}:{partition}" for partition in partitions]
        market, *values = await self._redis.mget(["pl:market", *offsets, *self._workers])
        reached = {number: int(value) for number, value in zip(partitions, values, strict=False) if value}
        workers = [
            worker | {"instance": key.decode().removeprefix("pl:worker:")}
            for key, value in zip(self._workers, values[len(offsets) :], strict=True)
            if value and (worker := _object(value))
        ]
        return Figures(counts, workers, _object(market) if market else None, reached)

    async def open_alerts(self, wanted: Filter, code: str, limit: int, cursor: str | None) -> OpenAlerts:
        """Returns a page of open alerts. ``code``: part of a product code. ``cursor``: the last page's.

        Raises ValueError for a cursor that is none.
        """
        after = _parse_place(cursor) if cursor else None
        counts = {cell: number for cell, number in (await self.counts()).items() if _in(cell, wanted)}
        cells = sorted(counts, key=_rank)
        if after:
            cells = [cell for cell in cells if _rank(cell) >= _rank(after[0])]
        ids: list[tuple[Cell, str]] = []
        looked_at = 0
        for round_ in _rounds(cells, counts, IDS_A_ROUND if code else limit + 1):
            for cell, members in zip(round_, await self._members(round_), strict=True):
                looked_at += len(members)
                kept = sorted(member for member in members if not code or code in _code_of(member))
                ids += [(cell, member) for member in kept if after is None or cell != after[0] or member > after[1]]
            if len(ids) > limit or looked_at > IDS_SEARCHED:
                break
        shown = ids[:limit]
        return OpenAlerts(
            alerts=await self._alerts([member for _, member in shown]),
            matching=None if code else sum(counts.values()),
            cursor=_format_place(*shown[-1]) if len(ids) > limit else None,
            incomplete=looked_at > IDS_SEARCHED and len(ids) <= limit,
        )

    async def alerts_of(self, kind: str) -> list[dict[str, Any]]:
        """Returns the open alerts of a kind, IDS_A_ROUND of them at most, each as its last event has it."""
        cells = [cell for cell in await self.counts() if cell[0] == kind]
        ids = [member for members in await self._members(cells) for member in members]
        return await self._alerts(ids[:IDS_A_ROUND])

    async def open_alerts_of(
        self, supplier: str, wanted: Filter, limit: int, after: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Returns a page of a supplier's open alerts by id, and the id to go on behind; None: this was the last."""
        found: list[dict[str, Any]] = []
        place = after or ""
        for _ in range(0, IDS_SEARCHED, PAGE_ALERTS):
            first = f"({place}" if place else "-"
            ids = await self._redis.zrangebylex(f"pl:open-of:{supplier}", first, "+", start=0, num=PAGE_ALERTS)
            names = [each.decode() for each in ids]
            for alert in await self._alerts(names):
                # It may have become another supplier's between the two questions.
                if alert.get("supplier") == supplier and _passes(alert, wanted):
                    if len(found) == limit:
                        return found, found[-1]["alert_id"]
                    found.append(alert)
            if len(names) < PAGE_ALERTS:
                return found, None
            place = names[-1]
        return found, place

    async def row(self, code: str) -> tuple[SavedRow | None, dict[int, bytes]]:
        """Returns a code's saved row, None if there is none, and the partition rows of the last checkpoints."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hget("pl:rows", code)
            pipe.hgetall("pl:checkpoints")
            value, checkpoints = await pipe.execute()
        return _row(value), {int(number): own for number, own in checkpoints.items()}

    async def listers(self, codes: Sequence[str]) -> list[frozenset[str] | None]:
        """Returns who lists each of the codes, as of the last checkpoints; None: the code is not known there."""
        values = await self._redis.hmget("pl:rows", list(codes)) if codes else []
        return [None if (row := _row(value)) is None else row.suppliers for value in values]

    async def _members(self, cells: Sequence[Cell]) -> list[list[str]]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for kind, province, band in cells:
                pipe.smembers(f"pl:open:{kind}:{province}:{band}")
            return [[member.decode() for member in members] for members in await pipe.execute()]

    async def _alerts(self, alert_ids: list[str]) -> list[dict[str, Any]]:
        values = await self._redis.hmget("pl:open", alert_ids) if alert_ids else []
        # One that ended between the two questions is no longer there.
        return [alert for value in values if value and (alert := _object(value))]

    async def history(self, alert_id: str) -> list[dict[str, Any]]:
        """Returns an alert's events, oldest first; empty: not known."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.lrange(f"pl:history:{alert_id}", -HISTORY_EVENTS, -1)
            pipe.hget("pl:open", alert_id)
            values, current = await pipe.execute()
        events = {event["revision"]: event for value in values if (event := _object(value))}
        if current and (event := _object(current)):
            events[event["revision"]] = event
        return [events[revision] for revision in sorted(events)]

    async def last_events(self, count: int) -> list[bytes]:
        """Returns the last events, oldest first."""
        found = await self._redis.xrevrange("pl:events", count=count)
        return [fields[b"event"] for _, fields in reversed(found) if b"event" in fields]


def _row(value: bytes | None) -> SavedRow | None:
    try:
        return None if value is None else read_row(value)
    except ValueError:
        return None  # of an older version of the worker; it is written anew with the code's next change


def _passes(event: dict[str, Any], wanted: Filter) -> bool:
    supplier = event.get("supplier")
    bands = [band for band in (event.get("band"),) if band]
    return wanted.passes(
        event.get("province"), event["kind"], bands, event.get("code", ""), (supplier,) if supplier else ()
    )


def _object(value: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        _log.warning(
            "the read model holds what is not JSON; it is left out: `pricelink read-model --rebuild` makes it anew",
            reason="redis_unreadable", begins=repr(value[:100]),
        )  # fmt: skip
        return None
    return found if isinstance(found, dict) else None


def _in(cell: Cell, wanted: Filter) -> bool:
    kind, province, band = cell
    return wanted.passes(province, kind, (band,))


def _code_of(alert_id: str) -> str:
    kind, _, rest = alert_id.partition(":")
    return "" if kind == "feed_silence" else rest.partition(":")[0]


def _rounds(cells: Iterable[Cell], counts: Mapping[Cell, int], ids: int) -> Iterable[list[Cell]]:
    round_: list[Cell] = []
    expected = 0
    for cell in cells:
        round_.append(cell)
        expected += counts[cell]
        if expected >= ids:
            yield round_
            round_, expected = [], 0
    if round_:
        yield round_


def _format_place(cell: Cell, alert_id: str) -> str:
    return "|".join((*cell, alert_id))


def _parse_place(cursor: str) -> tuple[Cell, str]:
    kind, province, band, alert_id = cursor.split("|", 3)
    if kind not in KINDS or province not in PROVINCE_CODES or band not in OPEN_BANDS:
        raise ValueError(cursor)
    return (kind, province, band), alert_id


def totals(counts: Mapping[Cell, int]) -> dict[str, Any]:
    """Sums open alerts by band, by kind and by province, and counts the holds that wait for a decision."""
    by_band: Counter[str] = Counter()
    by_kind: dict[str, Counter[str]] = {}
    by_province: dict[str, Counter[str]] = {}
    for (kind, province, band), number in counts.items():
        by_band[band] += number
        by_kind.setdefault(kind, Counter())[band] += number
        by_province.setdefault(province, Counter())[band] += number
    return {
        "total": sum(by_band.values()),
        "by_band": {band: by_band[band] for band in reversed(OPEN_BANDS)},
        "by_kind": {kind: by_kind[kind] for kind in KINDS if kind in by_kind},
        "by_province": {code: by_province[code] for code in PROVINCE_CODES if code in by_province},
        "holds": sum(by_kind.get("price_hold", Counter()).values()),
    }
