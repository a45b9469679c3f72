"""What contracts, orders, deliveries and payments do in a step, and the evaluation of what they touched (SPEC §6, §7).

A record or timer notes in ``s.touched`` the contracts, places and orders that it may have changed; nothing else of the
code can change. At the end of the step they are sorted as SPEC §8 orders events, and evaluated. That may stop for
room and go on: all of a nationwide contract's orders may fall due in one step.
"""

from typing import Any

from numba import int64

from config.kernel import kernel
from schemas.columns import ABSENT, CONTRACT, ITEM, NO_BAND
from streams.alarms import set_contract_alarm, set_gap_alarm, set_order_alarm, take_entry
from streams.channels import evaluate_gap, track, unwatch, watch
from streams.deliveries import accepted_of, list_delivery, price_of_order, settle_anew, settle_paid, unlist_delivery
from streams.effects import APPLIED, STALE
from streams.kernels import is_newer
from streams.layout import NONE, SPECIAL_DRUG, TRACKED
from streams.pools import ENOUGH, short_pool, touch_code
from streams.purchases import evaluate_purchase, set_purchase
from streams.quantities import midnight_from
from streams.settlement import evaluate_arrears
from streams.state import State
from streams.supply import count, count_all, due_after, evaluate_supply, first_at, join, leave, withdraw
from streams.supply_layout import GAP_TOUCHED, KNOWN, LISTED, LIVE, PAID, PHARMACY, TOUCHED
from streams.supply_pools import (
    contract_for,
    delivery_for,
    detail_for,
    find_contract,
    id_hash,
    joined,
    order_for,
    place_seed,
    short_supply,
    supplier_text,
    text_of,
)
from streams.timers import OF_CONTRACT, OF_GAP, OF_ORDER

# --- what changed -----------------------------------------------------------------------------------------------------


@kernel
def note(s: State, kind: int, at: int) -> None:
    """Notes a row to be evaluated."""
    s.touched[s.meta[0].touched] = (int64(kind) << 32) | int64(at)
    s.meta[0].touched += 1


@kernel
def touch_contract(s: State, at: int) -> None:
    """Notes a contract, once."""
    contract = s.contracts[at]
    if contract.at_ms != ABSENT and contract.marks & TOUCHED == 0:
        contract.marks |= TOUCHED
        note(s, OF_CONTRACT, at)


@kernel
def touch_gap(s: State, at: int) -> None:
    """Notes a place, once; NONE is none."""
    if at >= 0 and s.contracts[at].marks & GAP_TOUCHED == 0:
        s.contracts[at].marks |= GAP_TOUCHED
        note(s, OF_GAP, at)


@kernel
def touch_arrears(s: State, at: int) -> None:
    """Notes an order, once."""
    order = s.orders[at]
    if order.marks & KNOWN != 0 and order.marks & TOUCHED == 0:
        order.marks |= TOUCHED
        note(s, OF_ORDER, at)


@kernel
def save_order(s: State, at: int) -> None:
    """Says that an order's row must be written at the next checkpoint."""
    if s.orders[at].dirty == 0:
        s.orders[at].dirty = 1
        s.dirty_orders[s.meta[0].dirty_orders] = at
        s.meta[0].dirty_orders += 1


@kernel
def save_delivery(s: State, at: int) -> None:
    """The same of a delivery's row."""
    if s.deliveries[at].dirty == 0:
        s.deliveries[at].dirty = 1
        s.dirty_deliveries[s.meta[0].dirty_deliveries] = at
        s.meta[0].dirty_deliveries += 1


@kernel
def save_contract(s: State, at: int) -> None:
    """The same of a contract's or place's row."""
    if s.contracts[at].dirty == 0:
        s.contracts[at].dirty = 1
        s.dirty_contracts[s.meta[0].dirty_contracts] = at
        s.meta[0].dirty_contracts += 1


# --- records ----------------------------------------------------------------------------------------------------------


@kernel
def moved_orders(s: State, row: int, record: Any) -> int:
    """How many orders a record may move besides its own: those of its contract, or of a code that it begins to track."""
    if row < 0:
        return 0
    if record.type == CONTRACT:
        hash32 = id_hash(s.data, record.key_start, record.key_length, place_seed(row, record.province))
        at = find_contract(s, row, record.province, record.key_start, record.key_length, hash32)
        return int64(s.contracts[at].members) if at >= 0 else 0
    if record.type == ITEM and record.special_drug == 1 and s.codes[row].marks & TRACKED == 0:
        return orders_of(s, row)
    return 0


