"""What the machine writes, against Python's own json, datetime and decimal."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.codes import pack_supplier
from streams.json_bytes import (
    put,
    put_bytes,
    put_digits,
    put_escaped,
    put_int,
    put_money,
    put_money_or_null,
    put_supplier,
    put_time,
    put_word,
)
from streams.words import BAND_WORDS, PROVINCE_DIGITS, literal, word_table

LAST_MS = 253_402_300_799_999
FILL = 0x5A


class Page:
    """An array to write to, which shows what was written and that nothing else was."""

    def __init__(self, at: int = 3) -> None:
        self.out = np.full(2_000, FILL, np.uint8)
        self.at = at

    def text(self, end: int) -> str:
        """Returns what was written between the start and ``end``."""
        assert (self.out[: self.at] == FILL).all()
        assert (self.out[end:] == FILL).all()
        return self.out[self.at : end].tobytes().decode()


@given(st.integers(0, LAST_MS))
@example(0)
@example(LAST_MS)
@example(951_782_399_999)
@example(951_782_400_000)  # 2000-02-29
@example(4_107_542_400_000)  # 2100-03-01, no leap year
@example(4_107_542_399_999)
@example(13_574_563_200_000)  # 2400-02-29
def test_put_time(time_ms: int) -> None:
    page = Page()
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    wanted = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1_000:03}Z"
    assert page.text(put_time(page.out, page.at, time_ms)) == wanted


def test_put_time_on_every_day_of_four_hundred_years() -> None:
    page = Page()
    day = datetime(1999, 12, 31, tzinfo=UTC)
    for number in range(0, 146_100, 7):
        time_ms = int((day + timedelta(days=number)).timestamp()) * 1_000
        end = put_time(page.out, page.at, time_ms)
        assert page.text(end) == (day + timedelta(days=number)).strftime("%Y-%m-%dT00:00:00.000Z")


@given(st.integers(0, 2**63 - 1))
@example(0)
@example(9_999)
@example(10_000)
@example(10**12)
@example(10**18)
def test_put_money(amount_e4: int) -> None:
    page = Page()
    assert page.text(put_money(page.out, page.at, amount_e4)) == f"{Decimal(amount_e4).scaleb(-4):.4f}"
    page = Page()
    wanted = f'"{Decimal(amount_e4).scaleb(-4):.4f}"' if amount_e4 else "null"
    assert page.text(put_money_or_null(page.out, page.at, amount_e4)) == wanted


@given(st.integers(-(2**63) + 1, 2**63 - 1))
@example(0)
@example(-1)
@example(10**18)
@example(10**18 - 1)
@example(2**63 - 1)
def test_put_int(number: int) -> None:
    page = Page()
    assert page.text(put_int(page.out, page.at, number)) == str(number)


@given(st.integers(0, 10**9), st.integers(1, 9))
def test_put_digits(number: int, digits: int) -> None:
    page = Page()
    assert page.text(put_digits(page.out, page.at, number, digits)) == f"{number:09}"[-digits:]


@given(st.text(max_size=100))
@example('"\\/\x7f\u2028\u2029<>&😀')
@example("".join(map(chr, range(0x21))))
@example("é合同\ue000\U0010ffff")
def test_put_escaped(text: str) -> None:
    """Escaped only where JSON must: json with ensure_ascii off does the same, and writes \\u001f in lower case."""
    source = np.frombuffer(b"xx" + text.encode() + b"x", np.uint8)
    page = Page()
    end = put_escaped(page.out, page.at, source, 2, source.size - 3)
    assert page.text(end) == json.dumps(text, ensure_ascii=False)[1:-1]


@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=18, max_size=18))
@example("0" * 18)
@example("Z" * 18)
def test_put_supplier(text: str) -> None:
    page = Page()
    assert page.text(put_supplier(page.out, page.at, *pack_supplier(text))) == text


@given(st.binary(max_size=40), st.integers(0, 10))
def test_put_bytes(source: bytes, start: int) -> None:
    page = Page()
    raw = np.frombuffer(source + b"xxxxxxxxxx", np.uint8)
    end = put_bytes(page.out, page.at, raw, start, len(source))
    assert page.out[page.at : end].tobytes() == raw[start : start + len(source)].tobytes()


def test_put_words() -> None:
    page = Page()
    assert page.text(put(page.out, page.at, literal(',"at":"'))) == ',"at":"'
    table = word_table(("", "a", "longest"))
    for number, word in enumerate(("", "a", "longest")):
        page = Page()
        assert page.text(put_word(page.out, page.at, table, number)) == word
    page = Page()
    assert page.text(put_word(page.out, page.at, PROVINCE_DIGITS, 31)) == "660000"
    page = Page()
    assert page.text(put_word(page.out, page.at, BAND_WORDS, 3)) == "red"
