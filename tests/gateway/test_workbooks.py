"""Workbooks are read by processes that end of what is too much for them, and nobody else does."""

import io
import os
import signal
from collections.abc import Iterator

import pytest

from gateway.profiles import MappingFault
from gateway.workbooks import Workbooks, sheet_rows
from tests.gateway.test_price_lists import far_workbook, workbook

LARGE = workbook([("x" * 32_000,)] * 2_000)
"""One text, many times."""


@pytest.fixture
def readers() -> Iterator[Workbooks]:
    made = Workbooks(memory_bytes=64 << 20)
    yield made
    assert len(made._idle) <= 1
    made.close()
    assert not made._idle


def rows(readers: Workbooks, raw: bytes) -> list[tuple[int, list[str], str | None]]:
    return list(readers.rows(io.BytesIO(raw)))


def test_one_reader_reads_one_workbook_after_the_other(readers: Workbooks) -> None:
    for text in ("a", "支"):
        raw = workbook([(text, 1, 0.1 + 0.2, True, None), (None, None), (None, "", 12.0, "")])
        assert rows(readers, raw) == [(1, [text, "1", "0.3", "true"], None), (3, ["", "", "12"], None)]
        (reader,) = readers._idle
        text = str(reader._process.pid)
    assert str(readers._idle[0]._process.pid) == text


def test_rows_that_are_too_much_are_told_and_the_others_are_read(readers: Workbooks) -> None:
    raw = workbook([("x", *["y"] * 1_000), ("x", *["y" * 32_000] * 40), ("x",)])
    assert rows(readers, raw) == [
        (1, [], "the row has more than 1,000 cells"),
        (2, [], "the row has more than 1,048,576 characters"),
        (3, ["x"], None),
    ]


@pytest.mark.parametrize("raw", [b"PK\x03\x04 none", b"PK\x03\x04", b"no such thing"])
def test_what_is_no_workbook_is_told_and_the_reader_lives(readers: Workbooks, raw: bytes) -> None:
    with pytest.raises(MappingFault, match="cannot be read"):
        rows(readers, raw)
    assert rows(readers, workbook([("x",)])) == [(1, ["x"], None)]


def test_what_is_too_much_ends_its_reader_alone(readers: Workbooks) -> None:
    for raw in (far_workbook(), LARGE):
        with pytest.raises(MappingFault, match="too much"):
            rows(readers, raw)
        assert not readers._idle
    assert rows(readers, workbook([("x",)])) == [(1, ["x"], None)]


def test_one_that_is_not_read_to_its_end_is_ended_and_one_that_was_killed_is_replaced(readers: Workbooks) -> None:
    reading = readers.rows(io.BytesIO(workbook([(f"row {number}",) for number in range(2_000)])))
    assert next(reading)[0] == 1
    reading.close()  # type: ignore[attr-defined]
    assert not readers._idle
    assert len(rows(readers, workbook([("x",)]))) == 1
    os.kill(readers._idle[0]._process.pid, signal.SIGKILL)
    readers._idle[0]._process.wait()
    assert len(rows(readers, workbook([("x",)]))) == 1


def test_who_closes_waits_for_no_reader() -> None:
    readers = Workbooks()
    reading = readers.rows(io.BytesIO(workbook([(f"row {number}",) for number in range(20_000)])))
    assert next(reading)[0] == 1
    readers.close()
    with pytest.raises(MappingFault):
        list(reading)
    assert not readers._at_work
    assert not readers._idle


def test_a_file_of_ones_own_may_take_what_it_takes() -> None:
    assert len(list(sheet_rows(io.BytesIO(LARGE)))) == 2_000
