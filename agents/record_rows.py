"""Keys and values out of aiokafka's fetch results, whole: what reads a compacted topic back takes no message by itself.

``take_rows`` only looks at the headers of the record batches, and moves the consumer behind them; the records are read
by compiled code when the rows are iterated over, in whatever thread does that. See ``record_batches`` for what of
aiokafka is private here, and for ``keep_bytes``.
"""

# ruff: noqa: SLF001

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numba
import numpy as np
from aiokafka.errors import CorruptRecordException

from agents import record_kernels as kernels
from agents.record_batches import KeptRecords, cursor_at, fill
from schemas.batches import StateRows

BLOCK_ROWS: Final = 16_384
BLOCK_BYTES: Final = 8_000_000
"""A block has at most so many rows, and at most one row beyond so many bytes."""
_MAGIC: Final = 2


class FetchedRows:
    """The rows of one fetch result, as blocks; raises ``CorruptRecordException`` when it is iterated over."""

    def __init__(self, raw: bytes, position: int, *, check: bool) -> None:
        """``position``: offset of the first record that counts. ``check``: checksums, too."""
        self._raw = raw
        self._position = position
        self._check = check

    def __iter__(self) -> Iterator[StateRows]:
        cursor = cursor_at(self._raw, self._position)
        status = kernels.FULL
        while status == kernels.FULL:
            rows = np.empty((BLOCK_ROWS, 4), np.int64)
            data, status = fill(cursor, rows, BLOCK_BYTES, check=self._check, keyed=True)
            if status not in (kernels.FULL, kernels.ENDED):
                raise CorruptRecordException(f"record batch at {int(cursor.state[kernels.POSITION])}")
            count = int(cursor.state[kernels.COUNT])
            if count:
                yield StateRows(data[: cursor.state[kernels.SIZE]], np.ascontiguousarray(rows[:count, :3]))


def take_rows(result: Any) -> Iterable[StateRows]:
    """Takes all of a ``FetchResult``, and moves the consumer's position behind it; nothing where a seek overtook it."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return ()
    records = result._partition_records
    position = records.next_fetch_offset
    rows: Iterable[StateRows]
    end = None if numba.config.DISABLE_JIT or records._aborted_transactions else end_of(records._records, position)
    if end is None:
        records._consumer_record = lambda _partition, record: record
        rows = [rows_of(records)]
    else:
        rows = FetchedRows(records._records.raw, position, check=records._check_crcs)
        records.next_fetch_offset = end
    result._update_position()
    result._partition_records = None
    return rows


def end_of(records: Any, position: int) -> int | None:
    """Returns the offset behind the last whole record batch; None where the bytes are not there or of another format."""
    if not isinstance(records, KeptRecords):
        return None
    raw, at = records.raw, 0
    while len(raw) - at >= kernels.HEADER_BYTES:
        end = at + 12 + int.from_bytes(raw[at + 8 : at + 12], "big")
        if raw[at + 16] != _MAGIC or end < at + kernels.HEADER_BYTES:
            return None
        if end > len(raw):
            break
        offset = int.from_bytes(raw[at : at + 8], "big") + int.from_bytes(raw[at + 23 : at + 27], "big")
        position = max(position, offset + 1)
        at = end
    return position


def rows_of(records: Iterable[Any]) -> StateRows:
    """Returns the rows of records that have ``key`` and ``value``, without those that are deleted: the public way."""
    pairs = [(record.key, record.value) for record in records if record.key is not None and record.value is not None]
    ends = np.cumsum(np.array([(len(key), len(value)) for key, value in pairs], np.int64)).reshape(-1, 2)
    spans = np.zeros((len(pairs), 3), np.int64)
    spans[:, 1:] = ends
    spans[1:, 0] = ends[:-1, 1]
    return StateRows(np.frombuffer(b"".join(part for pair in pairs for part in pair), np.uint8), spans)
