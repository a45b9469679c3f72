"""Codes, partitions and packed suppliers, by Python and by kernel."""

import string

import numpy as np
import pytest
from aiokafka.partitioner import murmur2 as reference_murmur2
from hypothesis import given
from hypothesis import strategies as st

from schemas.codes import (
    base36_of,
    is_code,
    is_supplier,
    murmur2,
    murmur2_of,
    pack_supplier,
    partition_of,
    partition_of_hash,
    put_base36,
    unpack_supplier,
)
from tests.schemas.lines import CODE, DRUG, SUPPLIER

SUPPLIERS = st.text(alphabet=string.digits + string.ascii_uppercase, min_size=18, max_size=18)


@given(st.binary(max_size=40), st.integers(0, 7))
def test_murmur2_is_kafkas(key: bytes, start: int) -> None:
    expected = reference_murmur2(key) & 0xFFFFFFFF
    assert murmur2(key) == expected
    assert murmur2_of(np.frombuffer(b"x" * start + key, np.uint8), start, len(key)) == expected


@pytest.mark.parametrize("partitions", [1, 2, 4, 7, 64])
def test_partition(partitions: int) -> None:
    for code in (CODE, DRUG):
        expected = (reference_murmur2(code.encode()) & 0x7FFFFFFF) % partitions
        assert partition_of(code, partitions) == expected
        assert partition_of_hash(murmur2(code.encode()), partitions) == expected


@given(SUPPLIERS)
def test_suppliers_there_and_back(text: str) -> None:
    hi, lo = pack_supplier(text)
    assert 0 <= hi < 2**63
    assert 0 <= lo < 2**32
    assert unpack_supplier(hi, lo) == text
    data = np.frombuffer(text.encode(), np.uint8)
    assert (base36_of(data, 0, 12), base36_of(data, 12, 6)) == (hi, lo)
    out = np.zeros(18, np.uint8)
    put_base36(out, 0, hi, 12)
    put_base36(out, 12, lo, 6)
    assert out.tobytes().decode() == text


def test_base36_refuses_others() -> None:
    for text in (b"0123456789A-", b"0123456789Aa", b"0123456789A/", b"0123456789A:", b"0123456789A@", b"0123456789A["):
        assert base36_of(np.frombuffer(text, np.uint8), 0, 12) == -1


@pytest.mark.parametrize(
    ("text", "is_one"),
    [(CODE, True), (DRUG, True), ("X" + "A" * 22, True), ("T" + "0" * 22, True), (CODE + "\n", False), (CODE[1:], False),
     ("C" + "A" * 26, False), ("Y" + "A" * 22, False), ("", False), ("C" + "０" * 26, False), (DRUG + "A", False)],
)  # fmt: skip
def test_codes(text: str, is_one: bool) -> None:
    assert is_code(text) == is_one


def test_suppliers() -> None:
    assert is_supplier(SUPPLIER)
    assert not any(map(is_supplier, (SUPPLIER + "\n", SUPPLIER.lower(), SUPPLIER[1:], SUPPLIER[1:] + "é", "")))
