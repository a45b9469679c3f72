"""``purchase_shortfall``: whether enough was ordered under a contract, asked at midnights of Asia/Shanghai (SPEC §6).

While the orders stay the same, more and more is agreed, so a contract's band only rises: when it will can be computed.
A contract therefore has one timer, for the next midnight at which its band changes, or for its last.
"""

from typing import Any

from numba import int64

from config.kernel import kernel
from schemas.columns import NO_BAND, RED, YELLOW
from streams.effects import band_change
from streams.layout import (
    CLOSED,
    CONTRACT_ENDED,
    DAY_MS,
    EASED,
    ESCALATED,
    HAS_DUE,
    NEVER_MS,
    NONE,
    OPENED,
    PURCHASE_SHORTFALL,
)
from streams.quantities import SHANGHAI_MS, midnight_from, shanghai_day
from streams.state import State
from streams.supply import add_contract_alert
from streams.supply_layout import LIVE


@kernel
def term_of(contract: Any) -> int:
    """Whole Shanghai days from start to end."""
    return int64(shanghai_day(contract.ends_ms) - shanghai_day(contract.starts_ms))


@kernel
def elapsed_at(contract: Any, midnight_ms: int) -> int:
    """Of these, those that have passed."""
    return int64(max(shanghai_day(midnight_ms) - shanghai_day(contract.starts_ms), 0))


@kernel
def agreed_at(contract: Any, midnight_ms: int) -> int:
    """Pieces agreed by a midnight: all of them at the last."""
    if midnight_ms >= contract.ends_ms:
        return int64(contract.agreed)
    term = term_of(contract)
    return int64(contract.agreed * elapsed_at(contract, midnight_ms) // term) if term > 0 else 0


@kernel
def purchase_band(contract: Any, midnight_ms: int) -> int:
    """The band at a midnight, with what is ordered now; none before 10 % of the term."""
    if midnight_ms < contract.ends_ms and elapsed_at(contract, midnight_ms) * 10 < max(term_of(contract), 1):
        return NO_BAND
    agreed = agreed_at(contract, midnight_ms)
    if contract.ordered * 10 < agreed * 7:
        return RED
    if contract.ordered * 10 < agreed * 9:
        return YELLOW
    return NO_BAND


@kernel
def midnight_of_share(contract: Any, tenths: int) -> int:
    """The first midnight at which what is ordered is below so many tenths of what is agreed; NEVER_MS for none."""
    # ordered × 10 < agreed by then × tenths, so at least this much must be agreed by then
    least = contract.ordered * 10 // tenths + 1
    term = term_of(contract)
    if least > contract.agreed or term == 0:
        return NEVER_MS
    elapsed = max((least * term + contract.agreed - 1) // contract.agreed, (term + 9) // 10)
    return int64((shanghai_day(contract.starts_ms) + elapsed) * DAY_MS - SHANGHAI_MS)


@kernel
def set_purchase(contract: Any, now_ms: int) -> None:
    """Sets the next midnight that matters: the first at which the band is not the open alert's, or the last."""
    contract.purchase_ms = NEVER_MS
    if contract.marks & LIVE == 0:
        return
    next_ms = midnight_from(now_ms + 1)
    last_ms = max(midnight_from(contract.ends_ms), next_ms)
    if next_ms < last_ms:
        band = purchase_band(contract, next_ms)
        if band == contract.purchase_band:
            next_ms = NEVER_MS
            if band != RED:
                next_ms = midnight_of_share(contract, 9 if band == NO_BAND else 7)
    contract.purchase_ms = min(next_ms, last_ms)


@kernel
def add_purchase_alert(s: State, at: int, change: int, band: int, agreed: int) -> None:
    """Writes down the next event of a contract's purchases."""
    contract = s.contracts[at]
    previous = int64(contract.purchase_band)
    if change == OPENED:
        contract.purchase_opening += 1
        contract.purchase_revision = 0
    contract.purchase_revision += 1
    contract.purchase_band = band
    alert = add_contract_alert(s, at, PURCHASE_SHORTFALL)
    alert.change = change
    alert.band = band
    alert.previous_band = previous
    alert.opening = contract.purchase_opening
    alert.revision = contract.purchase_revision
    alert.quantity_due = agreed
    alert.quantity_filled = contract.ordered
    alert.quantity_overdue = max(agreed - contract.ordered, 0)
    alert.shows |= HAS_DUE
    alert.due_ms = contract.ends_ms
    if change == CLOSED:
        alert.reason = CONTRACT_ENDED
    s.open_alerts[PURCHASE_SHORTFALL, previous] -= 1
    s.open_alerts[PURCHASE_SHORTFALL, band] += 1


@kernel
def evaluate_purchase(s: State, at: int) -> bool:
    """Evaluates a contract's purchases if the step is of the timers of a midnight; tells whether its row changed."""
    contract = s.contracts[at]
    clock_ms = s.meta[0].clock_ms
    if s.meta[0].timer == 0 or contract.marks & LIVE == 0 or (clock_ms + SHANGHAI_MS) % DAY_MS != 0:
        return False
    agreed = agreed_at(contract, clock_ms)
    band = purchase_band(contract, clock_ms)
    is_last = clock_ms >= contract.ends_ms
    change = band_change(contract.purchase_band, band)
    changed = is_last
    if change != NONE and not (is_last and change in (ESCALATED, EASED)):
        add_purchase_alert(s, at, change, band, agreed)
        changed = True
    if is_last:
        if band != NO_BAND:
            add_purchase_alert(s, at, CLOSED, int64(contract.purchase_band), agreed)
            s.open_alerts[PURCHASE_SHORTFALL, contract.purchase_band] -= 1
            s.open_alerts[PURCHASE_SHORTFALL, NO_BAND] += 1
            contract.purchase_band = NO_BAND
        contract.marks &= ~LIVE & 0xFF
    set_purchase(contract, clock_ms)
    return changed
