"""Which lines of a message of ``feeds`` a trace follows, as the message's Kafka headers say it.

``traceparent`` and ``tracestate`` are W3C's (https://www.w3.org/TR/trace-context/) and mean the whole message. A message
that the gateway packed has lines of several requests: there ``traced-lines``, ``first-last``, stands behind each
``traceparent`` and says which lines are meant. Whatever is not so written is left out: a trace is never worth a record.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
LINES: Final = "traced-lines"
MOST_TRACES: Final = 16
"""Of one message. The gateway closes a message that has so many."""
EVERY_LINE: Final = 1 << 31

Header = tuple[str, bytes]

_PARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf]")
_LINES: Final = re.compile(rb"([0-9]{1,9})-([0-9]{1,9})")
_LONGEST_STATE: Final = 512


@dataclass(frozen=True, slots=True)
class Traced:
    """Lines of a message, ``first_line`` to ``last_line``, and the span that they come from."""

    offset: int
    traceparent: str
    tracestate: str = ""
    first_line: int = 0
    last_line: int = EVERY_LINE


def trace_headers(traced: Traced) -> list[Header]:
    """Returns the headers that say it; ``offset`` is not among them."""
    headers = [(TRACEPARENT, traced.traceparent.encode())]
    if traced.tracestate:
        headers.append((TRACESTATE, traced.tracestate.encode()))
    return [*headers, (LINES, b"%d-%d" % (traced.first_line, traced.last_line))]


def traced_in(offset: int, headers: Iterable[tuple[str, bytes | None]]) -> list[Traced]:
    """Returns what the headers of the message at ``offset`` say: the first MOST_TRACES that are sampled."""
    groups: list[dict[str, bytes]] = []
    for name, value in headers:
        if name == TRACEPARENT:
            if len(groups) == MOST_TRACES:
                break
            groups.append({})
        if groups and name in (TRACEPARENT, TRACESTATE, LINES):
            groups[-1][name] = value or b""
    return [traced for group in groups if (traced := _traced(offset, group)) is not None]


def _traced(offset: int, group: dict[str, bytes]) -> Traced | None:
    parent, state = group[TRACEPARENT], group.get(TRACESTATE, b"")
    if not _PARENT.fullmatch(parent):
        return None
    if len(state) > _LONGEST_STATE or not state.isascii():
        state = b""
    lines = _LINES.fullmatch(group[LINES]) if LINES in group else None
    if LINES in group and lines is None:
        return None
    first, last = (0, EVERY_LINE) if lines is None else (int(lines[1]), int(lines[2]))
    return Traced(offset, parent.decode(), state.decode(), first, last)


def headers_in(raw: bytes) -> list[Header]:
    """Returns a record's headers from its bytes, their count first; those that are whole if the bytes end too soon."""
    headers: list[Header] = []
    try:
        count, at = _varint(raw, 0)
        for _ in range(count):
            size, at = _varint(raw, at)
            if size < 0:
                break
            name = raw[at : at + size]
            value_size, at = _varint(raw, at + size)
            if at + value_size > len(raw):
                break
            headers.append((name.decode(errors="replace"), raw[at : at + max(value_size, 0)]))
            at += max(value_size, 0)
    except IndexError:
        pass
    return headers


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Returns a zigzag varint and where it ends; raises IndexError."""
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value >> 1 ^ -(value & 1), at
