"""Quotes take force, wait or are held: one wrong unit must not cut a price nationwide (SPEC §3 ``quote``, §5)."""

from typing import Any

from numba import int64

from config.kernel import kernel
from schemas.columns import ACTIVE, RED, SELECTED
from streams.effects import add_alert, add_evidence, name_province, show_price, show_reference
from streams.kernels import is_unit_mismatch, within_tenth
from streams.layout import (
    CORROBORATED,
    ENDED,
    EXPIRED,
    FOREVER_MS,
    HOLDING,
    HOLDS,
    IN_FORCE,
    LOWEST,
    MASKED,
    NEVER_MS,
    OPENED,
    OUTLIER_LOW,
    PRICE_HOLD,
    RESOLVED,
    SUPERSEDED,
    UNIT_MISMATCH,
    WAITS,
)
from streams.packed import price_of, set_offset, set_price, set_valid_until, valid_until_of
from streams.pools import extra_for
from streams.state import State


@kernel
def put_in_force(s: State, at: int, quote: Any) -> None:
    """Puts an active quote in force in place of the older one."""
    listing = s.listings[at]
    set_price(listing, quote.price_e4)
    set_valid_until(listing, quote.valid_until_ms)
    set_offset(listing, quote.offset)
    listing.line = quote.line
    listing.supplier_hi = quote.supplier_hi
    listing.supplier_lo = quote.supplier_lo
    listing.kind = quote.kind
    listing.marks = (listing.marks | IN_FORCE) & (0xFF & ~ENDED)


@kernel
def near_in_force(s: State, row: int, province: int, price_e4: int) -> bool:
    """Another province's in-force price is within 10 % of the price."""
    code = s.codes[row]
    if code.marks & MASKED:
        return False
    for i in range(code.listing_count):
        listing = s.listings[code.listings + i]
        if listing.province != province and listing.marks & IN_FORCE and within_tenth(price_of(listing), price_e4):
            return True
    return False


@kernel
def near_held(s: State, row: int, province: int, price_e4: int) -> bool:
    """Another province's held price is within 10 % of the price."""
    code = s.codes[row]
    for i in range(code.listing_count):
        listing = s.listings[code.listings + i]
        holds = listing.extra >= 0 and s.extras[listing.extra].marks & HOLDS != 0
        if holds and listing.province != province and within_tenth(s.held[listing.extra].price_e4, price_e4):
            return True
    return False


@kernel
def must_hold(s: State, row: int, province: int, quote: Any) -> bool:
    """Tells whether a quote that would take force is too low to believe (SPEC §5)."""
    was = s.was[0]
    if quote.kind == SELECTED or was.lowest_e4 == 0:
        return False
    if quote.price_e4 * 10_000 >= s.rules[0].guard_bp * was.lowest_e4:
        return False
    others = was.sources - (1 if was.price_e4[province] > 0 else 0)
    if others < s.rules[0].guard_min_sources:
        return False
    return not (near_in_force(s, row, province, quote.price_e4) or near_held(s, row, province, quote.price_e4))


@kernel
def open_hold(s: State, row: int, at: int, quote: Any) -> None:
    """Holds a quote; the older one stays in force."""
    was = s.was[0]
    index = extra_for(s, at)
    extra = s.extras[index]
    s.held[index] = quote
    s.codes[row].marks |= HOLDING
    extra.marks |= HOLDS
    extra.hold_opening += 1
    extra.hold_revision = 1
    alert = add_alert(s, row, s.listings[at])
    alert.supplier_hi = quote.supplier_hi
    alert.supplier_lo = quote.supplier_lo
    alert.kind = PRICE_HOLD
    alert.change = OPENED
    alert.reason = UNIT_MISMATCH if is_unit_mismatch(quote.price_e4, was.lowest_e4) else OUTLIER_LOW
    alert.band = RED
    alert.opening = extra.hold_opening
    alert.revision = 1
    alert.rule = LOWEST
    show_price(s, alert, quote.price_e4)
    show_reference(alert, was.lowest_e4)
    name_province(s, alert, was.lowest_province)
    add_evidence(s, alert, quote.offset, quote.line)
    add_evidence(s, alert, was.offset[was.lowest_province], was.line[was.lowest_province])
    s.open_alerts[PRICE_HOLD, RED] += 1


@kernel
def end_hold(s: State, row: int, at: int) -> Any:
    """Ends the hold of a listing; the caller gives the alert row its reason."""
    listing = s.listings[at]
    extra = s.extras[listing.extra]
    quote = s.held[listing.extra]
    extra.marks &= ~HOLDS & 0xFF
    extra.hold_revision += 1
    alert = add_alert(s, row, listing)
    alert.kind = PRICE_HOLD
    alert.change = RESOLVED
    alert.previous_band = RED
    alert.supplier_hi = quote.supplier_hi
    alert.supplier_lo = quote.supplier_lo
    alert.opening = extra.hold_opening
    alert.revision = extra.hold_revision
    show_price(s, alert, quote.price_e4)
    add_evidence(s, alert, quote.offset, quote.line)
    s.open_alerts[PRICE_HOLD, RED] -= 1
    return alert


