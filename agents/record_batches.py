"""From what aiokafka fetched to a ``Batch``: message values end to end, and where each of them is.

This is the only place that looks into aiokafka's fetch results. ``missing()`` tells which of the attributes it needs
are not there; the transport then reads through ``getmany``, which is public, and slower.

The record batches' bytes are read by compiled code (``record_kernels``). What it does not read goes through aiokafka's
own iterator, ten times slower: batches of transactions of which some were aborted, and formats older than magic 2.
"""

# ruff: noqa: SLF001

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import aiokafka
import cramjam
import numba
import numpy as np
import numpy.typing as npt
from aiokafka.codec import gzip_decode, snappy_decode, zstd_decode
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.memory_records import MemoryRecords

from agents import record_kernels as kernels
from schemas.batches import Batch, Bytes, Rows
from schemas.columns import MESSAGE
from schemas.scanner import room_for
from schemas.traced import Traced, headers_in, traced_in

_STEP: Final = 500
"""Messages taken between two looks at how many bytes there are, where aiokafka iterates."""
_DECODERS: Final = {1: gzip_decode, 2: snappy_decode, 3: cramjam.lz4.decompress, 4: zstd_decode}
_LZ4: Final = 3
_SHARE_USED: Final = 8
UNTRACED: Final = np.zeros((0, 3), np.int64)
"""No room for traced messages: see ``record_kernels.read_records``."""
TAIL_BYTES: Final = 4_096
"""Left free behind records that are decompressed in place; where the scanner needs more, it copies."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of consecutive messages of one partition: the value of one event of the stream.

    ``position``: where the consumer stood before it, so that a reader can tell that no message was skipped.
    ``next_offset``: where it stands after. ``highwater``: the partition's end as of the fetch. ``epoch``: that of the
    consumer's last seek of all partitions before the chunk was taken; ``seeks``: the number of the last seek of this
    partition alone. ``traced``: lines of it that traces follow;
    ``taken_ns``: when it was taken, epoch, where there are any.
    """

    topic: str
    batch: Batch
    position: int
    next_offset: int
    highwater: int
    epoch: tuple[int, int] | None = None
    seeks: int = 0
    traced: tuple[Traced, ...] = ()
    taken_ns: int = 0

    @property
    def partition(self) -> int:
        """Returns the number of the partition."""
        return self.batch.partition

    @property
    def last_offset(self) -> int:
        """Returns the offset of the last message."""
        return int(self.batch.messages["offset"][-1])


