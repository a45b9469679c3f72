"""Finding and making rows of prices: hash indexes, blocks of listings, lists of past lowests.

Kernels here never check for room: a step begins only when ``short_pool`` found enough for the most that one step can
take (named below), so no step is cut in two.
"""

from typing import Any, Final

from numba import int64

from config.kernel import kernel
from config.provinces import NO_PROVINCE
from schemas.columns import ABSENT, NO_BAND
from streams.layout import NEVER_MS, NONE, PROVINCE_COUNT, Rows
from streams.state import State

MIXER: Final = 1_327_217_881
ALERTS_PER_STEP: Final = 6 * PROVINCE_COUNT + 6
"""Each province's hold opens and ends, its adjustment changes and is overdue, its ceiling, its channels; an order's
bargain, its old and new contract's shortfall, its arrears."""
EVIDENCE_PER_STEP: Final = ALERTS_PER_STEP * (PROVINCE_COUNT + 2)
NAMED_PER_STEP: Final = ALERTS_PER_STEP * PROVINCE_COUNT
ENOUGH: Final = 0
SHORT_CODES, SHORT_LISTINGS, SHORT_EXTRAS, SHORT_WINDOW, SHORT_MOVED, SHORT_TIMERS, SHORT_EFFECTS = range(1, 8)


@kernel
def short_pool(s: State) -> int:
    """Returns ENOUGH, or which pool has no room for one more step; for supply see ``supply_pools.short_supply``."""
    meta = s.meta[0]
    meta.need = 0
    if (
        meta.alerts + ALERTS_PER_STEP > s.alerts.size
        or meta.evidence + EVIDENCE_PER_STEP > s.evidence.size
        or meta.named + NAMED_PER_STEP > s.named.size
        or meta.changes + 1 > s.changes.size
    ):
        return SHORT_EFFECTS
    if meta.codes + 1 > s.codes.size or 5 * (meta.codes + 1) > 3 * s.index.size:
        return SHORT_CODES
    if meta.listings + PROVINCE_COUNT > s.listings.size:
        return SHORT_LISTINGS
    if meta.extras + 1 > s.extras.size:
        return SHORT_EXTRAS
    if meta.window + 1 > s.window.size:
        return SHORT_WINDOW
    if meta.moved + 1 > s.moved.size:
        return SHORT_MOVED
    if meta.timers + 2 > s.timers.size:
        return SHORT_TIMERS
    return ENOUGH


@kernel
def bucket(hash32: int, mask: int) -> int:
    """First place of a hash in an index of mask + 1 places. All hashes of a partition share a remainder, so mix."""
    return ((int64(hash32) * MIXER) >> 20) & mask


@kernel
def find_code(s: State, start: int, length: int, hash32: int) -> int:
    """Row of the code ``data[start:start + length]``, or NONE."""
    mask = s.index.size - 1
    at = bucket(hash32, mask)
    while True:
        row = s.index[at]
        if row < 0:
            return NONE
        code = s.codes[row]
        if code.hash == hash32 and code.code_length == length:
            same = True
            for i in range(length):
                if code.code[i] != s.data[start + i]:
                    same = False
                    break
            if same:
                return int64(row)
        at = (at + 1) & mask


@kernel
def enter(index: Any, hash32: int, row: int) -> None:
    """Enters a row into an index that has room."""
    mask = index.size - 1
    at = bucket(hash32, mask)
    while index[at] >= 0:
        at = (at + 1) & mask
    index[at] = row


@kernel
def clear_code(code: Any) -> None:
    """Makes the row of a code of which nothing is known."""
    code.listings = NONE
    code.listing_count = 0
    code.listing_room = 0
    code.device_class = 0
    code.marks = 0
    code.item_at_ms = ABSENT
    code.item_seq = 0
    code.lowest_e4 = 0
    code.lowest_province = NO_PROVINCE
    code.change_count = 0
    code.moved = NONE
    code.oldest = NONE
    code.newest = NONE
    code.contracts = NONE
    code.clock_ms = 0
    code.due_ms = NEVER_MS
    code.queued_ms = NEVER_MS
    code.applied_offset = NONE
    code.applied_line = 0
    code.dirty = 0
    code.saved = 0


@kernel
def add_code(s: State, start: int, length: int, hash32: int) -> int:
    """Makes the row of the code ``data[start:start + length]``."""
    meta = s.meta[0]
    row = meta.codes
    meta.codes += 1
    code = s.codes[row]
    clear_code(code)
    for i in range(27):
        code.code[i] = s.data[start + i] if i < length else 0
    code.code_length = length
    code.hash = hash32
    enter(s.index, hash32, row)
    return int64(row)


@kernel
def roomier(count: int) -> int:
    """Room of the next larger block."""
    if count < 2:
        return count + 1
    if count < 8:
        return (count + 2) & ~1
    if count < 16:
        return (count + 4) & ~3
    return min((count + 8) & ~7, PROVINCE_COUNT)


@kernel
def room_for(count: int) -> int:
    """Room of the smallest block for so many listings."""
    room = 0
    while room < count:
        room = roomier(room)
    return room


@kernel
def take_block(s: State, room: int) -> int:
    """Takes a block of listings from the free ones, or from the end of the pool."""
    meta = s.meta[0]
    block = meta.free_listings[room]
    if block >= 0:
        meta.free_listings[room] = s.listings[block].extra
        meta.free_rows -= room
        return int64(block)
    block = meta.listings
    meta.listings += room
    return int64(block)


