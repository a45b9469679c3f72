"""Kafka headers of what we write: CloudEvents 1.0 in binary mode on alerts. For dead letters see ``schemas.dead_letters``."""

from datetime import UTC, datetime
from typing import Final

import orjson

from schemas.columns import CHANGES, KINDS
from schemas.dead_letters import Header

_FIRST: Final[Header] = ("ce_specversion", b"1.0")
_SOURCE: Final[Header] = ("ce_source", b"pricelink")
_CONTENT: Final[Header] = ("content-type", b"application/json")
_TYPES: Final[list[list[Header]]] = [[("ce_type", f"{kind}.{change}".encode()) for change in CHANGES] for kind in KINDS]


def alert_headers(event_id: bytes, kind: int, change: int, at_ms: int) -> list[Header]:
    """Returns the headers of an alert (SPEC §8); ``kind`` and ``change``: indexes in KINDS and CHANGES."""
    time = ("ce_time", rfc3339(at_ms).encode())
    return [_FIRST, ("ce_id", event_id), _SOURCE, _TYPES[kind][change], time, _CONTENT]


def silence_headers(event: bytes) -> list[Header]:
    """Returns the headers of a ``feed_silence`` event, given as its bytes."""
    found = orjson.loads(event)
    kind, change = KINDS.index(found["kind"]), CHANGES.index(found["change"])
    return [
        _FIRST, ("ce_id", found["event_id"].encode()), _SOURCE, _TYPES[kind][change], ("ce_time", found["at"].encode()),
        _CONTENT,
    ]  # fmt: skip


def rfc3339(at_ms: int) -> str:
    """Returns an instant in UTC with milliseconds, ``2026-01-01T00:00:00.000Z``."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"
