"""The fan-out of alert events and changes of lowest prices: a ring of the last events, handed to live clients and taps."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Literal

from gateway.audience import QUEUE_EVENTS, Audience, Entry, Subscription, wants
from gateway.cursors import PRICE_LANES, alerts_only, format_cursor, place_of
from gateway.filters import PRICE_CHANGED, Filter
from gateway.unreadable import pass_over
from schemas.events import NotAnEvent, read_event

RING_EVENTS: Final = 10_000
"""Events kept for clients that connect or resume; older ones are read from the log again."""
NOBODY: Final[frozenset[str]] = frozenset()
SLOTS_REMEMBERED: Final = 200_000
"""Slots whose last revision is kept to drop repeats."""


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


class Tap:
    """Events for a part of this process that reads on by itself: bounded, and marked ``behind`` when it was too full.

    ``start``: the hub's positions when it began.
    """

    def __init__(self, wanted: Filter, start: dict[int, int], limit: int = QUEUE_EVENTS) -> None:
        self.wanted = wanted
        self.start = start
        self.behind = False
        self._limit = limit
        self._entries: deque[Entry] = deque()
        self._ready = asyncio.Event()

    def push(self, entry: Entry) -> None:
        """Queues an event."""
        if len(self._entries) >= self._limit:
            self.lose()
        elif not self.behind:
            self._entries.append(entry)
        self._ready.set()

    def lose(self) -> None:
        """Marks it as behind: its reader must catch up from the log."""
        self.behind = True
        self._entries.clear()
        self._ready.set()

    def take(self) -> Entry | None:
        """Returns the next event, None if none waits."""
        return self._entries.popleft() if self._entries else None

    async def wait(self, seconds: float) -> None:
        """Waits for an event, at most so long."""
        if not self._entries and not self.behind:
            self._ready.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # wait_for may swallow a cancellation
                    await self._ready.wait()


class Hub:
    """Gives every event of ``alerts`` and ``price-changes`` once to every client that wants it.

    ``positions``: per lane the offset of the next event, None until the log was reached once. ``events_total``:
    new ones since then.
    """

    def __init__(self, ring_events: int = RING_EVENTS) -> None:
        self.positions: dict[int, int] | None = None
        self.events_total = 0
        self.repeats_total = 0
        self.clients = Audience()
        self.taps: set[Tap] = set()
        self._repeats = Repeats()
        self._ring: deque[Entry] = deque()
        self._ring_events = ring_events
        self._floor: dict[int, int] = {}
        self._ends: dict[int, int] = {}

    def begin(self, positions: dict[int, int], ends: dict[int, int]) -> None:
        """Starts a topic from these positions: the next offset of each of its lanes. ``ends``: where they end now."""
        self.positions = (self.positions or {}) | positions
        self._floor |= positions
        self._ends |= ends

    @property
    def caught_up(self) -> bool:
        """Tells whether both topics are read up to where they ended when they were reached.

        Before that a cursor of another gateway is ahead of this one, and so is what a process noted before it was restarted.
        """
        positions = self.positions or {}
        reached = all(positions.get(lane, 0) >= end for lane, end in self._ends.items())
        return reached and bool(self.lanes(prices=False)) and bool(self.lanes(prices=True))

    def lanes(self, *, prices: bool) -> dict[int, int]:
        """Returns the positions of ``price-changes``, or of ``alerts``; empty until the topic was reached."""
        return {lane: at for lane, at in (self.positions or {}).items() if (lane >= PRICE_LANES) == prices}

    def publish(self, partition: int, offset: int, value: bytes, suppliers: frozenset[str] = NOBODY) -> None:
        """Takes the next event of a lane. One that cannot be read is counted and passed over.

        ``suppliers``: who lists the code, of a price change; an alert names its own.
        """
        if self.positions is None:
            self.positions = {}
        if offset < self.positions.get(partition, 0):
            self.begin_anew([partition])
            self.positions = self.positions or {}
        self.positions[partition] = offset + 1
        self._floor.setdefault(partition, offset)
        try:
            event = read_event(value)
        except NotAnEvent as fault:
            topic, number = place_of(partition)
            pass_over(topic, number, offset, fault)
            return
        if self._repeats.is_repeat(*identity_of(event)):
            self.repeats_total += 1
            return
        entry = entry_of(partition, offset, event, value, suppliers, self.positions)
        self.events_total += partition < PRICE_LANES and offset >= self._ends.get(partition, 0)
        self._ring.append(entry)
        if len(self._ring) > self._ring_events:
            oldest = self._ring.popleft()
            self._floor[oldest.partition] = oldest.offset + 1
        self.clients.offer(entry)
        for tap in self.taps:
            if wants(tap.wanted, entry):
                tap.push(entry)

    def begin_anew(self, lanes: Iterable[int]) -> None:
        """A log is shorter than it was (a broker lost it): what is known of it is void, for clients, too.

        ``lanes``: some of its topic's; all of the topic's are forgotten.
        """
        prices = min(lanes) >= PRICE_LANES
        gone = self.lanes(prices=prices)
        kept = {lane: at for lane, at in (self.positions or {}).items() if lane not in gone}
        self.positions = kept or None
        for lane in gone:
            self._floor.pop(lane, None)
            self._ends.pop(lane, None)
        self._ring = deque(entry for entry in self._ring if entry.partition not in gone)
        self._repeats.forget()
        for tap in self.taps:
            tap.lose()
        self.clients.tell(frame_of("reset", b'{"why":"log_began_anew"}'))

    def subscribe(self, wanted: Filter, **more: Any) -> Subscription:
        """Adds a client. It must be handed to ``clients.remove`` in the end. ``more``: of ``Subscription``."""
        client = Subscription(wanted, dict(self.positions or {}), **more)
        self.clients.add(client)
        return client

    def tap(self, wanted: Filter) -> Tap:
        """Adds a tap. It must be handed to ``untap`` in the end."""
        tap = Tap(wanted, dict(self.positions or {}))
        self.taps.add(tap)
        return tap

    def untap(self, tap: Tap) -> None:
        """Removes a tap."""
        self.taps.discard(tap)

    def locate(self, cursor: Mapping[int, int], *, prices: bool = False) -> Literal["ring", "log", "unknown"]:
        """Tells where the events after a cursor are: in the ring, only in the log, or nowhere (not of this log).

        ``prices``: those of ``price-changes``, too.
        """
        if self.is_behind(cursor, prices=prices):
            return "unknown"
        asked = cursor if prices else alerts_only(cursor)
        floors = self._floor if prices else alerts_only(self._floor)
        missing = any(asked.get(partition, 0) < floor for partition, floor in floors.items())
        return "log" if missing else "ring"

    def is_behind(self, cursor: Mapping[int, int], *, prices: bool = False) -> bool:
        """Tells whether a cursor is further than what was read here: of another log, or of a gateway that is ahead."""
        positions = self.positions or {}
        asked = cursor if prices else alerts_only(cursor)
        return any(offset > positions.get(partition, -1) for partition, offset in asked.items())

    def since(self, cursor: Mapping[int, int], until: Mapping[int, int], wanted: Filter) -> Iterator[bytes]:
        """Gives the messages of the ring from ``cursor`` up to ``until``, both next offsets.

        The cursor of each is ``cursor``, moved on behind it: another gateway may have read partitions in another order.
        """
        positions = dict(cursor)
        for entry in list(self.entries_since(cursor)):
            if entry.offset < until.get(entry.partition, 0):
                positions[entry.partition] = entry.offset + 1
                if wants(wanted, entry):
                    yield entry_frame(entry.kind, entry.value, positions)

    def entries_since(self, cursor: Mapping[int, int]) -> Iterator[Entry]:
        """Gives the events of the ring after a cursor, for everybody."""
        return (entry for entry in self._ring if entry.offset >= cursor.get(entry.partition, 0))

    def latest(self, count: int, until: Mapping[int, int], wanted: Filter) -> list[bytes]:
        """Returns the last ``count`` messages of the ring before ``until`` that pass, oldest first."""
        found: list[bytes] = []
        for entry in reversed(self._ring):
            if len(found) >= count:
                break
            if entry.offset < until.get(entry.partition, 0) and wants(wanted, entry):
                found.append(entry.frame)
        return found[::-1]


def entry_frame(kind: str, value: bytes, positions: Mapping[int, int]) -> bytes:
    """Renders an event as an SSE message. ``positions``: the cursor behind it."""
    return frame_of("price" if kind == PRICE_CHANGED else "alert", value, format_cursor(positions))


def bands_of(event: dict[str, Any]) -> tuple[str, ...]:
    """Returns the bands an event is about: its own and its previous one."""
    return tuple(band for band in (event.get("band"), event.get("previous_band")) if band)


def identity_of(event: dict[str, Any]) -> tuple[str, int]:
    """Returns what repeats are known by: slot and number as one text, and the revision."""
    if "alert_id" in event:
        return event["alert_id"], event["revision"]
    return event["event_id"], 1


def entry_of(
    lane: int,
    offset: int,
    event: dict[str, Any],
    value: bytes,
    suppliers: frozenset[str],
    positions: Mapping[int, int],
) -> Entry:
    """Makes an entry of an event (``schemas.events``). ``positions``: the cursor behind it."""
    is_alert = "alert_id" in event
    kind = event["kind"] if is_alert else PRICE_CHANGED
    supplier = event.get("supplier")
    return Entry(
        partition=lane,
        offset=offset,
        kind=kind,
        province=event.get("province"),
        bands=bands_of(event),
        code=event.get("code") or "",
        suppliers=(frozenset((supplier,)) if supplier else NOBODY) if is_alert else suppliers,
        value=value,
        frame=entry_frame(kind, value, positions),
    )
