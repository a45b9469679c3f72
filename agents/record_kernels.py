"""Kafka's record batches (magic 2) read by compiled code: no Python object for a message.

``walk`` goes over the batches of a fetched byte array and puts every message's value behind the last one's, or its key
and value (``keyed``). It stops where it needs help: at a compressed batch, at anything it does not know, and when the chunk is full; its whole state
is one int64 array, so it goes on where it stopped.

Layout of a batch: 0 base offset i64 · 8 length i32 (of what follows) · 12 leader epoch i32 · 16 magic i8 · 17 CRC-32C
u32 (of what follows) · 21 attributes i16 · 23 last offset delta i32 · 27 first timestamp i64 · 35 max timestamp i64 ·
43 producer id i64 · 51 epoch i16 · 53 sequence i32 · 57 count i32 · 61 records. All big-endian.
"""

import platform
from typing import Any, Final

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import int64, types
from numba.extending import intrinsic

from config.kernel import kernel
from schemas.octets import copy_octets

# What ``state`` holds
AT: Final = 0  # of raw: where the batch starts
RECORD_AT: Final = 1  # of raw, or of the decompressed records: where the next record starts
LEFT: Final = 2  # records of the batch not yet read
POSITION: Final = 3  # offset of the next message to hand out
COUNT: Final = 4  # messages in the chunk
SIZE: Final = 5  # bytes in the chunk
BASE_OFFSET: Final = 6  # of the batch, and so on
TIMESTAMP_MS: Final = 7
APPEND_TIME_MS: Final = 8  # -1: each record has its own time
BATCH_END: Final = 9
NEXT_OFFSET: Final = 10  # behind the batch
TRACED: Final = 11  # messages of the chunk that a trace follows, whether there was room for them or not
STATE_SIZE: Final = 12

# What ``walk`` and ``read_records`` return
ENDED: Final = 0
FULL: Final = 1
COMPRESSED: Final = 2
UNKNOWN: Final = 3
CORRUPT: Final = 4
_OPENED: Final = 5

HEADER_BYTES: Final = 61
_CODEC_MASK: Final = 7
_APPEND_TIME: Final = 8
_CONTROL: Final = 32

_TRACEPARENT: Final = np.frombuffer(b"traceparent", np.uint8)
_TRACEPARENT_BYTES: Final = 55
"""Of its value, in the one version there is: 00-{32 digits}-{16 digits}-{2 digits}, hexadecimal."""

_TABLE: Final = np.zeros(256, np.uint32)
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = (_crc >> 1) ^ (0x82F63B78 if _crc & 1 else 0)
    _TABLE[_byte] = _crc

_HAS_CRC: Final = platform.machine() == "x86_64" and llvmlite.binding.get_host_cpu_features().get("sse4.2", False)
if _HAS_CRC:
    llvmlite.binding.initialize_native_asmparser()


