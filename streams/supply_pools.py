"""Finding and making the rows of supply and settlement: orders, deliveries, contracts, texts, and what hangs on them.

As in ``pools``, nothing here checks for room: ``short_supply`` did, for one step or as many rows as the caller named.
"""

from typing import Any, Final

from numba import int64

from config.kernel import kernel
from schemas.columns import ABSENT, NO_BAND
from streams.layout import NEVER_MS, NONE
from streams.pools import ENOUGH, SHORT_TIMERS, bucket, enter
from streams.state import State

TIMERS_PER_STEP: Final = 44
"""Entries: 32 gaps of an item, contracts, orders, prices."""
PLACES_PER_STEP: Final = 34
"""An item may make a place of each province, an order a contract and a place."""
ARENA_PER_STEP: Final = 1_280
"""Bytes: order, contract, delivery, institution, supplier."""
TEXTS_PER_STEP: Final = 2
(
    SHORT_ORDERS, SHORT_TALLIES, SHORT_DETAILS, SHORT_DELIVERIES, SHORT_CONTRACTS, SHORT_GAPS, SHORT_NODES,
    SHORT_TEXTS, SHORT_ARENA, SHORT_TOUCHED,
) = range(10, 20)  # fmt: skip
NODES_PER_ORDER: Final = 3
SUPPLIER_BYTES: Final = 12


@kernel
def short_supply(s: State, orders: int) -> int:
    """Returns ENOUGH, or which pool has no room for one more step that moves ``orders`` orders besides its own."""
    meta = s.meta[0]
    meta.need = orders
    if meta.orders + 1 > s.orders.size or 5 * (meta.orders + 1) > 3 * s.order_index.size:
        return SHORT_ORDERS
    if meta.arena + ARENA_PER_STEP > s.arena.size:
        return SHORT_ARENA
    if meta.tallies + 1 > s.tallies.size:
        return SHORT_TALLIES
    if meta.details + orders + 1 > s.details.size:
        return SHORT_DETAILS
    if meta.deliveries + 1 > s.deliveries.size or 5 * (meta.deliveries + 1) > 3 * s.delivery_index.size:
        return SHORT_DELIVERIES
    room = meta.contracts + PLACES_PER_STEP
    if room > s.contracts.size or 5 * room > 3 * s.contract_index.size:
        return SHORT_CONTRACTS
    if meta.gaps + PLACES_PER_STEP > s.gaps.size:
        return SHORT_GAPS
    if meta.nodes + NODES_PER_ORDER * (orders + 1) > s.nodes.size + meta.spare_nodes:
        return SHORT_NODES
    if meta.texts + TEXTS_PER_STEP > s.texts.size or 5 * (meta.texts + TEXTS_PER_STEP) > 3 * s.text_index.size:
        return SHORT_TEXTS
    if meta.touched + PLACES_PER_STEP + 4 > s.touched.size:
        return SHORT_TOUCHED
    if meta.timers + orders + TIMERS_PER_STEP > s.timers.size:
        return SHORT_TIMERS
    return ENOUGH


@kernel
def joined(low: int, high: int) -> int:
    """A number of 48 bits that a row keeps in two fields."""
    return int64(low) | (int64(high) << 32)


@kernel
def id_hash(data: Any, start: int, length: int, seed: int) -> int:
    """FNV-1a over an id, 32 bits, begun from what else the row is found by."""
    hashed = (2_166_136_261 ^ int64(seed)) & 0xFFFFFFFF
    for i in range(length):
        hashed = ((hashed ^ int64(data[start + i])) * 16_777_619) & 0xFFFFFFFF
    return int64(hashed)


@kernel
def place_seed(row: int, province: int) -> int:
    """Begins the hash of what lies in a code and province."""
    return int64(row) * 40_503 + int64(province)


@kernel
def same_id(s: State, there: Any, start: int, length: int) -> bool:
    """The row's id in the arena is ``data[start:start + length]``."""
    same = there.id_length == length
    for i in range(length if same else 0):
        same = same and s.arena[there.id_start + i] == s.data[start + i]
    return bool(same)


@kernel
def keep_id(s: State, made: Any, start: int, length: int) -> None:
    """Copies an id from the data to the arena."""
    meta = s.meta[0]
    made.id_start = meta.arena
    made.id_length = length
    for i in range(length):
        s.arena[meta.arena + i] = s.data[start + i]
    meta.arena += length


