"""Fetch results as aiokafka makes them of the bytes of record batches."""

from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from agents.record_batches import KeptRecords

PLACE = TopicPartition("feeds", 3)


def record_batch(
    base_offset: int,
    values: list[bytes | None],
    *,
    compression: int = 0,
    timestamp_ms: int = 1_000,
    transactional: bool = False,
    producer_id: int = -1,
    headers: list[tuple[str, bytes]] | None = None,
    keys: list[bytes | None] | None = None,
) -> bytes:
    """Returns the bytes of a record batch whose first message has offset ``base_offset``."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=compression, is_transactional=int(transactional), producer_id=producer_id,
        producer_epoch=0 if producer_id >= 0 else -1, base_sequence=0, batch_size=1 << 24,
    )  # fmt: skip
    for number, value in enumerate(values):
        builder.append(number, timestamp_ms + number, keys[number] if keys else b"key", value, headers or [])
    raw = bytearray(builder.build())
    raw[0:8] = base_offset.to_bytes(8, "big")  # the checksum does not cover it: brokers write it
    return bytes(raw)


class State:
    """What the consumer keeps of a partition."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.paused = False

    def consumed_to(self, position: int) -> None:
        self.position = position


def fetch_result(
    batches: list[bytes], position: int, aborted: list[tuple[int, int]] | None = None, *, slow: bool = False
) -> tuple[Any, State]:
    """Returns a fetch result of the batches, fetched from ``position``, and the consumer's state of the partition."""
    state = State(position)
    assignment = SimpleNamespace(active=True, state_value=lambda _place: state)
    records = PartitionRecords(
        PLACE, (MemoryRecords if slow else KeptRecords)(b"".join(batches)), aborted or [], position, None, None, True, 1
    )
    return FetchResult(PLACE, assignment=assignment, partition_records=records, backoff=0), state
