"""``settlement_arrears``: what accepted deliveries owe, and since when it is due (SPEC §7)."""

from typing import Any, Final

from numba import int64

from config.kernel import kernel
from schemas.columns import BLUE, NO_BAND, RED, YELLOW
from streams.deliveries import accepted_of, accepted_pieces, paid_of, price_of_order
from streams.effects import add_alert_in, add_evidence, band_change
from streams.layout import (
    DAY_MS,
    HAS_AMOUNT,
    HAS_DUE,
    HAS_INSTITUTION,
    HAS_SUPPLIER,
    NEVER_MS,
    NONE,
    OPENED,
    REVISED,
    SETTLEMENT_ARREARS,
)
from streams.quantities import amount_e4, settlement_due
from streams.state import State
from streams.supply_layout import KNOWN
from streams.supply_pools import detail_for, joined

REMINDER_MS: Final = 7 * DAY_MS
LONG_ARREARS_MS: Final = 90 * DAY_MS


@kernel
def unpaid_due(s: State, order: Any) -> int:
    """The earliest unpaid due date; NEVER_MS where nothing is owed."""
    if order.marks & KNOWN == 0 or order.tally < 0 or s.tallies[order.tally].unpaid < 0:
        return NEVER_MS
    return int64(settlement_due(accepted_of(s.deliveries[s.tallies[order.tally].unpaid])))


@kernel
def arrears_alarm(s: State, order: Any, now_ms: int) -> int:
    """When an order's arrears get the next band by themselves; NEVER_MS for never."""
    due_ms = unpaid_due(s, order)
    if due_ms == NEVER_MS:
        return NEVER_MS
    if due_ms - REMINDER_MS > now_ms:
        return due_ms - REMINDER_MS
    if due_ms > now_ms:
        return due_ms
    return due_ms + LONG_ARREARS_MS if due_ms + LONG_ARREARS_MS > now_ms else NEVER_MS


@kernel
def arrears_band(due_ms: int, clock_ms: int) -> int:
    """The band of the earliest unpaid due date."""
    if clock_ms < due_ms - REMINDER_MS:
        return NO_BAND
    if clock_ms < due_ms:
        return BLUE
    return YELLOW if clock_ms < due_ms + LONG_ARREARS_MS else RED


@kernel
def evaluate_arrears(s: State, at: int) -> bool:
    """Evaluates an order's arrears after a step; tells whether its row changed."""
    order = s.orders[at]
    due_ms = unpaid_due(s, order)
    band = arrears_band(due_ms, s.meta[0].clock_ms)
    if band == NO_BAND and (order.detail < 0 or s.details[order.detail].band == NO_BAND):
        return False
    detail = s.details[detail_for(s, order)]
    previous = int64(detail.band)
    total_e4 = amount_e4(accepted_pieces(s, order), price_of_order(order), int64(order.pack_size))
    owed_e4 = max(total_e4 - paid_of(s, order), 0)
    change = band_change(previous, band)
    if change == NONE and owed_e4 != detail.owed_e4:
        change = REVISED
    if change == NONE:
        return False
    if change == OPENED:
        detail.opening += 1
        detail.revision = 0
    detail.revision += 1
    detail.band = band
    detail.owed_e4 = owed_e4
    add_arrears_alert(s, at, change, previous, due_ms)
    s.open_alerts[SETTLEMENT_ARREARS, previous] -= 1
    s.open_alerts[SETTLEMENT_ARREARS, band] += 1
    return True


@kernel
def add_arrears_alert(s: State, at: int, change: int, previous: int, due_ms: int) -> None:
    """Writes down the event of an order's arrears."""
    order = s.orders[at]
    detail = s.details[order.detail]
    alert = add_alert_in(s, order.code, order.province)
    alert.kind = SETTLEMENT_ARREARS
    alert.change = change
    alert.band = detail.band
    alert.previous_band = previous
    alert.opening = detail.opening
    alert.revision = detail.revision
    alert.owner = at
    alert.institution = order.institution
    alert.shows |= HAS_AMOUNT | HAS_INSTITUTION | HAS_SUPPLIER
    high = int64(0)
    low = int64(0)
    start = s.texts[order.supplier].start
    for i in range(8):
        high |= int64(s.arena[start + i]) << (8 * i)
    for i in range(4):
        low |= int64(s.arena[start + 8 + i]) << (8 * i)
    alert.supplier_hi = high
    alert.supplier_lo = low
    alert.owed_e4 = detail.owed_e4
    if due_ms != NEVER_MS:
        alert.shows |= HAS_DUE
        alert.due_ms = due_ms
    add_evidence(s, alert, joined(order.offset_lo, order.offset_hi), order.line)
