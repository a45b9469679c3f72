"""Cursors of the live stream: how far a client has read each partition of ``alerts``, as text it hands back.

A cursor is made of log positions alone, so any gateway can resume a stream that another one began.
"""

import re
from collections.abc import Mapping
from typing import Final

MAX_CURSOR_LENGTH: Final = 8_192
_PART: Final = re.compile(r"([0-9]{1,5}):([0-9]{1,19})")


class CursorFault(ValueError):
    """A cursor that no gateway wrote."""


def format_cursor(positions: Mapping[int, int]) -> str:
    """Renders ``{partition: next offset}`` as ``0:17,1:5``."""
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(positions.items()))


def parse_cursor(text: str) -> dict[int, int]:
    """Reads what ``format_cursor`` wrote. Raises CursorFault."""
    if len(text) > MAX_CURSOR_LENGTH:
        raise CursorFault(f"a cursor has at most {MAX_CURSOR_LENGTH} characters, this one {len(text)}")
    positions: dict[int, int] = {}
    for part in text.split(",") if text else []:
        found = _PART.fullmatch(part)
        if not found:
            raise CursorFault(f"{part[:40]!r} is not partition:offset; a cursor looks like 0:17,1:5")
        positions[int(found[1])] = int(found[2])
    return positions