class KeptRecords:
    """Stands for aiokafka's ``MemoryRecords`` in its fetcher, and keeps the bytes."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._records = MemoryRecords(raw)
        self.has_next = self._records.has_next
        self.next_batch = self._records.next_batch
        self.size_in_bytes = self._records.size_in_bytes


def keep_bytes() -> None:
    """Has every fetch result of this process keep its bytes, so that ``take`` can read them."""
    aiokafka_fetcher.MemoryRecords = KeptRecords


def compile_kernels() -> None:
    """Compiles what reads record batches, or loads it from the cache: it would hold up the first fetch."""
    state = np.zeros(kernels.STATE_SIZE, np.int64)
    rows, data = np.zeros((1, 4), np.int64), np.zeros(1, np.uint8)
    nothing = np.frombuffer(b"", np.uint8)  # read-only, as what is fetched
    kernels.walk(nothing, state, rows, data, 1, True, False, UNTRACED)  # noqa: FBT003  kernels have no keywords
    kernels.read_records(nothing, 0, state, rows, data, 1, False, False, UNTRACED)  # noqa: FBT003
    kernels.read_records(data, 0, state, rows, data, 1, False, True, UNTRACED)  # noqa: FBT003
    kernels.close_batch(state)


def missing() -> list[str]:
    """Returns the private names of aiokafka that this module and the transport use and that are not there."""
    needed = {
        aiokafka_fetcher: ("MemoryRecords",),
        aiokafka_fetcher.FetchResult: ("check_assignment", "has_more", "_update_position"),
        aiokafka_fetcher.PartitionRecords: ("_unpack_records", "_consumer_record", "__next__"),
        aiokafka_fetcher.Fetcher: ("_create_fetch_waiter", "_notify", "fetched_records"),
        aiokafka.AIOKafkaConsumer: ("highwater",),
    }
    absent = [
        f"{owner.__name__}.{name}" for owner, names in needed.items() for name in names if not hasattr(owner, name)
    ]
    codes = (
        (aiokafka_fetcher.FetchResult.__init__, ("_topic_partition", "_partition_records")),
        (
            aiokafka_fetcher.PartitionRecords.__init__,
            ("next_fetch_offset", "_records_iterator", "_records", "_aborted_transactions", "_check_crcs"),
        ),
        (
            aiokafka_fetcher.Fetcher.__init__,
            ("_records", "_wait_consume_future", "_subscriptions", "_closed", "_fetch_max_wait_ms"),
        ),
        (aiokafka_fetcher.Fetcher._proc_fetch_request, ("MemoryRecords", "PartitionRecords", "FetchResult")),
    )
    for function, names in codes:
        absent += [f"{function.__qualname__}: {name}" for name in names if name not in function.__code__.co_names]
    return absent


async def pop_result(reader: Any, place: Any, wait_s: float) -> Any:
    """Takes the next ``FetchResult`` of one partition out of a consumer's fetcher; None if none came within ``wait_s``.

    Raises what the broker said in its place.
    """
    fetcher = reader._fetcher
    with fetcher._subscriptions.fetch_context():
        if place not in fetcher._records:
            waiter = fetcher._create_fetch_waiter()
            await asyncio.wait([waiter], timeout=wait_s)
            if waiter.done():
                waiter.result()
            else:
                waiter.cancel()
        result = fetcher._records.pop(place, None)
        if result is None:
            return None
        fetcher._notify(fetcher._wait_consume_future)
        if not hasattr(result, "has_more"):
            result.check_raise()
            return None
        return result


def take(result: Any, max_messages: int, max_bytes: int, highwater: int, most_traced: int = 0) -> Chunk | None:
    """Takes the next chunk out of a ``FetchResult``, and moves the consumer's position behind it.

    ``most_traced``: messages of it whose traces are looked at; 0: no header is read.
    Returns None if there is none: the position was changed by a seek, the partition was taken away, or there were
    only control records. Raises what aiokafka raises of bytes that are corrupt.
    """
    partition = result._topic_partition
    if not result.check_assignment(partition) or not result.has_more():
        return None
    records = result._partition_records
    position = records.next_fetch_offset
    if _can_be_walked(records):
        batch, traced, ended = _walk(partition.partition, records, max_messages, max_bytes, most_traced)
    else:
        batch, traced, ended = _iterate(partition.partition, records, max_messages, max_bytes, most_traced)
    result._update_position()
    if ended:
        result._partition_records = None
    if not len(batch.messages):
        return None
    return Chunk(
        partition.topic, batch, position, records.next_fetch_offset, highwater, traced=traced, taken_ns=_taken(traced)
    )


@dataclass(slots=True)
class Cursor:
    """How far the bytes of a fetch result are read. ``decompressed``: the records of the batch at hand, up to ``end``.

    ``traced``: room for the chunk's messages that traces follow.
    """

    raw: Bytes
    state: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(kernels.STATE_SIZE, np.int64))
    decompressed: Bytes | None = None
    end: int = 0
    unknown: bool = False
    traced: npt.NDArray[np.int64] = field(default_factory=lambda: UNTRACED)

    @property
    def left(self) -> int:
        """Returns how many bytes of what is decompressed are not read yet."""
        return self.end - int(self.state[kernels.RECORD_AT])


def _can_be_walked(records: Any) -> bool:
    if isinstance(records._records, KeptRecords) and not records._aborted_transactions:
        if not hasattr(records, "cursor"):
            records.cursor = cursor_at(records._records.raw, records.next_fetch_offset)
        return not (records.cursor.unknown or numba.config.DISABLE_JIT)
    return False


def cursor_at(raw: bytes, position: int) -> Cursor:
    """Returns the cursor of record batches of which nothing is read, from the offset ``position`` on."""
    cursor = Cursor(np.frombuffer(raw, np.uint8))
    cursor.state[kernels.POSITION] = position
    return cursor


def _walk(
    partition: int, records: Any, max_messages: int, max_bytes: int, most_traced: int
) -> tuple[Batch, tuple[Traced, ...], bool]:
    """Reads by compiled code; returns the batch, what of it is traced, and whether the fetch result has no more."""
    cursor: Cursor = records.cursor
    if most_traced != len(cursor.traced):
        cursor.traced = np.zeros((most_traced, 3), np.int64)
    messages = np.empty(max_messages, MESSAGE)
    rows = messages.view(np.int64).reshape(-1, 4)
    data, status = fill(cursor, rows, max_bytes, check=records._check_crcs, keyed=False)
    if status == kernels.CORRUPT:
        raise CorruptRecordException(f"record batch at {records.next_fetch_offset} of partition {partition}")
    cursor.unknown = status == kernels.UNKNOWN
    records.next_fetch_offset = int(cursor.state[kernels.POSITION])
    taken = messages[: cursor.state[kernels.COUNT]].copy()
    traced = tuple(
        each
        for row, start, end in cursor.traced[: cursor.state[kernels.TRACED]].tolist()
        for each in traced_in(int(taken["offset"][row]), headers_in(data[start:end].tobytes()))
    )
    return _batch(partition, data, int(cursor.state[kernels.SIZE]), taken), traced, status == kernels.ENDED


def fill(cursor: Cursor, rows: npt.NDArray[np.int64], max_bytes: int, *, check: bool, keyed: bool) -> tuple[Bytes, int]:
    """Reads on into ``rows``; returns their bytes, and why it stopped: COUNT and SIZE of the cursor say how much it is."""
    state = cursor.state
    state[kernels.COUNT] = state[kernels.SIZE] = state[kernels.TRACED] = 0
    data = np.empty(_room(cursor, max_bytes), np.uint8)
    while True:
        source = cursor.decompressed
        if source is not None:
            in_place = source is data
            if not in_place and cursor.left > data.size - state[kernels.SIZE]:
                data = np.concatenate([data[: state[kernels.SIZE]], np.empty(_room(cursor, max_bytes), np.uint8)])
            status = kernels.read_records(
                source, cursor.end, state, rows, data, max_bytes, keyed, in_place, cursor.traced
            )
            if status == kernels.ENDED:
                cursor.decompressed = None
                kernels.close_batch(state)
                continue
        else:
            status = kernels.walk(cursor.raw, state, rows, data, max_bytes, check, keyed, cursor.traced)
            if status == kernels.COMPRESSED:
                _decompress(cursor, None if keyed or state[kernels.SIZE] >= max_bytes else data)
                continue
        return data, status


def _batch(partition: int, data: Bytes, size: int, messages: Rows) -> Batch:
    if size < data.size // _SHARE_USED:  # a view would keep an array alive that is much larger than what is in it
        return Batch(partition, data[:size].copy(), messages)
    return Batch(partition, data[:size], messages, data)


def _room(cursor: Cursor, max_bytes: int) -> int:
    """A chunk is full when it has ``max_bytes`` or more: one value may come on top, and none is larger than its source."""
    largest = cursor.raw.size if cursor.decompressed is None else cursor.left
    return room_for(min(max_bytes, 2 * largest) + largest)


def _decompress(cursor: Cursor, data: Bytes | None) -> None:
    """Decompresses the records of the batch at hand: behind what the chunk ``data`` has, if they fit, else apart."""
    state = cursor.state
    start, end = int(state[kernels.AT]), int(state[kernels.BATCH_END])
    codec = int(cursor.raw[start + 22]) & 7
    packed: Any = cursor.raw[start + kernels.HEADER_BYTES : end]
    if codec == _LZ4 and data is not None:
        size = int(state[kernels.SIZE])
        with contextlib.suppress(cramjam.DecompressionError):  # it does not fit
            room: Any = data[size : data.size - TAIL_BYTES]
            written = cramjam.lz4.decompress_into(packed, room)
            cursor.decompressed, cursor.end = data, size + written
            state[kernels.RECORD_AT] = size
            state[kernels.SIZE] = (
                size + written
            )  # also where the chunk is full amid the batch: the rest is read from here
            return
    decode = _DECODERS.get(codec)
    if decode is None:
        raise UnsupportedCodecError(f"Unknown compression codec {codec:#04x}")
    decoded = np.frombuffer(decode(packed.tobytes()), np.uint8)
    decoded.flags.writeable = False  # whatever the codec gives: the kernels are compiled for arrays that are read-only
    cursor.decompressed, cursor.end = decoded, decoded.size


def _iterate(
    partition: int, records: Any, max_messages: int, max_bytes: int, most_traced: int
) -> tuple[Batch, tuple[Traced, ...], bool]:
    """As ``_walk``, through aiokafka's iterator."""
    records._consumer_record = _as_it_is
    taken: list[Any] = []
    size = 0
    ended = False
    while len(taken) < max_messages and size < max_bytes and not ended:
        wanted = min(_STEP, max_messages - len(taken))
        some = list(islice(records, wanted))
        taken += some
        size += sum(len(record.value or b"") for record in some)
        ended = len(some) < wanted
    return batch_of(partition, taken), _traced(taken, most_traced), ended


