"""Rows of orders, deliveries and contracts to bytes for the state topic, and back; and reading rows of all kinds.

A key: code, ``/``, kind (``c`` ``d`` ``o``), slot, province, ``/``, ids; a delivery's order_id with its length in two bytes
before it. A value: layout version, stamp, province, then

- order: its contract_id, institution and supplier, the ORDER row, its DETAIL row if it has one
- delivery: the DELIVERY row
- contract, or place with a gap: its institution, the CONTRACT row, its GAP row if it has one

each text with its length in two bytes before it. What is derived is blank in the rows.

A code's rows of supply belong together and to the code's own row: an order ahead of its contract would change what
the contract's next event says. So a row is written to two slots by turns, and its stamp is the offset up to which its code
was applied. The code's row, which every step of the code changes, comes after them; whichever version of it is taken,
of each row of supply the latest that is not ahead of it is there, and is taken: a checkpoint cut short leaves nothing
half done, even where Kafka has dropped older versions.
"""

from typing import Any, Final

from numba import int64

from config.kernel import kernel
from schemas.codes import murmur2_of
from schemas.columns import ABSENT
from streams.alarms import queue_order
from streams.checkpoint import ROW_VERSION, Raw, copy_in, copy_out, read_code, short_for_code
from streams.deliveries import list_delivery, unlist_delivery
from streams.layout import FOREVER_MS, NEVER_MS, NONE
from streams.pools import ENOUGH, add_code, find_code, short_pool
from streams.state import State
from streams.supply import join, leave
from streams.supply_layout import CONTRACT, DELIVERY, DETAIL, GAP, KNOWN, LISTED, LIVE, ORDER, PAID, PHARMACY
from streams.supply_pools import (
    SUPPLIER_BYTES,
    contract_for,
    delivery_for,
    detail_for,
    gap_for,
    joined,
    kept_text,
    order_for,
    short_supply,
    text_of,
)
from streams.words import PROVINCE_DIGITS

SLASH: Final = ord("/")
OF_CONTRACT: Final = ord("c")
OF_DELIVERY: Final = ord("d")
OF_ORDER: Final = ord("o")
KEY_EXTRA: Final = 10  # "/o1320000/"
HEAD_BYTES: Final = 10  # version, stamp, province
ORDER_BYTES: Final = ORDER.itemsize
DETAIL_BYTES: Final = DETAIL.itemsize
DELIVERY_BYTES: Final = DELIVERY.itemsize
CONTRACT_BYTES: Final = CONTRACT.itemsize
GAP_BYTES: Final = GAP.itemsize
ORDER_ROOM: Final = 27 + KEY_EXTRA + HEAD_BYTES + 4 + SUPPLIER_BYTES + ORDER_BYTES + DETAIL_BYTES
DELIVERY_ROOM: Final = 27 + KEY_EXTRA + HEAD_BYTES + 2 + DELIVERY_BYTES
CONTRACT_ROOM: Final = 27 + KEY_EXTRA + HEAD_BYTES + 2 + CONTRACT_BYTES + GAP_BYTES
FIRST_SLOT: Final = 1


@kernel
def supply_room(s: State, contracts: Any, deliveries: Any, orders: Any) -> int:
    """Bytes that the keys and values of some rows take at most."""
    room = 0
    for at in contracts:
        contract = s.contracts[at]
        room += CONTRACT_ROOM + int64(contract.id_length)
        if contract.institution >= 0:
            room += int64(s.texts[contract.institution].length)
    for at in deliveries:
        delivery = s.deliveries[at]
        room += DELIVERY_ROOM + int64(delivery.id_length) + int64(s.orders[delivery.order].id_length)
    for at in orders:
        order = s.orders[at]
        room += ORDER_ROOM + int64(order.id_length)
        if order.contract >= 0:
            room += int64(s.contracts[order.contract].id_length)
        if order.institution >= 0:
            room += int64(s.texts[order.institution].length)
    return room