@intrinsic  # type: ignore[untyped-decorator,unused-ignore]
def _crc_of_word(_context: Any, crc: Any, word: Any) -> Any:
    """The processor's own CRC-32C of eight bytes."""

    def code(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(64)
        # Spelt out: for a processor of no name (an image's NUMBA_CPU_NAME) LLVM has the instruction, not the intrinsic.
        return builder.asm(ir.FunctionType(wide, [wide, wide]), "crc32q $2, $0", "=r,0,r", arguments, False)  # noqa: FBT003

    del crc, word
    return types.uint64(types.uint64, types.uint64), code


@kernel
def _crc_by_words(data: Any, start: int, end: int) -> int:
    crc = np.uint64(0xFFFFFFFF)
    words = (end - start) // 8
    aligned = data[start : start + words * 8].view(np.uint64)
    for number in range(words):
        crc = _crc_of_word(crc, aligned[number])
    small = np.uint32(crc)
    for at in range(start + words * 8, end):
        small = _TABLE[(small ^ np.uint32(data[at])) & np.uint32(0xFF)] ^ (small >> np.uint32(8))
    return int64(small ^ np.uint32(0xFFFFFFFF))


@kernel
def _crc_by_bytes(data: Any, start: int, end: int) -> int:
    small = np.uint32(0xFFFFFFFF)
    for at in range(start, end):
        small = _TABLE[(small ^ np.uint32(data[at])) & np.uint32(0xFF)] ^ (small >> np.uint32(8))
    return int64(small ^ np.uint32(0xFFFFFFFF))


crc32c = _crc_by_words if _HAS_CRC and not numba.config.DISABLE_JIT else _crc_by_bytes
"""CRC-32C of ``data[start:end]``, uint8."""


@kernel
def _big_endian(data: Any, at: int, size: int) -> int:
    value = int64(0)
    for byte in range(size):
        value = (value << 8) | int64(data[at + byte])
    shift = 64 - 8 * size
    return (value << shift) >> shift  # its sign


@kernel
def _varint(data: Any, at: int, end: int) -> tuple[int, int]:
    """Returns a zigzag varint and where it ends; -1 for the latter if it does not end before ``end``."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < end and shift < np.uint64(64):
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            return int64(value >> np.uint64(1)) ^ -int64(value & np.uint64(1)), at
        shift += np.uint64(7)
    return int64(0), -1


@kernel
def _open_batch(raw: Any, state: Any, check: bool) -> int:
    """Reads the header of the batch at AT into ``state``. ENDED also where the array ends amid the batch."""
    at = state[AT]
    if raw.size - at < HEADER_BYTES:
        return ENDED
    end = at + 12 + _big_endian(raw, at + 8, 4)
    if end > raw.size:
        return ENDED
    if raw[at + 16] != 2:
        return UNKNOWN
    if end < at + HEADER_BYTES:
        return CORRUPT
    if check and crc32c(raw, at + 21, end) != _big_endian(raw, at + 17, 4) & 0xFFFFFFFF:
        return CORRUPT
    attributes = _big_endian(raw, at + 21, 2)
    state[BATCH_END] = end
    state[BASE_OFFSET] = _big_endian(raw, at, 8)
    state[NEXT_OFFSET] = state[BASE_OFFSET] + _big_endian(raw, at + 23, 4) + 1
    state[TIMESTAMP_MS] = _big_endian(raw, at + 27, 8)
    state[APPEND_TIME_MS] = _big_endian(raw, at + 35, 8) if attributes & _APPEND_TIME else -1
    state[LEFT] = 0 if attributes & _CONTROL else _big_endian(raw, at + 57, 4)
    if state[LEFT] and attributes & _CODEC_MASK:
        state[RECORD_AT] = 0
        return COMPRESSED
    state[RECORD_AT] = at + HEADER_BYTES
    return _OPENED


@kernel
def close_batch(state: Any) -> None:
    """Goes to the batch behind: its last messages may be missing, compacted away."""
    state[AT] = state[BATCH_END]
    state[POSITION] = max(state[POSITION], state[NEXT_OFFSET])


@kernel
def _is_traced(source: Any, at: int, end: int) -> bool:
    """Tells whether the headers ``source[at:end]``, their count first, have a ``traceparent`` that says it is sampled.

    See https://www.w3.org/TR/trace-context/. Headers that end too soon have none.
    """
    left, at = _varint(source, at, end)
    while at >= 0 and left > 0:
        left -= 1
        name_size, name_at = _varint(source, at, end)
        if name_at < 0 or name_size < 0 or name_size > end - name_at:
            return False
        size, at = _varint(source, name_at + name_size, end)
        if at < 0 or size > end - at:
            return False
        if name_size == _TRACEPARENT.size and size == _TRACEPARENT_BYTES:
            same = 0
            while same < name_size and source[name_at + same] == _TRACEPARENT[same]:
                same += 1
            if same == name_size:
                digit = source[at + size - 1]
                return bool((digit & 1) == (1 if digit <= 57 else 0))  # of "0" to "9" the odd ones, and b, d, f
        at += max(size, 0)
    return False


@kernel
def read_records(
    source: Any,
    end: int,
    state: Any,
    messages: Any,
    data: Any,
    most_bytes: int,
    keyed: bool,
    in_place: bool,
    traced: Any,
) -> int:
    """Takes the LEFT records at RECORD_AT of ``source`` into ``messages`` (rows of int64[4]) and ``data``.

    A row of ``messages`` is a MESSAGE; ``keyed``: start, where the key ends and the value starts, end, offset, and records
    without a key or a value are left out. ``in_place``: ``source`` is ``data`` itself, and values stay where they are.
    ``traced``: int64[n, 3]: the messages that a trace follows, the first n of them: its row in ``messages``, and where in
    ``data`` its headers are, which come behind its value; without room for any nobody looks at headers.
    Returns ENDED when none is left, FULL when the chunk is, CORRUPT. ``data`` has room for all of ``source`` beyond
    ``most_bytes``.
    """
    while state[LEFT] > 0:
        if state[COUNT] == messages.shape[0] or (state[SIZE] >= most_bytes and not in_place):
            return FULL
        length, at = _varint(source, state[RECORD_AT], end)
        record_end = at + length
        if at < 0 or length < 4 or record_end > end:
            return CORRUPT
        delta_ms, at = _varint(source, at + 1, record_end)  # behind its attributes, which say nothing
        if at < 0:
            return CORRUPT
        delta, at = _varint(source, at, record_end)
        if at < 0:
            return CORRUPT
        key_length, key_at = _varint(source, at, record_end)
        if key_at < 0 or key_length > record_end - key_at:
            return CORRUPT
        value_length, at = _varint(source, key_at + max(key_length, 0), record_end)
        if at < 0 or value_length > record_end - at:
            return CORRUPT
        state[RECORD_AT] = record_end
        state[LEFT] -= 1
        offset = state[BASE_OFFSET] + delta
        if offset < state[POSITION]:
            continue  # a batch comes whole, though we asked for its middle
        state[POSITION] = offset + 1
        size = at if in_place else state[SIZE]
        row = messages[state[COUNT]]
        row[0] = size
        if keyed:
            if key_length < 0 or value_length < 0:
                continue  # deleted
            copy_octets(data, size, source, key_at, key_length)
            size += key_length
        after = size + max(value_length, 0)
        if not in_place:
            copy_octets(data, size, source, at, after - size)
            state[SIZE] = after
        if keyed:
            row[1] = size
            row[2] = after
            row[3] = offset
        else:
            row[1] = after
            row[2] = offset
            row[3] = state[APPEND_TIME_MS] if state[APPEND_TIME_MS] >= 0 else state[TIMESTAMP_MS] + delta_ms
        if traced.shape[0]:
            headers_at = at + max(value_length, 0)
            if headers_at < record_end and source[headers_at] != 0 and _is_traced(source, headers_at, record_end):
                if state[TRACED] < traced.shape[0]:
                    if not in_place:
                        copy_octets(data, after, source, headers_at, record_end - headers_at)
                        state[SIZE] += record_end - headers_at
                    traced[state[TRACED], 0] = state[COUNT]
                    traced[state[TRACED], 1] = after
                    traced[state[TRACED], 2] = after + record_end - headers_at
                state[TRACED] += 1
        state[COUNT] += 1
    return ENDED


@kernel
def walk(raw: Any, state: Any, messages: Any, data: Any, most_bytes: int, check: bool, keyed: bool, traced: Any) -> int:
    """Reads batches from where ``state`` is; returns why it stopped. COMPRESSED: at the batch of AT, just opened.

    For the others see ``read_records``.
    """
    while True:
        if state[LEFT] == 0:
            opened: int = _open_batch(raw, state, check)
            if opened != _OPENED:
                return opened
        status: int = read_records(
            raw,
            state[BATCH_END],
            state,
            messages,
            data,
            most_bytes,
            keyed,
            False,  # noqa: FBT003
            traced,
        )
        if status != ENDED:
            return status
        close_batch(state)
