"""Shares of quantities and amounts of money that pass 64 bits on the way, and the calendar of Asia/Shanghai."""

from typing import Final

from numba import int64

from config.kernel import kernel
from streams.layout import DAY_MS, HOUR_MS, LAST_MS

SHANGHAI_MS: Final = 8 * HOUR_MS
MOST_OWED_E4: Final = (1 << 63) - 1
_LIMB: Final = 20
_DIRECT: Final = 1 << 42  # up to here, quantity × 10⁶ fits 63 bits


@kernel
def is_below_share(filled: int, due: int, share_bp: int) -> bool:
    """Tells whether filled × 10,000 < share × due, for 0 ≤ filled ≤ due and a share up to 10⁶, whatever the product."""
    if due < _DIRECT:
        return filled * 10_000 < share_bp * due
    high = (filled >> _LIMB) * 10_000 - share_bp * (due >> _LIMB)
    mask = (1 << _LIMB) - 1
    low = (filled & mask) * 10_000 - share_bp * (due & mask)
    # |low| < 2²⁰ × 10⁶, so the high part decides unless it is small
    if high > 1_000_000:
        return False
    if high < -1_000_000:
        return True
    return high * (1 << _LIMB) + low < 0


@kernel
def share_bp(filled: int, due: int) -> int:
    """floor(filled × 10,000 / due); due > 0."""
    whole = filled // due
    rest = filled % due
    if due < _DIRECT:
        return whole * 10_000 + rest * 10_000 // due
    least = 0
    most = 9_999
    while least < most:
        middle = (least + most + 1) // 2
        if is_below_share(rest, due, middle):
            most = middle - 1
        else:
            least = middle
    return whole * 10_000 + least


@kernel
def amount_e4(quantity: int, price_e4: int, pack_size: int) -> int:
    """Quantity × price / pack size, rounded half up, at most 2⁶³ − 1; the product may have 90 bits."""
    whole = price_e4 // pack_size
    rest = price_e4 % pack_size
    packs = quantity // pack_size
    pieces = quantity % pack_size
    small = packs * rest + (2 * pieces * rest + pack_size) // (2 * pack_size)
    if whole > 0 and quantity > (MOST_OWED_E4 - small) // whole:
        return MOST_OWED_E4
    return quantity * whole + small


@kernel
def shanghai_day(time_ms: int) -> int:
    """Number of the Shanghai date, 1970-01-01 = 0."""
    return (time_ms + SHANGHAI_MS) // DAY_MS


@kernel
def midnight_from(time_ms: int) -> int:
    """The first midnight of Asia/Shanghai at or after a moment."""
    return (time_ms + SHANGHAI_MS + DAY_MS - 1) // DAY_MS * DAY_MS - SHANGHAI_MS


@kernel
def settlement_due(accepted_ms: int) -> int:
    """The midnight that ends the calendar month after the month of acceptance, in Asia/Shanghai (SPEC §7)."""
    # days since 0000-03-01, in 400-year eras (Hinnant, "chrono-compatible low-level date algorithms")
    days = shanghai_day(accepted_ms) + 719_468
    era = days // 146_097
    day_of_era = days % 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153 + 2  # from March = 0, two months on
    year = year_of_era + era * 400 + month // 12
    month %= 12
    past = year // 400 * 146_097 + year % 400 * 365 + year % 400 // 4 - year % 400 // 100
    due_ms = (past + (153 * month + 2) // 5 - 719_468) * DAY_MS - SHANGHAI_MS
    return int64(min(due_ms, LAST_MS))
