"""A LOG is read exactly, its faults say line and remedy, and batches keep every message in order."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.log_file import LogFault, Message, batch_of, batches, log_line, open_log, read_log

messages_of_a_log = st.lists(
    st.tuples(st.integers(0, 3), st.binary(max_size=40), st.integers(0, 2**53)), max_size=40
).map(
    lambda rows: [
        Message(partition, offset, broker_ts_ms, value) for offset, (partition, value, broker_ts_ms) in enumerate(rows)
    ]
)


@given(messages_of_a_log)
def test_what_is_written_is_read(messages: list[Message]) -> None:
    assert list(read_log([log_line(message) for message in messages], "log")) == messages


@given(messages_of_a_log, st.integers(1, 5), st.integers(1, 200))
def test_batches_keep_every_message_in_its_partitions_order(
    messages: list[Message], max_messages: int, max_bytes: int
) -> None:
    seen: dict[int, list[Message]] = {}
    for batch in batches(messages, max_messages, max_bytes):
        assert 1 <= len(batch.messages) <= max_messages
        raw = batch.data.tobytes()
        seen.setdefault(batch.partition, []).extend(
            Message(batch.partition, int(row["offset"]), int(row["broker_ts_ms"]), raw[row["start"] : row["end"]])
            for row in batch.messages
        )
    for partition in {message.partition for message in messages} | seen.keys():
        assert seen[partition] == [message for message in messages if message.partition == partition]


def test_a_batch_lays_values_end_to_end() -> None:
    batch = batch_of([Message(2, 5, 7, b"ab"), Message(2, 9, 8, b""), Message(2, 10, 9, b"c")])
    assert batch.partition == 2
    assert batch.data.tobytes() == b"abc"
    assert [tuple(row) for row in batch.messages] == [(0, 2, 5, 7), (2, 2, 9, 8), (2, 3, 10, 9)]


def test_bytes_that_are_not_utf8_go_as_base64() -> None:
    line = log_line(Message(0, 1, 2, b"\xff"))
    assert b'"value_b64":"/w=="' in line
    assert b'"value"' not in line


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"offset":0,"broker_ts":0,"value":""}', "partition is null"),
        (b'{"partition":-1,"offset":0,"broker_ts":0,"value":""}', "partition is -1"),
        (b'{"partition":true,"offset":0,"broker_ts":0,"value":""}', "partition is true"),
        (b'{"partition":0,"offset":1.5,"broker_ts":0,"value":""}', "offset is 1.5"),
        (b'{"partition":0,"offset":0,"broker_ts":"0","value":""}', "broker_ts is"),
        (b'{"partition":0,"offset":0,"broker_ts":0}', "exactly one of value and value_b64"),
        (b'{"partition":0,"offset":0,"broker_ts":0,"value":"","value_b64":""}', "exactly one"),
        (b'{"partition":0,"offset":0,"broker_ts":0,"value":1}', "value is 1"),
        (b'{"partition":0,"offset":0,"broker_ts":0,"value_b64":"?"}', "not base64"),
        (b'{"partition":7,"offset":0,"broker_ts":0,"value":""}', "try --partitions 8"),
    ],
)
def test_a_fault_names_file_and_line(line: bytes, says: str) -> None:
    good = log_line(Message(0, 0, 0, b""))
    with pytest.raises(LogFault) as fault:
        list(read_log([good, b"\n", line], "x.ndjson", partitions=2))
    assert str(fault.value).startswith("x.ndjson, line 3: ")
    assert says in str(fault.value)


def test_offsets_ascend_within_a_partition_and_may_leave_gaps() -> None:
    lines = [log_line(Message(partition, offset, 0, b"")) for partition, offset in [(0, 3), (1, 0), (0, 9), (1, 1)]]
    assert len(list(read_log(lines, "log"))) == 4
    with pytest.raises(LogFault, match="offset 9 of partition 0 comes after 9"):
        list(read_log([*lines, lines[2]], "log"))


def test_a_tombstone_is_a_message_without_lines() -> None:
    line = b'{"partition":0,"offset":0,"broker_ts":0,"value":null}'
    assert next(read_log([line], "log")).value == b""


def test_a_log_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(LogFault, match="cannot read"), open_log(tmp_path / "none"):
        pass


def test_progress_adds_up_to_the_file() -> None:
    lines = [log_line(Message(0, offset, 0, base64.b64encode(bytes(offset)))) for offset in range(9)]
    seen: list[int] = []
    list(read_log(lines, "log", on_bytes=seen.append))
    assert sum(seen) == sum(map(len, lines))
