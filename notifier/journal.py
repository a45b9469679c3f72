"""What became of each attempt, in Redis, for the endpoint's owner to look at. A view: it may be lost."""

import asyncio
from collections import deque
from typing import Any, Final

import orjson
from redis.exceptions import RedisError

from notifier.progress import Delivery
from notifier.schedule import Outcome

JOURNAL: Final = "pl:webhooks:log:"
"""Before an endpoint's id: list of its last attempts, newest first."""
STATES: Final = "pl:webhooks:states"
"""Redis hash: endpoint id → its state as JSON."""
KEPT: Final = 500
_KEPT_S: Final = 30 * 86_400
_WAITING: Final = 20_000


class Journal:
    """Notes are taken at once and written a few times a second; while Redis is away the oldest of them are dropped."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._notes: deque[tuple[str, bytes]] = deque(maxlen=_WAITING)
        self.states: dict[str, bytes] = {}

    def note(
        self,
        endpoint_id: str,
        delivery: Delivery,
        outcome: Outcome,
        began_ms: int,
        next_ms: int | None,
        most: int,
        *,
        extra: bool = False,
    ) -> None:
        """Notes an attempt.

        ``next_ms``: when it is tried again; ``most``: attempts there are at most; ``extra``: it is none of them.
        """
        given_up = not outcome.succeeded and next_ms is None
        note = {
            "event_id": delivery.event_id, "attempt": delivery.attempts, "attempts_at_most": most, "at_ms": began_ms,
            "result": "delivered" if outcome.succeeded else "given_up" if given_up else "failed",
            "status": outcome.status, "problem": outcome.problem, "took_ms": outcome.took_ms, "next_ms": next_ms,
            "replay": delivery.replay, "extra": extra, "lane": delivery.lane, "offset": delivery.offset,
        }  # fmt: skip
        self._notes.append((endpoint_id, orjson.dumps(note)))

    async def write(self) -> None:
        """Writes what is noted."""
        notes = [self._notes.popleft() for _ in range(len(self._notes))]
        states, self.states = self.states, {}
        if not notes and not states:
            return
        try:
            async with asyncio.timeout(5), self._redis.pipeline(transaction=False) as pipe:
                for endpoint_id, note in notes:
                    pipe.lpush(JOURNAL + endpoint_id, note)
                for endpoint_id in {endpoint_id for endpoint_id, _ in notes}:
                    pipe.ltrim(JOURNAL + endpoint_id, 0, KEPT - 1)
                    pipe.expire(JOURNAL + endpoint_id, _KEPT_S)
                if states:
                    pipe.hset(STATES, mapping=states)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError):
            self._notes.extendleft(reversed(notes))
