"""Kernels that read a key's token as an integer, a word, money, a time or text, where it plainly is one."""

from typing import Any, Final

import numpy as np

from config.kernel import inlined_kernel
from schemas import tokens as t
from schemas.columns import (
    ABSENT,
    ACTIONS,
    BARGAINED_BY,
    CHANNELS,
    ITEM_STATUSES,
    PAYERS,
    QUOTE_KINDS,
    QUOTE_STATUSES,
    RECORD_TYPES,
)
from schemas.fields import (
    MAX_DELIVERY_HOURS,
    MAX_ID_BYTES,
    MAX_PACK_SIZE,
    MAX_QUANTITY,
    MAX_SEQ,
    MAX_STRING_BYTES,
)
from schemas.instants import rfc3339_ms
from schemas.money import MAX_PAID_E4, MAX_PRICE_E4, YUAN_E4
from schemas.octets import are_capitals, are_digits, octet, word_index, word_table
from schemas.times import LATEST_MS

UNCLEAR: Final = -2
"""What a reader returns for a value that it does not plainly understand; ABSENT for one that is not there."""
_WORD_LISTS: Final = (
    RECORD_TYPES, ITEM_STATUSES, QUOTE_KINDS, QUOTE_STATUSES, CHANNELS, BARGAINED_BY, PAYERS, ACTIONS,
)  # fmt: skip
_WORDS: Final = tuple(word for words in _WORD_LISTS for word in words)
_BOUNDS: Final = tuple(sum(map(len, _WORD_LISTS[:index])) for index in range(len(_WORD_LISTS) + 1))
(
    TYPE_WORDS, ITEM_STATUS_WORDS, KIND_WORDS, STATUS_WORDS, CHANNEL_WORDS, BARGAINED_WORDS, PAYER_WORDS, ACTION_WORDS,
) = range(8)  # fmt: skip
_WORD_TABLE: Final = word_table(_WORDS)
_WORD_LENGTHS: Final = np.array([len(word) for word in _WORDS])
_WORD_BOUNDS: Final = np.array(_BOUNDS)

_MONEY_DIGITS: Final = 14
_WHOLE_YUAN: Final = MAX_PAID_E4 // YUAN_E4

# Bounds by key, so that a kernel is not compiled anew for each pair of them.
_LEAST: Final = np.zeros(len(t.KEYS), np.int64)
_MOST: Final = np.zeros(len(t.KEYS), np.int64)
for _key, _least, _most in (
    (t.SEQ, 0, MAX_SEQ),
    (t.PACK_SIZE, 1, MAX_PACK_SIZE),
    (t.DEVICE_CLASS, 1, 3),
    (t.QUANTITY, 0, MAX_QUANTITY),
    (t.AGREED_QUANTITY, 1, MAX_QUANTITY),
    (t.DELIVERY_HOURS, 1, MAX_DELIVERY_HOURS),
    (t.PRICE, 1, MAX_PRICE_E4),
    (t.PAID_TOTAL, 0, MAX_PAID_E4),
):
    _LEAST[_key], _MOST[_key] = _least, _most
_LONGEST: Final = np.full(len(t.KEYS), MAX_STRING_BYTES)
_LONGEST[t.ID] = MAX_ID_BYTES


@inlined_kernel
def has(present: int, key: int) -> bool:
    """Tells whether a key is present."""
    return present >> key & 1 == 1


@inlined_kernel
def integer_of(tokens: Any, present: int, key: int) -> int:
    """Returns an integer within its bounds, ABSENT or UNCLEAR."""
    if not has(present, key):
        return ABSENT
    value = tokens[key, t.VALUE]
    if tokens[key, t.WHAT] != t.INTEGER or value < _LEAST[key] or value > _MOST[key]:
        return UNCLEAR
    return int(value)