def _taken(traced: tuple[Traced, ...]) -> int:
    return time.time_ns() if traced else 0


def _traced(records: Iterable[Any], most: int) -> tuple[Traced, ...]:
    if not most:
        return ()
    found = (traced_in(record.offset, record.headers) for record in records if record.headers)
    return tuple(each for several in islice(filter(None, found), most) for each in several)


def _as_it_is(_partition: Any, record: Any) -> Any:
    return record


def chunk_of(
    topic: str, partition: int, records: Sequence[Any], position: int, highwater: int, most_traced: int = 0
) -> Chunk:
    """Returns the chunk of records that ``AIOKafkaConsumer.getmany`` returned: the public way."""
    batch = batch_of(partition, records)
    next_offset = int(batch.messages["offset"][-1]) + 1
    traced = _traced(records, most_traced)
    return Chunk(topic, batch, position, next_offset, highwater, traced=traced, taken_ns=_taken(traced))


def batch_of(partition: int, records: Iterable[Any]) -> Batch:
    """Returns the batch of ``records``, which have ``offset``, ``timestamp`` (ms) and ``value`` (bytes or None)."""
    values = []
    offsets = []
    timestamps = []
    for record in records:
        values.append(record.value or b"")
        offsets.append(record.offset)
        timestamps.append(record.timestamp)
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
    messages = np.zeros(len(values), MESSAGE)
    messages["end"] = ends
    messages["start"][1:] = ends[:-1]
    messages["offset"] = offsets
    messages["broker_ts_ms"] = timestamps
    return Batch(partition, np.frombuffer(b"".join(values), np.uint8), messages)
