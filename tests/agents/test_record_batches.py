"""From fetched record batches to chunks: values, offsets, times, limits; whatever the batches look like."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from agents import record_batches
from agents import record_kernels as kernels
from agents.record_batches import Chunk, chunk_of, take
from schemas.traced import EVERY_LINE
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
    assert len(second.batch.data) == 20_000
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
    records = [
        SimpleNamespace(offset=4 + n, timestamp=1_000 + n, value=value, headers=()) for n, value in enumerate(values)
    ]
    public = chunk_of("feeds", 3, records, 4, 7)
    assert private is not None
    assert values_of(public) == values_of(private)
    assert public.batch.messages.tolist() == private.batch.messages.tolist()
    assert (public.position, public.next_offset) == (private.position, private.next_offset)


def test_a_wrong_checksum_is_noticed() -> None:
    raw = bytearray(record_batch(0, [b"abcdefghij"]))
    raw[-5] ^= 1
    for slow in (False, True):
        result, state = fetch_result([bytes(raw)], 0, slow=slow)
        with pytest.raises(CorruptRecordException):
            take(result, MANY, MANY, 1)
        assert state.position == 0


def test_a_record_that_lies_about_its_length_is_noticed() -> None:
    raw = bytearray(record_batch(0, [b"abcdefghij"]))
    raw[61] = 0x7E  # longer than the batch
    result, _ = fetch_result([bytes(raw)], 0)
    result._partition_records._check_crcs = False
    with pytest.raises(CorruptRecordException):
        take(result, MANY, MANY, 1)


def test_a_batch_that_was_cut_off_waits_for_the_next_fetch() -> None:
    whole, cut = record_batch(0, [b"a"]), record_batch(1, [b"b" * 200])[:-7]
    result, state = fetch_result([whole, cut], 0)
    chunk = take(result, MANY, MANY, 2)
    assert chunk is not None
    assert values_of(chunk) == [b"a"]
    assert state.position == 1
    assert not result.has_more()


def test_append_time_holds_for_all_records_of_a_batch() -> None:
    raw = bytearray(record_batch(0, [b"a", b"b"]))
    raw[22] |= 8
    raw[35:43] = (77_000).to_bytes(8, "big")
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    for slow in (False, True):
        result, _ = fetch_result([bytes(raw)], 0, slow=slow)
        chunk = take(result, MANY, MANY, 2)
        assert chunk is not None
        assert chunk.batch.messages["broker_ts_ms"].tolist() == [77_000, 77_000]


def test_control_batches_are_passed_over() -> None:
    raw = bytearray(record_batch(1, [b"marker"]))
    raw[22] |= 32 | 16
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    result, state = fetch_result([record_batch(0, [b"a"]), bytes(raw), record_batch(2, [b"b"])], 0)
    chunk = take(result, MANY, MANY, 3)
    assert chunk is not None
    assert values_of(chunk) == [b"a", b"b"]
    assert offsets_of(chunk) == [0, 2]
    assert state.position == 3


def test_headers_and_large_values_are_no_matter() -> None:
    values: list[bytes | None] = [b"x" * 70_000, b"", b"y"]
    result, _ = fetch_result([record_batch(0, values, headers=[("h\u00e9", b"v" * 300)], compression=3)], 0)
    chunk = take(result, MANY, 10, 3)
    assert chunk is not None
    assert values_of(chunk) == [b"x" * 70_000]
    chunk = take(result, MANY, MANY, 3)
    assert chunk is not None
    assert values_of(chunk) == [b"", b"y"]


PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
Headers = list[tuple[str, bytes]]


def mixed(compression: int = 0) -> list[bytes]:
    """Four messages: without headers, followed whole, followed in part for two, not sampled."""
    several: Headers = [
        ("other", b"x"), ("traceparent", PARENT + b"01"), ("traced-lines", b"0-3"),
        ("traceparent", PARENT + b"03"), ("tracestate", b"a=b"), ("traced-lines", b"4-4"),
    ]  # fmt: skip
    headers: list[Headers] = [[], [("traceparent", PARENT + b"01")], several, [("traceparent", PARENT + b"00")]]
    return [
        record_batch(number, [b"value %d" % number], compression=compression, headers=each)
        for number, each in enumerate(headers)
    ]


@pytest.mark.parametrize("compression", [0, 1, 3], ids=["none", "gzip", "lz4"])
@pytest.mark.parametrize("slow", [False, True])
def test_what_traces_follow_is_found_and_changes_nothing_else(compression: int, slow: bool) -> None:
    result, _ = fetch_result(mixed(compression), 0, slow=slow)
    chunk = take(result, MANY, MANY, 4, 64)
    assert chunk is not None
    assert [(each.offset, each.first_line, each.last_line, each.tracestate) for each in chunk.traced] == [
        (1, 0, EVERY_LINE, ""), (2, 0, 3, ""), (2, 4, 4, "a=b"),
    ]  # fmt: skip
    assert {each.traceparent[:-2].encode() for each in chunk.traced} == {PARENT}
    assert chunk.taken_ns > 0
    result, _ = fetch_result(mixed(compression), 0, slow=slow)
    off = take(result, MANY, MANY, 4)
    assert off is not None
    assert (off.traced, off.taken_ns) == ((), 0)
    assert values_of(chunk) == values_of(off) == [b"value %d" % number for number in range(4)]
    assert offsets_of(chunk) == offsets_of(off)


def test_no_more_messages_are_followed_than_allowed_and_the_next_chunk_begins_anew() -> None:
    headers: Headers = [("traceparent", PARENT + b"01")]
    result, _ = fetch_result([record_batch(0, [b"v"] * 10, headers=headers)], 0)
    found = [take(result, 6, MANY, 10, 3) for _ in range(2)]
    assert [[each.offset for each in chunk.traced] for chunk in found if chunk] == [[0, 1, 2], [6, 7, 8]]


@given(st.binary(max_size=120), st.integers(0, 3))
def test_headers_that_are_nonsense_are_no_fault(noise: bytes, number: int) -> None:
    named = bytearray(record_batch(0, [b"v"], headers=[("traceparent", PARENT + b"01")] * 3 + [("x", noise)]))
    start = named.index(b"traceparent") - 4
    named[start + number : start + number + len(noise)] = noise[: len(named) - start - number]
    result, _ = fetch_result([bytes(named)], 0)
    result._partition_records._check_crcs = False
    with suppress(CorruptRecordException):
        chunk = take(result, MANY, MANY, 1, 64)
        assert chunk is None or len(chunk.traced) <= 3


def test_batches_compacted_at_their_end_are_left_behind() -> None:
    raw = bytearray(record_batch(10, [b"a", b"b"]))
    raw[23:27] = (9).to_bytes(4, "big")  # offsets 12 to 19 are gone
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    for slow in (False, True):
        result, state = fetch_result([bytes(raw)], 10, slow=slow)
        chunk = take(result, MANY, MANY, 20)
        assert chunk is not None
        assert chunk.next_offset == 20
        assert state.position == 20


def test_the_checksum_is_the_known_one() -> None:
    for size in (0, 1, 7, 8, 9, 64, 1_000):
        data = bytes(range(256)) * 4
        for start in (0, 3):
            wanted = calc_crc32c(data[start : start + size])
            array = np.frombuffer(data, np.uint8)
            assert kernels.crc32c(array, start, start + size) == wanted
            assert kernels._crc_by_bytes(array, start, start + size) == wanted


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_the_checksum_is_compiled_for_a_processor_of_no_name(tmp_path: Path) -> None:
    """As in an image, whose kernels any processor of its architecture is to run."""
    data = bytes(range(256)) * 4
    code = (
        "import numpy as np; from agents import record_kernels as kernels; "
        "print(kernels.crc32c(np.frombuffer(bytes(range(256)) * 4, np.uint8), 3, 1_000))"
    )
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == calc_crc32c(data[3:1_000])


@given(
    st.lists(
        st.tuples(
            st.lists(st.one_of(st.none(), st.binary(max_size=40)), min_size=1, max_size=20),
            st.sampled_from([0, 0, 1, 2, 3, 4]),
            st.integers(0, 5),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 30),
    st.integers(1, 300),
    st.integers(0, 30),
)
def test_both_ways_read_the_same(
    batches: list[tuple[list[bytes | None], int, int]], most_messages: int, most_bytes: int, position: int
) -> None:
    first = batches[0][2]  # a broker answers with the batch that holds the position
    offset, raw = 0, []
    for values, compression, gap in batches:
        offset += gap
        raw.append(record_batch(offset, values, compression=compression, headers=[("a", b"b")]))
        offset += len(values)
    found = []
    for slow in (False, True):
        result, _ = fetch_result(raw, first + position % len(batches[0][0]), slow=slow)
        read: list[tuple[int, int, bytes]] = []
        while result.has_more():
            chunk = take(result, most_messages, most_bytes, offset)
            if chunk is not None:
                times = chunk.batch.messages["broker_ts_ms"].tolist()
                read += list(zip(offsets_of(chunk), times, values_of(chunk), strict=True))
        found.append(read)
    assert found[0] == found[1]


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
