"""Kafka headers of what we write: CloudEvents 1.0 in binary mode on alerts, reason and position on dead letters."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import orjson

from schemas.batches import DeadLetter, Rows
from schemas.columns import CHANGES, KINDS

Header = tuple[str, bytes]

_FIRST: Final[Header] = ("ce_specversion", b"1.0")
_SOURCE: Final[Header] = ("ce_source", b"pricelink")
_CONTENT: Final[Header] = ("content-type", b"application/json")
_TYPES: Final[list[list[Header]]] = [[("ce_type", f"{kind}.{change}".encode()) for change in CHANGES] for kind in KINDS]


def alert_headers(raw: bytes, table: Rows) -> Iterator[list[Header]]:
    """Yields the headers of each alert of a run (SPEC §8): ``raw`` the run's bytes, ``table`` its EVENT rows."""
    last_ms = -1
    time: Header = ("ce_time", b"")
    for id_start, id_end, at_ms, kind, change in zip(
        table["id_start"].tolist(),
        table["id_end"].tolist(),
        table["at_ms"].tolist(),
        table["kind"].tolist(),
        table["change"].tolist(),
        strict=True,
    ):
        if at_ms != last_ms:  # the events of a step share their instant
            last_ms = at_ms
            time = ("ce_time", rfc3339(at_ms).encode())
        yield [_FIRST, ("ce_id", raw[id_start:id_end]), _SOURCE, _TYPES[kind][change], time, _CONTENT]


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


def dead_letter_headers(letter: DeadLetter) -> list[Header]:
    """Returns the headers of a dead letter (SPEC §2)."""
    headers = [
        ("reason", letter.reason.encode()),
        ("partition", b"%d" % letter.partition),
        ("offset", b"%d" % letter.offset),
        ("line", b"%d" % letter.line),
    ]
    headers += [
        (name, value.encode(errors="backslashreplace"))
        for name, value in (("field", letter.field), ("message", letter.message), ("moved_to", letter.moved_to))
        if value is not None
    ]
    return headers
