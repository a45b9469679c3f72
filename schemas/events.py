"""Events of topics ``alerts`` and ``price-changes`` as their readers take them (SPEC §3, §8): what is none is told here.

A reader that tripped over a message would trip over it again after every restart, so that one message would end it for
ever. Only what readers rely on is looked at; fields they do not know may be there.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

MOST: Final = 2**53
"""Numbers of events are below: JSON's readers agree on them, and their sums fit into 64 bits."""
_OPENING: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_OF_ALERTS: Final = ("province", "band", "previous_band", "code", "supplier", "institution")


class NotAnEvent(ValueError):
    """A message is none of its topic; the text says what is missing or wrong."""


def object_of(value: bytes | None) -> dict[str, Any]:
    """Returns the JSON object that a message is; raises NotAnEvent."""
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError as fault:
        raise NotAnEvent(f"no JSON: {fault}" if value else "no value") from fault
    if not isinstance(found, dict):
        raise NotAnEvent("no JSON object")
    return found


def read_alert(value: bytes | None) -> dict[str, Any]:
    """Returns an event of ``alerts``; raises NotAnEvent."""
    return _alert(object_of(value))


def read_price_change(value: bytes | None) -> dict[str, Any]:
    """Returns an event of ``price-changes``; raises NotAnEvent."""
    return _price_change(object_of(value))


def read_event(value: bytes | None) -> dict[str, Any]:
    """Returns an event of either topic; raises NotAnEvent."""
    event = object_of(value)
    return _alert(event) if "alert_id" in event else _price_change(event)


def slot_of(alert_id: str) -> tuple[str, int]:
    """Splits ``{kind}:{slot key}:{n}`` of an event into its slot and n."""
    slot, _, number = alert_id.rpartition(":")
    return slot, int(number)


def whole(event: dict[str, Any], name: str) -> int:
    """Returns a number of an event; raises NotAnEvent."""
    number = event.get(name)
    if type(number) is not int or not 0 <= number < MOST:
        raise NotAnEvent(f"{name} is no number from 0 to 2^53 - 1")
    return number


def text(event: dict[str, Any], name: str) -> str:
    """Returns a text of an event; raises NotAnEvent."""
    found = event.get(name)
    if not isinstance(found, str):
        raise NotAnEvent(f"{name} is no text")
    return found


def _alert(event: dict[str, Any]) -> dict[str, Any]:
    _opening(event, "alert_id")
    whole(event, "revision")
    text(event, "kind")
    text(event, "change")
    _texts_or_nothing(event, _OF_ALERTS)
    return event


def _price_change(event: dict[str, Any]) -> dict[str, Any]:
    _opening(event, "event_id")
    text(event, "code")
    _texts_or_nothing(event, ("province",))
    return event


def _opening(event: dict[str, Any], name: str) -> None:
    slot, _, number = text(event, name).rpartition(":")
    if not slot or not _OPENING.fullmatch(number):
        raise NotAnEvent(f"{name} is not {{kind}}:{{slot key}}:{{n}}")


def _texts_or_nothing(event: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if not isinstance(event.get(name), str | None):
            raise NotAnEvent(f"{name} is neither a text nor null")
