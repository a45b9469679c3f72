"""Keys and values out of fetch results: every format and codec, and where the consumer stands afterwards."""

from collections.abc import Iterable
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from aiokafka.errors import CorruptRecordException

from agents import record_rows
from agents.record_rows import FetchedRows, rows_of, take_rows
from schemas.batches import StateRows
from tests.agents.fake_machine import pairs_of
from tests.agents.fetched import fetch_result, record_batch

COMPILED = not numba.config.DISABLE_JIT
KEYS: list[bytes | None] = [b"C%d" % number for number in range(50)]
VALUES: list[bytes | None] = [b"row of %d" % number * (number % 5) for number in range(50)]


def pairs(blocks: Iterable[StateRows]) -> list[tuple[bytes, bytes]]:
    return [pair for block in blocks for pair in pairs_of(block)]


@pytest.mark.parametrize("compression", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("slow", [False, True])
def test_all_rows_of_a_fetch_come_with_their_keys(compression: int, slow: bool) -> None:
    batches = [record_batch(first, VALUES[first : first + 10], keys=KEYS[first : first + 10], compression=compression)
               for first in range(0, 50, 10)]  # fmt: skip
    result, state = fetch_result(batches, 0, slow=slow)
    rows = take_rows(result)
    assert isinstance(rows, FetchedRows) == (COMPILED and not slow)
    assert state.position == 50
    assert not result.has_more()
    assert pairs(rows) == list(zip(KEYS, VALUES, strict=True))


def test_rows_before_the_position_are_left_out() -> None:
    result, state = fetch_result([record_batch(0, VALUES[:10], keys=KEYS[:10])], 6)
    assert [key for key, _ in pairs(take_rows(result))] == KEYS[6:10]
    assert state.position == 10


@pytest.mark.parametrize("slow", [False, True])
def test_deleted_rows_are_none(slow: bool) -> None:
    result, state = fetch_result(
        [record_batch(0, [b"a", None, b"", b"d"], keys=[b"A", b"B", b"C", None])], 0, slow=slow
    )
    assert pairs(take_rows(result)) == [(b"A", b"a"), (b"C", b"")]
    assert state.position == 4


def test_a_fetch_of_deleted_rows_alone_moves_on() -> None:
    result, state = fetch_result([record_batch(7, [None, None], keys=[b"A", b"B"])], 7)
    assert pairs(take_rows(result)) == []
    assert state.position == 9


def test_more_rows_than_a_block_has_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_rows, "BLOCK_ROWS", 7)
    monkeypatch.setattr(record_rows, "BLOCK_BYTES", 40)
    for compression in (0, 3):
        result, _ = fetch_result([record_batch(0, VALUES, keys=KEYS, compression=compression)], 0)
        blocks = list(take_rows(result))
        assert pairs(blocks) == list(zip(KEYS, VALUES, strict=True))
        assert len(blocks) > 7 or not COMPILED


def test_the_last_offset_counts_though_its_record_was_compacted_away() -> None:
    raw = bytearray(record_batch(0, [b"a"], keys=[b"A"]))
    raw[23:27] = (9).to_bytes(4, "big")
    result, state = fetch_result([bytes(raw)], 0)
    result._partition_records._check_crcs = False
    assert pairs(take_rows(result)) == [(b"A", b"a")]
    assert state.position == 10 or not COMPILED


def test_a_batch_that_was_cut_off_waits_for_the_next_fetch() -> None:
    result, state = fetch_result([record_batch(0, [b"a"]), record_batch(1, [b"b" * 200])[:-7]], 0)
    assert pairs(take_rows(result)) == [(b"key", b"a")]
    assert state.position == 1


def test_aborted_transactions_were_never_written() -> None:
    batches = [
        record_batch(0, [b"aborted"], transactional=True, producer_id=7),
        record_batch(1, [b"kept"], transactional=True, producer_id=8),
    ]
    result, state = fetch_result(batches, 0, aborted=[(7, 0)])
    assert pairs(take_rows(result)) == [(b"key", b"kept")]
    assert state.position == 2


def test_a_wrong_checksum_is_noticed() -> None:
    raw = bytearray(record_batch(0, [b"abcdefghij"]))
    raw[-3] ^= 1
    result, _ = fetch_result([bytes(raw)], 0)
    with pytest.raises(CorruptRecordException):
        list(take_rows(result))


def test_after_a_seek_what_was_fetched_is_dropped() -> None:
    result, state = fetch_result([record_batch(0, [b"a", b"b"])], 0)
    state.position = 1
    assert pairs(take_rows(result)) == []
    assert state.position == 1


def test_the_public_way_gives_the_same_rows() -> None:
    records = [SimpleNamespace(key=key, value=value) for key, value in zip(KEYS, VALUES, strict=True)]
    records.insert(3, SimpleNamespace(key=b"C0", value=None))
    rows = rows_of(records)
    assert pairs([rows]) == list(zip(KEYS, VALUES, strict=True))
    assert rows.spans.dtype == np.int64
    assert len(rows_of([]).spans) == 0
