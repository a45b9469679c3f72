"""The live clients of one gateway: who wants an event, when they are woken, and what keeps their connections alive.

Everything runs on one event loop and nothing here awaits a client: a client whose queue is full is cut, and resumes
with the cursor of the last event it got. What costs per client and event is kept small, as it is paid thousands of
times a second: no task, timer or rendering of its own.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from gateway.filters import Filter

QUEUE_EVENTS: Final = 2_000
"""Events that may wait for one client."""
WAKE_S: Final = 0.002
"""Clients are woken no more often: what comes meanwhile goes out together."""
MOST_WAKE_S: Final = 0.1
"""Nor more often than every so long after it took them as long to send what they had."""
BEAT_S: Final = 1.0
PING_S: Final = 15.0
"""A client that got nothing for so long gets a comment."""
SEND_S: Final = 20.0
"""A client that takes nothing for so long is gone."""
PING: Final = b": ping\n\n"


_log = structlog.get_logger("audience")


class Entry(NamedTuple):
    """One event of the ring: where it stands, what filters ask for, its bytes, and these as an SSE message.

    ``partition``: its lane (gateway.cursors). ``suppliers``: whose event it is.
    """

    partition: int
    offset: int
    kind: str
    province: str | None
    bands: tuple[str, ...]
    code: str
    suppliers: frozenset[str]
    value: bytes
    frame: bytes


def wants(wanted: Filter, entry: Entry) -> bool:
    """Tells whether an event passes a filter."""
    return wanted.passes(entry.province, entry.kind, entry.bands, entry.code, entry.suppliers)


@dataclass(eq=False)
class Subscription:
    """One client's queue. ``start``: the hub's positions when it began; what comes later is in the queue.

    ``owner``, ``key_id``: whose key opened it, where one did. ``counted``: it gets the page's counters, too.
    ``sending``: the task that is sending to it now; ``since_s``: when that began, or the last one ended.
    """

    wanted: Filter
    start: dict[int, int]
    limit: int = QUEUE_EVENTS
    owner: str = ""
    key_id: str = ""
    counted: bool = False
    cut: bool = False
    closed: bool = False
    sending: asyncio.Task[None] | None = None
    since_s: float = 0.0
    _frames: deque[bytes] = field(default_factory=deque)
    _notices: dict[str, bytes] = field(default_factory=dict)
    _waiting: asyncio.Future[None] | None = None

    def push(self, frame: bytes) -> None:
        """Queues an event, without waking the client; a full queue cuts it."""
        if len(self._frames) >= self.limit:
            self.cut = True
            self._frames.clear()
        elif not self.cut:
            self._frames.append(frame)

    def notify(self, name: str, frame: bytes) -> None:
        """Leaves a message of which only the latest of its name matters, without waking the client."""
        self._notices[name] = frame

    def close(self) -> None:
        """Ends the stream once its client has taken what waits."""
        self.closed = True
        self.wake()

    def wake(self) -> None:
        """Lets ``take`` go on."""
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    async def take(self) -> bytes:
        """Waits for messages and returns all that wait, end to end; empty: the stream is over."""
        while not (self._frames or self._notices or self.cut or self.closed):
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self.cut:
            return b""
        taken = b"".join((*self._frames, *self._notices.values()))
        self._frames.clear()
        self._notices.clear()
        return taken


class Audience:
    """All clients, those of each supplier together."""

    def __init__(self) -> None:
        self.cut_total = 0
        self._all: set[Subscription] = set()
        self._of: dict[str | None, set[Subscription]] = {}
        self._due: set[Subscription] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at_s = 0.0
        self._beating = False

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._all))

    def add(self, client: Subscription) -> None:
        """Adds a client. It must be handed to ``remove`` in the end."""
        self._all.add(client)
        self._of.setdefault(client.wanted.supplier, set()).add(client)
        loop = asyncio.get_running_loop()
        client.since_s = loop.time()
        if not self._beating:
            self._beating = True
            loop.call_later(BEAT_S, self._beat)

    def remove(self, client: Subscription) -> None:
        """Removes a client; counts it where it was cut."""
        if client not in self._all:
            return
        self._all.discard(client)
        alike = self._of[client.wanted.supplier]
        alike.discard(client)
        if not alike:
            del self._of[client.wanted.supplier]
        self._due.discard(client)
        self.cut_total += client.cut

    def offer(self, entry: Entry) -> None:
        """Queues an event for every client that wants it."""
        for supplier in (None, *entry.suppliers):
            for client in self._of.get(supplier, ()):
                if wants(client.wanted, entry):
                    client.push(entry.frame)
                    self._due.add(client)
        self._wake_soon()

    def tell(self, frame: bytes) -> None:
        """Queues a message for every client."""
        for client in self:
            client.push(frame)
            self._due.add(client)
        self._wake_soon()

    def notify(self, frames: Iterable[tuple[str, bytes]]) -> None:
        """Leaves messages by name with every client that gets counters; only the latest of a name matters."""
        told = list(frames)
        for client in self:
            if client.counted:
                for name, frame in told:
                    client.notify(name, frame)
                self._due.add(client)
        self._wake_soon()

    def close(self) -> None:
        """Ends every client's stream."""
        for client in self:
            client.close()

    def _wake_soon(self) -> None:
        if self._due and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._wake_at_s, self._wake)

    def _wake(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        began_s = loop.time()
        self._wake_at_s = began_s + WAKE_S
        due, self._due = self._due, set()
        for client in due:
            client.wake()
        loop.call_soon(self._woken, began_s)  # behind them all: they have sent by then

    def _woken(self, began_s: float) -> None:
        """Leaves the loop as long to others as sending took, so that more goes out together the more there is."""
        now_s = asyncio.get_running_loop().time()
        self._wake_at_s = max(self._wake_at_s, now_s + min(now_s - began_s, MOST_WAKE_S))

    def _beat(self) -> None:
        """Pings whoever got nothing for long, and gives up those who take nothing."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for client in self:
            quiet_s = now_s - client.since_s
            if client.sending and quiet_s > SEND_S:
                _log.info("a client took nothing and was cut; it can resume", within_s=SEND_S)
                client.sending.cancel()
            elif not client.sending and quiet_s > PING_S:
                client.notify("ping", PING)
                self._due.add(client)
        self._wake_soon()
        self._beating = len(self) > 0
        if self._beating:
            loop.call_later(BEAT_S, self._beat)