@kernel
def orders_of(s: State, row: int) -> int:
    """How many orders a code has, and contracts."""
    found = 0
    at = int64(s.codes[row].contracts)
    while at >= 0:
        found += 1 + int64(s.contracts[at].members)
        at = int64(s.contracts[at].next)
    return found


@kernel
def fill_order(s: State, order: Any, placed: Any) -> None:
    """Sets what an accepted record says of an order, but for its contract."""
    order.at_lo = placed.at_ms & 0xFFFFFFFF
    order.at_hi = placed.at_ms >> 32
    if order.marks & KNOWN == 0:
        order.first_lo = order.at_lo
        order.first_hi = order.at_hi
    order.marks = (order.marks | KNOWN) & (0xFF & ~PHARMACY)
    if placed.channel == 1:
        order.marks |= PHARMACY
    order.seq = placed.seq
    order.price_lo = placed.price_e4 & 0xFFFFFFFF
    order.price_hi = placed.price_e4 >> 32
    order.pack_size = placed.pack_size
    order.quantity = placed.quantity
    order.offset_lo = placed.offset & 0xFFFFFFFF
    order.offset_hi = placed.offset >> 32
    order.line = placed.line
    order.institution = text_of(s, placed.institution_start, int64(placed.institution_length))
    order.supplier = supplier_text(s, placed.supplier_hi, placed.supplier_lo)


@kernel
def accept_order(s: State, row: int) -> int:
    """Applies an order to its contract, channel and debts; returns its row, NONE if the record is stale."""
    placed = s.records[s.meta[0].trigger]
    clock_ms = s.meta[0].clock_ms
    at = order_for(s, row, placed.province, placed.key_start, int64(placed.key_length))
    order = s.orders[at]
    was_known = order.marks & KNOWN != 0
    if was_known and not is_newer(placed.at_ms, placed.seq, joined(order.at_lo, order.at_hi), order.seq):
        return NONE
    if s.codes[row].marks & TRACKED:
        unwatch(s, at)
    withdraw(s, at)
    same_price = price_of_order(order) == placed.price_e4 and order.pack_size == placed.pack_size
    fill_order(s, order, placed)
    under = contract_for(s, row, placed.province, placed.second_start, int64(placed.second_length))
    was_under = int64(order.contract)
    if was_under != under:
        leave(s, at)
        join(s, at, under)
    count(s, at, clock_ms)
    if was_under >= 0 and was_under != under:
        set_purchase(s.contracts[was_under], clock_ms)
        touch_contract(s, was_under)
    set_purchase(s.contracts[under], clock_ms)
    touch_contract(s, under)
    if not (was_known and same_price):
        settle_anew(s, order)
    touch_gap(s, watch(s, at))
    if order.tally >= 0:
        touch_arrears(s, at)
    set_order_alarm(s, at)
    save_order(s, at)
    touch_code(s, row)
    return at


@kernel
def due_of_order(s: State, order: Any) -> int:
    """When an order falls due; NONE while that is unknown."""
    if order.contract < 0 or s.contracts[order.contract].at_ms == ABSENT:
        return NONE
    return due_after(first_at(order), s.contracts[order.contract])


@kernel
def apply_delivery(s: State, row: int) -> int:
    """Applies a delivery."""
    placed = s.records[s.meta[0].trigger]
    of = order_for(s, row, placed.province, placed.key_start, int64(placed.key_length))
    at = delivery_for(s, of, placed.second_start, int64(placed.second_length))
    order = s.orders[of]
    delivery = s.deliveries[at]
    if not is_newer(placed.at_ms, placed.seq, joined(delivery.at_lo, delivery.at_hi), delivery.seq):
        return STALE
    withdraw(s, of)
    due_ms = due_of_order(s, order)
    if delivery.marks & LISTED:
        if accepted_of(delivery) <= due_ms:
            s.tallies[order.tally].on_time -= int64(delivery.quantity)
        unlist_delivery(s, order, at)
    delivery.at_lo = placed.at_ms & 0xFFFFFFFF
    delivery.at_hi = placed.at_ms >> 32
    delivery.seq = placed.seq
    delivery.accepted_lo = placed.accepted_ms & 0xFFFFFFFF
    delivery.accepted_hi = placed.accepted_ms >> 32
    delivery.quantity = placed.quantity
    if placed.quantity > 0:
        list_delivery(s, order, at)
        if placed.accepted_ms <= due_ms:
            s.tallies[order.tally].on_time += placed.quantity
    count(s, of, s.meta[0].clock_ms)
    if order.contract >= 0:
        touch_contract(s, order.contract)
    touch_gap(s, watch(s, of))
    touch_arrears(s, of)
    set_order_alarm(s, of)
    save_delivery(s, at)
    touch_code(s, row)
    return APPLIED


