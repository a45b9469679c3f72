"""Money: read as written, kept as a count of 1/10,000 yuan (``_e4``), written with 4 decimals (SPEC §2). Never a float."""

import re
from typing import Final

YUAN_E4: Final = 10_000
MAX_PRICE_E4: Final = 100_000_000 * YUAN_E4
MAX_PAID_E4: Final = 10**14 * YUAN_E4

_DECIMAL: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?")
_MAX_DIGITS: Final = 19
"""10¹⁹ - 1 is over every limit there is, so a longer amount need not be computed."""
_MAX_EXPONENT_DIGITS: Final = 9
"""A line is too short for digits that an exponent of 10⁹ could shift back into range."""
_QUICK_WHOLE_DIGITS: Final = 14


def parse_money(text: str) -> int | None:
    """Returns the amount of a decimal string in 1/10,000 yuan, or None.

    None: not digits with at most one point between them, more than 4 decimals (trailing zeros aside), or 20 digits and
    more. Whether an amount is in its field's range is the caller's question.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    whole, fraction = match.groups("")
    return _count_e4(whole, fraction, 0)


def parse_money_number(text: str) -> int | None:
    """Returns the amount that a JSON number writes, in 1/10,000 yuan, or None (see parse_money); ``-0`` is 0."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction, exponent_sign, exponent_digits = match.groups("")
    exponent = 0
    if exponent_digits:
        exponent_digits = exponent_digits.lstrip("0")
        if len(exponent_digits) > _MAX_EXPONENT_DIGITS:
            return None if (whole + fraction).strip("0") else 0
        exponent = int(exponent_sign + (exponent_digits or "0"))
    amount_e4 = _count_e4(whole, fraction, exponent)
    return amount_e4 if not sign or amount_e4 == 0 else None


def _count_e4(whole: str, fraction: str, exponent: int) -> int | None:
    if exponent == 0 and len(whole) <= _QUICK_WHOLE_DIGITS and len(fraction) <= 4:
        return int(whole + fraction.ljust(4, "0"))
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return 0
    shift = 4 + exponent - len(fraction) + len(digits) - len(significant)
    if shift < 0 or len(significant) + shift > _MAX_DIGITS:
        return None
    return int(significant + "0" * shift)


def format_e4(amount_e4: int) -> str:
    """Returns an amount (not negative) as a decimal string with 4 decimals: ``1200.0000``."""
    return f"{amount_e4 // YUAN_E4}.{amount_e4 % YUAN_E4:04d}"


def per_piece_e4(price_e4: int, pack_size: int) -> int:
    """Returns a price per piece, rounded half up to 1/10,000 yuan (SPEC §3)."""
    return (2 * price_e4 + pack_size) // (2 * pack_size)
