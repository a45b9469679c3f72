"""One partition of a topic from its start to an offset, as chunks: what reads the log again outside the stream."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import aiokafka.errors
from aiokafka.structs import TopicPartition

from agents import record_batches
from agents.clients import new_reader
from agents.record_batches import Chunk
from config.settings import Settings
from schemas.batches import Batch

_FETCH_BYTES: Final = 8_000_000
_CHUNK_MESSAGES: Final = 20_000
_CHUNK_BYTES: Final = 8_000_000
_WAIT_S: Final = 0.2
_PATIENCE_S: Final = 30.0
"""A partition that gives nothing for so long, although it has more, counts as unreachable."""


async def read_chunks(settings: Settings, topic: str, partition: int, end: int) -> AsyncIterator[Chunk]:
    """Yields all messages of a partition before the offset ``end``, which must be there.

    Raises aiokafka's ``KafkaError`` where the broker does not answer or does not give them.
    """
    place = TopicPartition(topic, partition)
    public_only = bool(record_batches.missing())
    if not public_only:
        record_batches.keep_bytes()
    reader = new_reader(settings, _FETCH_BYTES)
    await reader.start()
    try:
        reader.assign([place])
        await reader.seek_to_beginning(place)
        waited_until = asyncio.get_running_loop().time() + _PATIENCE_S
        while await reader.position(place) < end:
            found = await _publicly(reader, place) if public_only else await _chunks(reader, place)
            now = asyncio.get_running_loop().time()
            if found:
                waited_until = now + _PATIENCE_S
            elif now > waited_until:
                raise aiokafka.errors.KafkaTimeoutError(f"{topic}[{partition}]: nothing for {_PATIENCE_S:.0f} s")
            for chunk in found:
                if kept := until(chunk, end):
                    yield kept
    finally:
        await reader.stop()


async def _chunks(reader: Any, place: TopicPartition) -> list[Chunk]:
    result = await record_batches.pop_result(reader, place, _WAIT_S)
    chunks: list[Chunk] = []
    while result is not None and result.has_more():
        chunk = record_batches.take(result, _CHUNK_MESSAGES, _CHUNK_BYTES, reader.highwater(place) or 0)
        if chunk is None:
            break
        chunks.append(chunk)
    return chunks


async def _publicly(reader: Any, place: TopicPartition) -> list[Chunk]:
    position = await reader.position(place)
    fetched = await reader.getmany(place, timeout_ms=int(_WAIT_S * 1000), max_records=_CHUNK_MESSAGES)
    records = fetched.get(place)
    if not records:
        return []
    highwater = reader.highwater(place) or 0
    return [record_batches.chunk_of(place.topic, place.partition, records, position, highwater)]


def until(chunk: Chunk, end: int) -> Chunk | None:
    """Returns what of a chunk lies before the offset ``end``; None if nothing does."""
    if chunk.last_offset < end:
        return chunk
    count = int((chunk.batch.messages["offset"] < end).sum())
    if not count:
        return None
    messages = chunk.batch.messages[:count]
    batch = Batch(chunk.partition, chunk.batch.data[: int(messages["end"][-1])], messages)
    return replace(chunk, batch=batch, next_offset=end)
