"""When the timers of contracts, gaps and orders are due, and setting them (see ``timers``)."""

from typing import Any

from numba import int64

from config.kernel import kernel
from schemas.columns import ABSENT
from streams.channels import gap_alarm
from streams.layout import FOREVER_MS, NEVER_MS, NONE
from streams.pools import is_behind
from streams.settlement import arrears_alarm
from streams.state import State
from streams.supply import due_after, first_at, late_alarm
from streams.supply_layout import FALLEN, IN_WINDOW
from streams.supply_pools import joined
from streams.timers import OF_CONTRACT, OF_GAP, OF_ORDER, pop_timer, push_timer, ref_of


@kernel
def now_of(s: State, row: int) -> int:
    """The clock of a code: it may be ahead of the partition's where its rows are (see ``supply_rows``)."""
    return int64(max(s.meta[0].clock_ms, s.codes[row].clock_ms))


@kernel
def order_alarm(s: State, order: Any, now_ms: int) -> int:
    """When an order falls due, leaves the window, or its arrears change; NEVER_MS for never."""
    alarm_ms = NEVER_MS
    if order.contract >= 0 and order.quantity > 0 and s.contracts[order.contract].at_ms != ABSENT:
        due_ms = due_after(first_at(order), s.contracts[order.contract])
        if order.marks & FALLEN == 0:
            alarm_ms = due_ms
        elif order.marks & IN_WINDOW:
            alarm_ms = due_ms + s.rules[0].supply_window_ms
    return int64(min(alarm_ms, arrears_alarm(s, order, now_ms)))


@kernel
def contract_alarm(s: State, contract: Any, now_ms: int) -> int:
    """When an overdue order reaches a mark, or a midnight matters; NEVER_MS for never."""
    return int64(min(contract.purchase_ms, late_alarm(s, contract, now_ms)))


@kernel
def set_order_alarm(s: State, at: int) -> None:
    """Sets an order's timer."""
    order = s.orders[at]
    alarm_ms = order_alarm(s, order, now_of(s, order.code))
    if alarm_ms < joined(order.queued_lo, order.queued_hi):
        queue_order(order, alarm_ms)
        push_timer(s, alarm_ms, order.code, ref_of(at, OF_ORDER))


@kernel
def queue_order(order: Any, due_ms: int) -> None:
    """Notes an order's earliest entry in the heap; FOREVER_MS: none."""
    order.queued_lo = due_ms & 0xFFFFFFFF
    order.queued_hi = due_ms >> 32


@kernel
def set_contract_alarm(s: State, at: int) -> None:
    """Sets a contract's timer."""
    contract = s.contracts[at]
    alarm_ms = contract_alarm(s, contract, now_of(s, contract.code))
    if alarm_ms < contract.queued_ms:
        contract.queued_ms = alarm_ms
        push_timer(s, alarm_ms, contract.code, ref_of(at, OF_CONTRACT))


@kernel
def set_gap_alarm(s: State, at: int) -> None:
    """Sets the timer of a place's gap."""
    place = s.contracts[at]
    gap = s.gaps[place.gap]
    alarm_ms = gap_alarm(s, place, now_of(s, place.code))
    if alarm_ms < gap.queued_ms:
        gap.queued_ms = alarm_ms
        push_timer(s, alarm_ms, place.code, ref_of(at, OF_GAP))


@kernel
def set_alarm(s: State, row: int, ref: int) -> None:
    """Sets the timer of whoever has the ref; of a code's prices, again as it was."""
    if ref < 0:
        code = s.codes[row]
        if code.due_ms < code.queued_ms:
            code.queued_ms = code.due_ms
            push_timer(s, code.due_ms, row, NONE)
    elif ref & 3 == OF_ORDER:
        set_order_alarm(s, ref >> 2)
    elif ref & 3 == OF_CONTRACT:
        set_contract_alarm(s, ref >> 2)
    else:
        set_gap_alarm(s, ref >> 2)


@kernel
def is_due(s: State, row: int, ref: int, due_ms: int) -> bool:
    """Tells whether an entry is its owner's timer, and not outlived."""
    if ref < 0:
        return bool(s.codes[row].due_ms == due_ms)
    # the clock may stand at this very instant already: codes have their steps of it one after the other
    now_ms = max(min(s.meta[0].clock_ms, due_ms - 1), s.codes[row].clock_ms)
    if ref & 3 == OF_ORDER:
        return order_alarm(s, s.orders[ref >> 2], now_ms) == due_ms
    if ref & 3 == OF_CONTRACT:
        return contract_alarm(s, s.contracts[ref >> 2], now_ms) == due_ms
    return gap_alarm(s, s.contracts[ref >> 2], now_ms) == due_ms


@kernel
def take_entry(s: State) -> None:
    """Takes the earliest entry off the heap; its owner knows of no entry if it was the owner's earliest."""
    row = int64(s.timers[0].code)
    ref = int64(s.timers[0].ref)
    due_ms = s.timers[0].due_ms
    pop_timer(s)
    if ref < 0:
        if s.codes[row].queued_ms == due_ms:
            s.codes[row].queued_ms = NEVER_MS
    elif ref & 3 == OF_ORDER:
        order = s.orders[ref >> 2]
        if joined(order.queued_lo, order.queued_hi) == due_ms:
            queue_order(order, FOREVER_MS)
    elif ref & 3 == OF_CONTRACT:
        if s.contracts[ref >> 2].queued_ms == due_ms:
            s.contracts[ref >> 2].queued_ms = NEVER_MS
    else:
        gap = s.gaps[s.contracts[ref >> 2].gap]
        if gap.queued_ms == due_ms:
            gap.queued_ms = NEVER_MS


@kernel
def next_due(s: State, until_ms: int) -> int:
    """The code whose timers are due next, if by ``until_ms``, else NONE. Entries that are outlived go on the way.

    A code ahead of the trigger has seen it already: what would be due is of a policy that it has outlived.
    """
    trigger = s.records[s.meta[0].trigger]
    while s.meta[0].timers > 0:
        due_ms = s.timers[0].due_ms
        if due_ms > until_ms:
            return NONE
        row = int64(s.timers[0].code)
        ref = int64(s.timers[0].ref)
        code = s.codes[row]
        is_ahead = is_behind(trigger.offset, trigger.line, code.applied_offset, code.applied_line)
        if is_due(s, row, ref, due_ms) and (ref < 0 or not is_ahead):
            return row
        take_entry(s)
        if not is_ahead or ref < 0:
            set_alarm(s, row, ref)
    return NONE


@kernel
def set_all_alarms(s: State) -> None:
    """Fills an empty heap: entries that their owners have outlived are gone."""
    s.meta[0].timers = 0
    for row in range(s.meta[0].codes):
        s.codes[row].queued_ms = NEVER_MS
        set_alarm(s, row, NONE)
    for at in range(s.meta[0].contracts):
        s.contracts[at].queued_ms = NEVER_MS
        set_contract_alarm(s, at)
        if s.contracts[at].gap >= 0:
            s.gaps[s.contracts[at].gap].queued_ms = NEVER_MS
            set_gap_alarm(s, at)
    for at in range(s.meta[0].orders):
        queue_order(s.orders[at], FOREVER_MS)
        set_order_alarm(s, at)
