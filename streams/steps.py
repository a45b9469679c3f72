"""The steps of the machine: a record, or the timers of a code due at one instant, and what each does (SPEC §2).

``apply_records`` is the one loop: records in log order, the timers due by each before it.
"""

from typing import Any, Final

import numpy as np
from numba import int64

from config.kernel import kernel
from schemas.columns import (
    ABSENT,
    ACTIVE,
    CEILING,
    CONFIRM,
    CONTRACT,
    DECISION,
    DELIVERY,
    DISABLED_CODE,
    ITEM,
    ITEM_DISABLED,
    NO_BAND,
    OK,
    ORDER,
    PAYMENT,
    POLICY,
    QUOTE,
    TICK,
)
from schemas.octets import prefetch
from streams.alarms import next_due, set_contract_alarm
from streams.bargains import apply_order
from streams.effects import APPLIED, DEAD, STALE
from streams.holds import accept_quote, corroborate, end_hold, fire_quotes, quotes_due, release_hold
from streams.kernels import is_newer
from streams.layout import (
    CAPPED,
    CODE,
    CONFIRMED,
    DISABLED,
    FOREVER_MS,
    HOLDS,
    IN_FORCE,
    LISTING,
    MASKED,
    MOVED,
    NONE,
    OVERDUE,
    QUOTED,
    REJECTED,
    SPECIAL_DRUG,
)
from streams.linkage import evaluate_provinces
from streams.lowest import look, prune_window, settle_lowest, window_due
from streams.packed import at_of, due_of, price_of, set_at, set_offset, valid_until_of
from streams.pools import (
    ENOUGH,
    add_code,
    bucket,
    extra_for,
    find_code,
    find_listing,
    is_behind,
    listing_for,
    short_pool,
    touch_code,
)
from streams.state import State
from streams.supply_pools import short_supply
from streams.supply_steps import (
    apply_contract,
    apply_delivery,
    apply_payment,
    evaluate_touched,
    follow_item,
    gather_due,
    moved_orders,
    orders_of,
    touch_contracts,
)
from streams.timers import schedule
from streams.words import PROVINCE_DIGITS

DONE: Final = 0  # every record is applied
SHORT: Final = 1  # a pool must grow; meta.short says which
STOPPED: Final = 2  # a policy record: its step is the caller's

INDEX_AHEAD: Final = 24
CODE_AHEAD: Final = 16
LISTING_AHEAD: Final = 8
"""How many records ahead the places of a record's code in the index, of its row and of its listing are fetched."""
LINE_BYTES: Final = 64
CODE_BYTES: Final = CODE.itemsize
LISTING_BYTES: Final = LISTING.itemsize

HOLD_PREFIX: Final = np.frombuffer(b"price_hold:", np.uint8)
COLON: Final = ord(":")


@kernel
def earliest_timer(s: State, row: int) -> int:
    """When the next timer of a code's prices is due."""
    code = s.codes[row]
    due_ms = window_due(s, row)
    for i in range(code.listing_count):
        listing = s.listings[code.listings + i]
        due_ms = min(due_ms, quotes_due(s, listing))
        if listing.band != NO_BAND and listing.marks & OVERDUE == 0:
            due_ms = min(due_ms, due_of(listing))
    return due_ms


@kernel
def begin_step(s: State, row: int) -> None:
    """What begins each step that may move prices: a look at the code as it was. No listing reports, unless named."""
    s.meta[0].reporting = NONE
    look(s, row, s.was[0])


@kernel
def finish_step(s: State, row: int) -> None:
    """What ends each step that may move prices: corroboration, the lowest, the provinces, the next timer."""
    corroborate(s, row)
    settle_lowest(s, row)
    evaluate_provinces(s, row)
    schedule(s, row, earliest_timer(s, row))
    touch_code(s, row)


@kernel
def fire_timers(s: State, until_ms: int) -> bool:
    """Fires all timers due by then, in order of due time, each with the clock at its own; False if a pool is short.

    All of a code's timers at one instant are one step. It may stop on the way, and goes on at the next call.
    """
    meta = s.meta[0]
    meta.ringing = 1
    while True:
        meta.short = short_pool(s)
        if meta.short != ENOUGH:
            return False
        if meta.firing < 0:
            row = next_due(s, until_ms)
            if row < 0:
                meta.ringing = 0
                return True
            meta.firing = row
            meta.clock_ms = s.timers[0].due_ms
            meta.prices_due = 0
        meta.timer = 1
        if not fire_step(s, meta.firing):
            return False
        meta.timer = 0
        meta.firing = NONE