@kernel
def release_hold(s: State, row: int, at: int) -> Any:
    """Ends a hold well: its quote takes force. The caller gives the alert row its reason."""
    alert = end_hold(s, row, at)
    listing = s.listings[at]
    s.was[0].released |= 1 << int64(listing.province)
    put_in_force(s, at, s.held[listing.extra])
    return alert


@kernel
def take_force(s: State, row: int, at: int, quote: Any) -> None:
    """A quote's time has come: it replaces the older one, ends it, or is held."""
    listing = s.listings[at]
    if quote.status != ACTIVE:
        listing.marks = (listing.marks | ENDED) & (0xFF & ~IN_FORCE)
    elif quote.valid_until_ms <= s.meta[0].clock_ms:
        listing.marks &= ~(IN_FORCE | ENDED) & 0xFF
    elif must_hold(s, row, listing.province, quote):
        open_hold(s, row, at, quote)
    else:
        put_in_force(s, at, quote)


@kernel
def corroborate(s: State, row: int) -> None:
    """Releases holds that are near another province's in-force price, smallest province first, until none is."""
    code = s.codes[row]
    if code.marks & HOLDING == 0 or code.marks & MASKED != 0:
        return
    i = 0
    holding = False
    while i < code.listing_count:
        at = int(code.listings) + i
        listing = s.listings[at]
        i += 1
        if listing.extra < 0 or s.extras[listing.extra].marks & HOLDS == 0:
            continue
        if near_in_force(s, row, listing.province, s.held[listing.extra].price_e4):
            released = release_hold(s, row, at)
            released.reason = CORROBORATED
            i = 0
            holding = False
        else:
            holding = True
    if not holding:
        code.marks &= ~HOLDING & 0xFF


@kernel
def accept_quote(s: State, row: int, at: int) -> None:
    """Applies an accepted quote, laid out in ``s.incoming``, to its listing."""
    quote = s.incoming[0]
    waits = quote.effective_ms > s.meta[0].clock_ms
    index = s.listings[at].extra
    if index >= 0:
        extra = s.extras[index]
        extra.marks &= ~WAITS & 0xFF
        if extra.marks & HOLDS:
            held = s.held[index]
            if (
                not waits
                and quote.price_e4 == held.price_e4
                and quote.kind == held.kind
                and quote.status == held.status
                and quote.valid_until_ms == held.valid_until_ms
            ):
                s.held[index] = quote
                return
            ended = end_hold(s, row, at)
            ended.reason = SUPERSEDED
    if waits:
        index = extra_for(s, at)
        s.waiting[index] = quote
        s.extras[index].marks |= WAITS
    else:
        take_force(s, row, at, quote)


@kernel
def fire_quotes(s: State, row: int) -> None:
    """What an instant does to a code's quotes: holds expire, quotes take force by province (SPEC §5)."""
    code = s.codes[row]
    clock_ms = s.meta[0].clock_ms
    for i in range(code.listing_count):
        at = int(code.listings) + i
        listing = s.listings[at]
        if listing.marks & IN_FORCE and valid_until_of(listing) <= clock_ms:
            listing.marks &= ~IN_FORCE & 0xFF
        holds = listing.extra >= 0 and s.extras[listing.extra].marks & HOLDS != 0
        if holds and s.held[listing.extra].valid_until_ms <= clock_ms:
            ended = end_hold(s, row, at)
            ended.reason = EXPIRED
    for i in range(code.listing_count):
        at = int(code.listings) + i
        index = s.listings[at].extra
        if index >= 0 and s.extras[index].marks & WAITS and s.waiting[index].effective_ms <= clock_ms:
            s.extras[index].marks &= ~WAITS & 0xFF
            take_force(s, row, at, s.waiting[index])


@kernel
def quotes_due(s: State, listing: Any) -> int:
    """Earliest time at which something happens to a listing's quotes; NEVER_MS if nothing will."""
    due_ms = NEVER_MS
    if listing.marks & IN_FORCE:
        valid_until_ms = valid_until_of(listing)
        if valid_until_ms != FOREVER_MS:
            due_ms = valid_until_ms
    if listing.extra >= 0:
        flags = s.extras[listing.extra].marks
        if flags & WAITS:
            due_ms = min(due_ms, s.waiting[listing.extra].effective_ms)
        if flags & HOLDS and s.held[listing.extra].valid_until_ms != FOREVER_MS:
            due_ms = min(due_ms, s.held[listing.extra].valid_until_ms)
    return due_ms