@kernel
def put_number(out: Any, at: int, number: int, width: int) -> int:
    """Writes an integer, little-endian."""
    for i in range(width):
        out[at + i] = (int64(number) >> (8 * i)) & 255
    return at + width


@kernel
def number_at(source: Any, at: int, width: int) -> int:
    """Reads an integer that ``put_number`` wrote; of 8 bytes it may be negative."""
    number = int64(0)
    for i in range(width):
        number |= int64(source[at + i]) << (8 * i)
    return number


@kernel
def put_arena(s: State, start: int, length: int, out: Any, at: int) -> int:
    """Writes bytes of the arena."""
    for i in range(length):
        out[at + i] = s.arena[start + i]
    return at + int64(length)


@kernel
def put_text(s: State, text: int, out: Any, at: int) -> int:
    """Writes a text with its length."""
    if text < 0:
        return put_number(out, at, 0, 2)
    length = int64(s.texts[text].length)
    return put_arena(s, s.texts[text].start, length, out, put_number(out, at, length, 2))


@kernel
def put_key_head(s: State, row: int, kind: int, slot: int, province: int, out: Any, at: int) -> int:
    """Writes a key up to the ids."""
    code = s.codes[row]
    for i in range(code.code_length):
        out[at + i] = code.code[i]
    at += int64(code.code_length)
    out[at] = SLASH
    out[at + 1] = kind
    out[at + 2] = 48 + slot
    for i in range(6):
        out[at + 3 + i] = PROVINCE_DIGITS[province, i]
    out[at + 9] = SLASH
    return at + KEY_EXTRA


@kernel
def put_head(s: State, row: int, province: int, keep: bool, out: Any, at: int) -> int:
    """Writes what each value begins with."""
    out[at] = ROW_VERSION
    at = put_number(out, at + 1, s.codes[row].applied_offset if keep else 0, 8)
    out[at] = province
    return at + 1


@kernel
def next_slot(row: Any, keep: bool) -> int:
    """The slot that a row goes to; ``keep``: it is saved there now, and clean."""
    if not keep:
        return FIRST_SLOT
    slot = 2 if row.saved == FIRST_SLOT else FIRST_SLOT
    row.saved = slot
    row.dirty = 0
    return slot


@kernel
def tells_something(detail: Any) -> bool:
    """Tells whether a detail has anything that does not follow from other rows."""
    return bool(detail.marks & PAID or detail.opening > 0 or detail.bargains > 0)


@kernel
def write_contracts(
    s: State, scratch: State, scratch_raw: Raw, rows: Any, keep: bool, out: Any, at: int, spans: Any
) -> int:
    """Writes keys and values of some contracts and places; ``spans``: key start, key end, end. Returns the end.

    ``keep``: the rows are saved by this. Else they are as a first checkpoint would write them, without stamps.
    """
    for i in range(rows.size):
        contract = s.contracts[rows[i]]
        spans[i, 0] = at
        at = put_key_head(s, contract.code, OF_CONTRACT, next_slot(contract, keep), contract.province, out, at)
        at = put_arena(s, contract.id_start, int64(contract.id_length), out, at)
        spans[i, 1] = at
        at = put_head(s, contract.code, contract.province, keep, out, at)
        at = put_text(s, contract.institution, out, at)
        scratch.contracts[0] = contract
        copied = scratch.contracts[0]
        copied.id_start = 0
        copied.ordered = 0
        copied.due = 0
        copied.filled = 0
        copied.overdue = 0
        copied.was_overdue = 0
        copied.purchase_ms = NEVER_MS
        copied.queued_ms = NEVER_MS
        copied.institution = NONE
        copied.code = NONE
        copied.next = NONE
        copied.orders = NONE
        copied.members = 0
        copied.late = NONE
        copied.gap = min(0, contract.gap)
        copied.hash = 0
        copied.marks &= LIVE
        copied.dirty = 0
        copied.saved = 0
        at = copy_out(out, at, scratch_raw.contracts, 0, 1, CONTRACT_BYTES)
        if contract.gap >= 0:
            scratch.gaps[0] = s.gaps[contract.gap]
            blank = scratch.gaps[0]
            blank.queued_ms = NEVER_MS
            for channel in range(2):
                blank.open[channel] = NONE
                blank.delivered[channel] = NONE
            at = copy_out(out, at, scratch_raw.gaps, 0, 1, GAP_BYTES)
        spans[i, 2] = at
    return at