@kernel
def free_block(s: State, code: Any) -> None:
    """Gives a code's block of listings back; free ones are linked by ``extra``."""
    meta = s.meta[0]
    s.listings[code.listings].extra = meta.free_listings[code.listing_room]
    meta.free_listings[code.listing_room] = code.listings
    meta.free_rows += code.listing_room


@kernel
def find_listing(s: State, row: int, province: int) -> int:
    """The listing of a code in a province, or NONE. Sorted by province, so it lies at its index or before."""
    code = s.codes[row]
    if code.listings < 0:
        return NONE
    at = min(int64(province), int64(code.listing_count) - 1)
    while at >= 0:
        there = s.listings[code.listings + at].province
        if there == province:
            return int64(code.listings) + at
        if there < province:
            return NONE
        at -= 1
    return NONE


@kernel
def grow_block(s: State, row: int) -> None:
    """Moves a code's listings to a block with more room."""
    code = s.codes[row]
    room = roomier(int64(code.listing_room))
    block = take_block(s, room)
    for i in range(code.listing_count):
        s.listings[block + i] = s.listings[code.listings + i]
    if code.listings >= 0:
        free_block(s, code)
    code.listings = block
    code.listing_room = room


@kernel
def clear_listing(listing: Any, province: int) -> None:
    """Makes the listing of a province that never quoted the code."""
    listing.price_lo = 0
    listing.price_hi = 0
    listing.at_lo = 0
    listing.at_hi = 0
    listing.seq = 0
    listing.valid_lo = 0
    listing.valid_hi = 0
    listing.offset_lo = 0
    listing.offset_hi = 0
    listing.line = 0
    listing.supplier_hi = 0
    listing.supplier_lo = 0
    listing.target_lo = 0
    listing.target_hi = 0
    listing.due_lo = 0
    listing.due_hi = 0
    listing.opening = 0
    listing.revision = 0
    listing.extra = NONE
    listing.province = province
    listing.kind = 0
    listing.marks = 0
    listing.band = NO_BAND


@kernel
def listing_for(s: State, row: int, province: int) -> int:
    """The listing of a code in a province, made if there is none."""
    found = find_listing(s, row, province)
    if found >= 0:
        return found
    code = s.codes[row]
    if code.listing_count == code.listing_room:
        grow_block(s, row)
    at = int64(code.listings) + code.listing_count
    while at > code.listings and s.listings[at - 1].province > province:
        s.listings[at] = s.listings[at - 1]
        at -= 1
    clear_listing(s.listings[at], province)
    code.listing_count += 1
    return int64(at)


@kernel
def extra_for(s: State, at: int) -> int:
    """The extra of the listing at ``at``, made if there is none."""
    listing = s.listings[at]
    if listing.extra >= 0:
        return int64(listing.extra)
    meta = s.meta[0]
    extra = meta.free_extra
    if extra >= 0:
        meta.free_extra = s.extras[extra].ceiling_offset
    else:
        extra = meta.extras
        meta.extras += 1
    made = s.extras[extra]
    made.marks = 0
    made.ceiling_at_ms = ABSENT
    made.ceiling_seq = 0
    made.ceiling_e4 = 0
    made.ceiling_offset = 0
    made.ceiling_line = 0
    made.breach_target_e4 = 0
    made.breach_opening = 0
    made.breach_revision = 0
    made.hold_opening = 0
    made.hold_revision = 0
    listing.extra = extra
    return int64(extra)


@kernel
def free_extra(s: State, extra: int) -> None:
    """Gives an extra back; free ones are linked by their ``ceiling_offset``."""
    s.extras[extra].ceiling_offset = s.meta[0].free_extra
    s.meta[0].free_extra = extra


@kernel
def take_window(s: State) -> int:
    """Takes a node for a past lowest."""
    meta = s.meta[0]
    node = meta.free_window
    if node >= 0:
        meta.free_window = s.window[node].newer
        return int64(node)
    node = meta.window
    meta.window += 1
    return int64(node)


@kernel
def free_window(s: State, node: int) -> None:
    """Gives a node back."""
    s.window[node].newer = s.meta[0].free_window
    s.meta[0].free_window = node


@kernel
def is_behind(offset: int, line: int, other_offset: int, other_line: int) -> bool:
    """The first position is not after the second."""
    return offset < other_offset or (offset == other_offset and line <= other_line)


@kernel
def touch_code(s: State, row: int) -> None:
    """Says that the row is applied up to the trigger and must be written at the next checkpoint.

    Timers come before the record that fires them: it may be of this very code, and is not applied yet.
    """
    code = s.codes[row]
    trigger = s.records[s.meta[0].trigger]
    code.applied_offset = trigger.offset
    code.applied_line = trigger.line - s.meta[0].timer
    code.clock_ms = s.meta[0].clock_ms
    if code.dirty == 0:
        code.dirty = 1
        s.dirty[s.meta[0].dirty] = row
        s.meta[0].dirty += 1


@kernel
def pack_listings(s: State, packed: Rows) -> None:
    """Moves every block to ``packed``, one behind the other, in order of rows; free blocks are gone.

    Blocks keep room for the next listing: without, every code's next province would move its block again.
    """
    meta = s.meta[0]
    end = 0
    for row in range(meta.codes):
        code = s.codes[row]
        if code.listings >= 0:
            for i in range(code.listing_count):
                packed[end + i] = s.listings[code.listings + i]
            code.listings = end
            code.listing_room = room_for(int64(code.listing_count))
            end += code.listing_room
    meta.listings = end
    meta.free_rows = 0
    for room in range(PROVINCE_COUNT + 1):
        meta.free_listings[room] = NONE
