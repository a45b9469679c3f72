"""``Idempotency-Key``: a request sent again gets the first one's answer.

What it promises: for 24 hours after an answer was given (200, or 400 where no line was good), the same owner's request
to the same address with the same key and the same bytes gets the same answer, and nothing is written again. The same
key with other bytes is refused (422), and while the first is still at work a second one is told to wait (409).

What it does not: the answers are in Redis, at most MOST_ANSWERS of an owner, the oldest leave first. Where Redis is away
or lost one, or a gateway died amid a request, the repeat is written again. That is harmless: a record counts once,
by its ``at`` and ``seq``. So the key saves work; correctness never hangs on it.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

import orjson
from redis.exceptions import RedisError

ANSWER_KEPT_S: Final = 86_400
AT_WORK_S: Final = 900
"""A request at work for longer is taken for dead."""
MOST_ANSWERS: Final = 10_000
LONGEST_KEY: Final = 255
ANSWER_BYTES: Final = 256 * 1024
"""A longer answer is not kept: its repeat is written again."""
REDIS_FAULTS: Final = (RedisError, OSError, TimeoutError)

_TAKE: Final = """
local kept = redis.call('GET', KEYS[1])
if kept then return kept end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return false
"""
_KEEP: Final = """
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], KEYS[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[4])
if over > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[2], over)
  for at = 1, #oldest, 2 do redis.call('DEL', oldest[at]) end
end
"""
_LEAVE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it is kept. ``fingerprint``: of the body's bytes as they were sent."""

    fingerprint: str
    status: int
    body: dict[str, Any]


class AtWork(Exception):
    """The first request of this key has no answer yet."""


class Ticket:
    """One request's place: leave it with ``keep`` or ``leave``."""

    def __init__(self, redis: Any, name: str, index: str) -> None:
        self._redis = redis
        self._name = name
        self._index = index
        self._mark = orjson.dumps({"at_work": secrets.token_hex(8)})

    async def take(self) -> Answer | None:
        """Returns the answer there is, None for a first request. Raises AtWork, or one of REDIS_FAULTS."""
        kept = await self._redis.eval(_TAKE, 1, self._name, self._mark, AT_WORK_S)
        if not kept:
            return None
        found = orjson.loads(kept)
        if "at_work" in found:
            raise AtWork
        return Answer(**found)

    async def keep(self, answer: Answer) -> None:
        """Keeps the answer. Raises one of REDIS_FAULTS."""
        kept = orjson.dumps({"fingerprint": answer.fingerprint, "status": answer.status, "body": answer.body})
        if len(kept) > ANSWER_BYTES:
            await self.leave()
            return
        at_ms = time.time_ns() // 1_000_000
        await self._redis.eval(_KEEP, 2, self._name, self._index, kept, ANSWER_KEPT_S, at_ms, MOST_ANSWERS)

    async def leave(self) -> None:
        """Lets the next request try. Raises one of REDIS_FAULTS."""
        await self._redis.eval(_LEAVE, 1, self._name, self._mark)


def ticket_of(redis: Any, owner: str, address: str, key: str) -> Ticket:
    """Returns the place of a key of an owner at an address. ``key``: at most LONGEST_KEY characters."""
    digest = hashlib.sha256(f"{address}\n{key}".encode()).hexdigest()
    return Ticket(redis, f"pl:once:{{{owner}}}:{digest}", f"pl:once:{{{owner}}}")
