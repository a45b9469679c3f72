"""``supply_shortfall``: what fell due under a contract, what of it was delivered on time, what is overdue (SPEC §6).

A contract has running sums. An order's share in them follows from its row: it is withdrawn before the row changes or
time has passed, and counted again after. So a record costs the same however many orders a contract has; only a
contract whose ``delivery_hours`` change counts all of its orders anew. The oldest overdue order is the top of a heap.
"""

from typing import Any

from numba import int64

from config.kernel import kernel
from schemas.columns import ABSENT, BLUE, NO_BAND, RED, YELLOW
from streams.deliveries import accepted_pieces, tally_on_time
from streams.effects import add_alert, add_evidence, band_change
from streams.heaps import heap_with, heap_without, take_node
from streams.layout import (
    HAS_DUE,
    HAS_INSTITUTION,
    HAS_QUANTITY,
    HOUR_MS,
    LAST_MS,
    NEVER_MS,
    NONE,
    OPENED,
    REVISED,
    SUPPLY_SHORTFALL,
)
from streams.quantities import is_below_share
from streams.state import State
from streams.supply_layout import COUNTED, FALLEN, IN_WINDOW
from streams.supply_pools import detail_for, joined


@kernel
def first_at(order: Any) -> int:
    """``at`` of the order's first accepted record."""
    return joined(order.first_lo, order.first_hi)


@kernel
def due_after(first_ms: int, contract: Any) -> int:
    """When an order placed then falls due under the contract."""
    return int64(min(first_ms + int64(contract.delivery_hours) * HOUR_MS, LAST_MS))


@kernel
def withdraw(s: State, at: int) -> None:
    """Takes an order's share out of its contract's sums; its overdue pieces stay in the heap until counted again."""
    order = s.orders[at]
    if order.contract < 0:
        return
    contract = s.contracts[order.contract]
    quantity = int64(order.quantity)
    contract.ordered -= quantity
    if order.marks & FALLEN:
        contract.overdue -= max(quantity - accepted_pieces(s, order), 0)
    if order.marks & IN_WINDOW:
        contract.due -= quantity
        if order.tally >= 0:
            contract.filled -= min(quantity, s.tallies[order.tally].on_time)
    order.marks &= ~COUNTED & 0xFF


@kernel
def count(s: State, at: int, clock_ms: int) -> None:
    """Adds an order's share to its contract's sums, as it is at a time."""
    order = s.orders[at]
    if order.contract < 0:
        return
    contract = s.contracts[order.contract]
    quantity = int64(order.quantity)
    contract.ordered += quantity
    missing = 0
    if contract.at_ms != ABSENT and quantity > 0:
        due_ms = due_after(first_at(order), contract)
        if due_ms <= clock_ms:
            order.marks |= FALLEN
            missing = max(quantity - accepted_pieces(s, order), 0)
            contract.overdue += missing
            if due_ms > clock_ms - s.rules[0].supply_window_ms:
                order.marks |= IN_WINDOW
                contract.due += quantity
                if order.tally >= 0:
                    contract.filled += min(quantity, s.tallies[order.tally].on_time)
    if missing > 0:
        detail = s.details[detail_for(s, order)]
        if detail.late < 0:
            detail.late = take_node(s, first_at(order))
            contract.late = heap_with(s, contract.late, detail.late)
    else:
        forget_late(s, order)


@kernel
def forget_late(s: State, order: Any) -> None:
    """Takes an order out of its contract's heap of overdue ones, if it is there."""
    if order.detail >= 0 and s.details[order.detail].late >= 0:
        contract = s.contracts[order.contract]
        contract.late = heap_without(s, contract.late, s.details[order.detail].late)
        s.details[order.detail].late = NONE


@kernel
def join(s: State, at: int, under: int) -> None:
    """Puts an order into a contract's list; it is not counted yet."""
    order = s.orders[at]
    contract = s.contracts[under]
    order.contract = under
    order.previous = NONE
    order.next = contract.orders
    if contract.orders >= 0:
        s.orders[contract.orders].previous = at
    contract.orders = at
    contract.members += 1
    if contract.at_ms != ABSENT:
        tally_on_time(s, order, due_after(first_at(order), contract))


