"""From what aiokafka fetched to a ``Batch``: message values end to end, and where each of them is.

This is the only place that looks into aiokafka's fetch results. ``missing()`` tells which of the attributes it needs
are not there; the transport then reads through ``getmany``, which is public, and slower.
"""

# ruff: noqa: SLF001

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import aiokafka
import numpy as np
from aiokafka.consumer import fetcher as aiokafka_fetcher

from schemas.batches import Batch
from schemas.columns import MESSAGE

_STEP: Final = 500
"""Messages taken between two looks at how many bytes there are."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of consecutive messages of one partition: the value of one event of the stream.

    ``position``: where the consumer stood before it, so that a reader can tell that no message was skipped.
    ``next_offset``: where it stands after. ``highwater``: the partition's end as of the fetch.
    """

    topic: str
    batch: Batch
    position: int
    next_offset: int
    highwater: int

    @property
    def partition(self) -> int:
        """Returns the number of the partition."""
        return self.batch.partition

    @property
    def last_offset(self) -> int:
        """Returns the offset of the last message."""
        return int(self.batch.messages["offset"][-1])


def missing() -> list[str]:
    """Returns the private names of aiokafka that this module and the transport use and that are not there."""
    needed = {
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
        (aiokafka_fetcher.PartitionRecords.__init__, ("next_fetch_offset", "_records_iterator")),
        (aiokafka_fetcher.Fetcher.__init__, ("_records", "_wait_consume_future", "_subscriptions", "_closed")),
    )
    for function, names in codes:
        absent += [f"{function.__qualname__}: {name}" for name in names if name not in function.__code__.co_names]
    return absent


def take(result: Any, max_messages: int, max_bytes: int, highwater: int) -> Chunk | None:
    """Takes the next chunk out of a ``FetchResult``, and moves the consumer's position behind it.

    Returns None if there is none: the position was changed by a seek, the partition was taken away, or there were
    only control records.
    """
    partition = result._topic_partition
    if not result.check_assignment(partition) or not result.has_more():
        return None
    records = result._partition_records
    records._consumer_record = _as_it_is  # no ConsumerRecord for each of a million a second
    position = records.next_fetch_offset
    taken: list[Any] = []
    size = 0
    while len(taken) < max_messages and size < max_bytes:
        wanted = min(_STEP, max_messages - len(taken))
        some = list(islice(records, wanted))
        taken += some
        size += sum(len(record.value or b"") for record in some)
        if len(some) < wanted:
            result._update_position()
            next_offset = records.next_fetch_offset
            result._partition_records = None
            break
    else:
        result._update_position()
        next_offset = records.next_fetch_offset
    if not taken:
        return None
    return Chunk(partition.topic, batch_of(partition.partition, taken), position, next_offset, highwater)


def _as_it_is(_partition: Any, record: Any) -> Any:
    return record


def chunk_of(topic: str, partition: int, records: Sequence[Any], position: int, highwater: int) -> Chunk:
    """Returns the chunk of records that ``AIOKafkaConsumer.getmany`` returned: the public way."""
    batch = batch_of(partition, records)
    return Chunk(topic, batch, position, int(batch.messages["offset"][-1]) + 1, highwater)


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
