"""What is to be written to a partition of a topic, in order, and the record batches that it fills.

A ``Part`` is some messages that belong together: a run of alerts, of price changes, the rows of a checkpoint, dead
letters. ``Parts`` is a queue of them. A ``RecordBatch`` stands in for aiokafka's ``BatchBuilder``: the parts write
themselves into its bytes by compiled code (``encode_kernels``). Where aiokafka is not the one that is known, messages
are taken from the parts one by one, for its public builder.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import cramjam
import numpy as np
from aiokafka.producer import message_accumulator

from agents.encode_kernels import (
    HEAD_BYTES,
    NO_KEY,
    Octets,
    put_events,
    put_records,
    seal,
    varint,
)
from agents.headers import alert_headers
from agents.record_kernels import HEADER_BYTES
from schemas.batches import DeadLetter, Run, StateRows
from schemas.columns import EVENT
from schemas.dead_letters import Header, headers_of
from streams.layout import ABSENT_KIND, EVENT_BYTES

Message = tuple[bytes | None, bytes, list[Header]]
"""Key, value, headers."""

_LZ4: Final = 3
_LZ4_LEVEL: Final = 1
"""The fastest. aiokafka takes 9, twenty times slower for a fifth less."""


class Part(Protocol):
    """Some messages. ``position``: how many were taken; ``size``: about how many bytes all of them have."""

    position: int
    count: int
    size: int

    def message(self, number: int) -> Message:
        """Returns one of the messages."""

    def fill(self, batch: "RecordBatch") -> None:
        """Writes into ``batch`` what fits of the messages from ``position`` on."""

    def acked(self) -> None:
        """All replicas have all of them."""


class Events:
    """A run of rendered events, keyed by code; alerts have headers (SPEC §8)."""

    def __init__(
        self, run: Run, on_acked: Callable[[Run], None] | None = None, more: Mapping[int, list[Header]] | None = None
    ) -> None:
        """``on_acked``: told the run when all replicas have it. ``more``: headers that some of its events have beside."""
        self.position = 0
        self.count = len(run.table)
        self.size = len(run.data)
        self._run = run
        self._headed = bool(self.count) and int(run.table["kind"][0]) != ABSENT_KIND
        self._on_acked = on_acked
        self._more = more or {}

    def message(self, number: int) -> Message:
        """Returns the event with this number."""
        row = self._run.table[number]
        data = self._run.data
        headers: list[Header] = []
        if self._headed:
            event_id = data[row["id_start"] : row["id_end"]].tobytes()
            headers = alert_headers(event_id, int(row["kind"]), int(row["change"]), int(row["at_ms"]))
        return bytes(row["code"]), data[row["start"] : row["end"]].tobytes(), headers + self._more.get(number, [])

    def fill(self, batch: "RecordBatch") -> None:
        """Writes what fits."""
        for number in sorted(self._more):
            if not (self._filled(batch, number) and self._filled_one(batch, number)):
                return
        self._filled(batch, self.count)

    def _filled(self, batch: "RecordBatch", end: int) -> bool:
        """Writes the events before ``end``; tells whether all of them fit."""
        if self.position < end:
            table = self._run.table.view(EVENT_BYTES).view(np.recarray)[:end]
            batch.take(self, lambda out, at, delta: put_events(
                self._run.data, table, self._headed, self.position, out, at, out.size, delta
            ))  # fmt: skip
        return self.position >= end

    def _filled_one(self, batch: "RecordBatch", number: int) -> bool:
        """Writes an event that has more headers than the others; tells whether it fit."""
        if self.position == number:
            key, value, headers = self.message(number)
            parts = (key or b"", value, _packed(headers))
            spans = np.array([[0, *np.cumsum([len(part) for part in parts])]], np.int64)
            data = np.frombuffer(b"".join(parts), np.uint8)
            batch.take(self, lambda out, at, delta: put_records(data, spans, 0, out, at, out.size, delta))
        return self.position > number

    def acked(self) -> None:
        """Tells who wants to know that all replicas have them."""
        if self._on_acked is not None:
            self._on_acked(self._run)


class Records:
    """Messages whose parts lie in one array, end to end: see ``put_records`` for ``spans``."""

    def __init__(self, data: Octets, spans: Any, headers: Callable[[int], list[Header]] = lambda _number: []) -> None:
        self.position = 0
        self.count = len(spans)
        self.size = len(data)
        self._data = data
        self._spans = spans
        self._headers = headers

    def message(self, number: int) -> Message:
        """Returns the message with this number."""
        start, key_end, end, _ = self._spans[number].tolist()
        key = None if start == NO_KEY else self._data[start:key_end].tobytes()
        return key, self._data[key_end:end].tobytes(), self._headers(number)

    def fill(self, batch: "RecordBatch") -> None:
        """Writes what fits."""
        batch.take(self, lambda out, at, delta: put_records(
            self._data, self._spans, self.position, out, at, out.size, delta
        ))  # fmt: skip

    def acked(self) -> None:
        """Nobody wants to know."""


def state_rows(rows: StateRows) -> Records:
    """Returns the rows of a checkpoint."""
    spans = np.empty((len(rows.spans), 4), np.int64)
    spans[:, :3] = rows.spans
    spans[:, 3] = rows.spans[:, 2]
    return Records(rows.data, spans)


def dead_letters(letters: list[DeadLetter]) -> Records:
    """Returns the original bytes of dead letters, with their headers."""
    headers = [headers_of(letter) for letter in letters]
    parts = [part for letter, own in zip(letters, headers, strict=True) for part in (letter.original, _packed(own))]
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts))).reshape(-1, 2)
    spans = np.empty((len(letters), 4), np.int64)
    spans[:, 0] = NO_KEY
    spans[0, 1], spans[1:, 1] = 0, ends[:-1, 1]
    spans[:, 2:] = ends
    return Records(np.frombuffer(b"".join(parts), np.uint8), spans, headers.__getitem__)


def _packed(headers: list[Header]) -> bytes:
    texts = [part for name, value in headers for part in (name.encode(), value)]
    return varint(len(headers)) + b"".join(varint(len(text)) + text for text in texts)


class Parts:
    """A queue of parts, taken from in order. ``finished``: those of which every message was taken."""

    def __init__(self) -> None:
        self._waiting: deque[Part] = deque()
        self.finished: list[Part] = []

    def append(self, part: Part) -> None:
        """Queues a part that has messages."""
        self._waiting.append(part)

    def fill(self, batch: "RecordBatch") -> None:
        """Writes into a batch what fits."""
        while self._waiting:
            part = self._waiting[0]
            part.fill(batch)
            if part.position < part.count:
                return
            self.finished.append(self._waiting.popleft())

    def __iter__(self) -> "Parts":
        return self

    def __next__(self) -> Message:
        """Returns the next message."""
        if not self._waiting:
            raise StopIteration
        part = self._waiting[0]
        message = part.message(part.position)
        part.position += 1
        if part.position == part.count:
            self.finished.append(self._waiting.popleft())
        return message

    def put_back(self) -> None:
        """Takes back the message that was returned last: it did not fit."""
        if not self._waiting or self._waiting[0].position == 0:
            self._waiting.appendleft(self.finished.pop())
        self._waiting[0].position -= 1


class RecordBatch:
    """One record batch, filled by parts. Has of aiokafka's ``BatchBuilder`` what its producer asks for."""

    def __init__(self, most_bytes: int, compression: str | None, now_ms: int) -> None:
        self._out = np.empty(HEAD_BYTES + most_bytes, np.uint8)
        self._end = HEADER_BYTES
        self._count = 0
        self._codec = _LZ4 if compression == "lz4" else 0
        self._now_ms = now_ms
        self._producer = (-1, -1, -1)
        self._bytes: bytes | None = None

    def take(self, part: Part, put: Callable[[Octets, int, int], tuple[int, int]]) -> None:
        """Has ``put`` write messages of a part; the first of a batch always fits: it is made larger for it."""
        count, end = put(self._out, self._end, self._count)
        while count == 0 and self._count == 0:
            self._out = np.empty(2 * self._out.size, np.uint8)
            count, end = put(self._out, self._end, self._count)
        part.position += count
        self._count += count
        self._end = end

    def record_count(self) -> int:
        """Returns how many messages it has."""
        return self._count

    def close(self) -> None:
        """Does nothing: nobody else appends to it."""

    def closed(self) -> bool:
        """Nothing can be appended any more."""
        return True

    def append(self, **_message: Any) -> None:
        """Takes no single message."""

    def size(self) -> int:
        """Returns its size in bytes."""
        return len(self._bytes) if self._bytes is not None else self._end

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)
        self._bytes = None

    def _build(self) -> bytes:
        if self._bytes is None:
            self._bytes = self._built()
        return self._bytes

    def _built(self) -> bytes:
        out, end, codec = self._out, self._end, 0
        if self._codec == _LZ4:
            squeezed = np.frombuffer(lz4_encode(out[HEADER_BYTES:end]), np.uint8)
            if squeezed.size < end - HEADER_BYTES:
                end = HEADER_BYTES + squeezed.size
                out = np.empty(end, np.uint8)
                out[HEADER_BYTES:] = squeezed
                codec = _LZ4
        seal(out, end, codec, self._count, self._now_ms, *self._producer)
        return out[:end].tobytes()


