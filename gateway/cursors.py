"""Cursors of the live streams: how far a client has read each partition of ``alerts`` and ``price-changes``, as text.

A cursor is made of log positions alone, so any gateway can resume a stream that another one began.
"""

import re
from collections.abc import Mapping
from typing import Final

from config.topics import ALERTS, PRICE_CHANGES

MAX_CURSOR_LENGTH: Final = 65_536
PRICE_LANES: Final = 1_000_000
"""A lane is a partition of a topic as one number: those of ``price-changes`` begin here, those of ``alerts`` at 0."""
_PART: Final = re.compile(r"(p?)([0-9]{1,5}):([0-9]{1,19})")


class CursorFault(ValueError):
    """A cursor that no gateway wrote."""


def format_cursor(positions: Mapping[int, int]) -> str:
    """Renders ``{lane: next offset}`` as ``0:17,1:5,p0:3``; ``p``: a partition of ``price-changes``."""
    return ",".join(
        f"p{lane - PRICE_LANES}:{offset}" if lane >= PRICE_LANES else f"{lane}:{offset}"
        for lane, offset in sorted(positions.items())
    )


def place_of(lane: int) -> tuple[str, int]:
    """Returns a lane's topic and partition."""
    return (PRICE_CHANGES.name, lane - PRICE_LANES) if lane >= PRICE_LANES else (ALERTS.name, lane)


def alerts_only(positions: Mapping[int, int]) -> dict[int, int]:
    """Returns the lanes of ``alerts``."""
    return {lane: offset for lane, offset in positions.items() if lane < PRICE_LANES}


def parse_cursor(text: str) -> dict[int, int]:
    """Reads what ``format_cursor`` wrote. Raises CursorFault."""
    if len(text) > MAX_CURSOR_LENGTH:
        raise CursorFault(f"a cursor has at most {MAX_CURSOR_LENGTH} characters, this one {len(text)}")
    positions: dict[int, int] = {}
    for part in text.split(",") if text else []:
        found = _PART.fullmatch(part)
        if not found:
            raise CursorFault(f"{part[:40]!r} is not partition:offset; a cursor looks like 0:17,1:5,p0:3")
        positions[int(found[2]) + (PRICE_LANES if found[1] else 0)] = int(found[3])
    return positions
