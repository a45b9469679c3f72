"""The events of an endpoint from a cursor on: from the hub's ring where it reaches back far enough, else from the logs."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from config.settings import Settings
from config.topics import ALERTS, PRICE_CHANGES
from gateway.alerts_topic import CHECK_S, AlertsTopic, reader
from gateway.audience import Entry
from gateway.cursors import PRICE_LANES, place_of
from gateway.evidence import Evidence, Position
from gateway.filters import Filter
from gateway.hub import Hub


class LogSource:
    """What couriers read from. ``alerts``, ``prices``: the followers that fill ``hub``."""

    def __init__(self, settings: Settings, hub: Hub, alerts: AlertsTopic, prices: AlertsTopic) -> None:
        self.hub = hub
        self._settings = settings
        self._alerts = alerts
        self._prices = prices
        self._again = {
            ALERTS.name: Evidence(settings, ALERTS.name, longest=None),
            PRICE_CHANGES.name: Evidence(settings, PRICE_CHANGES.name, longest=None),
        }

    @property
    def ready(self) -> bool:
        """Tells whether both logs are read up to where they ended: what couriers noted before is not ahead of them."""
        return self.hub.caught_up

    async def between(
        self, cursor: Mapping[int, int], until: Mapping[int, int], wanted: Filter
    ) -> AsyncIterator[Entry]:
        """Gives the events from ``cursor`` up to ``until``, in order within a lane. Raises one of BROKER_FAULTS."""
        where = self.hub.locate(cursor, prices=True)
        if where == "ring":
            for entry in list(self.hub.entries_since(cursor)):
                if entry.offset < until.get(entry.partition, 0) and wanted.passes(
                    entry.province, entry.kind, entry.bands, entry.code, entry.suppliers
                ):
                    yield entry
            return
        # A cursor that is ahead of the log is of one that a broker lost: everything there is now is new.
        start = dict(cursor) if where == "log" else {}
        for topic in (self._alerts, self._prices):
            try:
                async for entry in topic.read_again(start, until, wanted, most=None):
                    yield entry
            except OffsetOutOfRangeError:
                first = await self._first(topic)
                late = {lane: max(start.get(lane, 0), first.get(lane, 0)) for lane in until}
                async for entry in topic.read_again(late, until, wanted, most=None):
                    yield entry

    async def _first(self, topic: AlertsTopic) -> dict[int, int]:
        lanes = self.hub.lanes(prices=topic.first_lane == PRICE_LANES)
        places = {TopicPartition(topic.topic, lane - topic.first_lane): lane for lane in lanes}
        async with reader(self._settings) as consumer:
            found = await asyncio.wait_for(consumer.beginning_offsets(list(places)), CHECK_S)
        return {places[place]: offset for place, offset in found.items()}

    async def since(self, at_ms: int) -> dict[int, int]:
        """Returns the cursor of a time: the first events written then or later. Raises one of BROKER_FAULTS."""
        positions = dict(self.hub.positions or {})
        cursor = dict(positions)
        async with reader(self._settings) as consumer:
            for topic in (self._alerts, self._prices):
                places = {
                    TopicPartition(topic.topic, lane - topic.first_lane): lane
                    for lane in self.hub.lanes(prices=topic.first_lane == PRICE_LANES)
                }
                found = await asyncio.wait_for(consumer.offsets_for_times(dict.fromkeys(places, at_ms)), CHECK_S)
                for place, at in found.items():
                    if at is not None and at.offset >= 0:
                        cursor[places[place]] = min(at.offset, positions[places[place]])
        return cursor

    async def value(self, lane: int, offset: int) -> bytes | None:
        """Returns an event's bytes; None: the broker is away. Raises LookupError where the log no longer has it."""
        topic, partition = place_of(lane)
        (line,) = await self._again[topic].lines([Position(partition, offset, 0)])
        if line.problem in {"gone", "no_such_line"}:
            raise LookupError(line.problem)
        return None if line.text is None else line.text.encode()
