"""What was handed to the stream and is not yet committed: one queue a partition, committed from its head only."""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Handed:
    last_offset: int
    next_offset: int
    acked: bool = False


class InFlight(Generic[Key]):
    """Chunks in the hands of the stream, by partition, in the order in which they were handed over.

    An offset may be committed when its chunk and all before it are acked: nothing is ever skipped, in whatever order
    the acks come. ``forget`` is for seeks and revocations: acks of what was forgotten are ignored.
    """

    def __init__(self) -> None:
        self._queues: dict[Key, deque[_Handed]] = {}
        self._reached: dict[Key, int] = {}
        self._committed: dict[Key, int] = {}

    def start(self, key: Key, offset: int) -> None:
        """Forgets what is in flight of ``key``; the next chunk handed over starts at ``offset``."""
        self._queues[key] = deque()
        self._reached[key] = offset
        self._committed.pop(key, None)

    def forget(self, keys: Iterable[Key]) -> None:
        """Forgets all of ``keys``."""
        for key in keys:
            self._queues.pop(key, None)
            self._reached.pop(key, None)
            self._committed.pop(key, None)

    def hand_over(self, key: Key, last_offset: int, next_offset: int) -> None:
        """Notes a chunk that ends with message ``last_offset`` and is followed by ``next_offset``."""
        queue = self._queues.setdefault(key, deque())
        if queue and queue[-1].last_offset >= last_offset:
            raise ValueError(f"{key}: chunk up to {last_offset} after one up to {queue[-1].last_offset}")
        queue.append(_Handed(last_offset, next_offset))

    def ack(self, key: Key, last_offset: int) -> bool:
        """Marks the chunk that ends with ``last_offset`` as done; False if it is not in flight or was done before."""
        queue = self._queues.get(key)
        if not queue:
            return False
        found = next((handed for handed in queue if handed.last_offset == last_offset), None)
        if found is None or found.acked:
            return False
        found.acked = True
        while queue and queue[0].acked:
            self._reached[key] = queue.popleft().next_offset
        return True

    def reached(self, key: Key) -> int | None:
        """Returns the offset up to which all is acked: the one to commit. None before the first ack or ``start``."""
        return self._reached.get(key)

    def committable(self) -> dict[Key, int]:
        """Returns the offsets that are ahead of what was committed."""
        return {key: offset for key, offset in self._reached.items() if offset > self._committed.get(key, -1)}

    def committed(self, offsets: dict[Key, int]) -> None:
        """Notes what the broker confirmed. Call it only then: a commit that failed must be tried again."""
        for key, offset in offsets.items():
            if key in self._reached:
                self._committed[key] = max(offset, self._committed.get(key, -1))

    def unacked(self, key: Key) -> int:
        """Returns how many chunks of ``key`` wait for an ack, those behind the first of them included."""
        return len(self._queues.get(key, ()))
