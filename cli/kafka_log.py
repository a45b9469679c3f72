"""Logs read from Kafka: whole topics up to where they end now, and single messages at known positions."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from cli.log_file import LogFault, Message
from config.settings import Settings

FETCH_TIMEOUT_S: Final = 30.0
"""A partition that gives neither a message nor its end for so long counts as unreachable."""
_RECORDS_A_CHUNK: Final = 20_000
_FETCH_BYTES: Final = 8 << 20


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap.split(","),
        client_id="pricelink-cli",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=_FETCH_BYTES,
        **settings.security,
    )
    try:
        await asyncio.wait_for(consumer.start(), FETCH_TIMEOUT_S)
    except (KafkaError, OSError, TimeoutError) as error:
        with suppress(KafkaError, OSError):
            await consumer.stop()
        where = settings.bootstrap
        raise LogFault(f"no Kafka answers at {where} ({error or 'timed out'}): is the broker up?") from error
    try:
        yield consumer
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    # `consumer.topics` asks the same and keeps the names alone; to subscribe could create the topic.
    cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001
    found = cluster.partitions_for_topic(topic)
    if not found:
        raise LogFault(f"there is no topic {topic} at this broker: `pricelink topics apply` makes it")
    return sorted(found)


async def _chunks(settings: Settings, topic: str, only: Iterable[int] | None) -> AsyncGenerator[list[Message], None]:
    async with _consumer(settings) as consumer:
        there = await _partitions(consumer, topic)
        wanted = there if only is None else [partition for partition in only if partition in there]
        left = {TopicPartition(topic, partition) for partition in wanted}
        ends: dict[TopicPartition, int] = {}
        if not left:
            return
        consumer.assign(list(left))
        await consumer.seek_to_beginning(*left)
        waited_until = asyncio.get_running_loop().time() + FETCH_TIMEOUT_S
        while left:
            fetched = await consumer.getmany(*left, timeout_ms=200, max_records=_RECORDS_A_CHUNK)
            for place in list(left):
                # The end is the first fetch's high watermark: what comes later belongs to a later reading.
                if place not in ends and (end := consumer.highwater(place)) is not None:
                    ends[place] = end
                if (records := fetched.get(place)) and place in ends:
                    waited_until = asyncio.get_running_loop().time() + FETCH_TIMEOUT_S
                    end = ends[place]
                    yield [
                        Message(place.partition, record.offset, record.timestamp, record.value or b"", record.headers)
                        for record in records
                        if record.offset < end
                    ]
                if place in ends and await consumer.position(place) >= ends[place]:
                    left.discard(place)
            if left and asyncio.get_running_loop().time() > waited_until:
                names = ", ".join(f"{place.topic}/{place.partition}" for place in sorted(left))
                raise LogFault(f"{names}: no answer for {FETCH_TIMEOUT_S:.0f} s; is the broker up?")


def read_topic(settings: Settings, topic: str, only: Iterable[int] | None = None) -> Iterator[Message]:
    """Yields the messages of a topic's partitions, all or ``only`` some, from the beginning to where each ends now.

    Raises LogFault where no broker or topic is to be found.
    """
    with asyncio.Runner() as runner:
        chunks = _chunks(settings, topic, only)

        async def following() -> list[Message] | None:
            return await anext(chunks, None)

        try:
            while (chunk := runner.run(following())) is not None:
                yield from chunk
        finally:
            runner.run(chunks.aclose())


def partitions_of(settings: Settings, topic: str) -> int:
    """Returns how many partitions a topic has; raises LogFault where there is none."""

    async def count() -> int:
        async with _consumer(settings) as consumer:
            return len(await _partitions(consumer, topic))

    return asyncio.run(count())


def read_positions(settings: Settings, topic: str, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Message]:
    """Returns the messages at (partition, offset) places; those that are gone are left out."""

    async def read() -> dict[tuple[int, int], Message]:
        found = {}
        async with _consumer(settings) as consumer:
            there = await _partitions(consumer, topic)
            for partition, offset in places:
                if partition not in there:
                    continue
                place = TopicPartition(topic, partition)
                consumer.assign([place])
                consumer.seek(place, offset)
                with suppress(TimeoutError):
                    record = await asyncio.wait_for(consumer.getone(place), FETCH_TIMEOUT_S)
                    if record.offset == offset:
                        found[partition, offset] = Message(
                            partition, offset, record.timestamp, record.value or b"", record.headers
                        )
        return found

    return asyncio.run(read())


Reader = Callable[[], Iterator[Message]]
"""Reads a log from its start, as often as it is called."""