@kernel
def apply_payment(s: State, row: int) -> int:
    """Applies a payment."""
    placed = s.records[s.meta[0].trigger]
    at = order_for(s, row, placed.province, placed.key_start, int64(placed.key_length))
    order = s.orders[at]
    detail = s.details[detail_for(s, order)]
    if detail.marks & PAID and not is_newer(placed.at_ms, placed.seq, detail.paid_at_ms, detail.paid_seq):
        return STALE
    detail.marks |= PAID
    detail.paid_at_ms = placed.at_ms
    detail.paid_seq = placed.seq
    before_e4 = detail.paid_e4
    detail.paid_e4 = placed.paid_total_e4
    if detail.paid_e4 >= before_e4:
        settle_paid(s, order)
    else:
        settle_anew(s, order)
    touch_arrears(s, at)
    set_order_alarm(s, at)
    save_order(s, at)
    touch_code(s, row)
    return APPLIED


@kernel
def apply_contract(s: State, row: int) -> int:
    """Applies a contract: orders that named it before count from now on."""
    placed = s.records[s.meta[0].trigger]
    clock_ms = s.meta[0].clock_ms
    at = contract_for(s, row, placed.province, placed.key_start, int64(placed.key_length))
    contract = s.contracts[at]
    if not is_newer(placed.at_ms, placed.seq, contract.at_ms, contract.seq):
        return STALE
    counts_anew = contract.at_ms == ABSENT or contract.delivery_hours != placed.delivery_hours
    contract.at_ms = placed.at_ms
    contract.seq = placed.seq
    contract.starts_ms = placed.starts_ms
    contract.ends_ms = placed.ends_ms
    contract.agreed = placed.agreed_quantity
    contract.delivery_hours = placed.delivery_hours
    contract.supplier_hi = placed.supplier_hi
    contract.supplier_lo = placed.supplier_lo
    contract.institution = text_of(s, placed.institution_start, int64(placed.institution_length))
    contract.offset = placed.offset
    contract.line = placed.line
    contract.marks &= ~LIVE & 0xFF
    if midnight_from(placed.ends_ms) > clock_ms or contract.purchase_band != NO_BAND:
        contract.marks |= LIVE
    if counts_anew:
        count_all(s, at, clock_ms)
        order = int64(contract.orders)
        while order >= 0:
            set_order_alarm(s, order)
            order = int64(s.orders[order].next)
    set_purchase(contract, clock_ms)
    touch_contract(s, at)
    save_contract(s, at)
    touch_code(s, row)
    return APPLIED


@kernel
def follow_item(s: State, row: int, was_special: bool) -> None:
    """Notes the places of a code that became or ceased to be a special drug."""
    is_special = s.codes[row].marks & SPECIAL_DRUG != 0
    if is_special == was_special:
        return
    if is_special and s.codes[row].marks & TRACKED == 0:
        track(s, row)
    at = int64(s.codes[row].contracts)
    while at >= 0:
        if s.contracts[at].gap >= 0:
            touch_gap(s, at)
        at = int64(s.contracts[at].next)


@kernel
def touch_contracts(s: State, row: int) -> None:
    """Notes all contracts of a code: a policy record evaluates them."""
    at = int64(s.codes[row].contracts)
    while at >= 0:
        touch_contract(s, at)
        at = int64(s.contracts[at].next)


# --- timers -----------------------------------------------------------------------------------------------------------


@kernel
def gather_due(s: State, row: int) -> bool:
    """Takes all entries of a code due now off the heap, and notes whose they were; False if a pool is short."""
    meta = s.meta[0]
    while meta.timers > 0 and s.timers[0].due_ms == meta.clock_ms and s.timers[0].code == row:
        meta.short = short_supply(s, 0)
        if meta.short != ENOUGH:
            return False
        ref = int64(s.timers[0].ref)
        take_entry(s)
        if ref < 0:
            if s.codes[row].due_ms == meta.clock_ms:
                meta.prices_due = 1
        elif ref & 3 == OF_CONTRACT:
            touch_contract(s, ref >> 2)
        elif ref & 3 == OF_GAP:
            touch_gap(s, ref >> 2)
        else:
            fire_order(s, ref >> 2)
    return True


