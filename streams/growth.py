"""Allocating the arrays of a State and making them larger."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from schemas.columns import KINDS, RECORD, RECORD_TYPES
from streams.layout import (
    ALERT,
    CHANGE,
    CODE,
    EXTRA,
    LISTING,
    META,
    NEVER_MS,
    NEW_CODE,
    NONE,
    ORDER,
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
    ARENA_PER_STEP,
    EVIDENCE_PER_STEP,
    NAMED_PER_STEP,
    SHORT_ARENA,
    SHORT_CODES,
    SHORT_EXTRAS,
    SHORT_LISTINGS,
    SHORT_MOVED,
    SHORT_ORDERS,
    SHORT_TIMERS,
    SHORT_WINDOW,
    enter,
    pack_listings,
)
from streams.state import State
from streams.timers import push_timer

ALERTS_KEPT: Final = 4_096 + ALERTS_PER_STEP
"""Alert rows between two renderings."""
GROWTH: Final = 1.5
SMALLEST: Final = 256


def rows_of(dtype: np.dtype[Any], size: int) -> Rows:
    """Returns zeroed rows whose fields are attributes, compiled or not. Memory that is not touched is not taken."""
    return np.zeros(size, dtype).view(np.recarray) if dtype.names else np.zeros(size, dtype)


def octets(size: int) -> npt.NDArray[np.uint8]:
    """Returns bytes."""
    return np.zeros(size, np.uint8)


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
        arena=octets(4 * ARENA_PER_STEP),
        index=empty_index(2 * SMALLEST),
        order_index=empty_index(2 * SMALLEST),
        timers=rows_of(TIMER, SMALLEST),
        dirty=np.zeros(SMALLEST, np.int32),
        dirty_orders=np.zeros(SMALLEST, np.int32),
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
    return state


def larger(rows: Any, used: int, size: int) -> Any:
    """Returns a copy of ``rows[:used]`` with room for ``size``, copied as bytes: numpy copies rows field by field."""
    grown = np.zeros((size, *rows.shape[1:]), rows.dtype)
    count = used * rows.dtype.itemsize * (rows.size // max(len(rows), 1))
    grown.view(np.ndarray).reshape(-1).view(np.uint8)[:count] = rows.view(np.ndarray).reshape(-1).view(np.uint8)[:count]
    return grown.view(type(rows)) if isinstance(rows, np.recarray) else grown


def more(size: int) -> int:
    """Returns how large a pool of ``size`` rows becomes."""
    return int(size * GROWTH) + SMALLEST


@njit(cache=True)
def reindex(rows: Any, count: int, index: Any) -> None:
    """Enters the first ``count`` rows into an empty index."""
    for row in range(count):
        enter(index, rows[row].hash, row)


@njit(cache=True)
def refill_timers(s: State) -> None:
    """Puts each code's earliest timer into an empty heap: entries that rows have outlived are gone."""
    s.meta[0].timers = 0
    for row in range(s.meta[0].codes):
        code = s.codes[row]
        code.queued_ms = code.due_ms
        if code.due_ms < NEVER_MS:
            push_timer(s, code.due_ms, row)


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
    live = int(s.codes[: s.meta[0].codes]["listing_room"].sum(dtype=np.int64))
    if live + used // 4 > used:
        return s.replace(listings=larger(s.listings, used, more(used)))
    packed = rows_of(LISTING, more(live))
    pack_listings(s, packed)
    return s.replace(listings=packed)


def grow_extras(s: State) -> State:
    """Makes room for more extras."""
    used = int(s.meta[0].extras)
    room = more(s.extras.size)
    return s.replace(
        extras=larger(s.extras, used, room), waiting=larger(s.waiting, used, room), held=larger(s.held, used, room)
    )


def grow_orders(s: State) -> State:
    """Makes room for more orders."""
    used = int(s.meta[0].orders)
    room = more(used)
    orders = larger(s.orders, used, room)
    dirty = larger(s.dirty_orders, int(s.meta[0].dirty_orders), room)
    return s.replace(orders=orders, dirty_orders=dirty, order_index=indexed(orders, used, s.order_index, room))


def grow_timers(s: State) -> State:
    """Drops outlived entries where they are half of the heap; else makes it larger."""
    used = int(s.meta[0].timers)
    if used <= 2 * int(s.meta[0].codes):
        return s.replace(timers=larger(s.timers, used, more(used)))
    refill_timers(s)
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
    if short == SHORT_ORDERS:
        return grow_orders(s)
    if short == SHORT_ARENA:
        return s.replace(arena=larger(s.arena, int(meta.arena), more(int(meta.arena)) + ARENA_PER_STEP))
    if short == SHORT_TIMERS:
        return grow_timers(s)
    raise AssertionError(f"no pool {short}")
