"""Allocating the arrays of a State and making them larger."""

import mmap
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from config.kernel import kernel
from schemas.columns import KINDS, RECORD, RECORD_TYPES
from streams.alarms import set_all_alarms
from streams.derived import PLACES_OF_A_CODE, special_drugs
from streams.layout import (
    ALERT,
    CHANGE,
    CODE,
    EXTRA,
    LISTING,
    META,
    NEW_CODE,
    NONE,
    POSITION,
    PROVINCE_COUNT,
    PROVINCE_RULES,
    QUOTE,
    RULES,
    SIGHT,
    TIMER,
    WINDOW,
    Rows,
)
from streams.pools import (
    ALERTS_PER_STEP,
    EVIDENCE_PER_STEP,
    NAMED_PER_STEP,
    SHORT_CODES,
    SHORT_EXTRAS,
    SHORT_LISTINGS,
    SHORT_MOVED,
    SHORT_TIMERS,
    SHORT_WINDOW,
    enter,
    pack_listings,
)
from streams.state import State
from streams.supply_layout import CONTRACT, DELIVERY, DETAIL, GAP, NODE, ORDER, TALLY, TEXT
from streams.supply_pools import (
    ARENA_PER_STEP,
    NODES_PER_ORDER,
    PLACES_PER_STEP,
    SHORT_ARENA,
    SHORT_CONTRACTS,
    SHORT_DELIVERIES,
    SHORT_DETAILS,
    SHORT_GAPS,
    SHORT_NODES,
    SHORT_ORDERS,
    SHORT_TALLIES,
    SHORT_TEXTS,
    SHORT_TOUCHED,
    TIMERS_PER_STEP,
)

ALERTS_KEPT: Final = 4_096 + ALERTS_PER_STEP
"""Alert rows between two renderings."""
GROWTH: Final = 1.5
SMALLEST: Final = 256
MAPPED_BYTES: Final = 1 << 17
"""From here on an array has pages of its own."""
HUGE_BYTES: Final = 16 << 20
"""And from here on huge ones: looking up rows at random costs less, and the last page is a small part."""
FREE_SHARE: Final = 8
"""Listings are packed between two batches when more than an eighth of their rows is free."""


def zeros(shape: int | tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Returns zeroes; where they are many, in a mapping of their own.

    Memory that is not touched is not taken, and all of it goes back when the array is dropped: what malloc clears or
    keeps for later would be half as much again.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < MAPPED_BYTES:
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8).view(dtype).reshape(shape)


def rows_of(dtype: np.dtype[Any], size: int) -> Rows:
    """Returns zeroed rows whose fields are attributes, compiled or not. Memory that is not touched is not taken."""
    return zeros(size, dtype).view(np.recarray) if dtype.names else zeros(size, dtype)


def octets(size: int) -> npt.NDArray[np.uint8]:
    """Returns bytes."""
    return np.zeros(size, np.uint8)


def unwritten(size: int) -> npt.NDArray[np.uint8]:
    """Returns bytes of any value, to be written before they are read: zeroing what is rendered into costs a tenth."""
    return np.empty(size, np.uint8)


def empty_index(size: int) -> npt.NDArray[np.int32]:
    """Returns an index of ``size`` places, a power of two."""
    return np.full(size, NONE, np.int32)