@kernel
def fire_order(s: State, at: int) -> None:
    """An order falls due, leaves the window, or its arrears reach a mark."""
    order = s.orders[at]
    before = int64(order.marks)
    withdraw(s, at)
    count(s, at, s.meta[0].clock_ms)
    if order.contract >= 0 and (order.marks ^ before) != 0:
        touch_contract(s, order.contract)
    if order.tally >= 0 and s.tallies[order.tally].unpaid >= 0:
        touch_arrears(s, at)
    set_order_alarm(s, at)


# --- evaluation -------------------------------------------------------------------------------------------------------


@kernel
def place_and_id(s: State, touched: int) -> tuple[int, int, int]:
    """Province of a noted row, and where its id lies in the arena."""
    at = touched & 0xFFFFFFFF
    if touched >> 32 == OF_ORDER:
        order = s.orders[at]
        return int64(order.province), int64(order.id_start), int64(order.id_length)
    contract = s.contracts[at]
    return int64(contract.province), int64(contract.id_start), int64(contract.id_length)


@kernel
def goes_first(s: State, one: int, other: int) -> bool:
    """Whether one noted row is evaluated before another: by kind, province and id, in bytes (SPEC §8)."""
    if one >> 32 != other >> 32:
        return one >> 32 < other >> 32
    province, start, length = place_and_id(s, one)
    other_province, other_start, other_length = place_and_id(s, other)
    if province != other_province:
        return province < other_province
    for i in range(min(length, other_length)):
        byte = s.arena[start + i]
        other_byte = s.arena[other_start + i]
        if byte != other_byte:
            return byte < other_byte
    return length < other_length


@kernel
def sink_down(s: State, at: int, size: int) -> None:
    """Restores the heap order below a place of ``touched``, the last at the top."""
    moved = s.touched[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and goes_first(s, s.touched[child], s.touched[child + 1]):
            child += 1
        if not goes_first(s, moved, s.touched[child]):
            break
        s.touched[at] = s.touched[child]
        at = child
    s.touched[at] = moved


@kernel
def sort_touched(s: State) -> None:
    """Sorts the noted rows, by insertion where they are few, else as a heap."""
    size = s.meta[0].touched
    if size <= 16:
        for i in range(1, size):
            moved = s.touched[i]
            at = i
            while at > 0 and goes_first(s, moved, s.touched[at - 1]):
                s.touched[at] = s.touched[at - 1]
                at -= 1
            s.touched[at] = moved
        return
    for at in range(size // 2 - 1, -1, -1):
        sink_down(s, at, size)
    for end in range(size - 1, 0, -1):
        first = s.touched[0]
        s.touched[0] = s.touched[end]
        s.touched[end] = first
        sink_down(s, 0, end)


@kernel
def evaluate_one(s: State, touched: int, purchases: bool) -> None:
    """Evaluates a noted row, and sets its timer."""
    at = touched & 0xFFFFFFFF
    kind = touched >> 32
    if kind == OF_CONTRACT and not purchases:
        if evaluate_supply(s, at):
            save_contract(s, at)
    elif kind == OF_CONTRACT:
        s.contracts[at].marks &= ~TOUCHED & 0xFF
        if evaluate_purchase(s, at):
            save_contract(s, at)
        set_contract_alarm(s, at)
    elif kind == OF_GAP:
        s.contracts[at].marks &= ~GAP_TOUCHED & 0xFF
        if evaluate_gap(s, at):
            save_contract(s, at)
        set_gap_alarm(s, at)
    else:
        s.orders[at].marks &= ~TOUCHED & 0xFF
        if evaluate_arrears(s, at):
            save_order(s, at)


@kernel
def evaluate_touched(s: State) -> bool:
    """Evaluates what the step noted, in the order of its events; False if it stopped for room."""
    meta = s.meta[0]
    if meta.touched == 0:
        return True
    if meta.evaluated == 0 and meta.touched > 1:
        sort_touched(s)
    contracts = 0
    while contracts < meta.touched and s.touched[contracts] >> 32 == OF_CONTRACT:
        contracts += 1
    is_bounded = meta.timer == 0 and meta.policy_step == 0  # a record's own step: there was room before it
    while meta.evaluated < meta.touched + contracts:
        if not is_bounded:
            meta.short = short_pool(s)
            if meta.short == ENOUGH:
                meta.short = short_supply(s, 0)
            if meta.short != ENOUGH:
                return False
        turn = meta.evaluated
        meta.evaluated += 1
        evaluate_one(s, s.touched[turn if turn < contracts else turn - contracts], turn >= contracts)
    meta.touched = 0
    meta.evaluated = 0
    return True