@kernel
def write_deliveries(
    s: State, scratch: State, scratch_raw: Raw, rows: Any, keep: bool, out: Any, at: int, spans: Any
) -> int:
    """Writes keys and values of some deliveries; see ``write_contracts``."""
    for i in range(rows.size):
        delivery = s.deliveries[rows[i]]
        order = s.orders[delivery.order]
        spans[i, 0] = at
        at = put_key_head(s, order.code, OF_DELIVERY, next_slot(delivery, keep), order.province, out, at)
        at = put_number(out, at, order.id_length, 2)
        at = put_arena(s, order.id_start, int64(order.id_length), out, at)
        at = put_arena(s, delivery.id_start, int64(delivery.id_length), out, at)
        spans[i, 1] = at
        at = put_head(s, order.code, order.province, keep, out, at)
        scratch.deliveries[0] = delivery
        copied = scratch.deliveries[0]
        copied.id_start = 0
        copied.order = NONE
        copied.next = NONE
        copied.previous = NONE
        copied.hash = 0
        copied.marks = 0
        copied.dirty = 0
        copied.saved = 0
        at = copy_out(out, at, scratch_raw.deliveries, 0, 1, DELIVERY_BYTES)
        spans[i, 2] = at
    return at


@kernel
def write_orders(
    s: State, scratch: State, scratch_raw: Raw, rows: Any, keep: bool, out: Any, at: int, spans: Any
) -> int:
    """Writes keys and values of some orders; see ``write_contracts``."""
    for i in range(rows.size):
        order = s.orders[rows[i]]
        spans[i, 0] = at
        at = put_key_head(s, order.code, OF_ORDER, next_slot(order, keep), order.province, out, at)
        at = put_arena(s, order.id_start, int64(order.id_length), out, at)
        spans[i, 1] = at
        at = put_head(s, order.code, order.province, keep, out, at)
        if order.contract >= 0:
            under = s.contracts[order.contract]
            at = put_number(out, at, under.id_length, 2)
            at = put_arena(s, under.id_start, int64(under.id_length), out, at)
        else:
            at = put_number(out, at, 0, 2)
        at = put_text(s, order.institution, out, at)
        if order.supplier >= 0:
            at = put_arena(s, s.texts[order.supplier].start, SUPPLIER_BYTES, out, at)
        else:
            at = put_number(out, at, 0, SUPPLIER_BYTES)
        scratch.orders[0] = order
        copied = scratch.orders[0]
        copied.id_start = 0
        queue_order(copied, FOREVER_MS)
        copied.institution = NONE
        copied.supplier = NONE
        copied.code = NONE
        copied.contract = NONE
        copied.next = NONE
        copied.previous = NONE
        copied.tally = NONE
        has_detail = order.detail >= 0 and tells_something(s.details[order.detail])
        copied.detail = 0 if has_detail else NONE
        copied.hash = 0
        copied.marks &= KNOWN | PHARMACY
        copied.dirty = 0
        copied.saved = 0
        at = copy_out(out, at, scratch_raw.orders, 0, 1, ORDER_BYTES)
        if has_detail:
            scratch.details[0] = s.details[order.detail]
            scratch.details[0].late = NONE
            scratch.details[0].open = NONE
            scratch.details[0].delivered = NONE
            at = copy_out(out, at, scratch_raw.details, 0, 1, DETAIL_BYTES)
        spans[i, 2] = at
    return at


