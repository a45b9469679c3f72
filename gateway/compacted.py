"""A small compacted topic that a process reads whole and follows: API keys, webhook endpoints, how far they are."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import structlog
from aiokafka import TopicPartition

from config.settings import Settings
from gateway.alerts_topic import BROKER_FAULTS, TopicMissing, reader
from gateway.unreadable import pass_over

_RETRY_S: Final = 1.0

_log = structlog.get_logger("compacted")


class Compacted:
    """Gives every message of a topic to ``take``, from its start. ``loaded``: whether it was read to its end since then.

    ``problem``: why it is not read at the moment, in words; None while it is.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self.loaded = False
        self.problem: str | None = "not read yet"

    def take(self, key: bytes, value: bytes | None) -> None:
        """Takes a message; later ones of a key replace earlier ones. Raises ValueError for one that cannot be read."""
        raise NotImplementedError

    async def follow(self) -> None:
        """Reads until cancelled; a broker that goes away is waited for, with what is known so far."""
        while True:
            try:
                await self._read()
            except BROKER_FAULTS as error:
                problem = str(error) or type(error).__name__
                if problem != self.problem:
                    _log.warning(
                        "a topic cannot be read; it is tried again, and what was read of it holds meanwhile",
                        reason="topic_missing" if isinstance(error, TopicMissing) else "broker_away", fault=error, topic=self._topic,
                    )  # fmt: skip
                self.problem = problem
            await asyncio.sleep(_RETRY_S)

    async def _read(self) -> None:
        async with reader(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=500) as consumer:
            places = await self._places(consumer)
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while True:
                fetched = await consumer.getmany(timeout_ms=500)
                for place, records in fetched.items():
                    for record in records:
                        try:
                            self.take(record.key or b"", record.value)
                        except ValueError as fault:
                            pass_over(place.topic, place.partition, record.offset, fault)
                if not self.loaded and await _at_end(consumer, places):
                    self.loaded = True
                    _log.info("the topic is read", topic=self._topic)
                if self.loaded:
                    self.problem = None

    async def _places(self, consumer: Any) -> list[TopicPartition]:
        cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001  public calls would create the topic
        found: Iterable[int] | None = cluster.partitions_for_topic(self._topic)
        if not found:
            raise TopicMissing(f"there is no topic {self._topic}: `pricelink topics apply`")
        return [TopicPartition(self._topic, number) for number in sorted(found)]


async def _at_end(consumer: Any, places: list[TopicPartition]) -> bool:
    for place in places:
        end = consumer.highwater(place)
        if end is None or await consumer.position(place) < end:
            return False
    return True
