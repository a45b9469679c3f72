"""Kafka's record batches (magic 2) written by compiled code: no Python object for a message.

The counterpart of ``record_kernels``, which reads them and describes the layout. ``put_events`` and ``put_records``
append records to an array and stop before one that would make it longer than allowed; ``seal`` writes the header.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import int64

from agents.record_kernels import HEADER_BYTES, crc32c
from config.kernel import kernel
from schemas.columns import CHANGES, KINDS
from streams.json_bytes import put_bytes, put_time

NO_KEY: Final = -1
_TIME_BYTES: Final = 24
_LARGEST_HEADS: Final = 64
"""Bytes of a record that are no key, value or header: lengths, deltas, attributes."""

Octets = npt.NDArray[np.uint8]


def varint(number: int) -> bytes:
    """Returns a number as a zigzag varint."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _text(text: str) -> bytes:
    return varint(len(text.encode())) + text.encode()


def _octets(text: bytes) -> Octets:
    return np.frombuffer(text, np.uint8)


# The headers of an alert (SPEC §8): specversion, id, source, type, time, content type.
_UP_TO_ID: Final = _octets(varint(6) + _text("ce_specversion") + _text("1.0") + _text("ce_id"))
_UP_TO_TYPE: Final = _octets(_text("ce_source") + _text("pricelink") + _text("ce_type"))
_UP_TO_TIME: Final = _octets(_text("ce_time") + varint(_TIME_BYTES))
_UP_TO_END: Final = _octets(_text("content-type") + _text("application/json"))


def _types() -> Octets:
    """Returns uint8[kinds x changes, width]: the type's length as a varint and the type; its size in the last column."""
    words = [_text(f"{kind}.{change}") for kind in KINDS for change in CHANGES]
    table = np.zeros((len(words), max(map(len, words)) + 1), np.uint8)
    for row, word in zip(table, words, strict=True):
        row[: len(word)] = _octets(word)
        row[-1] = len(word)
    return table


_TYPES: Final = _types()
_CHANGE_COUNT: Final = len(CHANGES)
_FIXED_HEADER_BYTES: Final = _UP_TO_ID.size + _UP_TO_TYPE.size + _UP_TO_TIME.size + _TIME_BYTES + _UP_TO_END.size


@kernel
def size_of_varint(number: int) -> int:
    """Bytes of a non-negative number as a zigzag varint."""
    rest = number << 1
    size = 1
    while rest > 0x7F:
        rest >>= 7
        size += 1
    return size


@kernel
def put_varint(out: Any, at: int, number: int) -> int:
    """Writes a number, not below -1, as a zigzag varint."""
    rest = (number << 1) ^ (number >> 63)
    while rest > 0x7F:
        out[at] = rest & 0x7F | 0x80
        rest >>= 7
        at += 1
    out[at] = rest
    return at + 1


@kernel
def put_head(out: Any, at: int, body: int, delta: int) -> int:
    """Writes a record's length, attributes, timestamp delta (0) and offset delta."""
    at = put_varint(out, at, body)
    out[at] = 0
    out[at + 1] = 0
    return int(put_varint(out, at + 2, delta))


@kernel
def put_alert_headers(out: Any, at: int, raw: Any, event: Any) -> int:
    """Writes an alert's CloudEvents headers, their count before them."""
    at = put_bytes(out, at, _UP_TO_ID, 0, _UP_TO_ID.size)
    at = put_varint(out, at, event.id_end - event.id_start)
    at = put_bytes(out, at, raw, event.id_start, event.id_end - event.id_start)
    at = put_bytes(out, at, _UP_TO_TYPE, 0, _UP_TO_TYPE.size)
    word = int64(event.kind) * _CHANGE_COUNT + int64(event.change)
    at = put_bytes(out, at, _TYPES[word], 0, int64(_TYPES[word, -1]))
    at = put_bytes(out, at, _UP_TO_TIME, 0, _UP_TO_TIME.size)
    at = put_time(out, at, event.at_ms)
    return int(put_bytes(out, at, _UP_TO_END, 0, _UP_TO_END.size))


