"""The national lowest price of a code, current and rolling (SPEC §3), and the sight of a code's prices by province."""

from typing import Any

from config.kernel import kernel
from config.provinces import NO_PROVINCE
from streams.layout import (
    CAPPED,
    IN_FORCE,
    MASKED,
    NEVER_MS,
    NONE,
    PROVINCE_COUNT,
)
from streams.packed import offset_of, price_of
from streams.pools import free_window, take_window
from streams.state import State


@kernel
def look(s: State, row: int, sight: Any) -> None:
    """Fills the sight with the code's in-force prices, ceilings, lowest and rolling lowest as they stand."""
    code = s.codes[row]
    price = sight.price_e4
    ceiling = sight.ceiling_e4
    for province in range(PROVINCE_COUNT):
        price[province] = 0
        ceiling[province] = 0
    sight.sources = 0
    sight.lowest_e4 = 0
    sight.lowest_province = NO_PROVINCE
    sight.released = 0
    sight.best_e4 = 0
    sight.second_e4 = 0
    sight.best_count = 0
    sight.best_province = NO_PROVINCE
    sight.second_province = NO_PROVINCE
    sight.best_kinds = s.rules[0].kinds
    sight.sorted = NONE
    visible = code.marks & MASKED == 0
    for i in range(code.listing_count):
        listing = s.listings[code.listings + i]
        province = listing.province
        if visible and listing.marks & IN_FORCE:
            own = price_of(listing)
            price[province] = own
            sight.kind[province] = listing.kind
            sight.offset[province] = offset_of(listing)
            sight.line[province] = listing.line
            sight.sources += 1
            if sight.lowest_e4 == 0 or own < sight.lowest_e4:
                sight.lowest_e4 = own
                sight.lowest_province = province
            if (sight.best_kinds >> listing.kind) & 1 == 1:
                see_best(sight, own, province)
        if listing.extra >= 0 and s.extras[listing.extra].marks & CAPPED:
            ceiling[province] = s.extras[listing.extra].ceiling_e4
    see_rolling(s, row, sight)


@kernel
def see_best(sight: Any, price_e4: int, province: int) -> None:
    """Takes a price that counts into the sight's best and second; provinces come in order."""
    sight.best_count += 1
    if sight.best_e4 == 0 or price_e4 < sight.best_e4:
        sight.second_e4 = sight.best_e4
        sight.second_province = sight.best_province
        sight.best_e4 = price_e4
        sight.best_province = province
    elif sight.second_e4 == 0 or price_e4 < sight.second_e4:
        sight.second_e4 = price_e4
        sight.second_province = province


@kernel
def see_rolling(s: State, row: int, sight: Any) -> None:
    """Sets the sight's rolling lowest: past lowests in the list are all below the current one, the oldest the least."""
    oldest = s.codes[row].oldest
    if oldest >= 0:
        past = s.window[oldest]
        sight.rolling_e4 = past.price_e4
        sight.rolling_offset = past.offset
        sight.rolling_line = past.line
        sight.rolling_province = past.province
    elif sight.lowest_e4 > 0:
        sight.rolling_e4 = sight.lowest_e4
        sight.rolling_offset = sight.offset[sight.lowest_province]
        sight.rolling_line = sight.line[sight.lowest_province]
        sight.rolling_province = sight.lowest_province
    else:
        sight.rolling_e4 = 0


@kernel
def prune_window(s: State, row: int, window_ms: int) -> None:
    """Drops past lowests that ended ``window_ms`` before the clock, or earlier."""
    code = s.codes[row]
    while code.oldest >= 0 and s.window[code.oldest].ended_ms + window_ms <= s.meta[0].clock_ms:
        gone = code.oldest
        code.oldest = s.window[gone].newer
        if code.oldest >= 0:
            s.window[code.oldest].older = NONE
        else:
            code.newest = NONE
        free_window(s, gone)


@kernel
def keep_lowest(s: State, row: int) -> None:
    """Adds the lowest that the step ended to the code's past ones."""
    was = s.was[0]
    code = s.codes[row]
    node = take_window(s)
    past = s.window[node]
    past.price_e4 = was.lowest_e4
    past.ended_ms = s.meta[0].clock_ms
    past.offset = was.offset[was.lowest_province]
    past.line = was.line[was.lowest_province]
    past.province = was.lowest_province
    past.newer = NONE
    past.older = code.newest
    if code.newest >= 0:
        s.window[code.newest].newer = node
    else:
        code.oldest = node
    code.newest = node


@kernel
def drop_outlived(s: State, row: int, lowest_e4: int) -> None:
    """Drops past lowests that are not below the new one: it counts longer, and of equals the latest counts."""
    code = s.codes[row]
    while code.newest >= 0 and s.window[code.newest].price_e4 >= lowest_e4:
        gone = code.newest
        code.newest = s.window[gone].older
        if code.newest >= 0:
            s.window[code.newest].newer = NONE
        else:
            code.oldest = NONE
        free_window(s, gone)


@kernel
def settle_lowest(s: State, row: int) -> None:
    """Looks at the code after the step; notes a change of its national lowest. Fills ``s.now``."""
    now = s.now[0]
    look(s, row, now)
    was_e4 = s.was[0].lowest_e4
    lowest_e4 = now.lowest_e4
    code = s.codes[row]
    code.lowest_province = now.lowest_province
    if lowest_e4 == was_e4:
        if code.oldest >= 0:
            prune_window(s, row, s.rules[0].window_ms)
            see_rolling(s, row, now)
        return
    code.lowest_e4 = lowest_e4
    if was_e4 > 0 and (lowest_e4 == 0 or lowest_e4 > was_e4):
        keep_lowest(s, row)
    if lowest_e4 > 0:
        drop_outlived(s, row, lowest_e4)
    prune_window(s, row, s.rules[0].window_ms)
    see_rolling(s, row, now)
    code.change_count += 1
    change = s.changes[s.meta[0].changes]
    s.meta[0].changes += 1
    change.lowest_e4 = lowest_e4
    change.previous_e4 = was_e4
    change.rolling_e4 = now.rolling_e4
    change.at_ms = s.meta[0].clock_ms
    change.code = row
    change.record = s.meta[0].trigger
    change.number = code.change_count
    change.province = now.lowest_province


@kernel
def window_due(s: State, row: int) -> int:
    """When the oldest past lowest leaves the window; NEVER_MS where no province links to it."""
    oldest = s.codes[row].oldest
    if oldest < 0 or s.rules[0].rolling == 0:
        return NEVER_MS
    return int(s.window[oldest].ended_ms + s.rules[0].window_ms)