@kernel
def worth_saving(s: State, contracts: Any, orders: Any) -> tuple[int, int]:
    """Fills in which contracts and orders have anything that does not follow from other rows; returns how many."""
    some_contracts = 0
    for at in range(s.meta[0].contracts):
        contract = s.contracts[at]
        if contract.at_ms != ABSENT or (contract.gap >= 0 and s.gaps[contract.gap].opening > 0):
            contracts[some_contracts] = at
            some_contracts += 1
    some_orders = 0
    for at in range(s.meta[0].orders):
        order = s.orders[at]
        if order.marks & KNOWN or (order.detail >= 0 and s.details[order.detail].marks & PAID):
            orders[some_orders] = at
            some_orders += 1
    return some_contracts, some_orders


# --- reading ----------------------------------------------------------------------------------------------------------


@kernel
def read_contract(
    s: State, raw: Raw, scratch: State, scratch_raw: Raw, row: int, id_start: int, end: int, stamp: int, slot: int
) -> None:
    """Takes a contract's value ``data[end:]``, unless a later one is there; ``queued_ms`` holds its stamp meanwhile."""
    at = end + HEAD_BYTES
    length = number_at(s.data, at, 2)
    institution = text_of(s, at + 2, length)
    at = copy_in(scratch_raw.contracts, 0, 1, CONTRACT_BYTES, s.data, at + 2 + length)
    read = scratch.contracts[0]
    made = contract_for(s, row, read.province, id_start, end - id_start)
    contract = s.contracts[made]
    if contract.queued_ms != NEVER_MS and stamp <= contract.queued_ms:
        return
    read.id_start = contract.id_start
    read.code = row
    read.next = contract.next
    read.orders = contract.orders
    read.members = contract.members
    read.hash = contract.hash
    read.institution = institution
    has_gap = read.gap >= 0
    read.gap = contract.gap
    read.queued_ms = stamp
    read.saved = slot
    s.contracts[made] = read
    if has_gap:
        gap = gap_for(s, s.contracts[made])
        copy_in(raw.gaps, gap, 1, GAP_BYTES, s.data, at)


@kernel
def read_delivery(s: State, scratch: State, scratch_raw: Raw, row: int, id_start: int, end: int, slot: int) -> None:
    """Takes a delivery's value, unless a later one is there: the last writer wins."""
    province = s.data[end + HEAD_BYTES - 1]
    copy_in(scratch_raw.deliveries, 0, 1, DELIVERY_BYTES, s.data, end + HEAD_BYTES)
    read = scratch.deliveries[0]
    length = number_at(s.data, id_start, 2)
    of = order_for(s, row, province, id_start + 2, length)
    made = delivery_for(s, of, id_start + 2 + length, end - (id_start + 2 + length))
    order = s.orders[of]
    delivery = s.deliveries[made]
    at_ms = joined(read.at_lo, read.at_hi)
    was_ms = joined(delivery.at_lo, delivery.at_hi)
    if at_ms < was_ms or (at_ms == was_ms and read.seq <= delivery.seq):
        return
    if delivery.marks & LISTED:
        unlist_delivery(s, order, made)
    delivery.at_lo = read.at_lo
    delivery.at_hi = read.at_hi
    delivery.seq = read.seq
    delivery.accepted_lo = read.accepted_lo
    delivery.accepted_hi = read.accepted_hi
    delivery.quantity = read.quantity
    delivery.saved = slot
    if delivery.quantity > 0:
        list_delivery(s, order, made)


