"""Which Redis keys an event changes. Repeats are dropped here: a slot's last alert and revision are kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from schemas.batches import Batch
from schemas.events import NotAnEvent, slot_of

LOWEST: Final = "pl:lowest"
OPEN: Final = "pl:open"
COUNTS: Final = "pl:counts"
LAST: Final = "pl:last"
EVENTS: Final = "pl:events"
HISTORY: Final = "pl:history:"
OPEN_OF: Final = "pl:open-of:"
"""Before a supplier's code: its open alerts by id, a sorted set in the order of ids."""
EVENTS_KEPT: Final = 10_000
HISTORY_KEPT: Final = 100
HISTORY_DAYS: Final = 30
_DAY_S: Final = 86_400
_ENDS: Final = frozenset({"resolved", "closed", "observed"})
"""After these an alert is not open."""

Read = Callable[[bytes], dict[str, Any]]
"""Reads an event of one topic; raises NotAnEvent."""
PassedOver = Callable[[int, NotAnEvent], object]
Place = tuple[str, str, str]
"""Kind, province, band: where an open alert is counted."""


@dataclass(frozen=True, slots=True)
class Events:
    """Consecutive events of one partition, as bytes and read. ``earliest``: the oldest offset that the topic still has."""

    parsed: list[tuple[bytes, dict[str, Any]]]
    earliest: int

    @classmethod
    def of(cls, batch: Batch, first: int, last: int, earliest: int, read: Read, passed_over: PassedOver) -> Self:
        """Takes messages ``first`` to before ``last`` of a batch. ``passed_over`` is told of each that is no event."""
        raw = batch.data
        spans = batch.messages[first:last]
        parsed = []
        for start, end, offset in zip(
            spans["start"].tolist(), spans["end"].tolist(), spans["offset"].tolist(), strict=True
        ):
            value = raw[start:end].tobytes()
            try:
                parsed.append((value, read(value)))
            except NotAnEvent as fault:
                passed_over(offset, fault)
        return cls(parsed, earliest)


def place_of(event: dict[str, Any]) -> Place:
    """Returns where an event's alert is counted."""
    return event["kind"], event.get("province") or "", event.get("band") or ""


async def add_alerts(client: Any, pipe: Any, events: Events) -> None:
    """Puts into ``pipe`` what the alerts change. ``client`` reads what is there now."""
    slots = list({slot_of(event["alert_id"])[0] for _, event in events.parsed})
    ids = list({event["alert_id"] for _, event in events.parsed})
    last = await _numbers(client, slots)
    were = await client.hmget(OPEN, ids) if ids else []
    opened: dict[str, Place | None] = {
        alert_id: None if was is None else place_of(orjson.loads(was)) for alert_id, was in zip(ids, were, strict=True)
    }
    before = dict(opened)
    owners = {
        alert_id: None if was is None else orjson.loads(was).get("supplier")
        for alert_id, was in zip(ids, were, strict=True)
    }
    owned = dict(owners)
    values: dict[str, bytes] = {}
    for value, event in events.parsed:
        alert_id = event["alert_id"]
        slot, number = slot_of(alert_id)
        if (number, event["revision"]) <= last.get(slot, (0, 0)):
            continue  # a repeat
        last[slot] = (number, event["revision"])
        pipe.hset(LAST, slot, f"{number}/{event['revision']}")
        pipe.xadd(EVENTS, {"event": value}, maxlen=EVENTS_KEPT, approximate=True)
        pipe.rpush(HISTORY + alert_id, value)
        pipe.ltrim(HISTORY + alert_id, -HISTORY_KEPT, -1)
        if event["change"] in _ENDS:
            opened[alert_id] = owned[alert_id] = None
            pipe.expire(HISTORY + alert_id, HISTORY_DAYS * _DAY_S)
        else:
            opened[alert_id] = place_of(event)
            owned[alert_id] = event.get("supplier")
            values[alert_id] = value
    _move(pipe, before, opened, values)
    for alert_id, owner in owned.items():
        if owner != owners[alert_id]:
            _move_owner(pipe, alert_id, owners[alert_id], owner)


def _move(pipe: Any, before: dict[str, Place | None], after: dict[str, Place | None], values: dict[str, bytes]) -> None:
    for alert_id, place in after.items():
        was = before[alert_id]
        if place is None:
            if was is not None:
                pipe.hdel(OPEN, alert_id)
        elif alert_id in values:
            pipe.hset(OPEN, alert_id, values[alert_id])
        if was == place:
            continue
        if was is not None:
            pipe.srem(f"{OPEN}:{':'.join(was)}", alert_id)
            pipe.hincrby(COUNTS, "|".join(was), -1)
        if place is not None:
            pipe.sadd(f"{OPEN}:{':'.join(place)}", alert_id)
            pipe.hincrby(COUNTS, "|".join(place), 1)


def _move_owner(pipe: Any, alert_id: str, was: str | None, owner: str | None) -> None:
    if was is not None:
        pipe.zrem(OPEN_OF + was, alert_id)
    if owner is not None:
        pipe.zadd(OPEN_OF + owner, {alert_id: 0})


async def add_price_changes(client: Any, pipe: Any, events: Events) -> None:
    """Puts into ``pipe`` what the changes of national lowest prices change."""
    slots = list({slot_of(event["event_id"])[0] for _, event in events.parsed})
    last = await _numbers(client, slots)
    for value, event in events.parsed:
        slot, number = slot_of(event["event_id"])
        if (number, 0) <= last.get(slot, (0, 0)):
            continue
        last[slot] = (number, 0)
        pipe.hset(LAST, slot, f"{number}/0")
        pipe.hset(LOWEST, event["code"], value)


async def _numbers(client: Any, slots: list[str]) -> dict[str, tuple[int, int]]:
    found = await client.hmget(LAST, slots) if slots else []
    numbers = {}
    for slot, value in zip(slots, found, strict=True):
        if value is not None:
            number, _, revision = value.decode().partition("/")
            numbers[slot] = (int(number), int(revision))
    return numbers
