"""Codes' rows to bytes for the state topic, and back: copies of the rows as they lie in memory.

A code's value: layout version, CODE row, its LISTING rows, for each listing with an extra the EXTRA and two QUOTE
rows, its past lowests oldest first, its new code. Key: the code. In the copy, ``listings`` is 0 or NONE, ``oldest``
counts the past lowests, and a listing's ``extra`` is 0 or NONE: indexes mean nothing elsewhere.
Rows of supply: see ``supply_rows``.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import int64

from config.kernel import kernel
from schemas.codes import murmur2_of
from schemas.octets import copy_octets
from streams.layout import CODE, EXTRA, LISTING, NEVER_MS, NEW_CODE, NONE, QUOTE, TRACKED, WINDOW
from streams.pools import (
    ENOUGH,
    SHORT_EXTRAS,
    SHORT_WINDOW,
    add_code,
    extra_for,
    find_code,
    free_block,
    free_extra,
    free_window,
    is_behind,
    room_for,
    short_pool,
    take_block,
    take_window,
)
from streams.state import State

ROW_VERSION: Final = 2
LISTING_BYTES: Final = LISTING.itemsize
EXTRA_AT: Final[int] = dict(LISTING.fields or {})["extra"][1]
EXTRA_BYTES: Final = EXTRA.itemsize
QUOTE_BYTES: Final = QUOTE.itemsize
WINDOW_BYTES: Final = WINDOW.itemsize
CODE_BYTES: Final = CODE.itemsize
NEW_CODE_BYTES: Final = NEW_CODE.itemsize

Octets = npt.NDArray[np.uint8]


class Raw(NamedTuple):
    """The pools of a State as bytes: uint8[rows x itemsize], sharing their memory."""

    codes: Octets
    listings: Octets
    extras: Octets
    waiting: Octets
    held: Octets
    window: Octets
    moved: Octets
    orders: Octets
    details: Octets
    deliveries: Octets
    contracts: Octets
    gaps: Octets


def raw_of(s: State) -> Raw:
    """Returns a State's pools as bytes."""
    return Raw(*(np.asarray(getattr(s, name)).view(np.uint8) for name in Raw._fields))


@kernel
def code_room(s: State, row: int) -> int:
    """Bytes that a code's key and value take."""
    code = s.codes[row]
    room = int64(code.code_length) + 1 + CODE_BYTES + NEW_CODE_BYTES
    for i in range(code.listing_count):
        room += LISTING_BYTES
        if s.listings[code.listings + i].extra >= 0:
            room += EXTRA_BYTES + 2 * QUOTE_BYTES
    node = code.oldest
    while node >= 0:
        room += WINDOW_BYTES
        node = s.window[node].newer
    return room


@kernel
def copy_out(out: Any, at: int, pool: Any, first: int, rows: int, itemsize: int) -> int:
    """Copies rows of a pool to ``out``; returns where they end."""
    copy_octets(out, at, pool, first * itemsize, rows * itemsize)
    return at + rows * itemsize


@kernel
def copy_in(pool: Any, first: int, rows: int, itemsize: int, out: Any, at: int) -> int:
    """Copies rows of a pool from ``out``; returns where they ended."""
    copy_octets(pool, first * itemsize, out, at, rows * itemsize)
    return at + rows * itemsize


@kernel
def write_code(s: State, raw: Raw, scratch: State, scratch_raw: Raw, row: int, out: Any, at: int) -> int:
    """Writes a code's value. ``scratch`` has one row of each pool, where copies lose their indexes."""
    code = s.codes[row]
    out[at] = ROW_VERSION
    at += 1
    past = 0
    node = code.oldest
    while node >= 0:
        past += 1
        node = s.window[node].newer
    scratch.codes[0] = code
    copied = scratch.codes[0]
    copied.listings = 0 if code.listings >= 0 else NONE
    copied.listing_room = code.listing_count
    copied.moved = 0 if code.moved >= 0 else NONE
    copied.oldest = past
    copied.newest = NONE
    copied.contracts = NONE
    copied.marks &= ~TRACKED & 0xFF
    copied.queued_ms = NEVER_MS
    copied.dirty = 0
    at = copy_out(out, at, scratch_raw.codes, 0, 1, CODE_BYTES)
    count = int64(code.listing_count)
    first = int64(code.listings)
    if count > 0:
        listings_at = at
        at = copy_out(out, at, raw.listings, first, count, LISTING_BYTES)
        for i in range(count):
            if s.listings[first + i].extra >= 0:
                for byte in range(4):
                    out[listings_at + i * LISTING_BYTES + EXTRA_AT + byte] = 0
        for i in range(count):
            extra = int64(s.listings[first + i].extra)
            if extra >= 0:
                at = copy_out(out, at, raw.extras, extra, 1, EXTRA_BYTES)
                at = copy_out(out, at, raw.waiting, extra, 1, QUOTE_BYTES)
                at = copy_out(out, at, raw.held, extra, 1, QUOTE_BYTES)
    node = code.oldest
    while node >= 0:
        scratch.window[0] = s.window[node]
        scratch.window[0].older = NONE
        scratch.window[0].newer = NONE
        at = copy_out(out, at, scratch_raw.window, 0, 1, WINDOW_BYTES)
        node = s.window[node].newer
    if code.moved >= 0:
        at = copy_out(out, at, raw.moved, int64(code.moved), 1, NEW_CODE_BYTES)
    return at