@kernel
def leave(s: State, at: int) -> None:
    """Takes an order, withdrawn before, out of its contract's list."""
    order = s.orders[at]
    if order.contract < 0:
        return
    contract = s.contracts[order.contract]
    forget_late(s, order)
    if order.previous >= 0:
        s.orders[order.previous].next = order.next
    else:
        contract.orders = order.next
    if order.next >= 0:
        s.orders[order.next].previous = order.previous
    contract.members -= 1
    order.contract = NONE


@kernel
def count_all(s: State, under: int, clock_ms: int) -> None:
    """Counts all orders of a contract anew: its ``delivery_hours`` changed, or its record came at last."""
    contract = s.contracts[under]
    contract.ordered = 0
    contract.due = 0
    contract.filled = 0
    contract.overdue = 0
    at = int64(contract.orders)
    while at >= 0:
        order = s.orders[at]
        order.marks &= ~COUNTED & 0xFF
        tally_on_time(s, order, due_after(first_at(order), contract))
        count(s, at, clock_ms)
        at = int64(order.next)


@kernel
def oldest_due(s: State, contract: Any) -> int:
    """When the oldest overdue order fell due; NEVER_MS if nothing is overdue."""
    if contract.late < 0:
        return NEVER_MS
    return due_after(s.nodes[contract.late].key, contract)


@kernel
def late_alarm(s: State, contract: Any, now_ms: int) -> int:
    """The next mark that the oldest overdue order reaches; NEVER_MS for none."""
    oldest_ms = oldest_due(s, contract)
    alarm_ms = NEVER_MS
    if oldest_ms < NEVER_MS:
        rules = s.rules[0]
        for late_ms in (rules.late_yellow_ms, rules.late_red_ms):
            if oldest_ms + late_ms > now_ms:
                alarm_ms = min(alarm_ms, oldest_ms + late_ms)
    return alarm_ms


@kernel
def supply_band(s: State, contract: Any) -> int:
    """The band of a contract's sums now."""
    rules = s.rules[0]
    oldest_ms = oldest_due(s, contract)
    late_ms = s.meta[0].clock_ms - oldest_ms if oldest_ms < NEVER_MS else -1
    if is_below_share(contract.filled, contract.due, rules.fill_red_bp) or late_ms >= rules.late_red_ms:
        return RED
    if is_below_share(contract.filled, contract.due, rules.fill_yellow_bp) or late_ms >= rules.late_yellow_ms:
        return YELLOW
    return BLUE if contract.overdue > 0 else NO_BAND


@kernel
def add_contract_alert(s: State, at: int, kind: int) -> Any:
    """Starts an alert row of a contract; the caller sets change, bands, revision and quantities."""
    contract = s.contracts[at]
    alert = add_alert(s, contract.code, contract)
    alert.kind = kind
    alert.owner = at
    alert.institution = contract.institution
    alert.shows |= HAS_QUANTITY
    if contract.institution >= 0:
        alert.shows |= HAS_INSTITUTION
    add_evidence(s, alert, contract.offset, contract.line)
    return alert


@kernel
def evaluate_supply(s: State, at: int) -> bool:
    """Evaluates a contract's shortfall after a step; tells whether its row changed."""
    contract = s.contracts[at]
    if contract.at_ms == ABSENT:
        return False
    band = supply_band(s, contract)
    previous = int64(contract.band)
    change = band_change(previous, band)
    if change == NONE and band != NO_BAND and contract.overdue != contract.was_overdue:
        change = REVISED
    contract.was_overdue = contract.overdue
    if change == NONE:
        return False
    if change == OPENED:
        contract.opening += 1
        contract.revision = 0
    contract.revision += 1
    contract.band = band
    alert = add_contract_alert(s, at, SUPPLY_SHORTFALL)
    alert.change = change
    alert.band = band
    alert.previous_band = previous
    alert.opening = contract.opening
    alert.revision = contract.revision
    alert.quantity_due = contract.due
    alert.quantity_filled = contract.filled
    alert.quantity_overdue = contract.overdue
    if contract.late >= 0:
        alert.shows |= HAS_DUE
        alert.due_ms = oldest_due(s, contract)
    s.open_alerts[SUPPLY_SHORTFALL, previous] -= 1
    s.open_alerts[SUPPLY_SHORTFALL, band] += 1
    return True