@inlined_kernel
def word_of(data: Any, tokens: Any, present: int, key: int, words: int) -> int:
    """Returns the index of a word in its list, ABSENT or UNCLEAR."""
    if not has(present, key):
        return ABSENT
    if tokens[key, t.WHAT] != t.STRING:
        return UNCLEAR
    found = word_index(
        data,
        tokens[key, t.START],
        tokens[key, t.END],
        _WORD_TABLE,
        _WORD_LENGTHS,
        _WORD_BOUNDS[words],
        _WORD_BOUNDS[words + 1],
    )
    return UNCLEAR if found < 0 else found


@inlined_kernel
def is_text(tokens: Any, present: int, key: int) -> bool:
    """Tells whether a key is absent, or a string without escapes that is not too long."""
    if not has(present, key):
        return True
    return bool(tokens[key, t.WHAT] == t.STRING and tokens[key, t.END] - tokens[key, t.START] <= _LONGEST[key])


@inlined_kernel
def is_unread_text(tokens: Any, present: int, key: int) -> bool:
    """As is_text for strings that are not kept: an escape is never shorter than what it stands for."""
    if not has(present, key):
        return True
    what = tokens[key, t.WHAT]
    length = tokens[key, t.END] - tokens[key, t.START]
    return bool(what in (t.STRING, t.ESCAPED) and length <= MAX_STRING_BYTES)


@inlined_kernel
def decimal_e4(data: Any, start: int, end: int) -> int:
    """Returns the amount of a decimal string in 1/10,000, UNCLEAR where it is not plain (see tokens.scan_number)."""
    value = 0
    at = start
    while at < end and 0x30 <= octet(data, at) <= 0x39 and at - start <= _MONEY_DIGITS:
        value = value * 10 + (octet(data, at) - 0x30)
        at += 1
    if at == start or at - start > _MONEY_DIGITS:
        return UNCLEAR
    value *= YUAN_E4
    if at == end:
        return value
    if octet(data, at) != 0x2E or at + 1 == end:
        return UNCLEAR
    scale = YUAN_E4
    for index in range(at + 1, end):
        digit = octet(data, index) - 0x30
        scale //= 10
        if digit < 0 or digit > 9 or (scale == 0 and digit != 0):
            return UNCLEAR
        value += digit * scale
    return value


@inlined_kernel
def money_of(data: Any, tokens: Any, present: int, key: int) -> int:
    """Returns money within its bounds, in 1/10,000 yuan, ABSENT or UNCLEAR."""
    if not has(present, key):
        return ABSENT
    what = tokens[key, t.WHAT]
    if what == t.DECIMAL:
        value = tokens[key, t.VALUE]
    elif what == t.INTEGER:
        value = tokens[key, t.VALUE]
        if value > _WHOLE_YUAN:
            return UNCLEAR
        value *= YUAN_E4
    elif what == t.STRING and tokens[key, t.END] - tokens[key, t.START] <= MAX_STRING_BYTES:
        value = decimal_e4(data, tokens[key, t.START], tokens[key, t.END])
    else:
        return UNCLEAR
    return UNCLEAR if value < _LEAST[key] or value > _MOST[key] else int(value)


@inlined_kernel
def time_of(data: Any, tokens: Any, present: int, key: int) -> int:
    """Returns epoch milliseconds, ABSENT or UNCLEAR."""
    if not has(present, key):
        return ABSENT
    what = tokens[key, t.WHAT]
    if what == t.INTEGER:
        value = tokens[key, t.VALUE]
        return UNCLEAR if value > LATEST_MS else int(value)
    if what != t.STRING or tokens[key, t.END] - tokens[key, t.START] > MAX_STRING_BYTES:
        return UNCLEAR
    ms = rfc3339_ms(data, tokens[key, t.START], tokens[key, t.END])
    return UNCLEAR if ms < 0 else ms


@inlined_kernel
def is_plain_code(data: Any, start: int, length: int) -> bool:
    """Tells whether ``data[start:start + length]`` is a national code."""
    first = octet(data, start)
    if length == 27:
        return bool(first == 0x43 and are_digits(data, start + 1, start + 27))
    if length == 23:
        return bool(first in (0x58, 0x5A, 0x54) and are_capitals(data, start + 1, start + 23))
    return False