def new_state() -> State:
    """Returns the state of a partition of which nothing is known."""
    state = State(
        meta=rows_of(META, 1),
        codes=rows_of(CODE, SMALLEST),
        listings=rows_of(LISTING, SMALLEST),
        extras=rows_of(EXTRA, SMALLEST),
        waiting=rows_of(QUOTE, SMALLEST),
        held=rows_of(QUOTE, SMALLEST),
        window=rows_of(WINDOW, SMALLEST),
        moved=rows_of(NEW_CODE, SMALLEST),
        orders=rows_of(ORDER, SMALLEST),
        tallies=rows_of(TALLY, SMALLEST),
        details=rows_of(DETAIL, SMALLEST),
        deliveries=rows_of(DELIVERY, SMALLEST),
        contracts=rows_of(CONTRACT, SMALLEST),
        gaps=rows_of(GAP, SMALLEST),
        nodes=rows_of(NODE, SMALLEST),
        texts=rows_of(TEXT, SMALLEST),
        arena=octets(4 * ARENA_PER_STEP),
        index=empty_index(2 * SMALLEST),
        order_index=empty_index(2 * SMALLEST),
        delivery_index=empty_index(2 * SMALLEST),
        contract_index=empty_index(2 * SMALLEST),
        text_index=empty_index(2 * SMALLEST),
        timers=rows_of(TIMER, SMALLEST),
        dirty=np.zeros(SMALLEST, np.int32),
        dirty_orders=np.zeros(SMALLEST, np.int32),
        dirty_deliveries=np.zeros(SMALLEST, np.int32),
        dirty_contracts=np.zeros(SMALLEST, np.int32),
        touched=np.zeros(SMALLEST, np.int64),
        rules=rows_of(RULES, 1),
        provinces=rows_of(PROVINCE_RULES, PROVINCE_COUNT),
        prefixes=np.zeros((1, 28), np.uint8),
        was_rules=rows_of(RULES, 1),
        was_provinces=rows_of(PROVINCE_RULES, PROVINCE_COUNT),
        open_alerts=np.zeros((len(KINDS), 4), np.int64),
        outcomes=np.zeros((len(RECORD_TYPES), 3), np.int64),
        was=rows_of(SIGHT, 1),
        now=rows_of(SIGHT, 1),
        incoming=rows_of(QUOTE, 1),
        used=np.zeros(PROVINCE_COUNT + 1, np.int64),
        alerts=rows_of(ALERT, ALERTS_KEPT),
        evidence=rows_of(POSITION, 4 * ALERTS_KEPT + EVIDENCE_PER_STEP),
        named=octets(4 * ALERTS_KEPT + NAMED_PER_STEP),
        changes=rows_of(CHANGE, ALERTS_KEPT),
        data=octets(1),
        records=rows_of(RECORD, 1),
    )
    meta = state.meta[0]
    meta.policy_at_ms = NONE
    meta.free_window = NONE
    meta.free_extra = NONE
    meta.free_listings[:] = NONE
    meta.free_node = NONE
    meta.firing = NONE
    return state


