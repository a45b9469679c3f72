"""Reads ``feeds`` for the scorecards process: how many orders each owner has, and the daily inspection list.

Everything is a function of the log, so it keeps no state: at its start it reads ``feeds`` from the beginning, and topic
``inspections`` to know which lists are written already. A list cut short by a crash is written again, with the same bytes.
"""

import asyncio
from typing import Any, Final

import aiokafka
import orjson
import redis.asyncio
import redis.exceptions
import structlog

from agents import record_batches
from agents.clients import end_offsets, new_reader
from agents.logs import pass_over
from agents.order_book import OrderBook
from agents.overuse_list import Lists, added, inspection_rows, unfinished
from agents.score_tables import Send
from config.settings import Settings
from config.topics import FEEDS, INSPECTIONS
from schemas.codes import partition_of
from schemas.events import NotAnEvent, object_of, text, whole
from schemas.score_rules import OveruseRules

_log = structlog.get_logger("overuse")

LIST_KEY: Final = "pl:inspections"
PREVIEW_KEY: Final = "pl:inspections:preview"
_POLL_MS: Final = 500
_RECORDS_A_POLL: Final = 20_000
_DAYS_AHEAD: Final = 2
"""A partition is not read further ahead of the one that is furthest behind."""
_CHANGED_EVERY_S: Final = 10.0
_PREVIEW_EVERY_S: Final = 20.0
_TIMEOUT_S: Final = 5.0


class Overuse:
    """The orders of all partitions. Implements ``score_publisher.OrderCounts``."""

    def __init__(self, settings: Settings, rules: OveruseRules, send: Send) -> None:
        self._settings = settings
        self._rules = rules
        self._send = send
        numbers = range(settings.partitions)
        self._books = [OrderBook(number, settings.partitions) for number in numbers]
        self._places = [aiokafka.TopicPartition(FEEDS.name, number) for number in numbers]
        self._lists = Lists(settings.partitions)
        self._reader = new_reader(settings)
        self._redis: Any = redis.asyncio.from_url(
            settings.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        self._written: set[str] = set()
        self._changed_at = 0.0
        self._previewed_at = 0.0
        self._latest: bytes | None = None
        self.ready = False
        self.records = 0

    def orders(self, dimension: str, key: str) -> int | None:
        """Returns how many order records of an owner were accepted; None until the log was read to its end once."""
        return sum(book.counts[dimension, key] for book in self._books) if self.ready else None

    def changed(self) -> dict[str, set[str]]:
        """Returns the owners whose counts changed, by dimension; not more often than every few seconds."""
        now_s = asyncio.get_running_loop().time()
        if not self.ready or now_s - self._changed_at < _CHANGED_EVERY_S:
            return {}
        self._changed_at = now_s
        found: dict[str, set[str]] = {}
        for book in self._books:
            for dimension, key in book.changed:
                found.setdefault(dimension, set()).add(key)
            book.changed = set()
        return found

    @property
    def forgotten(self) -> int:
        """Returns how many orders were forgotten because there were more than are kept."""
        return sum(book.forgotten for book in self._books)

    async def run(self) -> None:
        """Reads for ever."""
        await self._reader.start()
        try:
            await self._read_written()
            self._reader.assign(self._places)
            await self._reader.seek_to_beginning(*self._places)
            ends = await self._ends(self._places)
            while True:
                fetched = await self._reader.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_A_POLL)
                for place, messages in fetched.items():
                    await self._take(place.partition, messages)
                self._hold_back()
                self.ready = self.ready or await self._reached(ends)
                await self._preview()
        finally:
            await self._reader.stop()
            await self._redis.aclose()

    async def _read_written(self) -> None:
        """Reads topic ``inspections``, which has a hundred rows a day, to its end."""
        places = [aiokafka.TopicPartition(INSPECTIONS.name, number) for number in range(self._settings.partitions)]
        self._reader.assign(places)
        await self._reader.seek_to_beginning(*places)
        ranks: dict[str, set[int]] = {}
        totals: dict[str, int] = {}
        ends = await self._ends(places)
        while True:
            fetched = await self._reader.getmany(timeout_ms=_POLL_MS)
            for place, messages in fetched.items():
                for message in messages:
                    try:
                        row = object_of(message.value)
                        date, rank, total = text(row, "date"), whole(row, "rank"), whole(row, "of")
                    except NotAnEvent as fault:
                        pass_over(place.topic, place.partition, message.offset, fault)
                        continue
                    ranks.setdefault(date, set()).add(rank)
                    totals[date] = total
            if not fetched and await self._reached(ends):
                break
        self._written = ranks.keys() - unfinished(ranks, totals)

    async def _take(self, partition: int, messages: list[Any]) -> None:
        book = self._books[partition]
        self.records += len(messages)
        for day in book.apply(record_batches.batch_of(partition, messages)):
            total = self._lists.give(partition, day, book.sums(day))
            if total is not None:
                await self._write(inspection_rows(day, total, self._rules))

    async def _write(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        date = rows[0]["date"]
        self._latest = orjson.dumps({"date": date, "rows": rows})
        if date in self._written:
            return
        place = partition_of(date, self._settings.partitions)
        sent = [await self._send(INSPECTIONS.name, date.encode(), orjson.dumps(row), place) for row in rows]
        await asyncio.gather(*sent)
        self._written.add(date)
        _log.info("inspection list", date=date, rows=len(rows))

    def _hold_back(self) -> None:
        days = [book.day for book in self._books if book.day is not None]
        if len(days) < len(self._books):
            return
        for book, place in zip(self._books, self._places, strict=True):
            assert book.day is not None
            (self._reader.pause if book.day > min(days) + _DAYS_AHEAD else self._reader.resume)(place)

    async def _ends(self, places: list[Any]) -> dict[Any, int]:
        """Returns where partitions end by now; a log that is written all the time is read to there, too."""
        while (ends := await end_offsets(self._reader, places)) is None:
            _log.warning(
                "Kafka does not say where a topic ends; the inspection list waits, and it is asked again",
                reason="broker_away", topic=places[0].topic,
            )  # fmt: skip
        return ends

    async def _reached(self, ends: dict[Any, int]) -> bool:
        return all([await self._reader.position(place) >= end for place, end in ends.items()])

    async def _preview(self) -> None:
        """Shows the last list, and what the next one would be as things stand; Redis being away is no matter."""
        now_s = asyncio.get_running_loop().time()
        days = [book.day for book in self._books if book.day is not None]
        if not self.ready or not days or now_s - self._previewed_at < _PREVIEW_EVERY_S:
            return
        self._previewed_at = now_s
        tomorrow = min(days) + 1
        rows = inspection_rows(tomorrow, added(book.sums(tomorrow) for book in self._books), self._rules)
        try:
            await self._redis.set(PREVIEW_KEY, orjson.dumps({"date": rows[0]["date"] if rows else None, "rows": rows}))
            if self._latest is not None:
                await self._redis.set(LIST_KEY, self._latest)
        except (redis.exceptions.RedisError, OSError, TimeoutError) as fault:
            _log.warning(
                "Redis does not answer: the page does not see the inspection list; it is shown once Redis is back",
                reason="redis_away", fault=fault,
            )  # fmt: skip
