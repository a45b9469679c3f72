"""Money as written (SPEC §2)."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from schemas.money import format_e4, parse_money, parse_money_number, per_piece_e4

AMOUNTS = st.integers(0, 10**18)


@given(AMOUNTS)
def test_there_and_back(amount_e4: int) -> None:
    assert parse_money(format_e4(amount_e4)) == amount_e4
    assert parse_money_number(format_e4(amount_e4)) == amount_e4


@given(AMOUNTS, st.integers(-30, 30), st.integers(0, 3), st.sampled_from("eE"))
def test_numbers_with_exponents(amount: int, exponent: int, zeros: int, letter: str) -> None:
    written = f"{amount}.{'0' * zeros}" if zeros else str(amount)
    exact = Fraction(amount) * Fraction(10) ** exponent * 10_000
    expected = int(exact) if exact.denominator == 1 and exact < 10**19 else None
    assert parse_money_number(f"{written}{letter}{exponent}") == expected
    assert parse_money_number(f"{written}{letter}{exponent:+03d}") == expected


@given(st.text(alphabet="0123456789.eE+-١１ ", max_size=8))
def test_decimal_strings(text: str) -> None:
    whole, point, fraction = text.partition(".")
    plain = whole.isascii() and whole.isdigit() and (not point or (fraction.isascii() and fraction.isdigit()))
    fits = plain and len(fraction.rstrip("0")) <= 4
    assert parse_money(text) == (int(Fraction(text) * 10_000) if fits else None)


def test_negative_numbers_are_none() -> None:
    assert parse_money_number("-1") is None
    assert parse_money_number("-0.00") == 0
    assert parse_money_number("1.") is None


@given(st.integers(1, 10**12), st.integers(1, 10**6))
def test_per_piece_is_rounded_half_up(price_e4: int, pack_size: int) -> None:
    assert per_piece_e4(price_e4, pack_size) == (Fraction(price_e4, pack_size) + Fraction(1, 2)).__floor__()


def test_format() -> None:
    assert [format_e4(amount) for amount in (0, 1, 12_000_000, 10**12)] == [
        "0.0000",
        "0.0001",
        "1200.0000",
        "100000000.0000",
    ]
