"""Times: RFC 3339 to epoch milliseconds and back (SPEC §2)."""

import re
from datetime import date
from typing import Final

LATEST_MS: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z: no later time is read, and a deadline beyond it is cut to it."""

_DAY_MS: Final = 86_400_000
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
RFC3339_PATTERN: Final = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_RFC3339: Final = re.compile(RFC3339_PATTERN)


def parse_rfc3339(text: str) -> int | None:
    """Returns epoch milliseconds, or None: not RFC 3339 with ``T``, ``Z`` or an offset, or not within 1970 to 9999 UTC.

    Digits past milliseconds are dropped. There is no second 60 and no hour 24.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_hour, offset_minute = match.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        return None
    minutes = int(hour) * 60 + int(minute)
    if sign is not None:
        offset_minutes = int(offset_hour) * 60 + int(offset_minute)
        minutes += offset_minutes if sign == "-" else -offset_minutes
    ms = days * _DAY_MS + minutes * 60_000 + int(second) * 1_000
    if fraction is not None:
        ms += int(fraction[:3].ljust(3, "0"))
    return ms if 0 <= ms <= LATEST_MS else None


def format_ms(ms: int) -> str:
    """Returns epoch milliseconds (not negative) as RFC 3339 in UTC, ``2026-01-01T00:00:00.000Z``; cut at LATEST_MS."""
    days, rest = divmod(min(ms, LATEST_MS), _DAY_MS)
    seconds, thousandths = divmod(rest, 1_000)
    minutes, second = divmod(seconds, 60)
    return (
        f"{date.fromordinal(days + _EPOCH_ORDINAL).isoformat()}"
        f"T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{thousandths:03d}Z"
    )
