"""Kernels that make a RECORD row of the tokens of a line, where they understand them as a valid record.

They never say what is wrong: whatever is not plainly right is the exact parser's to judge.
"""

from typing import Any, Final

import numpy as np

from config.kernel import inlined_kernel, kernel
from config.provinces import NO_PROVINCE, PROVINCE_CODES
from schemas import readers
from schemas import tokens as t
from schemas.codes import base36_of, murmur2_of
from schemas.columns import (
    ABSENT,
    ACTIVE,
    CEILING,
    CONTRACT,
    DECISION,
    DELIVERY,
    ITEM,
    OK,
    ORDER,
    PAYMENT,
    POLICY,
    QUOTE,
    TICK,
)
from schemas.fields import (
    DEFAULT_DELIVERY_HOURS,
    FIELDS,
)
from schemas.octets import are_digits, octet
from schemas.readers import (
    UNCLEAR,
    has,
    integer_of,
    is_plain_code,
    is_text,
    is_unread_text,
    money_of,
    time_of,
    word_of,
)

NONE_OF_THEM: Final = 255
"""A word's index where the field is optional and absent."""

_PROVINCE_OF_PREFIX: Final = np.full(100, NO_PROVINCE, np.int64)
for _index, _code in enumerate(PROVINCE_CODES):
    _PROVINCE_OF_PREFIX[int(_code[:2])] = _index

_REQUIRED: Final = np.array(
    [
        sum(1 << t.KEYS.index(field.json_name) for field in fields if field.required and field.json_name in t.KEYS)
        for fields in FIELDS
    ]
)
"""A bit for each key that a type requires; ``policy`` is not looked at."""


@inlined_kernel
def put_code(data: Any, tokens: Any, row: Any) -> bool:
    """Fills a row's code and its hash; returns whether it is one."""
    start = tokens[t.CODE, t.START]
    length = tokens[t.CODE, t.END] - start
    if tokens[t.CODE, t.WHAT] != t.STRING or not is_plain_code(data, start, length):
        return False
    row.code_start = start
    row.code_length = length
    row.hash = murmur2_of(data, start, length)
    return True


@inlined_kernel
def put_province(data: Any, tokens: Any, row: Any) -> bool:
    """Fills a row's province; returns whether it is one."""
    start = tokens[t.PROVINCE, t.START]
    if (
        tokens[t.PROVINCE, t.WHAT] != t.STRING
        or tokens[t.PROVINCE, t.END] - start != 6
        or not are_digits(data, start, start + 6)
    ):
        return False
    province = _PROVINCE_OF_PREFIX[(octet(data, start) - 0x30) * 10 + (octet(data, start + 1) - 0x30)]
    row.province = province
    rest = octet(data, start + 2) | octet(data, start + 3) | octet(data, start + 4) | octet(data, start + 5)
    return bool(province != NO_PROVINCE and rest == 0x30)


@inlined_kernel
def put_supplier(data: Any, tokens: Any, row: Any) -> bool:
    """Fills a row's supplier; returns whether it is one."""
    start = tokens[t.SUPPLIER, t.START]
    if tokens[t.SUPPLIER, t.WHAT] != t.STRING or tokens[t.SUPPLIER, t.END] - start != 18:
        return False
    hi = base36_of(data, start, 12)
    lo = base36_of(data, start + 12, 6)
    if hi < 0 or lo < 0:
        return False
    row.supplier_hi = hi
    row.supplier_lo = lo
    return True


@inlined_kernel
def put_piece(row: Any, price_e4: int, pack_size: int) -> bool:
    """Fills a row's price and its price per piece, rounded half up; returns whether that is over 0."""
    row.price_e4 = price_e4
    row.pack_size = pack_size
    if price_e4 == ABSENT:
        row.per_piece_e4 = ABSENT
        return True
    piece_e4 = price_e4 if pack_size == 1 else (2 * price_e4 + pack_size) // (2 * pack_size)
    row.per_piece_e4 = piece_e4
    return piece_e4 > 0


@kernel
def put_key(tokens: Any, present: int, row: Any, key: int) -> bool:
    """Fills a row's own key; returns whether it is plain text."""
    if not is_text(tokens, present, key):
        return False
    row.key_start = tokens[key, t.START]
    row.key_length = tokens[key, t.END] - tokens[key, t.START]
    return True


@kernel
def put_second(tokens: Any, present: int, row: Any, key: int) -> bool:
    """Fills a row's second string, of no length where absent; returns whether it is plain text."""
    row.second_start = 0
    row.second_length = 0
    if not has(present, key):
        return True
    if not is_text(tokens, present, key):
        return False
    row.second_start = tokens[key, t.START]
    row.second_length = tokens[key, t.END] - tokens[key, t.START]
    return True


