"""A small compacted topic that a process reads whole and follows: API keys, webhook endpoints, how far they are."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import TopicPartition

from config.settings import Settings
from gateway.alerts_topic import BROKER_FAULTS, reader

_RETRY_S: Final = 1.0

log = logging.getLogger(__name__)


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
        """Takes a message; later ones of a key replace earlier ones."""
        raise NotImplementedError

    async def follow(self) -> None:
        """Reads until cancelled; a broker that goes away is waited for, with what is known so far."""
        while True:
            try:
                await self._read()
            except BROKER_FAULTS as error:
                if self.problem is None or not self.loaded:
                    log.warning("topic %s cannot be read: %s", self._topic, str(error) or type(error).__name__)
                self.problem = str(error) or type(error).__name__
            await asyncio.sleep(_RETRY_S)

    async def _read(self) -> None:
        async with reader(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=500) as consumer:
            places = await self._places(consumer)
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while True:
                fetched = await consumer.getmany(timeout_ms=500)
                for records in fetched.values():
                    for record in records:
                        self.take(record.key or b"", record.value)
                if not self.loaded and await _at_end(consumer, places):
                    self.loaded = True
                    log.info("topic %s is read", self._topic)
                if self.loaded:
                    self.problem = None

    async def _places(self, consumer: Any) -> list[TopicPartition]:
        cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001  public calls would create the topic
        found: Iterable[int] | None = cluster.partitions_for_topic(self._topic)
        if not found:
            raise OSError(f"there is no topic {self._topic}: `pricelink topics apply`")
        return [TopicPartition(self._topic, number) for number in sorted(found)]


async def _at_end(consumer: Any, places: list[TopicPartition]) -> bool:
    for place in places:
        end = consumer.highwater(place)
        if end is None or await consumer.position(place) < end:
            return False
    return True
