"""Writing JSON's parts into a byte array: each writer takes the array and where to write, and returns where it stopped."""

from typing import Any, Final

import numpy as np
from numba import int64

from config.kernel import kernel
from schemas.octets import copy_octets
from streams.words import literal

QUOTE_MARK: Final = 34
BACKSLASH: Final = 92
COLON: Final = 58
COMMA: Final = 44
HEX: Final = literal("0123456789abcdef")
SHORT_ESCAPES: Final = literal("btn\0fr")  # of the characters 8 to 13
NULL: Final = literal("null")


@kernel
def put(out: Any, at: int, text: Any) -> int:
    """Writes a text."""
    copy_octets(out, at, text, 0, text.size)
    return at + text.size


@kernel
def put_word(out: Any, at: int, table: Any, word: int) -> int:
    """Writes a word of a table."""
    length = int64(table[word, table.shape[1] - 1])
    copy_octets(out, at, table[word], 0, length)
    return at + length


@kernel
def put_bytes(out: Any, at: int, source: Any, start: int, length: int) -> int:
    """Writes some bytes as they are."""
    copy_octets(out, at, source, start, length)
    return at + int64(length)


@kernel
def put_escaped(out: Any, at: int, source: Any, start: int, length: int) -> int:
    """Writes UTF-8 bytes as the inside of a JSON string, escaped only where JSON must (SPEC §8)."""
    for i in range(start, start + length):
        byte = source[i]
        if byte in (QUOTE_MARK, BACKSLASH):
            out[at] = BACKSLASH
            out[at + 1] = byte
            at += 2
        elif byte >= 32:
            out[at] = byte
            at += 1
        elif 8 <= byte <= 13 and byte != 11:
            out[at] = BACKSLASH
            out[at + 1] = SHORT_ESCAPES[byte - 8]
            at += 2
        else:
            out[at] = BACKSLASH
            out[at + 1] = 117
            out[at + 2] = 48
            out[at + 3] = 48
            out[at + 4] = HEX[byte >> 4]
            out[at + 5] = HEX[byte & 15]
            at += 6
    return at


@kernel
def put_int(out: Any, at: int, number: int) -> int:
    """Writes an integer in decimal."""
    if number < 0:
        out[at] = 45
        at += 1
        number = -number
    digits = 1
    bound = 10
    while digits < 19 and number >= bound:
        bound *= 10
        digits += 1
    for i in range(digits):
        out[at + digits - 1 - i] = 48 + number % 10
        number //= 10
    return at + digits


@kernel
def put_digits(out: Any, at: int, number: int, digits: int) -> int:
    """Writes the last ``digits`` decimal digits of a number."""
    for i in range(digits):
        out[at + digits - 1 - i] = 48 + number % 10
        number //= 10
    return at + digits


@kernel
def put_money(out: Any, at: int, amount_e4: int) -> int:
    """Writes 1/10,000 yuan as a decimal with 4 decimals."""
    at = put_int(out, at, amount_e4 // 10_000)
    out[at] = 46
    return put_digits(out, at + 1, amount_e4 % 10_000, 4)


@kernel
def put_money_or_null(out: Any, at: int, amount_e4: int) -> int:
    """Writes an amount as a JSON string; 0 stands for none."""
    if amount_e4 == 0:
        return put(out, at, NULL)
    out[at] = QUOTE_MARK
    at = put_money(out, at + 1, amount_e4)
    out[at] = QUOTE_MARK
    return at + 1


@kernel
def put_time(out: Any, at: int, time_ms: int) -> int:
    """Writes epoch milliseconds as RFC 3339 in UTC with milliseconds; years 1970 to 9999."""
    days = time_ms // 86_400_000
    ms = time_ms % 86_400_000
    # days since 0000-03-01, in 400-year eras (Hinnant, "chrono-compatible low-level date algorithms")
    days += 719_468
    era = days // 146_097
    day_of_era = days % 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    at = put_digits(out, at, year, 4)
    out[at] = 45
    at = put_digits(out, at + 1, month, 2)
    out[at] = 45
    at = put_digits(out, at + 1, day, 2)
    out[at] = 84
    at = put_digits(out, at + 1, ms // 3_600_000, 2)
    out[at] = COLON
    at = put_digits(out, at + 1, ms // 60_000 % 60, 2)
    out[at] = COLON
    at = put_digits(out, at + 1, ms // 1_000 % 60, 2)
    out[at] = 46
    at = put_digits(out, at + 1, ms % 1_000, 3)
    out[at] = 90
    return at + 1


@kernel
def put_supplier(out: Any, at: int, hi: int, lo: int) -> int:
    """Writes a packed supplier code: 12 and 6 characters in base 36."""
    rest = np.uint64(hi)
    base = np.uint64(36)
    for i in range(12):
        digit = int64(rest % base)
        out[at + 11 - i] = 48 + digit if digit < 10 else 55 + digit
        rest //= base
    low = int64(lo)
    for i in range(6):
        digit = low % 36
        out[at + 17 - i] = 48 + digit if digit < 10 else 55 + digit
        low //= 36
    return at + 18