@kernel
def put_events(
    raw: Any, table: Any, headed: bool, first: int, out: Any, at: int, most: int, delta: int
) -> tuple[int, int]:
    """Appends the events ``table[first:]`` (EVENT_BYTES rows over ``raw``) to ``out[at:most]``, keyed by code.

    Returns how many were written, and where the last one ends. ``headed``: with an alert's headers.
    """
    count = 0
    for i in range(first, table.size):
        event = table[i]
        key = event.code.size
        while key > 0 and event.code[key - 1] == 0:
            key -= 1
        value = event.end - event.start
        headers = 1
        if headed:
            word = int64(event.kind) * _CHANGE_COUNT + int64(event.change)
            name = event.id_end - event.id_start
            headers = _FIXED_HEADER_BYTES + size_of_varint(name) + name + int64(_TYPES[word, -1])
        body = 2 + size_of_varint(delta) + 1 + key + size_of_varint(value) + value + headers
        if at + body + _LARGEST_HEADS > most:
            break
        at = put_head(out, at, body, delta)
        at = put_varint(out, at, key)
        at = put_bytes(out, at, event.code, 0, key)
        at = put_varint(out, at, value)
        at = put_bytes(out, at, raw, event.start, value)
        if headed:
            at = put_alert_headers(out, at, raw, event)
        else:
            out[at] = 0
            at += 1
        delta += 1
        count += 1
    return count, at


@kernel
def put_records(data: Any, spans: Any, first: int, out: Any, at: int, most: int, delta: int) -> tuple[int, int]:
    """Appends the records ``spans[first:]`` to ``out[at:most]``; returns how many, and where the last one ends.

    ``spans``: int64[n, 4] over ``data``: key start (NO_KEY: none), key end, which is the value's start, value end, and
    where its headers end, written as they are with their count before them; the same as the value's end: no headers.
    """
    count = 0
    for i in range(first, spans.shape[0]):
        start = spans[i, 0]
        key = NO_KEY if start < 0 else spans[i, 1] - start
        value = spans[i, 2] - spans[i, 1]
        headers = spans[i, 3] - spans[i, 2]
        body = 2 + size_of_varint(delta) + size_of_varint(max(key, 0)) + max(key, 0)
        body += size_of_varint(value) + value + max(headers, 1)
        if at + body + _LARGEST_HEADS > most:
            break
        at = put_head(out, at, body, delta)
        at = put_varint(out, at, key)
        if key > 0:
            at = put_bytes(out, at, data, start, key)
        at = put_varint(out, at, value)
        at = put_bytes(out, at, data, spans[i, 1], value)
        if headers > 0:
            at = put_bytes(out, at, data, spans[i, 2], headers)
        else:
            out[at] = 0
            at += 1
        delta += 1
        count += 1
    return count, at


@kernel
def put_big_endian(out: Any, at: int, number: int, size: int) -> None:
    """Writes the low bytes of a number."""
    for byte in range(size):
        out[at + size - 1 - byte] = (number >> (8 * byte)) & 0xFF


@kernel
def seal(
    out: Any, end: int, codec: int, count: int, timestamp_ms: int, producer: int, epoch: int, sequence: int
) -> None:
    """Writes the header of the batch ``out[:end]``: ``count`` records, all of one time."""
    put_big_endian(out, 0, 0, 8)
    put_big_endian(out, 8, end - 12, 4)
    put_big_endian(out, 12, -1, 4)
    out[16] = 2
    put_big_endian(out, 21, codec, 2)
    put_big_endian(out, 23, count - 1, 4)
    put_big_endian(out, 27, timestamp_ms, 8)
    put_big_endian(out, 35, timestamp_ms, 8)
    put_big_endian(out, 43, producer, 8)
    put_big_endian(out, 51, epoch, 2)
    put_big_endian(out, 53, sequence, 4)
    put_big_endian(out, 57, count, 4)
    put_big_endian(out, 17, crc32c(out, 21, end), 4)


HEAD_BYTES: Final = HEADER_BYTES + _LARGEST_HEADS
