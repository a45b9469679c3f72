"""Kernels for time in text: RFC 3339 to epoch milliseconds (SPEC §2; ``schemas.times`` is the exact one)."""

from typing import Any, Final

from config.kernel import kernel
from schemas.octets import octet
from schemas.times import LATEST_MS

NOT_A_TIME: Final = -1
_SHORTEST: Final = 20
"""``2026-01-01T00:00:00Z``"""
_OUTSIDE: Final = 1_000_000
"""Stands for two characters that are not digits: it is over the limit of whatever is read."""


@kernel
def two_digits(data: Any, at: int) -> int:
    """Returns the number that two digits write, or one that is over every limit."""
    tens = octet(data, at) - 0x30
    ones = octet(data, at + 1) - 0x30
    return tens * 10 + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else _OUTSIDE


@kernel
def days_from_civil(year: int, month: int, day: int) -> int:
    """Returns days since 1970-01-01 of a date of the Gregorian calendar, years from 1 on.

    Years begin in March here, so that the leap day is the last of its year.
    """
    shifted = year - 1 if month <= 2 else year
    day_of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    return shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + day_of_year - 719_468


@kernel
def days_of_month(year: int, month: int) -> int:
    """Returns how many days a month has."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@kernel
def rfc3339_ms(data: Any, start: int, end: int) -> int:
    """Returns epoch milliseconds of ``data[start:end]``, or NOT_A_TIME (see times.parse_rfc3339)."""
    if end - start < _SHORTEST:
        return NOT_A_TIME
    year = two_digits(data, start) * 100 + two_digits(data, start + 2)
    month = two_digits(data, start + 5)
    day = two_digits(data, start + 8)
    hour = two_digits(data, start + 11)
    minute = two_digits(data, start + 14)
    second = two_digits(data, start + 17)
    if (
        octet(data, start + 4) != 0x2D
        or octet(data, start + 7) != 0x2D
        or octet(data, start + 10) != 0x54
        or octet(data, start + 13) != 0x3A
        or octet(data, start + 16) != 0x3A
        or not 1 <= year <= 9_999
        or not 1 <= month <= 12
        or not 1 <= day <= days_of_month(year, month)
        or hour > 23
        or minute > 59
        or second > 59
    ):
        return NOT_A_TIME
    ms = (days_from_civil(year, month, day) * 1_440 + hour * 60 + minute) * 60_000 + second * 1_000
    at = start + 19
    if octet(data, at) == 0x2E:
        at += 1
        scale = 1_000
        while 0x30 <= octet(data, at) <= 0x39:
            scale //= 10
            ms += (octet(data, at) - 0x30) * scale
            at += 1
        if scale == 1_000:
            return NOT_A_TIME
    sign = octet(data, at)
    if sign in (0x2B, 0x2D):
        offset_hour = two_digits(data, at + 1)
        offset_minute = two_digits(data, at + 4)
        if at + 6 != end or octet(data, at + 3) != 0x3A or offset_hour > 23 or offset_minute > 59:
            return NOT_A_TIME
        offset_ms = (offset_hour * 60 + offset_minute) * 60_000
        ms += offset_ms if sign == 0x2D else -offset_ms
    elif sign != 0x5A or at + 1 != end:
        return NOT_A_TIME
    return ms if 0 <= ms <= LATEST_MS else NOT_A_TIME
