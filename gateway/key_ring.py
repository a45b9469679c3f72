"""The keys that hold now: topic ``pricelink.keys``, read whole and followed.

Why a compacted topic and not Redis: keys must outlive everything but the log itself, and Redis here is a view that may
be dropped and rebuilt at any time. Every gateway has all keys in memory, so that checking one asks nobody, and a
revocation reaches all of them within a second. Only when a key was last used is in Redis, and may be lost.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from aiokafka import TopicPartition
from redis.exceptions import RedisError

from config.settings import Settings
from config.topics import KEYS
from gateway.alerts_topic import BROKER_FAULTS, reader
from gateway.keys import Key, fits, parse_token

USED_KEY: Final = "pl:keys:used"
"""Redis hash: key id → epoch milliseconds of its last use."""
_NOTE_S: Final = 10.0
_RETRY_S: Final = 1.0
_MOST_KEYS: Final = 200_000

log = logging.getLogger(__name__)


class KeyRing:
    """All keys by id. ``loaded``: whether the topic was read to its end since the start."""

    def __init__(self, settings: Settings, redis: Any = None) -> None:
        self._settings = settings
        self._redis = redis
        self._keys: dict[str, Key] = {}
        self._used: dict[str, int] = {}
        self.loaded = False
        self.problem: str | None = "not read yet"

    def put(self, key: Key) -> None:
        """Takes a key as it is now."""
        if key.id in self._keys or len(self._keys) < _MOST_KEYS:
            self._keys[key.id] = key

    def find(self, token: str, now_ms: int) -> Key | None:
        """Returns the live key that a token is, None for any other; notes that it was used."""
        parts = parse_token(token)
        key = self._keys.get(parts[0]) if parts else None
        if key is None or parts is None or not fits(key, parts[1]) or not key.is_live(now_ms):
            return None
        self._used[key.id] = now_ms
        return key

    def is_live(self, key_id: str, now_ms: int) -> bool:
        """Tells whether a key still opens something."""
        key = self._keys.get(key_id)
        return key is not None and key.is_live(now_ms)

    async def follow(self) -> None:
        """Reads until cancelled; a broker that goes away is waited for, with the keys known so far."""
        while True:
            try:
                await self._read()
            except BROKER_FAULTS as error:
                if self.problem is None or not self.loaded:
                    log.warning("topic %s cannot be read: %s", KEYS.name, error or type(error).__name__)
                self.problem = str(error) or type(error).__name__
            await asyncio.sleep(_RETRY_S)

    async def _read(self) -> None:
        async with reader(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=500) as consumer:
            places = await _places(consumer)
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while True:
                fetched = await consumer.getmany(timeout_ms=500)
                for records in fetched.values():
                    for record in records:
                        self._take(record.value)
                if not self.loaded and await _at_end(consumer, places):
                    self.loaded = True
                    log.info("%d keys are known", len(self._keys))
                if self.loaded:
                    self.problem = None

    def _take(self, value: bytes | None) -> None:
        with suppress(ValueError):  # whoever wrote it, it opens nothing
            if value:
                self.put(Key.from_bytes(value))

    async def keep_notes(self) -> None:
        """Writes to Redis when keys were last used, every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(_NOTE_S)
            await self.note()

    async def note(self) -> None:
        """Writes when keys were last used; what Redis does not take is tried again."""
        used, self._used = self._used, {}
        if not used or self._redis is None:
            return
        try:
            await self._redis.hset(USED_KEY, mapping={key_id: str(at) for key_id, at in used.items()})
        except (RedisError, OSError, TimeoutError):
            self._used = used | self._used


async def _places(consumer: Any) -> list[TopicPartition]:
    cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001  public calls would create the topic
    return [TopicPartition(KEYS.name, number) for number in sorted(_found(cluster.partitions_for_topic(KEYS.name)))]


def _found(partitions: Iterable[int] | None) -> Iterable[int]:
    if not partitions:
        raise OSError(f"there is no topic {KEYS.name}: `pricelink topics apply`")
    return partitions


async def _at_end(consumer: Any, places: list[TopicPartition]) -> bool:
    for place in places:
        end = consumer.highwater(place)
        if end is None or await consumer.position(place) < end:
            return False
    return True


def now_ms() -> int:
    """Returns epoch milliseconds."""
    return time.time_ns() // 1_000_000
