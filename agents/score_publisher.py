"""Publishes cards that changed: to topic ``scorecards``, whole, and to Redis for the page.

Redis keys: ``pl:cards:{owner}`` (hash: key → card), ``pl:rank:{owner}:{measure}`` (sorted sets), and for each card
``pl:card-open:{owner}:{key}`` (set of the ids of its open alerts). They can be dropped at any time: all cards are
written again when the note ``pl:cards`` is gone. Redis being away holds nothing up.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

import orjson
import redis.asyncio
import redis.exceptions
import structlog

from agents.score_metrics import ScoreMetrics
from agents.score_tables import Cards, Send
from config.settings import Settings
from config.topics import SCORECARDS
from schemas.codes import partition_of
from schemas.score_rules import ScoreRules
from streams.scorecards import Card

_log = structlog.get_logger("scorecards")

NOTE: Final = "pl:cards"
_EVERY_S: Final = 1.0
_TIMEOUT_S: Final = 5.0
_CARDS_A_ROUND: Final = 1_000
RANKED_BY: Final = ("open_total", "open_red", "amount_overdue", "overdue", "banded_share_bp")


class OrderCounts(Protocol):
    """How many orders each owner placed or got, as far as they are counted."""

    def orders(self, dimension: str, key: str) -> int | None:
        """Returns how many order records of an owner were accepted; None while they are not counted up."""

    def changed(self) -> dict[str, set[str]]:
        """Returns the owners whose counts changed since the last call, by dimension."""


class Publisher:
    """Writes dirty cards once a second."""

    def __init__(
        self, settings: Settings, rules: ScoreRules, cards: Mapping[str, Cards], send: Send, metrics: ScoreMetrics
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._cards = cards
        self._send = send
        self._metrics = metrics
        self._redis: Any = redis.asyncio.from_url(
            settings.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        self._unshown: dict[str, dict[str, bytes]] = {name: {} for name in cards}
        self._whole: dict[str, set[str]] = {name: set() for name in cards}
        self._away = False
        self.order_counts: OrderCounts | None = None

    async def run(self) -> None:
        """Publishes once a second, for ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.publish()

    async def close(self) -> None:
        """Closes the connection to Redis."""
        await self._redis.aclose()

    def start_anew(self, dimension: str) -> None:
        """Has all cards of a dimension written whole: their rows were read anew."""
        self._whole[dimension] = set(self._cards[dimension].cards)

    async def publish(self) -> None:
        """Writes the cards that changed. Raises what the broker refused for good."""
        if self.order_counts is not None:
            for dimension, keys in self.order_counts.changed().items():
                self._cards[dimension].dirty |= keys & self._cards[dimension].cards.keys()
        for dimension, cards in self._cards.items():
            while cards.dirty:
                await self._publish(
                    dimension, [cards.dirty.pop() for _ in range(min(len(cards.dirty), _CARDS_A_ROUND))]
                )
        await self._show()

    async def _publish(self, dimension: str, keys: list[str]) -> None:
        sent = []
        for key in keys:
            value = orjson.dumps(self.card_json(dimension, key))
            name = f"{dimension}:{key}"
            place = partition_of(name, self._settings.partitions)
            sent.append(await self._send(SCORECARDS.name, name.encode(), value, place))
            self._unshown[dimension][key] = value
        await asyncio.gather(*sent)
        self._metrics.published += len(keys)

    def card_json(self, dimension: str, key: str) -> dict[str, Any]:
        """Returns a card as it is published."""
        orders = self.order_counts.orders(dimension, key) if self.order_counts else None
        return self._cards[dimension].cards[key].as_json(dimension, key, orders, self._rules)

    async def _show(self) -> None:
        try:
            if not await self._redis.get(NOTE):
                for dimension, cards in self._cards.items():
                    self._whole[dimension] = set(cards.cards)
                    for key in cards.cards:
                        value = orjson.dumps(self.card_json(dimension, key))
                        self._unshown[dimension][key] = value
            for dimension in self._cards:
                while self._unshown[dimension]:
                    await self._show_some(dimension, list(self._unshown[dimension])[:_CARDS_A_ROUND])
            await self._redis.set(NOTE, b"1")
            self._away = False
        except (redis.exceptions.RedisError, OSError, TimeoutError) as fault:
            if not self._away:
                _log.warning(
                    "Redis does not answer: the page does not see new cards; they are written once it is back",
                    reason="redis_away", fault=fault,
                )  # fmt: skip
            self._away = True

    async def _show_some(self, dimension: str, keys: list[str]) -> None:
        values = {key: self._unshown[dimension][key] for key in keys}
        moved: dict[str, dict[str, bool]] = {}
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(f"pl:cards:{dimension}", mapping=values)
            for key, value in values.items():
                for measure, score in _ranks(orjson.loads(value)).items():
                    if score > 0:
                        pipe.zadd(f"pl:rank:{dimension}:{measure}", {key: score})
                    else:
                        pipe.zrem(f"pl:rank:{dimension}:{measure}", key)
                moved[key] = self._move_ids(pipe, dimension, key)
            await pipe.execute()
        for key, value in values.items():
            if self._unshown[dimension].get(key) == value:
                del self._unshown[dimension][key]
            self._whole[dimension].discard(key)
            self._forget_moves(self._cards[dimension].cards.get(key), moved[key])

    def _move_ids(self, pipe: Any, dimension: str, key: str) -> dict[str, bool]:
        name = f"pl:card-open:{dimension}:{key}"
        card = self._cards[dimension].cards.get(key)
        if card is None:
            return {}
        moved = dict(card.moved_ids)
        if key in self._whole[dimension]:
            pipe.delete(name)
            came, went = set(card.open_ids), set[str]()
        else:
            came = {alert_id for alert_id, is_open in moved.items() if is_open}
            went = moved.keys() - came
        if came:
            pipe.sadd(name, *came)
        if went:
            pipe.srem(name, *went)
        return moved

    @staticmethod
    def _forget_moves(card: Card | None, moved: dict[str, bool]) -> None:
        for alert_id, is_open in moved.items() if card else ():
            if card and card.moved_ids.get(alert_id) == is_open:
                del card.moved_ids[alert_id]


def _ranks(card: dict[str, Any]) -> dict[str, float]:
    """Returns the scores by which a card is ranked."""
    return {
        "open_total": card["open_total"],
        "open_red": card["open_red"],
        "amount_overdue": float(card["amount_overdue"]),
        "overdue": card["supply"]["overdue"],
        "banded_share_bp": card["banded_share_bp"] or 0,
    }