@kernel
def read_order(
    s: State, raw: Raw, scratch: State, scratch_raw: Raw, row: int, id_start: int, end: int, stamp: int, slot: int
) -> None:
    """Takes an order's value ``data[end:]``, unless a later one is there; ``queued`` holds its stamp meanwhile."""
    at = end + HEAD_BYTES
    contract_length = number_at(s.data, at, 2)
    contract_start = at + 2
    at = contract_start + contract_length
    length = number_at(s.data, at, 2)
    institution_start = at + 2
    supplier_start = institution_start + length
    at = copy_in(scratch_raw.orders, 0, 1, ORDER_BYTES, s.data, supplier_start + SUPPLIER_BYTES)
    read = scratch.orders[0]
    made = order_for(s, row, read.province, id_start, end - id_start)
    order = s.orders[made]
    was = joined(order.queued_lo, order.queued_hi)
    if was != FOREVER_MS and stamp <= was:
        return
    leave(s, made)
    read.id_start = order.id_start
    read.code = row
    read.hash = order.hash
    read.tally = order.tally
    has_detail = read.detail >= 0
    read.detail = order.detail
    read.saved = slot
    s.orders[made] = read
    queue_order(order, stamp)
    if has_detail:
        detail = detail_for(s, order)
        copy_in(raw.details, detail, 1, DETAIL_BYTES, s.data, at)
    if order.marks & KNOWN:
        order.institution = text_of(s, institution_start, length)
        for i in range(SUPPLIER_BYTES):
            s.arena[s.meta[0].arena + i] = s.data[supplier_start + i]
        order.supplier = kept_text(s, SUPPLIER_BYTES)
        join(s, made, contract_for(s, row, order.province, contract_start, contract_length))


@kernel
def read_supply(
    s: State, raw: Raw, scratch: State, scratch_raw: Raw, start: int, slash: int, end: int, limit: int, only_lost: bool
) -> bool:
    """Takes a row of supply; see ``checkpoint.read_code``. ``only_lost``: unless it is ahead of its code."""
    stamp = number_at(s.data, end + 1, 8)
    length = slash - start
    hash32 = murmur2_of(s.data, start, length)
    row = find_code(s, start, length, hash32)
    if only_lost:
        if row < 0 or stamp > s.codes[row].applied_offset:
            return True
    elif stamp >= limit:
        return False
    if row < 0:
        row = add_code(s, start, length, hash32)
    kind = s.data[slash + 1]
    slot = int64(s.data[slash + 2]) - 48
    id_start = slash + KEY_EXTRA
    if kind == OF_CONTRACT:
        read_contract(s, raw, scratch, scratch_raw, row, id_start, end, stamp, slot)
    elif kind == OF_ORDER:
        read_order(s, raw, scratch, scratch_raw, row, id_start, end, stamp, slot)
    else:
        read_delivery(s, scratch, scratch_raw, row, id_start, end, slot)
    return True


@kernel
def read_rows(
    s: State, raw: Raw, scratch: State, scratch_raw: Raw, spans: Any, first: int, limit: int, only_lost: bool, left: Any
) -> int:
    """Takes rows read from the state topic, ``spans[first:]`` over ``s.data``; returns where it stopped for room.

    ``left``: becomes 1 for each row that is not taken because it is applied from ``limit`` on.
    """
    for i in range(first, spans.shape[0]):
        start = spans[i, 0]
        end = spans[i, 1]
        slash = start
        while slash < end and s.data[slash] != SLASH:
            slash += 1
        if slash == end:
            s.meta[0].short = short_for_code(s, scratch, scratch_raw, end)
        else:
            s.meta[0].short = short_pool(s)
            if s.meta[0].short == ENOUGH:
                s.meta[0].short = short_supply(s, 0)
        if s.meta[0].short != ENOUGH:
            return i
        if slash == end:
            taken = read_code(s, raw, scratch, scratch_raw, start, end, limit, only_lost)
        else:
            taken = read_supply(s, raw, scratch, scratch_raw, start, slash, end, limit, only_lost)
        if not taken:
            left[i] = 1
    return int(spans.shape[0])