@kernel
def put_institution(tokens: Any, present: int, row: Any) -> bool:
    """Fills a row's institution, of no length where absent; returns whether it is plain text."""
    row.institution_start = 0
    row.institution_length = 0
    if not has(present, t.INSTITUTION):
        return True
    if not is_text(tokens, present, t.INSTITUTION):
        return False
    row.institution_start = tokens[t.INSTITUTION, t.START]
    row.institution_length = tokens[t.INSTITUTION, t.END] - tokens[t.INSTITUTION, t.START]
    return True


@inlined_kernel
def put_quote(data: Any, tokens: Any, present: int, row: Any) -> bool:
    """Fills the fields of a quote; returns whether they are plainly valid. So do the functions for other types."""
    kind = word_of(data, tokens, present, t.KIND, readers.KIND_WORDS)
    status = word_of(data, tokens, present, t.STATUS, readers.STATUS_WORDS)
    pack_size = integer_of(tokens, present, t.PACK_SIZE)
    price_e4 = money_of(data, tokens, present, t.PRICE)
    effective_ms = time_of(data, tokens, present, t.EFFECTIVE_AT)
    valid_until_ms = time_of(data, tokens, present, t.VALID_UNTIL)
    row.kind = max(kind, 0)
    row.status = max(status, 0)
    row.effective_ms = effective_ms
    row.valid_until_ms = valid_until_ms
    return bool(
        min(kind, status, pack_size, price_e4, effective_ms, valid_until_ms) != UNCLEAR
        and (price_e4 != ABSENT or max(status, 0) != ACTIVE)
        and is_unread_text(tokens, present, t.UNIT)
        and put_piece(row, price_e4, 1 if pack_size == ABSENT else pack_size)
        and put_supplier(data, tokens, row)
    )


@kernel
def put_item(data: Any, tokens: Any, present: int, row: Any) -> bool:
    """Fills the fields of an item."""
    status = word_of(data, tokens, present, t.STATUS, readers.ITEM_STATUS_WORDS)
    device_class = integer_of(tokens, present, t.DEVICE_CLASS)
    special = has(present, t.SPECIAL_DRUG)
    what = tokens[t.SPECIAL_DRUG, t.WHAT]
    row.status = max(status, 0)
    row.device_class = max(device_class, 0)
    row.special_drug = 1 if special and what == t.TRUE else 0
    return bool(
        min(status, device_class) != UNCLEAR
        and (not special or what in (t.TRUE, t.FALSE))
        and is_unread_text(tokens, present, t.NAME)
        and is_unread_text(tokens, present, t.CATEGORY)
        and put_second(tokens, present, row, t.MOVED_TO)
        and (row.second_length == 0 or is_plain_code(data, row.second_start, int(np.int64(row.second_length))))
    )


@kernel
def put_ceiling(data: Any, tokens: Any, present: int, row: Any) -> bool:
    """Fills the fields of a ceiling."""
    price_e4 = money_of(data, tokens, present, t.PRICE)
    row.price_e4 = price_e4
    row.per_piece_e4 = price_e4
    return bool(price_e4 != UNCLEAR)


@kernel
def put_contract(data: Any, tokens: Any, present: int, row: Any) -> bool:
    """Fills the fields of a contract."""
    price_e4 = money_of(data, tokens, present, t.PRICE)
    agreed = integer_of(tokens, present, t.AGREED_QUANTITY)
    starts_ms = time_of(data, tokens, present, t.STARTS_AT)
    ends_ms = time_of(data, tokens, present, t.ENDS_AT)
    hours = integer_of(tokens, present, t.DELIVERY_HOURS)
    row.price_e4 = price_e4
    row.per_piece_e4 = price_e4
    row.agreed_quantity = agreed
    row.starts_ms = starts_ms
    row.ends_ms = ends_ms
    row.delivery_hours = DEFAULT_DELIVERY_HOURS if hours == ABSENT else hours
    return bool(
        min(price_e4, agreed, starts_ms, ends_ms, hours) != UNCLEAR
        and ends_ms > starts_ms
        and put_key(tokens, present, row, t.CONTRACT_ID)
        and put_institution(tokens, present, row)
        and put_supplier(data, tokens, row)
    )


