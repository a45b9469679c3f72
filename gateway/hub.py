"""The fan-out of alert events to live clients: a ring of the last events, and a bounded queue per client.

Everything runs on one event loop and nothing here awaits a client: a client whose queue is full is cut, and resumes
with the cursor of the last event it got.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import orjson

from gateway.cursors import format_cursor
from gateway.filters import Filter

RING_EVENTS: Final = 10_000
"""Events kept for clients that connect or resume; older ones are read from the log again."""
QUEUE_EVENTS: Final = 2_000
"""Events that may wait for one client."""
SLOTS_REMEMBERED: Final = 200_000
"""Slots whose last revision is kept to drop repeats."""


class Entry(NamedTuple):
    """One event of the ring: where it stands in ``alerts``, what filters ask for, and its bytes as an SSE message."""

    partition: int
    offset: int
    kind: str
    province: str | None
    bands: tuple[str, ...]
    frame: bytes


def frame_of(event: str, data: bytes, cursor: str | None = None) -> bytes:
    """Renders one SSE message. ``data``: JSON, which has no line feeds of its own."""
    head = f"id: {cursor}\nevent: {event}\ndata: " if cursor is not None else f"event: {event}\ndata: "
    return head.encode() + data + b"\n\n"


class Repeats:
    """Remembers the last revision of each slot, so that an event that comes again is dropped. Bounded."""

    def __init__(self, limit: int = SLOTS_REMEMBERED) -> None:
        self._limit = limit
        self._last: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def is_repeat(self, alert_id: str, revision: int) -> bool:
        """Tells whether this revision of the slot, or a later one, was here before; remembers it if not."""
        slot, _, opening = alert_id.rpartition(":")
        key = (int(opening), revision)
        last = self._last.get(slot)
        if last is not None and key <= last:
            return True
        self._last[slot] = key
        self._last.move_to_end(slot)
        if len(self._last) > self._limit:
            self._last.popitem(last=False)
        return False

    def forget(self) -> None:
        """Forgets everything: the log began anew."""
        self._last.clear()


@dataclass(eq=False)
class Subscription:
    """One client's queue. ``start``: the hub's positions when it began; what comes later is in the queue."""

    wanted: Filter
    start: dict[int, int]
    limit: int = QUEUE_EVENTS
    cut: bool = False
    closed: bool = False
    _frames: deque[bytes] = field(default_factory=deque)
    _notices: dict[str, bytes] = field(default_factory=dict)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, frame: bytes) -> None:
        """Queues an event; a full queue cuts the client."""
        if len(self._frames) >= self.limit:
            self.cut = True
            self._frames.clear()
        elif not self.cut:
            self._frames.append(frame)
        self._ready.set()

    def notify(self, name: str, frame: bytes) -> None:
        """Leaves a message of which only the latest of its name matters."""
        self._notices[name] = frame
        self._ready.set()

    def close(self) -> None:
        """Ends the stream once its client has taken what waits."""
        self.closed = True
        self._ready.set()

    async def take(self) -> bytes:
        """Waits for messages and returns all that wait, end to end; empty: the stream is over."""
        while not (self._frames or self._notices or self.cut or self.closed):
            self._ready.clear()
            await self._ready.wait()
        if self.cut:
            return b""
        taken = b"".join((*self._frames, *self._notices.values()))
        self._frames.clear()
        self._notices.clear()
        return taken


class Hub:
    """Gives every event of ``alerts`` once to every client that wants it.

    ``positions``: per partition the offset of the next event, None until the log was reached once. ``events_total``:
    new ones since then.
    """

    def __init__(self, ring_events: int = RING_EVENTS) -> None:
        self.positions: dict[int, int] | None = None
        self.events_total = 0
        self.repeats_total = 0
        self.unreadable_total = 0
        self.cut_total = 0
        self.clients: set[Subscription] = set()
        self._repeats = Repeats()
        self._ring: deque[Entry] = deque()
        self._ring_events = ring_events
        self._floor: dict[int, int] = {}
        self._ends: dict[int, int] = {}

    def begin(self, positions: dict[int, int], ends: dict[int, int]) -> None:
        """Starts from these positions: the next offset of every partition of ``alerts``. ``ends``: where it ends now."""
        self.positions = dict(positions)
        self._floor = dict(positions)
        self._ends = ends

    def publish(self, partition: int, offset: int, value: bytes) -> None:
        """Takes the next event of a partition. One that cannot be read is counted and passed over."""
        if self.positions is None:
            self.positions = {}
        if offset < self.positions.get(partition, 0):
            self.begin_anew()
            self.positions = {}
        self.positions[partition] = offset + 1
        self._floor.setdefault(partition, offset)
        try:
            event = orjson.loads(value)
            if self._repeats.is_repeat(event["alert_id"], event["revision"]):
                self.repeats_total += 1
                return
            entry = self._entry(partition, offset, event, value)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            self.unreadable_total += 1
            return
        self.events_total += offset >= self._ends.get(partition, 0)
        self._ring.append(entry)
        if len(self._ring) > self._ring_events:
            oldest = self._ring.popleft()
            self._floor[oldest.partition] = oldest.offset + 1
        for client in self.clients:
            if client.wanted.passes(entry.province, entry.kind, entry.bands):
                client.push(entry.frame)

    def _entry(self, partition: int, offset: int, event: dict[str, Any], value: bytes) -> Entry:
        assert self.positions is not None
        return Entry(
            partition=partition,
            offset=offset,
            kind=event["kind"],
            province=event.get("province"),
            bands=bands_of(event),
            frame=frame_of("alert", value, format_cursor(self.positions)),
        )

    def begin_anew(self) -> None:
        """The log is shorter than it was (a broker lost it): what is known of it is void, for clients, too."""
        self.positions = None
        self._floor = {}
        self._ends = {}
        self._ring.clear()
        self._repeats.forget()
        for client in self.clients:
            client.push(frame_of("reset", b'{"why":"log_began_anew"}'))

    def subscribe(self, wanted: Filter, limit: int = QUEUE_EVENTS) -> Subscription:
        """Adds a client. It must be handed to ``unsubscribe`` in the end."""
        client = Subscription(wanted, dict(self.positions or {}), limit)
        self.clients.add(client)
        return client

    def unsubscribe(self, client: Subscription) -> None:
        """Removes a client."""
        self.clients.discard(client)
        self.cut_total += client.cut

    def notify(self, name: str, frame: bytes) -> None:
        """Tells every client something that is no event of the log."""
        for client in self.clients:
            client.notify(name, frame)

    def close(self) -> None:
        """Ends every client's stream."""
        for client in self.clients:
            client.close()

    def locate(self, cursor: dict[int, int]) -> Literal["ring", "log", "unknown"]:
        """Tells where the events after a cursor are: in the ring, only in the log, or nowhere (not of this log)."""
        positions = self.positions or {}
        if any(offset > positions.get(partition, -1) for partition, offset in cursor.items()):
            return "unknown"
        missing = any(cursor.get(partition, 0) < floor for partition, floor in self._floor.items())
        return "log" if missing else "ring"

    def since(self, cursor: dict[int, int], wanted: Filter) -> Iterator[bytes]:
        """Gives the messages of the ring after a cursor."""
        for entry in self._ring:
            if entry.offset >= cursor.get(entry.partition, 0) and _wants(wanted, entry):
                yield entry.frame

    def latest(self, count: int, wanted: Filter) -> list[bytes]:
        """Returns the last ``count`` messages of the ring that pass, oldest first."""
        found: list[bytes] = []
        for entry in reversed(self._ring):
            if len(found) >= count:
                break
            if _wants(wanted, entry):
                found.append(entry.frame)
        return found[::-1]


def bands_of(event: dict[str, Any]) -> tuple[str, ...]:
    """Returns the bands an event is about: its own and its previous one."""
    return tuple(band for band in (event.get("band"), event.get("previous_band")) if band)


def _wants(wanted: Filter, entry: Entry) -> bool:
    return wanted.passes(entry.province, entry.kind, entry.bands)