@kernel
def fire_step(s: State, row: int) -> bool:
    """The step of a code's timers; False if it stopped for room."""
    if s.meta[0].evaluated == 0 and not gather_due(s, row):
        return False
    if s.meta[0].prices_due == 1:
        begin_step(s, row)
        fire_quotes(s, row)
        finish_step(s, row)
        s.meta[0].prices_due = 0
    if not evaluate_touched(s):
        return False
    touch_code(s, row)
    return True


@kernel
def evaluate_policy(s: State, rows: Any, start: int, record: int) -> int:
    """The step of a policy record for the codes ``rows[start:]``; returns where it stopped for want of room."""
    meta = s.meta[0]
    meta.trigger = record
    placed = s.records[record]
    for i in range(start, rows.size):
        row = rows[i]
        if meta.unfinished == 0:
            meta.short = short_pool(s)
            if meta.short == ENOUGH and s.codes[row].contracts >= 0:
                meta.short = short_supply(s, orders_of(s, row))
            if meta.short != ENOUGH:
                return i
            if is_applied(s, row, placed):
                reset_alarms(s, row)
                continue
            prune_window(s, row, s.was_rules[0].window_ms)
            begin_step(s, row)
            finish_step(s, row)
            touch_contracts(s, row)
            meta.unfinished = 1
        if not evaluate_touched(s):
            return i
        meta.unfinished = 0
    return int(rows.size)


@kernel
def reset_alarms(s: State, row: int) -> None:
    """Sets the timers of a code's contracts by the thresholds of a new policy."""
    at = s.codes[row].contracts
    while at >= 0:
        set_contract_alarm(s, at)
        at = s.contracts[at].next


@kernel
def is_applied(s: State, row: int, record: Any) -> bool:
    """The row, read from the state topic, has this record already."""
    code = s.codes[row]
    return is_behind(record.offset, record.line, code.applied_offset, code.applied_line)


@kernel
def is_refresh(listing: Any, quote: Any) -> bool:
    """The quote repeats the one in force, of a listing that never had more than quotes in force: no price can move."""
    return (
        listing.marks & IN_FORCE != 0
        and listing.extra < 0
        and quote.status == ACTIVE
        and quote.kind == listing.kind
        and quote.per_piece_e4 == price_of(listing)
        and quote.valid_until_ms == ABSENT
        and quote.effective_ms == ABSENT
        and valid_until_of(listing) == FOREVER_MS
    )


@kernel
def apply_quote(s: State, row: int) -> int:
    """Applies a quote."""
    placed = s.records[s.meta[0].trigger]
    at = listing_for(s, row, placed.province)
    listing = s.listings[at]
    if listing.marks & QUOTED and not is_newer(placed.at_ms, placed.seq, at_of(listing), listing.seq):
        return STALE
    set_at(listing, placed.at_ms)
    listing.seq = placed.seq
    listing.marks |= QUOTED
    if is_refresh(listing, placed):
        set_offset(listing, placed.offset)
        listing.line = placed.line
        listing.supplier_hi = placed.supplier_hi
        listing.supplier_lo = placed.supplier_lo
        touch_code(s, row)
        return APPLIED
    quote = s.incoming[0]
    quote.price_e4 = placed.per_piece_e4
    quote.effective_ms = placed.effective_ms
    quote.valid_until_ms = FOREVER_MS if placed.valid_until_ms == ABSENT else placed.valid_until_ms
    quote.offset = placed.offset
    quote.line = placed.line
    quote.supplier_hi = placed.supplier_hi
    quote.supplier_lo = placed.supplier_lo
    quote.kind = placed.kind
    quote.status = placed.status
    begin_step(s, row)
    s.meta[0].reporting = at
    accept_quote(s, row, at)
    finish_step(s, row)
    return APPLIED