@kernel
def put_order(data: Any, tokens: Any, present: int, row: Any) -> bool:
    """Fills the fields of an order."""
    price_e4 = money_of(data, tokens, present, t.PRICE)
    pack_size = integer_of(tokens, present, t.PACK_SIZE)
    quantity = integer_of(tokens, present, t.QUANTITY)
    channel = word_of(data, tokens, present, t.CHANNEL, readers.CHANNEL_WORDS)
    bargained_by = word_of(data, tokens, present, t.BARGAINED_BY, readers.BARGAINED_WORDS)
    row.quantity = quantity
    row.channel = max(channel, 0)
    row.bargained_by = NONE_OF_THEM if bargained_by == ABSENT else max(bargained_by, 0)
    return bool(
        min(price_e4, pack_size, quantity, channel, bargained_by) != UNCLEAR
        and put_piece(row, price_e4, 1 if pack_size == ABSENT else pack_size)
        and put_key(tokens, present, row, t.ORDER_ID)
        and put_second(tokens, present, row, t.CONTRACT_ID)
        and put_institution(tokens, present, row)
        and put_supplier(data, tokens, row)
    )


@kernel
def put_delivery(data: Any, tokens: Any, present: int, row: Any) -> bool:
    """Fills the fields of a delivery, whose ``at`` is known."""
    quantity = integer_of(tokens, present, t.QUANTITY)
    accepted_ms = time_of(data, tokens, present, t.ACCEPTED_AT)
    row.quantity = quantity
    row.accepted_ms = row.at_ms if accepted_ms == ABSENT else accepted_ms
    return bool(
        min(quantity, accepted_ms) != UNCLEAR
        and accepted_ms <= row.at_ms
        and put_key(tokens, present, row, t.ORDER_ID)
        and put_second(tokens, present, row, t.DELIVERY_ID)
    )


@kernel
def put_payment(data: Any, tokens: Any, present: int, row: Any) -> bool:
    """Fills the fields of a payment."""
    paid_e4 = money_of(data, tokens, present, t.PAID_TOTAL)
    payer = word_of(data, tokens, present, t.PAYER, readers.PAYER_WORDS)
    row.paid_total_e4 = paid_e4
    row.payer = max(payer, 0)
    return bool(min(paid_e4, payer) != UNCLEAR and put_key(tokens, present, row, t.ORDER_ID))


@kernel
def put_decision(data: Any, tokens: Any, present: int, row: Any) -> bool:
    """Fills the fields of a decision."""
    action = word_of(data, tokens, present, t.ACTION, readers.ACTION_WORDS)
    row.action = max(action, 0)
    return bool(
        action != UNCLEAR
        and put_key(tokens, present, row, t.ALERT_ID)
        and put_second(tokens, present, row, t.ACTOR)
        and is_unread_text(tokens, present, t.NOTE)
    )


@inlined_kernel
def put_fields(data: Any, tokens: Any, present: int, index: int, row: Any) -> bool:
    """Fills the fields that only the type ``index`` has."""
    if index == QUOTE:
        return bool(put_quote(data, tokens, present, row))
    if index == ORDER:
        return bool(put_order(data, tokens, present, row))
    if index == DELIVERY:
        return bool(put_delivery(data, tokens, present, row))
    if index == PAYMENT:
        return bool(put_payment(data, tokens, present, row))
    if index == ITEM:
        return bool(put_item(data, tokens, present, row))
    if index == CEILING:
        return bool(put_ceiling(data, tokens, present, row))
    if index == CONTRACT:
        return bool(put_contract(data, tokens, present, row))
    return bool(index == TICK or (index == DECISION and put_decision(data, tokens, present, row)))


@inlined_kernel
def put_record(data: Any, tokens: Any, present: int, row: Any) -> bool:
    """Fills a row from a line's tokens; returns whether they are plainly a valid record. ``reason`` is set then."""
    index = word_of(data, tokens, present, t.TYPE, readers.TYPE_WORDS)
    if index < 0 or index == POLICY or present & _REQUIRED[index] != _REQUIRED[index]:
        return False
    at_ms = time_of(data, tokens, present, t.AT)
    seq = integer_of(tokens, present, t.SEQ)
    if min(at_ms, seq) == UNCLEAR or not is_text(tokens, present, t.ID):
        return False
    row.type = index
    row.at_ms = at_ms
    row.seq = max(seq, 0)
    row.id_start = 0
    row.id_length = 0
    if has(present, t.ID):
        row.id_start = tokens[t.ID, t.START]
        row.id_length = tokens[t.ID, t.END] - tokens[t.ID, t.START]
    row.code_start = 0
    row.code_length = 0
    row.hash = 0
    row.province = NO_PROVINCE
    if index != TICK and not put_code(data, tokens, row):
        return False
    if index not in (TICK, ITEM) and not put_province(data, tokens, row):
        return False
    row.reason = OK
    return bool(put_fields(data, tokens, present, index, row))