@kernel
def find_order(s: State, row: int, province: int, start: int, length: int, hash32: int) -> int:
    """Row of the order of that code, province and id ``data[start:start + length]``, or NONE."""
    mask = s.order_index.size - 1
    at = bucket(hash32, mask)
    while True:
        found = int64(s.order_index[at])
        if found < 0:
            return NONE
        order = s.orders[found]
        same_place = order.hash == hash32 and order.code == row and order.province == province
        if same_place and same_id(s, order, start, length):
            return found
        at = (at + 1) & mask


@kernel
def order_for(s: State, row: int, province: int, start: int, length: int) -> int:
    """Row of an order, made if nothing is known of it."""
    hash32 = id_hash(s.data, start, length, place_seed(row, province))
    found = find_order(s, row, province, start, length, hash32)
    if found >= 0:
        return int64(found)
    made = int64(s.meta[0].orders)
    s.meta[0].orders += 1
    order = s.orders[made]
    order.seq = 0
    order.price_lo = 0
    order.price_hi = 0
    order.at_lo = 0
    order.at_hi = 0
    order.first_lo = 0
    order.first_hi = 0
    order.offset_lo = 0
    order.offset_hi = 0
    order.line = 0
    order.queued_lo = 0xFFFFFFFF
    order.queued_hi = 0xFFFF
    order.pack_size = 1
    order.quantity = 0
    order.institution = NONE
    order.supplier = NONE
    order.code = row
    order.contract = NONE
    order.next = NONE
    order.previous = NONE
    order.tally = NONE
    order.detail = NONE
    order.hash = hash32
    order.province = province
    order.marks = 0
    order.dirty = 0
    order.saved = 0
    keep_id(s, order, start, length)
    enter(s.order_index, hash32, made)
    return made


@kernel
def tally_for(s: State, order: Any) -> int:
    """The tally of an order's deliveries, made if it has none."""
    if order.tally >= 0:
        return int64(order.tally)
    made = int64(s.meta[0].tallies)
    s.meta[0].tallies += 1
    order.tally = made
    tally = s.tallies[made]
    tally.accepted = 0
    tally.on_time = 0
    tally.before = 0
    tally.first = NONE
    tally.last = NONE
    tally.unpaid = NONE
    return made


@kernel
def detail_for(s: State, order: Any) -> int:
    """What few orders have, made if this one has none."""
    if order.detail >= 0:
        return int64(order.detail)
    made = int64(s.meta[0].details)
    s.meta[0].details += 1
    order.detail = made
    detail = s.details[made]
    detail.paid_at_ms = ABSENT
    detail.paid_seq = 0
    detail.paid_e4 = 0
    detail.owed_e4 = 0
    detail.opening = 0
    detail.revision = 0
    detail.bargains = 0
    detail.late = NONE
    detail.open = NONE
    detail.delivered = NONE
    detail.band = NO_BAND
    detail.marks = 0
    return made


@kernel
def delivery_for(s: State, order: int, start: int, length: int) -> int:
    """Row of an order's delivery, made with ``order`` as it is if nothing is known of it: its quantity is 0."""
    hash32 = id_hash(s.data, start, length, int64(order) * 2_654_435)
    mask = s.delivery_index.size - 1
    at = bucket(hash32, mask)
    while s.delivery_index[at] >= 0:
        found = int64(s.delivery_index[at])
        delivery = s.deliveries[found]
        if delivery.hash == hash32 and delivery.order == order and same_id(s, delivery, start, length):
            return found
        at = (at + 1) & mask
    made = int64(s.meta[0].deliveries)
    s.meta[0].deliveries += 1
    delivery = s.deliveries[made]
    delivery.seq = ABSENT  # older than any record at the same time
    delivery.at_lo = 0
    delivery.at_hi = 0
    delivery.accepted_lo = 0
    delivery.accepted_hi = 0
    delivery.quantity = 0
    delivery.order = order
    delivery.next = NONE
    delivery.previous = NONE
    delivery.hash = hash32
    delivery.marks = 0
    delivery.dirty = 0
    delivery.saved = 0
    keep_id(s, delivery, start, length)
    enter(s.delivery_index, hash32, made)
    return made


