"""Scorecards and the inspection list as the page and ``/api`` read them from Redis (docs/scorecards.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

RANKINGS: Final = {
    "supplier": ("open_red", "open_total", "overdue", "banded_share_bp", "amount_overdue"),
    "institution": ("amount_overdue", "open_red", "open_total", "overdue", "banded_share_bp"),
    "province": ("open_total", "open_red", "amount_overdue", "overdue", "banded_share_bp"),
}
"""By whom, and by which measures, the usual one first."""
CARDS_SHOWN: Final = 200
ALERTS_SHOWN: Final = 300
_IDS_A_ROUND: Final = 2_000

Card = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Behind:
    """The alerts behind a card's numbers, each as its last event. ``matching``: how many there are of those asked for."""

    alerts: list[dict[str, Any]]
    matching: int


class Cards:
    """Asks Redis. Every method raises one of ``read_model.REDIS_FAULTS`` when it is away."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    async def ranking(self, dimension: str, measure: str, count: int) -> list[Card]:
        """Returns the cards with the largest measure, largest first; those with 0 are not in it."""
        keys = await self._redis.zrevrange(f"pl:rank:{dimension}:{measure}", 0, count - 1)
        values = await self._redis.hmget(f"pl:cards:{dimension}", keys) if keys else []
        return [orjson.loads(value) for value in values if value]

    async def card(self, dimension: str, key: str) -> Card | None:
        """Returns a card, None where there is none."""
        value = await self._redis.hget(f"pl:cards:{dimension}", key)
        return orjson.loads(value) if value else None

    async def behind(self, card: Card, kind: str | None, band: str | None) -> Behind:
        """Returns the open alerts behind a card, worst first, and the latest observed ones.

        Of a ``kind``, or of those for which the card's owner has to answer; of a ``band`` if given.
        """
        kinds = (kind,) if kind else tuple(card["answerable"])
        members = await self._redis.smembers(f"pl:card-open:{card['dimension']}:{card['key']}")
        ids = sorted(each.decode() for each in members)
        found = await self._open([each for each in ids if each.partition(":")[0] in kinds])
        if "bargain" in kinds:
            found += await self._observed(card["latest_observed"])
        found = [event for event in found if band is None or event["band"] == band]
        order = {"red": 0, "yellow": 1, "blue": 2}
        found.sort(key=lambda event: event["at"], reverse=True)
        found.sort(key=lambda event: order.get(event["band"], 3))
        return Behind(found[:ALERTS_SHOWN], len(found))

    async def _open(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        found = []
        for start in range(0, len(ids), _IDS_A_ROUND):
            values = await self._redis.hmget("pl:open", ids[start : start + _IDS_A_ROUND])
            found += [orjson.loads(value) for value in values if value]
        return found

    async def _observed(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for alert_id in ids:
                pipe.lrange(f"pl:history:{alert_id}", -1, -1)
            return [orjson.loads(values[-1]) for values in await pipe.execute() if values]

    async def inspections(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Returns the latest inspection list, and what the next one would be as things stand."""
        latest, preview = await self._redis.mget(["pl:inspections", "pl:inspections:preview"])
        return (orjson.loads(latest) if latest else None, orjson.loads(preview) if preview else None)
