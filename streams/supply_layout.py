"""How contracts, orders, deliveries and payments lie in memory (SPEC §6, §7); see ``layout`` for the rest.

An order is one ORDER row, found by a hash of code, province and order_id; it may be there before its own record is
(``KNOWN``), made by a delivery or payment. What few orders have lies in pools of its own: a TALLY once something was
delivered, a DETAIL once it is paid, bargained, late, in arrears or watched for a channel gap.

A CONTRACT row is there as soon as an order names it (``at_ms`` ABSENT until its record comes). The row without an id
is the *place* of a code and province: it takes the orders without a contract and, for special drugs, its GAP.
Orders of a contract are a list through ``next`` and ``previous``.

Counts and lists are derived: they are not saved, ``supply.rebuild`` makes them.
"""

from typing import Final

import numpy as np

# marks of an ORDER
KNOWN: Final = 1  # its own record was accepted
PHARMACY: Final = 2  # its channel; else hospital
IN_WINDOW: Final = 4  # fell due within the window: counts for the fill rate
FALLEN: Final = 8  # fell due: what is missing is overdue
TOUCHED: Final = 16  # noted to be evaluated in this step; of a CONTRACT, too
COUNTED: Final = IN_WINDOW | FALLEN

# marks of a CONTRACT
LIVE: Final = 1  # midnights still evaluate its purchases
GAP_TOUCHED: Final = 2

PAID: Final = 1
"""Mark of a DETAIL: a payment was accepted, its at and seq count."""

LISTED: Final = 1
"""Mark of a DELIVERY: it has a quantity, and lies in the list of its order."""

ORDER: Final = np.dtype(
    [
        ("seq", "i8"),
        ("id_start", "i8"),  # its order_id in the arena
        ("price_lo", "u4"),
        ("at_lo", "u4"),  # of the last accepted record
        ("first_lo", "u4"),  # of the first
        ("offset_lo", "u4"),  # position of the last accepted record
        ("line", "i4"),
        ("queued_lo", "u4"),  # its earliest entry in the timer heap
        ("pack_size", "i4"),
        ("quantity", "u4"),
        ("institution", "i4"),  # in texts
        ("supplier", "i4"),
        ("code", "i4"),  # row
        ("contract", "i4"),  # row; NONE until its record came
        ("next", "i4"),  # of the contract's list
        ("previous", "i4"),
        ("tally", "i4"),
        ("detail", "i4"),
        ("hash", "u4"),
        ("at_hi", "u2"),
        ("first_hi", "u2"),
        ("offset_hi", "u2"),
        ("queued_hi", "u2"),
        ("id_length", "u2"),
        ("price_hi", "u1"),
        ("province", "u1"),
        ("marks", "u1"),
        ("dirty", "u1"),
        ("saved", "u1"),  # the slot of the state topic that has its latest version; 0: none
    ]
)

TALLY: Final = np.dtype(
    [
        ("accepted", "i8"),  # pieces, of all deliveries
        ("on_time", "i8"),  # accepted by the time the order falls due
        ("before", "i8"),  # accepted before the delivery ``unpaid``
        ("first", "i4"),  # deliveries by acceptance, oldest first
        ("last", "i4"),
        ("unpaid", "i4"),  # the earliest one that is not wholly paid; NONE
    ]
)

DETAIL: Final = np.dtype(
    [
        ("paid_at_ms", "i8"),
        ("paid_seq", "i8"),
        ("paid_e4", "i8"),
        ("owed_e4", "i8"),  # as the last event of the open alert has it
        ("opening", "u4"),  # of settlement_arrears
        ("revision", "u4"),
        ("bargains", "u4"),  # bargain alerts so far
        ("late", "i4"),  # node in the contract's heap of overdue orders
        ("open", "i4"),  # node in the channel's heap of open orders
        ("delivered", "i4"),  # node in the channel's heap of last deliveries
        ("band", "u1"),
        ("marks", "u1"),
    ]
)

DELIVERY: Final = np.dtype(
    [
        ("seq", "i8"),
        ("id_start", "i8"),
        ("at_lo", "u4"),
        ("accepted_lo", "u4"),
        ("quantity", "u4"),
        ("order", "i4"),
        ("next", "i4"),
        ("previous", "i4"),
        ("hash", "u4"),
        ("at_hi", "u2"),
        ("accepted_hi", "u2"),
        ("id_length", "u2"),
        ("marks", "u1"),
        ("dirty", "u1"),
        ("saved", "u1"),
    ]
)

CONTRACT: Final = np.dtype(
    [
        ("at_ms", "i8"),  # ABSENT: its record has not come
        ("seq", "i8"),
        ("id_start", "i8"),
        ("starts_ms", "i8"),
        ("ends_ms", "i8"),
        ("agreed", "i8"),
        ("offset", "i8"),
        ("supplier_hi", "u8"),
        ("ordered", "i8"),  # pieces of all orders
        ("due", "i8"),  # of those that fell due within the window
        ("filled", "i8"),  # of these, accepted on time
        ("overdue", "i8"),  # fell due and not accepted
        ("was_overdue", "i8"),  # after the last step
        ("purchase_ms", "i8"),  # the next midnight that matters; NEVER_MS
        ("queued_ms", "i8"),
        ("line", "i4"),
        ("supplier_lo", "u4"),
        ("institution", "i4"),  # in texts; NONE
        ("delivery_hours", "i4"),
        ("code", "i4"),
        ("next", "i4"),  # the code's next contract
        ("orders", "i4"),  # first of its list
        ("members", "i4"),  # how many orders
        ("late", "i4"),  # heap of overdue orders, by first_at
        ("gap", "i4"),  # of a place; NONE
        ("hash", "u4"),
        ("opening", "u4"),  # of supply_shortfall
        ("revision", "u4"),
        ("purchase_opening", "u4"),
        ("purchase_revision", "u4"),
        ("id_length", "u2"),
        ("province", "u1"),
        ("band", "u1"),
        ("purchase_band", "u1"),
        ("marks", "u1"),
        ("dirty", "u1"),
        ("saved", "u1"),
    ]
)

GAP: Final = np.dtype(
    [
        ("queued_ms", "i8"),
        ("open", "i4", (2,)),  # by channel: heap of open orders, by first_at
        ("delivered", "i4", (2,)),  # heap of orders by their latest acceptance, negated
        ("opening", "u4"),
        ("revision", "u4"),
        ("band", "u1"),
    ]
)

NODE: Final = np.dtype([("key", "i8"), ("child", "i4"), ("next", "i4"), ("previous", "i4")])
TEXT: Final = np.dtype([("start", "i8"), ("hash", "u4"), ("length", "u2")])