@kernel
def codes_room(s: State, rows: Any) -> int:
    """Bytes that the keys and values of some codes take at most."""
    room = 0
    for row in rows:
        room += code_room(s, row)
    return room


@kernel
def write_codes(s: State, raw: Raw, scratch: State, scratch_raw: Raw, rows: Any, out: Any, at: int, spans: Any) -> int:
    """Writes keys and values of some codes; ``spans``: key start, key end, end."""
    for i in range(rows.size):
        code = s.codes[rows[i]]
        spans[i, 0] = at
        for j in range(code.code_length):
            out[at + j] = code.code[j]
        at += int64(code.code_length)
        spans[i, 1] = at
        at = write_code(s, raw, scratch, scratch_raw, rows[i], out, at)
        spans[i, 2] = at
    return at


@kernel
def forget_code(s: State, row: int) -> None:
    """Gives back what hangs on a code's row, before another version of the row takes its place."""
    code = s.codes[row]
    for i in range(code.listing_count):
        extra = s.listings[code.listings + i].extra
        if extra >= 0:
            free_extra(s, extra)
    if code.listings >= 0:
        free_block(s, code)
    node = code.oldest
    while node >= 0:
        newer = s.window[node].newer
        free_window(s, node)
        node = newer
    code.oldest = NONE
    code.newest = NONE


@kernel
def read_code(
    s: State, raw: Raw, scratch: State, scratch_raw: Raw, start: int, end: int, limit: int, only_lost: bool
) -> bool:
    """Takes a code's value ``data[end:]`` under the key ``data[start:end]``, unless the row is as new.

    ``limit``: what is applied from this offset on is not taken, and the answer False: it may be later.
    ``only_lost``: take it only if nothing older is left of a row that an older checkpoint had.
    """
    at = copy_in(scratch_raw.codes, 0, 1, CODE_BYTES, s.data, end + 1)
    read = scratch.codes[0]
    length = end - start
    hash32 = murmur2_of(s.data, start, length)
    row = find_code(s, start, length, hash32)
    if only_lost and (read.saved == 0 or (row >= 0 and s.codes[row].applied_offset != NONE)):
        return True
    if not only_lost and read.applied_offset >= limit:
        return False
    if row < 0:  # where it is there without a position, a row of supply made it
        row = add_code(s, start, length, hash32)
    code = s.codes[row]
    if is_behind(read.applied_offset, read.applied_line, code.applied_offset, code.applied_line):
        return True
    moved = code.moved
    contracts = code.contracts
    forget_code(s, row)
    s.codes[row] = read
    code.moved = moved
    code.contracts = contracts
    code.oldest = NONE
    count = int64(code.listing_count)
    if count > 0:
        code.listing_room = room_for(count)
        code.listings = take_block(s, int64(code.listing_room))
    else:
        code.listings = NONE
    if count > 0:
        at = copy_in(raw.listings, int64(code.listings), count, LISTING_BYTES, s.data, at)
    for i in range(count):
        listing = s.listings[code.listings + i]
        if listing.extra >= 0:
            listing.extra = NONE
            extra = extra_for(s, code.listings + i)
            at = copy_in(raw.extras, extra, 1, EXTRA_BYTES, s.data, at)
            at = copy_in(raw.waiting, extra, 1, QUOTE_BYTES, s.data, at)
            at = copy_in(raw.held, extra, 1, QUOTE_BYTES, s.data, at)
    for _ in range(read.oldest):
        node = take_window(s)
        at = copy_in(raw.window, node, 1, WINDOW_BYTES, s.data, at)
        s.window[node].older = code.newest
        if code.newest >= 0:
            s.window[code.newest].newer = node
        else:
            code.oldest = node
        code.newest = node
    if read.moved >= 0:
        if code.moved == NONE:
            code.moved = s.meta[0].moved
            s.meta[0].moved += 1
        copy_in(raw.moved, int64(code.moved), 1, NEW_CODE_BYTES, s.data, at)
    return True


@kernel
def short_for_code(s: State, scratch: State, scratch_raw: Raw, end: int) -> int:
    """Returns ENOUGH, or which pool has no room for the row ``data[end:]``: one code's row may need a lot at once."""
    short = short_pool(s)
    if short != ENOUGH:
        return short
    copy_in(scratch_raw.codes, 0, 1, CODE_BYTES, s.data, end + 1)
    read = scratch.codes[0]
    meta = s.meta[0]
    if meta.extras + read.listing_count > s.extras.size:
        return SHORT_EXTRAS
    if meta.window + read.oldest > s.window.size:
        return SHORT_WINDOW
    return ENOUGH