def lz4_encode(octets: Octets) -> bytes:
    """Returns an LZ4 frame of independent blocks, as Kafka wants it."""
    compressor = cramjam.lz4.Compressor(level=_LZ4_LEVEL, content_checksum=False, block_linked=False)
    compressor.compress(octets.tobytes())
    return bytes(compressor.finish())


def missing() -> list[str]:
    """Returns what aiokafka's producer asks of a batch and ``RecordBatch`` does not know how to answer."""
    batch = message_accumulator.MessageBatch
    known = {
        batch.set_producer_state: "_set_producer_state",
        batch.get_data_buffer: "_build",
        batch.is_empty: "record_count",
        batch.remaining_linger: "closed",
    }
    absent = [name for method, name in known.items() if name not in method.__code__.co_names]
    return absent or _differences()


def _differences() -> list[str]:
    """Compares the bytes of a small batch with those of aiokafka's own builder."""
    row = np.zeros(1, EVENT)
    row["end"], row["id_end"], row["code"] = 2, 1, b"C" * 27
    events = Events(Run(np.array([*b"{}"], np.uint8), row))  # writable as a machine's: the same kernel
    theirs = message_accumulator.BatchBuilder(1_000, 0)
    key, value, headers = events.message(0)
    theirs.append(timestamp=7, key=key, value=value, headers=headers)
    ours = RecordBatch(1_000, None, 7)
    events.fill(ours)
    for builder in (theirs, ours):
        builder._set_producer_state(1, 2, 3)  # noqa: SLF001
    return [] if bytes(theirs._build()) == ours._build() else ["the bytes of BatchBuilder"]  # noqa: SLF001
