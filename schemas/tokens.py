"""Kernels that take a JSON object apart: which of the known keys it has, and where and what their values are.

The last of equal keys counts, null and "" are as if the key were absent. What is not plain (keys with escapes, lone
surrogates) is not understood, and neither is what is not JSON: the exact parser tells which is which.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from config.kernel import inlined_kernel, kernel
from schemas.json_text import MAX_DEPTH
from schemas.octets import (
    MASKS,
    QUOTE_MARK,
    are_digits8,
    decode_string,
    load8,
    mask_below,
    number8,
    octet,
    quote_flags,
    scan_string,
    word_table,
)

KEYS: Final = (
    "type", "province", "code", "at", "seq", "id", "price", "unit", "pack_size", "kind", "status", "supplier",
    "effective_at", "valid_until", "name", "device_class", "category", "moved_to", "special_drug", "order_id",
    "institution", "quantity", "channel", "contract_id", "bargained_by", "agreed_quantity", "starts_at", "ends_at",
    "delivery_hours", "delivery_id", "accepted_at", "paid_total", "payer", "action", "alert_id", "actor", "note",
)  # fmt: skip
"""Every field that the scanner reads; ``policy`` is left to the exact parser."""
(
    TYPE, PROVINCE, CODE, AT, SEQ, ID, PRICE, UNIT, PACK_SIZE, KIND, STATUS, SUPPLIER,
    EFFECTIVE_AT, VALID_UNTIL, NAME, DEVICE_CLASS, CATEGORY, MOVED_TO, SPECIAL_DRUG, ORDER_ID,
    INSTITUTION, QUANTITY, CHANNEL, CONTRACT_ID, BARGAINED_BY, AGREED_QUANTITY, STARTS_AT, ENDS_AT,
    DELIVERY_HOURS, DELIVERY_ID, ACCEPTED_AT, PAID_TOTAL, PAYER, ACTION, ALERT_ID, ACTOR, NOTE,
) = range(37)  # fmt: skip

# What a value is. ESCAPED: a string with escapes that is not decoded.
STRING, ESCAPED, INTEGER, DECIMAL, TRUE, FALSE, NULL, OTHER_NUMBER, NESTED = range(9)

# The columns of the token array, int64[len(KEYS), 4]: what it is; a string's place; a number's value.
WHAT, START, END, VALUE = range(4)
Tokens = npt.NDArray[np.int64]

NOT_UNDERSTOOD: Final = -1

_KEY_WORDS: Final = word_table(KEYS)
_KEY_LENGTHS: Final = np.array([len(key) for key in KEYS])
_KEY_MASKS: Final = np.array([(MASKS[min(len(key), 8)], MASKS[max(len(key) - 8, 0)]) for key in KEYS], np.uint64)
_SLOT_BITS: Final = 8
_SLOT_SHIFT: Final = np.uint64(64 - _SLOT_BITS)
_TAIL_MIX: Final = np.uint64(3)
_LITERALS: Final = word_table(("true", "false", "null"))
_MASK4: Final = np.uint64(0xFFFFFFFF)
_MASK5: Final = np.uint64(0xFFFFFFFFFF)
_N0: Final = np.uint64(0)
_WHOLE_DIGITS: Final = 14
_DECODED_BYTES: Final = 6 * 256
"""A longer string has more than 256 bytes when it is decoded, too."""
_INT64_DIGITS: Final = 19
_INT64_TENTH: Final = (2**63 - 1) // 10
_INT64_LAST_DIGIT: Final = (2**63 - 1) % 10


def _perfect_hash() -> tuple[np.uint64, npt.NDArray[np.int8]]:
    """Returns a multiplier under which no two keys share a slot, and the key of each slot (-1: none)."""
    folded = [(int(head) + 3 * int(tail)) % 2**64 for head, tail in _KEY_WORDS]
    mixer = 0x9E3779B97F4A7C15
    while True:
        slots = [word * mixer % 2**64 >> (64 - _SLOT_BITS) for word in folded]
        if len(set(slots)) == len(slots):
            table = np.full(1 << _SLOT_BITS, -1, np.int8)
            table[slots] = np.arange(len(slots))
            return np.uint64(mixer), table
        mixer = (mixer * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64 | 1


_MIXER, _SLOTS = _perfect_hash()


@inlined_kernel
def find_key(data: Any, at: int) -> int:
    """Returns the known key that stands at ``at``, up to its quote; -1: another."""
    head = load8(data, at)
    tail = _N0
    flags = quote_flags(head)
    if flags != _N0:
        head &= mask_below(flags)
    else:
        tail = load8(data, at + 8)
        flags = quote_flags(tail)
        if flags == _N0:
            return -1
        tail &= mask_below(flags)
    key = np.int64(_SLOTS[np.int64(((head + tail * _TAIL_MIX) * _MIXER) >> _SLOT_SHIFT)])
    if key < 0 or head != _KEY_WORDS[key, 0] or tail != _KEY_WORDS[key, 1]:
        return -1
    # Zero bytes pad the words, so a key with zero bytes at its end would look the same.
    return int(key) if octet(data, at + _KEY_LENGTHS[key]) == QUOTE_MARK else -1


@inlined_kernel
def is_key(data: Any, at: int, key: int) -> bool:
    """Tells whether a known key stands at ``at``, up to its quote."""
    return bool(
        load8(data, at) & _KEY_MASKS[key, 0] == _KEY_WORDS[key, 0]
        and load8(data, at + 8) & _KEY_MASKS[key, 1] == _KEY_WORDS[key, 1]
        and octet(data, at + _KEY_LENGTHS[key]) == QUOTE_MARK
    )


@inlined_kernel
def skip_space(data: Any, at: int) -> int:
    """Returns the first place from ``at`` on that is not space, tab or CR."""
    while octet(data, at) == 0x20 or octet(data, at) == 0x09 or octet(data, at) == 0x0D:
        at += 1
    return at


@inlined_kernel
def scan_number(data: Any, at: int) -> tuple[int, int, int]:
    """Reads the JSON number at ``at``; returns what it is, its value and where it ends (NOT_UNDERSTOOD: no number).

    INTEGER: its value, up to 2⁶³ - 1. DECIMAL, plain, with at most 4 decimals (trailing zeros aside) and 14 digits
    before: its value in 1/10,000. OTHER_NUMBER: any other, negative ones and those with an exponent, too.
    """
    what = INTEGER
    if octet(data, at) == 0x2D:
        what = OTHER_NUMBER
        at += 1
    start = at
    value = 0
    if octet(data, at) == 0x30:
        at += 1
    else:
        word = load8(data, at)
        while are_digits8(word) and at - start < 16:
            value = value * 100_000_000 + number8(word)
            at += 8
            word = load8(data, at)
        while 0x30 <= octet(data, at) <= 0x39:
            digit = octet(data, at) - 0x30
            if value > _INT64_TENTH or (value == _INT64_TENTH and digit > _INT64_LAST_DIGIT):
                what = OTHER_NUMBER
            else:
                value = value * 10 + digit
            at += 1
        if at == start:
            return what, value, NOT_UNDERSTOOD
        if at - start > _INT64_DIGITS:
            what = OTHER_NUMBER
    if octet(data, at) == 0x2E:
        if what == INTEGER:
            what = DECIMAL if at - start <= _WHOLE_DIGITS else OTHER_NUMBER
        at += 1
        point = at
        scale = 10_000
        if what == OTHER_NUMBER:
            value = 0
        value *= scale
        while 0x30 <= octet(data, at) <= 0x39:
            scale //= 10
            value += (octet(data, at) - 0x30) * scale
            if scale == 0 and octet(data, at) != 0x30:
                what = OTHER_NUMBER
            at += 1
        if at == point:
            return what, value, NOT_UNDERSTOOD
    if octet(data, at) == 0x65 or octet(data, at) == 0x45:
        what = OTHER_NUMBER
        at += 1
        if octet(data, at) == 0x2B or octet(data, at) == 0x2D:
            at += 1
        if not 0x30 <= octet(data, at) <= 0x39:
            return what, value, NOT_UNDERSTOOD
        while 0x30 <= octet(data, at) <= 0x39:
            at += 1
    return what, value, at


@kernel
def scan_literal(data: Any, at: int) -> tuple[int, int]:
    """Reads ``true``, ``false`` or ``null``; returns what it is and where it ends (NOT_UNDERSTOOD: none of them)."""
    word = load8(data, at)
    if word & _MASK4 == _LITERALS[2, 0]:
        return NULL, at + 4
    if word & _MASK4 == _LITERALS[0, 0]:
        return TRUE, at + 4
    if word & _MASK5 == _LITERALS[1, 0]:
        return FALSE, at + 5
    return NULL, NOT_UNDERSTOOD


@kernel
def skip_scalar(data: Any, at: int) -> int:
    """Returns where the string, number or literal at ``at`` ends; NOT_UNDERSTOOD: it is none."""
    byte = octet(data, at)
    if byte == QUOTE_MARK:
        close, _ = scan_string(data, at + 1)
        return NOT_UNDERSTOOD if close < 0 else close + 1
    if 0x30 <= byte <= 0x39 or byte == 0x2D:
        _, _, end = scan_number(data, at)
        return int(end)
    _, end = scan_literal(data, at)
    return int(end)


@kernel
def skip_key(data: Any, at: int) -> int:
    """Returns where the value of the key at ``at`` begins; NOT_UNDERSTOOD: there is no key."""
    if octet(data, at) != QUOTE_MARK:
        return NOT_UNDERSTOOD
    close, _ = scan_string(data, at + 1)
    if close < 0:
        return NOT_UNDERSTOOD
    at = skip_space(data, close + 1)
    return skip_space(data, at + 1) if octet(data, at) == 0x3A else NOT_UNDERSTOOD


@kernel
def skip_nested(data: Any, at: int) -> int:
    """Returns where the array or object at ``at`` ends, a member of the record; NOT_UNDERSTOOD: it is none, or too deep."""
    depth = 1  # that of the record
    objects = 0  # a bit for each array (0) and object (1) that is open, the innermost lowest
    while True:
        opening = octet(data, at)
        if opening in (0x7B, 0x5B):
            depth += 1
            if depth > MAX_DEPTH:
                return NOT_UNDERSTOOD
            objects = objects << 1 | (1 if opening == 0x7B else 0)
            at = skip_space(data, at + 1)
            if octet(data, at) != opening + 2:  # the closing bracket
                if opening == 0x7B:
                    at = skip_key(data, at)
                    if at < 0:
                        return NOT_UNDERSTOOD
                continue
        else:
            at = skip_scalar(data, at)
            if at < 0:
                return NOT_UNDERSTOOD
            at = skip_space(data, at)
        while octet(data, at) == (0x7D if objects & 1 == 1 else 0x5D):
            depth -= 1
            objects >>= 1
            if depth == 1:
                return at + 1
            at = skip_space(data, at + 1)
        if octet(data, at) != 0x2C:
            return NOT_UNDERSTOOD
        at = skip_space(data, at + 1)
        if objects & 1 == 1:
            at = skip_key(data, at)
            if at < 0:
                return NOT_UNDERSTOOD


@kernel
def scan_object(data: Any, at: int, tokens: Any, next_keys: Any, room: Any) -> tuple[int, int]:
    """Reads the object at ``at``; returns where it ends (NOT_UNDERSTOOD), and a bit per key that is present.

    The tokens of present keys are filled; the others' are of earlier lines. ``next_keys`` (int64[len(KEYS) + 1]): which
    key came last behind each, and as the first of all; any known key to begin with. Strings with escapes are decoded into
    ``data[room[0]:room[1]]``, which is used up; a string that finds no room stays ESCAPED.
    """
    present = 0
    last = len(KEYS)
    if octet(data, at) != 0x7B:
        return NOT_UNDERSTOOD, present
    at = skip_space(data, at + 1)
    if octet(data, at) == 0x7D:
        return at + 1, present
    while True:
        if octet(data, at) != QUOTE_MARK:
            return NOT_UNDERSTOOD, present
        at += 1
        # A source writes its keys in one order: what followed the last key in the line before is likely to come now.
        key = next_keys[last]
        if not is_key(data, at, key):
            key = find_key(data, at)
            if key >= 0:
                next_keys[last] = key
        if key >= 0:
            last = key
            at += _KEY_LENGTHS[key] + 1
        else:
            at, escaped = scan_string(data, at)
            if at < 0 or escaped:
                return NOT_UNDERSTOOD, present
            at += 1
        at = skip_space(data, at)
        if octet(data, at) != 0x3A:
            return NOT_UNDERSTOOD, present
        at = skip_space(data, at + 1)
        start = at
        end = at
        value = 0
        what = NULL
        byte = octet(data, at)
        if byte == QUOTE_MARK:
            start += 1
            end, escaped = scan_string(data, start)
            if end < 0:
                return NOT_UNDERSTOOD, present
            at = end + 1
            what = STRING
            if escaped:
                what = ESCAPED
                if key >= 0 and end - start <= _DECODED_BYTES and end - start < room[1] - room[0]:
                    what = STRING
                    end = decode_string(data, start, end, room[0])
                    start = room[0]
                    data[end] = 0  # readers stop there
                    room[0] = end + 1
            if end == start:
                what = NULL
        elif 0x30 <= byte <= 0x39 or byte == 0x2D:
            what, value, at = scan_number(data, at)
        elif byte in (0x7B, 0x5B):
            what = NESTED
            at = skip_nested(data, at)
        else:
            what, at = scan_literal(data, at)
        if at < 0:
            return NOT_UNDERSTOOD, present
        if key >= 0:
            if what == NULL:
                present &= ~(1 << key)
            else:
                present |= 1 << key
                tokens[key, WHAT] = what
                tokens[key, START] = start
                tokens[key, END] = end
                tokens[key, VALUE] = value
        at = skip_space(data, at)
        if octet(data, at) == 0x7D:
            return at + 1, present
        if octet(data, at) != 0x2C:
            return NOT_UNDERSTOOD, present
        at = skip_space(data, at + 1)