def larger(rows: Any, used: int, size: int) -> Any:
    """Returns a copy of ``rows[:used]`` with room for ``size``, copied as bytes: numpy copies rows field by field."""
    grown = zeros((size, *rows.shape[1:]), rows.dtype)
    count = used * rows.dtype.itemsize * (rows.size // max(len(rows), 1))
    grown.view(np.ndarray).reshape(-1).view(np.uint8)[:count] = rows.view(np.ndarray).reshape(-1).view(np.uint8)[:count]
    return grown.view(type(rows)) if isinstance(rows, np.recarray) else grown


def more(size: int) -> int:
    """Returns how large a pool of ``size`` rows becomes."""
    return int(size * GROWTH) + SMALLEST


@kernel
def reindex(rows: Any, count: int, index: Any) -> None:
    """Enters the first ``count`` rows into an empty index."""
    for row in range(count):
        enter(index, rows[row].hash, row)


def indexed(rows: Rows, count: int, index: npt.NDArray[np.int32], room: int) -> npt.NDArray[np.int32]:
    """Returns an index for ``room`` rows at most 3/5 full: the given one if it does."""
    size = index.size
    while 3 * size < 5 * (room + 1):
        size *= 2
    if size == index.size:
        return index
    grown = empty_index(size)
    reindex(rows, count, grown)
    return grown


def grow_codes(s: State) -> State:
    """Makes room for more codes."""
    used = int(s.meta[0].codes)
    room = more(used)
    codes = larger(s.codes, used, room)
    dirty = larger(s.dirty, int(s.meta[0].dirty), room)
    return s.replace(codes=codes, dirty=dirty, index=indexed(codes, used, s.index, room))


def grow_listings(s: State) -> State:
    """Makes room for more listings: by closing gaps where they are a quarter of the pool, else by a larger pool."""
    used = int(s.meta[0].listings)
    if 4 * int(s.meta[0].free_rows) < used:
        return s.replace(listings=larger(s.listings, used, more(used)))
    return packed(s)


def packed(s: State) -> State:
    """Returns the state with listings that have no free blocks among them."""
    listings = rows_of(LISTING, more(int(s.meta[0].listings) - int(s.meta[0].free_rows)))
    pack_listings(s, listings)
    return s.replace(listings=listings)


def rested(s: State) -> State:
    """Returns the state as it is kept between two batches: without the last one, and without many free listings.

    Blocks become free as provinces come to list what others do: so packing costs no more than a small part of that.
    """
    s = s.replace(data=octets(1), records=rows_of(RECORD, 1))
    if FREE_SHARE * int(s.meta[0].free_rows) > int(s.meta[0].listings):
        return packed(s)
    return s


def scratch_state() -> State:
    """Returns a state of a few rows, in which rows are changed before they are copied."""
    small = {
        name: rows_of(dtype, 1) for name, dtype in (("alerts", ALERT), ("evidence", POSITION), ("changes", CHANGE))
    }
    return new_state().replace(named=octets(1), **small)


def grow_extras(s: State) -> State:
    """Makes room for more extras."""
    used = int(s.meta[0].extras)
    room = more(s.extras.size)
    return s.replace(
        extras=larger(s.extras, used, room), waiting=larger(s.waiting, used, room), held=larger(s.held, used, room)
    )


def grow_indexed(s: State, name: str, index: str, dirty: str | None, need: int) -> State:
    """Makes room for more rows that an index finds and, where they are saved, a list of changed ones names."""
    used = int(s.meta[0][name])
    room = more(used + need)
    rows = larger(getattr(s, name), used, room)
    arrays = {name: rows, index: indexed(rows, used, getattr(s, index), room)}
    if dirty is not None:
        arrays[dirty] = larger(getattr(s, dirty), int(s.meta[0][dirty]), room)
    return s.replace(**arrays)


def grow_pool(s: State, name: str, need: int) -> State:
    """Makes room for more rows of a plain pool."""
    used = int(s.meta[0][name])
    return s.replace(**{name: larger(getattr(s, name), used, more(used + need))})


def grow_timers(s: State) -> State:
    """Drops outlived entries, and makes the heap larger if it is half full all the same.

    While timers are firing, entries due at this very instant could not be made again: then it only becomes larger.
    """
    room = int(s.meta[0].need) + TIMERS_PER_STEP
    if s.meta[0].ringing == 1:
        return grow_pool(s, "timers", room)
    if owners_of_timers(s) + room > s.timers.size:
        s = s.replace(timers=larger(s.timers, int(s.meta[0].timers), more(owners_of_timers(s) + room)))
    set_all_alarms(s)
    used = int(s.meta[0].timers)
    return s if 2 * (used + room) <= s.timers.size else s.replace(timers=larger(s.timers, used, more(used + room)))


def owners_of_timers(s: State) -> int:
    """Returns how many entries the heap can have at most when none is outlived."""
    meta = s.meta[0]
    return int(meta.codes + meta.contracts + meta.gaps + meta.orders)


def with_room_to_rebuild(s: State) -> State:
    """Returns the state with what ``derived.rebuild`` needs: memory that is not touched is not taken."""
    meta = s.meta[0]
    orders = int(meta.orders)
    places = PLACES_OF_A_CODE * int(special_drugs(s))
    s = grow_indexed(s, "contracts", "contract_index", "dirty_contracts", places)
    s = grow_pool(s, "gaps", places)
    details = int(meta.details)
    s = s.replace(
        details=larger(s.details, details, details + orders + SMALLEST),
        nodes=larger(s.nodes, int(meta.nodes), NODES_PER_ORDER * (orders + 1) + SMALLEST),
        timers=larger(s.timers, 0, owners_of_timers(s) + 2 * places + TIMERS_PER_STEP),
    )
    meta.timers = 0
    return s


def grown(s: State, short: int) -> State:
    """Returns the state with room in the pool ``short`` (see ``pools.short_pool``)."""
    meta = s.meta[0]
    if short == SHORT_CODES:
        return grow_codes(s)
    if short == SHORT_LISTINGS:
        return grow_listings(s)
    if short == SHORT_EXTRAS:
        return grow_extras(s)
    if short == SHORT_WINDOW:
        return s.replace(window=larger(s.window, int(meta.window), more(s.window.size)))
    if short == SHORT_MOVED:
        return s.replace(moved=larger(s.moved, int(meta.moved), more(int(meta.moved))))
    if short == SHORT_TIMERS:
        return grow_timers(s)
    need = int(meta.need)
    if short == SHORT_ORDERS:
        return grow_indexed(s, "orders", "order_index", "dirty_orders", 1)
    if short == SHORT_DELIVERIES:
        return grow_indexed(s, "deliveries", "delivery_index", "dirty_deliveries", 1)
    if short == SHORT_CONTRACTS:
        return grow_indexed(s, "contracts", "contract_index", "dirty_contracts", PLACES_PER_STEP)
    if short == SHORT_TEXTS:
        return grow_indexed(s, "texts", "text_index", None, 2)
    if short == SHORT_ARENA:
        return grow_pool(s, "arena", ARENA_PER_STEP)
    return grow_pool(s, POOLS[short], NODES_PER_ORDER * (need + 1) + PLACES_PER_STEP)


POOLS: Final = {
    SHORT_TALLIES: "tallies",
    SHORT_DETAILS: "details",
    SHORT_GAPS: "gaps",
    SHORT_NODES: "nodes",
    SHORT_TOUCHED: "touched",
}
"""Pools of supply without an index, as META and State name them."""