@kernel
def clear_contract(contract: Any) -> None:
    """Makes the row of a contract of which nothing is known but who names it."""
    contract.at_ms = ABSENT
    contract.seq = 0
    contract.starts_ms = 0
    contract.ends_ms = 0
    contract.agreed = 0
    contract.offset = 0
    contract.line = 0
    contract.supplier_hi = 0
    contract.supplier_lo = 0
    contract.ordered = 0
    contract.due = 0
    contract.filled = 0
    contract.overdue = 0
    contract.was_overdue = 0
    contract.purchase_ms = NEVER_MS
    contract.queued_ms = NEVER_MS
    contract.institution = NONE
    contract.delivery_hours = 0
    contract.orders = NONE
    contract.members = 0
    contract.late = NONE
    contract.gap = NONE
    contract.opening = 0
    contract.revision = 0
    contract.purchase_opening = 0
    contract.purchase_revision = 0
    contract.band = NO_BAND
    contract.purchase_band = NO_BAND
    contract.marks = 0
    contract.dirty = 0
    contract.saved = 0


@kernel
def find_contract(s: State, row: int, province: int, start: int, length: int, hash32: int) -> int:
    """Row of the contract of that code, province and id ``data[start:start + length]``, or NONE."""
    mask = s.contract_index.size - 1
    at = bucket(hash32, mask)
    while True:
        found = int64(s.contract_index[at])
        if found < 0:
            return NONE
        contract = s.contracts[found]
        same_place = contract.hash == hash32 and contract.code == row and contract.province == province
        if same_place and same_id(s, contract, start, length):
            return found
        at = (at + 1) & mask


@kernel
def contract_for(s: State, row: int, province: int, start: int, length: int) -> int:
    """Row of a contract, made if nothing is known of it; of length 0 it is the place of code and province."""
    hash32 = id_hash(s.data, start, length, place_seed(row, province))
    found = find_contract(s, row, province, start, length, hash32)
    if found >= 0:
        return int64(found)
    made = int64(s.meta[0].contracts)
    s.meta[0].contracts += 1
    contract = s.contracts[made]
    clear_contract(contract)
    contract.code = row
    contract.province = province
    contract.hash = hash32
    contract.next = s.codes[row].contracts
    s.codes[row].contracts = made
    keep_id(s, contract, start, length)
    enter(s.contract_index, hash32, made)
    return made


@kernel
def gap_for(s: State, place: Any) -> int:
    """The gap of a place, made if it has none."""
    if place.gap >= 0:
        return int64(place.gap)
    made = int64(s.meta[0].gaps)
    s.meta[0].gaps += 1
    place.gap = made
    gap = s.gaps[made]
    gap.queued_ms = NEVER_MS
    for channel in range(2):
        gap.open[channel] = NONE
        gap.delivered[channel] = NONE
    gap.opening = 0
    gap.revision = 0
    gap.band = NO_BAND
    return made


@kernel
def kept_text(s: State, length: int) -> int:
    """Index in texts of what lies, not taken yet, at the end of the arena; it is taken if it is new."""
    meta = s.meta[0]
    start = int64(meta.arena)
    hash32 = id_hash(s.arena, start, length, 0)
    mask = s.text_index.size - 1
    at = bucket(hash32, mask)
    while s.text_index[at] >= 0:
        found = int64(s.text_index[at])
        text = s.texts[found]
        if text.hash == hash32 and text.length == length:
            same = True
            for i in range(length):
                if s.arena[text.start + i] != s.arena[start + i]:
                    same = False
                    break
            if same:
                return found
        at = (at + 1) & mask
    made = int64(meta.texts)
    meta.texts += 1
    s.texts[made].start = start
    s.texts[made].hash = hash32
    s.texts[made].length = length
    meta.arena += length
    enter(s.text_index, hash32, made)
    return made


@kernel
def text_of(s: State, start: int, length: int) -> int:
    """Index in texts of ``data[start:start + length]``; NONE if it is empty."""
    if length <= 0:
        return NONE
    for i in range(length):
        s.arena[s.meta[0].arena + i] = s.data[start + i]
    return kept_text(s, length)


@kernel
def supplier_text(s: State, high: int, low: int) -> int:
    """Index in texts of a packed supplier, its 12 bytes."""
    arena = s.meta[0].arena
    for i in range(8):
        s.arena[arena + i] = (int64(high) >> (8 * i)) & 255  # below 36¹² < 2⁶³
    for i in range(4):
        s.arena[arena + 8 + i] = (int64(low) >> (8 * i)) & 255
    return kept_text(s, SUPPLIER_BYTES)