@kernel
def apply_ceiling(s: State, row: int) -> int:
    """Applies a ceiling."""
    placed = s.records[s.meta[0].trigger]
    at = listing_for(s, row, placed.province)
    extra = s.extras[extra_for(s, at)]
    if extra.marks & CAPPED and not is_newer(placed.at_ms, placed.seq, extra.ceiling_at_ms, extra.ceiling_seq):
        return STALE
    begin_step(s, row)
    s.meta[0].reporting = at
    extra.marks |= CAPPED
    extra.ceiling_at_ms = placed.at_ms
    extra.ceiling_seq = placed.seq
    extra.ceiling_e4 = 0 if placed.price_e4 == ABSENT else placed.price_e4
    extra.ceiling_offset = placed.offset
    extra.ceiling_line = placed.line
    finish_step(s, row)
    return APPLIED


@kernel
def apply_item(s: State, row: int) -> int:
    """Applies an item: it replaces the last one whole."""
    placed = s.records[s.meta[0].trigger]
    code = s.codes[row]
    if not is_newer(placed.at_ms, placed.seq, code.item_at_ms, code.item_seq):
        return STALE
    begin_step(s, row)
    was_special = code.marks & SPECIAL_DRUG != 0
    code.item_at_ms = placed.at_ms
    code.item_seq = placed.seq
    code.device_class = placed.device_class
    code.marks &= ~(DISABLED | MOVED | SPECIAL_DRUG) & 0xFF
    if placed.status == ITEM_DISABLED:
        code.marks |= DISABLED
    if placed.special_drug == 1:
        code.marks |= SPECIAL_DRUG
    if placed.second_length > 0:
        code.marks |= MOVED
        if code.moved == NONE:
            code.moved = s.meta[0].moved
            s.meta[0].moved += 1
        moved = s.moved[code.moved]
        moved.code_length = placed.second_length
        for i in range(27):
            moved.code[i] = s.data[placed.second_start + i] if i < placed.second_length else 0
    follow_item(s, row, was_special)
    finish_step(s, row)
    return APPLIED


@kernel
def names_hold(s: State, row: int, record: Any, opening: int) -> bool:
    """The decision's alert_id is ``price_hold:{code}:{province}:{opening}``."""
    code = s.codes[row]
    prefix = 11 + code.code_length + 8
    digits = 1
    bound = 10
    while opening >= bound:
        bound *= 10
        digits += 1
    if record.key_length != prefix + digits:
        return False
    at = record.key_start
    for i in range(11):
        if s.data[at + i] != HOLD_PREFIX[i]:
            return False
    at += 11
    for i in range(code.code_length):
        if s.data[at + i] != code.code[i]:
            return False
    at += code.code_length
    if s.data[at] != COLON or s.data[at + 7] != COLON:
        return False
    for i in range(6):
        if s.data[at + 1 + i] != PROVINCE_DIGITS[record.province, i]:
            return False
    for i in range(digits):
        if s.data[at + 7 + digits - i] != 48 + opening % 10:
            return False
        opening //= 10
    return True


@kernel
def apply_decision(s: State, row: int) -> int:
    """Applies a decision: it ends the hold that it names, if that is open."""
    placed = s.records[s.meta[0].trigger]
    at = find_listing(s, row, placed.province)
    if at < 0 or s.listings[at].extra < 0:
        return APPLIED
    extra = s.extras[s.listings[at].extra]
    if extra.marks & HOLDS == 0 or not names_hold(s, row, placed, extra.hold_opening):
        return APPLIED
    begin_step(s, row)
    s.meta[0].reporting = at
    if placed.action == CONFIRM:
        released = release_hold(s, row, at)
        released.reason = CONFIRMED
    else:
        ended = end_hold(s, row, at)
        ended.reason = REJECTED
    finish_step(s, row)
    return APPLIED


@kernel
def apply_one(s: State, row: int) -> int:
    """Applies the valid record of a code that triggers the step."""
    placed = s.records[s.meta[0].trigger]
    if row < 0 and placed.type == DECISION:
        return APPLIED
    if row < 0:
        row = add_code(s, placed.code_start, placed.code_length, placed.hash)
    elif is_applied(s, row, placed):
        return APPLIED
    if placed.type == QUOTE:
        return apply_quote(s, row)
    if placed.type == ORDER:
        return apply_order(s, row)
    if placed.type == DELIVERY:
        return apply_delivery(s, row)
    if placed.type == PAYMENT:
        return apply_payment(s, row)
    if placed.type == CONTRACT:
        return apply_contract(s, row)
    if placed.type == CEILING:
        return apply_ceiling(s, row)
    if placed.type == ITEM:
        return apply_item(s, row)
    if placed.type == DECISION:
        return apply_decision(s, row)
    return APPLIED


