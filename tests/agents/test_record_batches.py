"""From fetched record batches to chunks: values, offsets, times, limits; whatever the batches look like."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import record_batches
from agents.record_batches import Chunk, chunk_of, take
from tests.agents.fetched import fetch_result, record_batch

MANY = 1_000_000


def values_of(chunk: Chunk) -> list[bytes]:
    raw = chunk.batch.data.tobytes()
    return [raw[row["start"] : row["end"]] for row in chunk.batch.messages]


def offsets_of(chunk: Chunk) -> list[int]:
    return [int(offset) for offset in chunk.batch.messages["offset"]]


def test_a_fetch_becomes_one_chunk() -> None:
    result, state = fetch_result([record_batch(5, [b"a", b"bc"]), record_batch(7, [b"def"], timestamp_ms=9_000)], 5)
    chunk = take(result, MANY, MANY, 8)
    assert chunk is not None
    assert values_of(chunk) == [b"a", b"bc", b"def"]
    assert offsets_of(chunk) == [5, 6, 7]
    assert chunk.batch.messages["broker_ts_ms"].tolist() == [1_000, 1_001, 9_000]
    assert (chunk.topic, chunk.partition, chunk.position, chunk.last_offset, chunk.next_offset) == ("feeds", 3, 5, 7, 8)
    assert state.position == 8
    assert not result.has_more()


@pytest.mark.parametrize("compression", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_is_read(compression: int) -> None:
    result, _ = fetch_result(
        [record_batch(0, [b"line %d" % number for number in range(50)], compression=compression)], 0
    )
    chunk = take(result, MANY, MANY, 50)
    assert chunk is not None
    assert values_of(chunk) == [b"line %d" % number for number in range(50)]


def test_messages_before_the_position_are_left_out() -> None:
    result, _ = fetch_result([record_batch(0, [b"%d" % number for number in range(10)])], 6)
    chunk = take(result, MANY, MANY, 10)
    assert chunk is not None
    assert offsets_of(chunk) == [6, 7, 8, 9]
    assert chunk.position == 6


def test_a_message_without_a_value_is_empty() -> None:
    result, _ = fetch_result([record_batch(0, [None, b"x"])], 0)
    chunk = take(result, MANY, MANY, 2)
    assert chunk is not None
    assert values_of(chunk) == [b"", b"x"]


def test_gaps_of_offsets_are_kept() -> None:
    result, _ = fetch_result([record_batch(0, [b"a"]), record_batch(40, [b"b"])], 0)
    chunk = take(result, MANY, MANY, 41)
    assert chunk is not None
    assert offsets_of(chunk) == [0, 40]
    assert (chunk.position, chunk.next_offset) == (0, 41)


def test_aborted_transactions_were_never_written() -> None:
    batches = [
        record_batch(0, [b"aborted"], transactional=True, producer_id=7),
        record_batch(1, [b"kept"], transactional=True, producer_id=8),
    ]
    result, state = fetch_result(batches, 0, aborted=[(7, 0)])
    chunk = take(result, MANY, MANY, 2)
    assert chunk is not None
    assert values_of(chunk) == [b"kept"]
    assert (chunk.position, chunk.next_offset) == (0, 2)
    assert state.position == 2


def test_only_aborted_records_give_no_chunk_but_move_on() -> None:
    result, state = fetch_result([record_batch(0, [b"x"], transactional=True, producer_id=7)], 0, aborted=[(7, 0)])
    assert take(result, MANY, MANY, 1) is None
    assert state.position == 1
    assert not result.has_more()


def test_a_chunk_is_limited_in_messages_and_bytes() -> None:
    values: list[bytes | None] = [b"x" * 100 for _ in range(3_000)]
    result, state = fetch_result([record_batch(0, values)], 0)
    first = take(result, 700, MANY, 3_000)
    assert first is not None
    assert offsets_of(first) == list(range(700))
    assert state.position == 700
    second = take(result, MANY, 20_000, 3_000)
    assert second is not None
    assert second.position == 700
    assert 20_000 <= len(second.batch.data) < 20_000 + 50_100
    rest = take(result, MANY, 1 << 30, 3_000)
    assert rest is not None
    assert rest.position == second.next_offset
    assert rest.next_offset == 3_000


def test_after_a_seek_what_was_fetched_is_dropped() -> None:
    result, state = fetch_result([record_batch(0, [b"a", b"b"])], 0)
    state.position = 1
    assert take(result, MANY, MANY, 2) is None
    assert state.position == 1


def test_nothing_is_taken_of_a_partition_that_was_taken_away() -> None:
    result, _ = fetch_result([record_batch(0, [b"a"])], 0)
    result._assignment.active = False
    assert take(result, MANY, MANY, 1) is None


def test_aiokafka_is_the_one_that_is_known() -> None:
    assert record_batches.missing() == []


def test_the_public_way_gives_the_same_chunk() -> None:
    values: list[bytes | None] = [b"a", b"bc", None]
    result, _ = fetch_result([record_batch(4, values)], 4)
    private = take(result, MANY, MANY, 7)
    records = [SimpleNamespace(offset=4 + n, timestamp=1_000 + n, value=value) for n, value in enumerate(values)]
    public = chunk_of("feeds", 3, records, 4, 7)
    assert private is not None
    assert values_of(public) == values_of(private)
    assert public.batch.messages.tolist() == private.batch.messages.tolist()
    assert (public.position, public.next_offset) == (private.position, private.next_offset)


@given(
    st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=20), min_size=1, max_size=8),
    st.lists(st.integers(0, 5), min_size=8, max_size=8),
    st.integers(1, 30),
    st.integers(1, 300),
)
def test_chunks_together_are_what_was_written(
    batches: list[list[bytes]], gaps: list[int], most_messages: int, most_bytes: int
) -> None:
    offset = 0
    raw, wanted = [], []
    for values, gap in zip(batches, gaps, strict=False):
        offset += gap
        raw.append(record_batch(offset, list(values)))
        wanted += [(offset + number, value) for number, value in enumerate(values)]
        offset += len(values)
    result, _ = fetch_result(raw, 0)
    found, position = [], 0
    while result.has_more():
        chunk = take(result, most_messages, most_bytes, offset)
        if chunk is None:
            break
        assert chunk.position == position
        position = chunk.next_offset
        found += list(zip(offsets_of(chunk), values_of(chunk), strict=True))
    assert found == wanted
    assert position == offset
