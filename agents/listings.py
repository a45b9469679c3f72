"""Each code's saved row in Redis, copied from the state topic: for price queries, and to know who lists a code.

A view that may be dropped at any time: how far it has read is in Redis itself, written with what was read. So is which state topic that was:
one that was made anew has other positions, and everything is read again.
"""

import asyncio
from functools import partial
from typing import Any, Final

import aiokafka.errors
import kafka.errors
import redis.asyncio
import structlog
from aiokafka.structs import TopicPartition

from agents import logs
from agents.app import exit_code, stop_on_signals
from agents.clients import new_reader, quieten_clients
from agents.metrics_server import serve
from agents.read_model import OFFSET_KEY, ReadModel
from agents.standing import admin_of, identity_of
from agents.topic_sizes import TopicSizes
from config.settings import Settings
from config.topics import STATE
from streams.checkpoint import ROW_VERSION
from streams.layout import CODE
from streams.partition_row import PARTITION_KEY

ROWS: Final = "pl:rows"
"""Redis hash: code → its row as it stands in the state topic."""
CHECKPOINTS: Final = "pl:checkpoints"
"""Redis hash: partition → its partition row."""
TOPIC_KEY: Final = "pl:rows-topic"
"""The broker's id of the state topic that the rows are from."""
_ROWS_A_TRANSACTION: Final = 2_000
_LOOK_S: Final = 1.0
_LOOK_FOR_TOPIC_S: Final = 30.0
_TIMEOUT_S: Final = 10.0
_OFFSET_AT: Final[int] = 1 + dict(CODE.fields or {})["applied_offset"][1]
_LINE_AT: Final[int] = 1 + dict(CODE.fields or {})["applied_line"][1]

_log = structlog.get_logger("listings")


def run(settings: Settings) -> int:
    """Copies until SIGTERM or SIGINT. Returns the exit code."""
    logs.set_up(settings, "listings")
    return exit_code(partial(_run, settings))


async def _run(settings: Settings) -> None:
    quieten_clients()
    stop = stop_on_signals()
    client = redis.asyncio.from_url(
        settings.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, decode_responses=False
    )
    sizes = TopicSizes(settings)
    copier = Copier(settings, client)
    serve(settings, sizes, ready=lambda: {"reading": copier.reading, "redis": not copier.model.waiting})
    sizes.start()
    try:
        await copier.run(stop)
    finally:
        sizes.stop()
        await client.aclose()