@kernel
def is_disabled(s: State, row: int, record: Any) -> bool:
    """The record is of a type that a disabled or moved code takes no more (SPEC §3 ``item``)."""
    if s.codes[row].marks & MASKED == 0 or record.type not in (QUOTE, CEILING, CONTRACT):
        return False
    return not is_applied(s, row, record)


@kernel
def reject_disabled(s: State, row: int, record: Any) -> None:
    """Makes a record of a disabled or moved code a dead letter that names the new code."""
    record.reason = DISABLED_CODE
    record.moved_to_length = 0
    if s.codes[row].marks & MOVED:
        moved = s.moved[s.codes[row].moved]
        record.moved_to_length = moved.code_length
        for i in range(moved.code_length):
            record.moved_to[i] = moved.code[i]


@kernel
def moves_supply(record_type: int) -> bool:
    """The record is of a type that may need room in the pools of supply."""
    return record_type == ITEM or CONTRACT <= record_type <= PAYMENT


@kernel
def look_ahead(s: State, record: int) -> None:
    """Has the processor fetch what records soon to come will touch, each a stage nearer than the last time.

    Rows of a hundred thousand codes lie all over memory: without this each record waits for it three times.
    """
    mask = s.index.size - 1
    if record + INDEX_AHEAD < s.records.size:
        prefetch(s.index, bucket(s.records[record + INDEX_AHEAD].hash, mask) * 4)
    if record + CODE_AHEAD < s.records.size:
        row = int64(s.index[bucket(s.records[record + CODE_AHEAD].hash, mask)])
        prefetch(s.codes, row * CODE_BYTES)
        prefetch(s.codes, row * CODE_BYTES + LINE_BYTES)
    if record + LISTING_AHEAD < s.records.size:
        later = s.records[record + LISTING_AHEAD]
        row = int64(s.index[bucket(later.hash, mask)])
        if row >= 0:
            code = s.codes[row]
            at = int64(code.listings) + min(int64(later.province), int64(code.listing_count) - 1)
            prefetch(s.listings, at * LISTING_BYTES)
            prefetch(s.listings, at * LISTING_BYTES + LINE_BYTES)


@kernel
def apply_records(s: State, start: int) -> tuple[int, int]:
    """Applies the records from ``start`` on; returns why it stopped (DONE, SHORT, STOPPED) and at which record."""
    meta = s.meta[0]
    for record in range(start, s.records.size):
        look_ahead(s, record)
        placed = s.records[record]
        if placed.reason != OK:
            meta.rejected += 1
            if placed.type < s.outcomes.shape[0]:
                s.outcomes[placed.type, DEAD] += 1
            continue
        if meta.unfinished == 0:
            meta.short = short_pool(s)
            if meta.short != ENOUGH:
                return SHORT, record
            row = NONE
            if placed.type not in (TICK, POLICY):
                row = find_code(s, placed.code_start, placed.code_length, placed.hash)
                if row >= 0 and is_disabled(s, row, placed):
                    reject_disabled(s, row, placed)
                    s.outcomes[placed.type, DEAD] += 1
                    meta.rejected += 1
                    continue
            if meta.ringing == 1 or placed.at_ms > meta.clock_ms:
                meta.trigger = record
                if not fire_timers(s, placed.at_ms):
                    return SHORT, record
                meta.clock_ms = placed.at_ms
            if placed.type == POLICY:
                return STOPPED, record
            if moves_supply(placed.type):
                meta.short = short_supply(s, moved_orders(s, row, placed))
                if meta.short != ENOUGH:
                    return SHORT, record
            meta.trigger = record
            outcome = APPLIED if placed.type == TICK else apply_one(s, row)
            s.outcomes[placed.type, outcome] += 1
        if meta.touched > 0:
            meta.unfinished = 1
            if not evaluate_touched(s):
                return SHORT, record
            meta.unfinished = 0
    return DONE, s.records.size
