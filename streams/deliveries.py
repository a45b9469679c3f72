"""An order's deliveries: a list by time of acceptance, their tally, and the earliest that is not wholly paid (SPEC §7).

Debts are settled oldest first, so the unpaid ones are the end of the list, from ``tally.unpaid`` on. What comes in order
of acceptance and payments that grow cost a constant, amortised; a delivery that is changed or comes late, and a
price or payment that falls, at most one walk over the order's deliveries. Cancelled deliveries are not in the list.
"""

from typing import Any

from numba import int64

from config.kernel import kernel
from streams.layout import NONE
from streams.quantities import amount_e4
from streams.state import State
from streams.supply_layout import KNOWN, LISTED
from streams.supply_pools import joined, tally_for


@kernel
def accepted_of(delivery: Any) -> int:
    """When a delivery was accepted."""
    return joined(delivery.accepted_lo, delivery.accepted_hi)


@kernel
def price_of_order(order: Any) -> int:
    """Price of a pack in 1/10,000 yuan."""
    return joined(order.price_lo, order.price_hi)


@kernel
def paid_of(s: State, order: Any) -> int:
    """What was paid for an order in 1/10,000 yuan."""
    return int64(s.details[order.detail].paid_e4) if order.detail >= 0 else 0


@kernel
def accepted_pieces(s: State, order: Any) -> int:
    """Pieces of an order accepted so far."""
    return int64(s.tallies[order.tally].accepted) if order.tally >= 0 else 0


@kernel
def settle_paid(s: State, order: Any) -> None:
    """Moves ``unpaid`` past what is paid."""
    if order.tally < 0 or order.marks & KNOWN == 0:
        return
    tally = s.tallies[order.tally]
    paid_e4 = paid_of(s, order)
    price_e4 = price_of_order(order)
    while tally.unpaid >= 0:
        delivery = s.deliveries[tally.unpaid]
        running = tally.before + int64(delivery.quantity)
        if amount_e4(running, price_e4, int64(order.pack_size)) > paid_e4:
            return
        tally.before = running
        tally.unpaid = delivery.next


@kernel
def settle_anew(s: State, order: Any) -> None:
    """Finds ``unpaid`` from the oldest delivery on."""
    if order.tally < 0:
        return
    tally = s.tallies[order.tally]
    tally.unpaid = tally.first
    tally.before = 0
    settle_paid(s, order)


@kernel
def list_delivery(s: State, order: Any, at: int) -> None:
    """Puts a delivery into its order's list and tally; the tally's ``on_time`` is the caller's affair."""
    tally = s.tallies[tally_for(s, order)]
    delivery = s.deliveries[at]
    accepted_ms = accepted_of(delivery)
    after = int64(tally.last)
    while after >= 0 and accepted_of(s.deliveries[after]) > accepted_ms:
        after = int64(s.deliveries[after].previous)
    delivery.marks |= LISTED
    delivery.previous = after
    if after >= 0:
        delivery.next = s.deliveries[after].next
        s.deliveries[after].next = at
    else:
        delivery.next = tally.first
        tally.first = at
    is_last = delivery.next < 0
    if is_last:
        tally.last = at
        if tally.unpaid < 0:
            tally.unpaid = at
            tally.before = tally.accepted
    else:
        s.deliveries[delivery.next].previous = at
    tally.accepted += int64(delivery.quantity)
    if is_last:
        settle_paid(s, order)
    else:
        settle_anew(s, order)


@kernel
def unlist_delivery(s: State, order: Any, at: int) -> None:
    """Takes a delivery out of its order's list and tally."""
    tally = s.tallies[order.tally]
    delivery = s.deliveries[at]
    delivery.marks &= ~LISTED & 0xFF
    if delivery.previous >= 0:
        s.deliveries[delivery.previous].next = delivery.next
    else:
        tally.first = delivery.next
    if delivery.next >= 0:
        s.deliveries[delivery.next].previous = delivery.previous
    else:
        tally.last = delivery.previous
    delivery.next = NONE
    delivery.previous = NONE
    tally.accepted -= int64(delivery.quantity)
    settle_anew(s, order)


@kernel
def tally_on_time(s: State, order: Any, due_ms: int) -> None:
    """Counts anew what was accepted by the time the order falls due."""
    if order.tally < 0:
        return
    tally = s.tallies[order.tally]
    tally.on_time = 0
    at = int64(tally.first)
    while at >= 0 and accepted_of(s.deliveries[at]) <= due_ms:
        tally.on_time += int64(s.deliveries[at].quantity)
        at = int64(s.deliveries[at].next)