class Copier:
    """Reads the state topic from where Redis is. One is enough; several at once do no harm."""

    def __init__(self, settings: Settings, client: Any) -> None:
        self._settings = settings
        self._client = client
        self.model = ReadModel(client)
        self.reading = False
        self._identity = ""
        self._reached: dict[TopicPartition, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Copies until ``stop`` is set. Raises what aiokafka raises when the broker stays away."""
        reader = new_reader(self._settings)
        await reader.start()
        try:
            while not stop.is_set():
                await self._follow(reader, await self._begin(reader), stop)
        finally:
            await reader.stop()

    async def _begin(self, reader: Any) -> list[TopicPartition]:
        """Goes to where Redis is, or to the start of a topic that it is not from; returns the partitions."""
        self._identity = await self._identity_now()
        await self.model.patiently(self._forget_another_topic)
        cluster = await reader._client.fetch_all_metadata()  # noqa: SLF001  public calls would create the topic
        numbers = cluster.partitions_for_topic(STATE.name)
        if not numbers:
            raise aiokafka.errors.UnknownTopicOrPartitionError(f"no topic {STATE.name}: `pricelink topics apply`")
        places = [TopicPartition(STATE.name, each) for each in sorted(numbers)]
        reader.assign(places)
        for place in places:
            await self._seek(reader, place)
        self.reading = True
        return places

    async def _follow(self, reader: Any, places: list[TopicPartition], stop: asyncio.Event) -> None:
        """Copies until ``stop`` is set or the topic is another one."""
        clock = asyncio.get_running_loop().time
        looked_s = looked_for_topic_s = clock()
        while not stop.is_set():
            fetched = await reader.getmany(timeout_ms=200, max_records=_ROWS_A_TRANSACTION)
            for place, records in fetched.items():
                pairs = [(record.key or b"", record.value) for record in records]
                await self.model.patiently(partial(self._write, place, pairs, records[-1].offset + 1))
            if clock() - looked_s > _LOOK_S:
                looked_s = clock()
                await self._look_for_moves(reader, places)
            if clock() - looked_for_topic_s > _LOOK_FOR_TOPIC_S:
                looked_for_topic_s = clock()
                if (await self._identity_now() or self._identity) != self._identity:
                    return

    async def _identity_now(self) -> str:
        """Returns the topic's id; empty where the broker does not tell, as the embedded one."""
        if self._settings.embedded:
            return ""
        try:
            return await asyncio.to_thread(self._ask_identity)
        except (kafka.errors.KafkaError, OSError):
            return ""

    def _ask_identity(self) -> str:
        with admin_of(self._settings) as admin:
            return identity_of(admin, STATE.name)

    async def _forget_another_topic(self) -> None:
        known = await self._client.get(TOPIC_KEY)
        if not self._identity or known == self._identity.encode():
            return
        if known:
            _log.warning(
                "the state topic is another one than Redis has rows of: all of it is read",
                reason="topic_anew",
                topic=STATE.name,
            )
        pattern = OFFSET_KEY.format(topic=STATE.name, partition="*")
        offsets = [key async for key in self._client.scan_iter(match=pattern, count=1_000)]
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.unlink(ROWS, CHECKPOINTS, *offsets)
            pipe.set(TOPIC_KEY, self._identity)
            await pipe.execute()

    async def _stored(self, place: TopicPartition) -> int:
        return await self.model.patiently(partial(self.model.offset, place.topic, place.partition))

    async def _seek(self, reader: Any, place: TopicPartition) -> None:
        self._reached[place] = await self._stored(place)
        reader.seek(place, self._reached[place])

    async def _look_for_moves(self, reader: Any, places: list[TopicPartition]) -> None:
        """Notices a Redis that was flushed, and another copier: whoever is further counts."""
        for place in places:
            if await self._stored(place) != self._reached[place]:
                _log.warning(
                    "Redis is not where it was: flushed, or another process writes; the copy goes on from where Redis is",
                    reason="redis_moved", topic=place.topic, partition=place.partition, offset=self._reached[place],
                )  # fmt: skip
                await self._seek(reader, place)

    async def _write(self, place: TopicPartition, pairs: list[tuple[bytes, bytes | None]], after: int) -> None:
        rows: dict[bytes, bytes | None] = {}
        for key, value in pairs:
            was = rows.get(key)
            if (
                b"/" not in key
                and key != PARTITION_KEY
                and (not value or not was or position_of(value) >= position_of(was))
            ):
                rows[key] = value
        there = await self._client.hmget(ROWS, list(rows)) if rows else []
        # A worker that lost its partition without knowing may write a row that is older than the new owner's.
        newer = {
            key: value
            for (key, value), was in zip(rows.items(), there, strict=True)
            if value is not None and (was is None or position_of(value) >= position_of(was))
        }
        own = [value for key, value in pairs if key == PARTITION_KEY and value is not None]
        async with self._client.pipeline(transaction=True) as pipe:
            if newer:
                pipe.hset(ROWS, mapping=newer)
            if own:
                pipe.hset(CHECKPOINTS, str(place.partition), own[-1])
            pipe.set(OFFSET_KEY.format(topic=place.topic, partition=place.partition), after)
            pipe.set(TOPIC_KEY, self._identity)
            await pipe.execute()
        self._reached[place] = after


def position_of(value: bytes) -> tuple[int, int]:
    """Returns offset and line up to which a saved row is applied; (-1, 0) for a row of another layout."""
    if value[:1] != bytes((ROW_VERSION,)):
        return -1, 0
    offset = int.from_bytes(value[_OFFSET_AT : _OFFSET_AT + 8], "little", signed=True)
    return offset, int.from_bytes(value[_LINE_AT : _LINE_AT + 4], "little", signed=True)
