"""The keys that hold now: topic ``pricelink.keys``, read whole and followed.

Why a compacted topic and not Redis: keys must outlive everything but the log itself, and Redis here is a view that may
be dropped and rebuilt at any time. Every gateway has all keys in memory, so that checking one asks nobody, and a
revocation reaches all of them within a second. Only when a key was last used is in Redis, and may be lost.
"""

import asyncio
import time
from typing import Any, Final

from redis.exceptions import RedisError

from config.settings import Settings
from config.topics import KEYS
from gateway.compacted import Compacted
from gateway.keys import Key, fits, parse_token

USED_KEY: Final = "pl:keys:used"
"""Redis hash: key id → epoch milliseconds of its last use."""
_NOTE_S: Final = 10.0
_MOST_KEYS: Final = 200_000


class KeyRing(Compacted):
    """All keys by id."""

    def __init__(self, settings: Settings, redis: Any = None) -> None:
        super().__init__(settings, KEYS.name)
        self._redis = redis
        self._keys: dict[str, Key] = {}
        self._used: dict[str, int] = {}

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

    def take(self, key: bytes, value: bytes | None) -> None:
        """Takes a key as it was written; one that cannot be read opens nothing: raises ValueError."""
        del key  # it is in the value, too
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


def now_ms() -> int:
    """Returns epoch milliseconds."""
    return time.time_ns() // 1_000_000
