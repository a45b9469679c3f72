"""The record batches that we write are, byte for byte, those of aiokafka's own builder."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aiokafka.codec import lz4_decode
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import outgoing
from agents.encode_kernels import NO_KEY, put_varint, size_of_varint, varint
from agents.outgoing import Events, Message, Part, Parts, RecordBatch, Records, dead_letters, state_rows
from agents.sinks import KafkaWriter
from config.settings import Settings
from schemas.batches import DeadLetter, Run, StateRows
from schemas.columns import CHANGES, EVENT, KINDS
from streams.layout import ABSENT_KIND

NOW_MS = 1_767_225_600_123


def built(parts: Parts, most_bytes: int = 1_000_000, compression: str | None = None) -> tuple[RecordBatch, bytes]:
    batch = RecordBatch(most_bytes, compression, NOW_MS)
    parts.fill(batch)
    batch._set_producer_state(7, 1, 4_000)
    return batch, batch._build()


def by_aiokafka(messages: list[Message]) -> bytes:
    builder = BatchBuilder(10_000_000, 0)
    for key, value, headers in messages:
        assert builder.append(timestamp=NOW_MS, key=key, value=value, headers=headers) is not None
    builder._set_producer_state(7, 1, 4_000)
    return bytes(builder._build())


def run(events: list[tuple[bytes, bytes, bytes, int, int]], *, alerts: bool) -> Run:
    table = np.zeros(len(events), EVENT)
    data = b""
    for row, (code, event_id, value, kind, change) in zip(table, events, strict=True):
        row["code"] = code
        row["start"], row["end"] = len(data), len(data) + len(value)
        row["id_start"], row["id_end"] = row["end"], row["end"] + len(event_id)
        row["at_ms"] = NOW_MS + len(data)
        row["kind"], row["change"] = (kind, change) if alerts else (ABSENT_KIND, 0)
        data += value + event_id
    return Run(np.frombuffer(data, np.uint8), table)


def messages_of(part: Part) -> list[Message]:
    return [part.message(number) for number in range(part.count)]


codes = st.sampled_from([b"C" + b"1" * 26, b"X" + b"A" * 22, b"C1"])
events = st.tuples(codes, st.binary(max_size=300), st.binary(max_size=700),
                   st.integers(0, len(KINDS) - 1), st.integers(0, len(CHANGES) - 1))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(events, min_size=1, max_size=90), st.booleans())
def test_runs_of_events(rows: list[tuple[bytes, bytes, bytes, int, int]], alerts: bool) -> None:
    part = Events(run(rows, alerts=alerts))
    parts = Parts()
    parts.append(part)
    batch, octets = built(parts)
    assert batch.record_count() == len(rows)
    assert octets == by_aiokafka(messages_of(part))
    assert parts.finished == [part]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(events, min_size=1, max_size=30), st.booleans(), st.sets(st.integers(0, 29)), st.integers(300, 4_000)
)  # fmt: skip
def test_some_events_have_more_headers_however_they_are_cut(
    rows: list[tuple[bytes, bytes, bytes, int, int]], alerts: bool, chosen: set[int], most_bytes: int
) -> None:
    more = {number: [("traceparent", b"%d" % number)] for number in chosen if number < len(rows)}
    part = Events(run(rows, alerts=alerts), None, more)
    parts = Parts()
    parts.append(part)
    messages = messages_of(part)
    assert {n for n, (_, _, headers) in enumerate(messages) if "traceparent" in dict(headers)} == more.keys()
    while not parts.finished:
        first = part.position
        batch, octets = built(parts, most_bytes)
        assert batch.record_count() == part.position - first > 0
        assert octets == by_aiokafka(messages[first : part.position])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=90), st.binary(max_size=300)), min_size=1, max_size=90))
def test_rows_of_a_checkpoint(pairs: list[tuple[bytes, bytes]]) -> None:
    ends = np.cumsum([len(text) for pair in pairs for text in pair]).reshape(-1, 2)
    spans = np.concatenate([np.concatenate([[0], ends[:-1, 1]])[:, None], ends], axis=1)
    part = state_rows(StateRows(np.frombuffer(b"".join(key + value for key, value in pairs), np.uint8), spans))
    parts = Parts()
    parts.append(part)
    assert built(parts)[1] == by_aiokafka([(key, value, []) for key, value in pairs])


def test_dead_letters() -> None:
    letters = [
        DeadLetter(3, 2**40, 70, "not_json", b"\xff\xfe"),
        DeadLetter(3, 2**40, 71, "disabled_code", b"", field="code", message="moved \u65b0", moved_to="C9"),
    ]
    part = dead_letters(letters)
    parts = Parts()
    parts.append(part)
    assert built(parts)[1] == by_aiokafka(messages_of(part))
    assert part.message(1)[2][-1] == ("moved_to", b"C9")


def numbers(count: int, width: int) -> Records:
    data = np.frombuffer(b"".join(b"%0*d" % (width, n) for n in range(count)), np.uint8)
    ends = np.arange(1, count + 1) * width
    return Records(data, np.stack([np.full(count, NO_KEY), ends - width, ends, ends], axis=1))


@pytest.mark.parametrize("compression", [None, "lz4"])
def test_what_does_not_fit_comes_in_the_next_batch(compression: str | None) -> None:
    parts = Parts()
    for _ in range(3):
        parts.append(numbers(1_000, 12))
    seen: list[int] = []
    sizes = []
    while len(seen) < 3_000:
        batch, octets = built(parts, 20_000, compression)
        reader = MemoryRecords(octets)
        while reader.has_next():
            records = reader.next_batch()
            assert records.validate_crc()
            seen += [int(record.value) for record in records]
        sizes.append(len(octets))
        assert batch.size() == len(octets)
    assert seen == 3 * list(range(1_000))
    assert len(sizes) > 2
    assert max(sizes) <= 20_000 + 200
    if compression:
        assert sum(sizes) < 30_000
        assert lz4_decode(octets[61:])


def test_one_message_larger_than_a_batch_goes_alone() -> None:
    parts = Parts()
    parts.append(numbers(3, 50_000))
    assert [built(parts, 1_000)[0].record_count() for _ in range(3)] == [1, 1, 1]


@given(st.integers(-1, 2**40))
def test_varints(number: int) -> None:
    out = np.zeros(12, np.uint8)
    end = put_varint(out, 0, number)
    assert out[:end].tobytes() == varint(number)
    assert number < 0 or size_of_varint(number) == end


def test_taken_one_by_one_and_put_back() -> None:
    parts = Parts()
    parts.append(numbers(2, 1))
    parts.append(numbers(2, 1))
    assert next(parts)[1] == b"0"
    assert next(parts)[1] == b"1"
    assert len(parts.finished) == 1
    parts.put_back()
    assert not parts.finished
    assert [value for _, value, _ in parts] == [b"1", b"0", b"1"]
    parts.put_back()
    assert [value for _, value, _ in parts] == [b"1"]


class Producer:
    """Notes what kind of batch it is given."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(10_000, 0)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[None]:
        self.sent.append(batch)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def wrong_bytes(_batch: RecordBatch) -> bytes:
    return b""


@pytest.mark.parametrize(
    "broken",
    [
        lambda patch: patch.setattr(MessageBatch, "get_data_buffer", lambda self: self),
        lambda patch: patch.setattr(outgoing.RecordBatch, "_build", wrong_bytes),
    ],
)
def test_an_unknown_aiokafka_is_written_to_through_its_builder(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not outgoing.missing()
    broken(monkeypatch)
    assert outgoing.missing()

    async def scene() -> Producer:
        producer = Producer()
        parts = Parts()
        parts.append(numbers(5, 1))
        assert await KafkaWriter(producer, Settings(), lambda: NOW_MS).write("t", 0, parts) == 5
        return producer

    assert isinstance(asyncio.run(scene()).sent[0], BatchBuilder)
