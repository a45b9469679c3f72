"""The demo market's shell: the clock, topic ``feeds``, topic ``alerts``, and the note that all of it is simulated."""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
import structlog

from agents.app import Tasks
from agents.clients import new_reader
from config.settings import Settings
from config.topics import ALERTS, FEEDS
from market.records import Line
from market.simulator import Market
from schemas.codes import partition_of

RATE: Final = 200.0
"""Records a second unless told otherwise."""
_OPENING_RATE: Final = 8_000.0
"""At least so many a second while the platforms list what they sell."""
_PAUSE_S: Final = 0.25
"""Between writes. The embedded broker looks through all batches of a partition at every fetch, so few batches are written."""
_LINES_PER_MESSAGE: Final = 500
_MAX_IN_FLIGHT: Final = 64
"""Messages."""
_STOP_S: Final = 5.0
"""For what is still in flight when it stops."""
_NOTE_KEY: Final = "pl:market"
_NOTE_LASTS_S: Final = 15
_NOTE_EVERY_S: Final = 5.0

_log = structlog.get_logger("market")


async def run(settings: Settings, rate: float = RATE, seed: int = 1, products: int = 2_000) -> None:
    """Writes the demo market's records until cancelled.

    Args:
        settings: of this process.
        rate: records a second; the opening, when every platform lists its products, is faster.
        seed: the same seed makes the same market.
        products: codes at the start.

    Raises:
        aiokafka.errors.KafkaError: the broker refused a record for good.
    """
    market = Market(seed, products)
    _log.info("market.started", seed=seed, rate=rate, products=products, opening=market.backlog, simulated=True)
    tasks = Tasks()
    for work in (_write(settings, market, rate), _read_alerts(settings, market), _say_simulated(settings, seed, rate)):
        tasks.spawn(work)
    try:
        await asyncio.wait([tasks.fault])
        tasks.fault.result()
    finally:
        await tasks.cancel()


async def write_history(settings: Settings, seed: int = 1, products: int = 2_000) -> None:
    """Writes what happened before the market opens, and awaits the acks.

    It goes before all else, ticks too: a midnight that the log's clock has passed does not come again.
    """
    lines = Market(seed, products).history(_now_ms())
    producer = _new_producer(settings)
    await producer.start()
    try:
        sent = [
            await producer.send(FEEDS.name, value, partition=to) for to, value in packed(lines, settings.partitions)
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
    _log.info("market.history", records=len(lines), simulated=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_producer(settings: Settings) -> Any:
    import aiokafka

    return aiokafka.AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap.split(","),
        client_id=f"pricelink-market-{settings.instance}",
        acks="all",
        enable_idempotence=settings.idempotent,
        compression_type=settings.compression_type,
        linger_ms=5,
        **settings.security,
    )


def packed(lines: Sequence[Line], partitions: int) -> Iterator[tuple[int, bytes]]:
    """Yields messages of up to 500 lines, each with its partition; the lines of a code stay in their order."""
    by_partition: dict[int, list[bytes]] = {}
    for line in lines:
        by_partition.setdefault(partition_of(line.code, partitions), []).append(line.value)
    for partition, values in by_partition.items():
        for first in range(0, len(values), _LINES_PER_MESSAGE):
            yield partition, b"\n".join(values[first : first + _LINES_PER_MESSAGE])


async def _write(settings: Settings, market: Market, rate: float) -> None:
    producer = _new_producer(settings)
    await producer.start()
    try:
        in_flight: deque[asyncio.Future[Any]] = deque()
        owed, last_s = 0.0, time.monotonic()
        while True:
            now_s = time.monotonic()
            speed = max(rate, _OPENING_RATE) if market.backlog else rate
            owed = min(owed + (now_s - last_s) * speed, speed)  # after a stall at most a second's worth
            last_s = now_s
            lines = market.lines(_now_ms(), int(owed))
            owed -= len(lines)
            for partition, value in packed(lines, settings.partitions):
                in_flight.append(await producer.send(FEEDS.name, value, partition=partition))
            while in_flight and (in_flight[0].done() or len(in_flight) > _MAX_IN_FLIGHT):
                await in_flight.popleft()  # raises what the broker refused
            await asyncio.sleep(_PAUSE_S)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(producer.stop(), _STOP_S)


async def _read_alerts(settings: Settings, market: Market) -> None:
    """Suppliers and operators read the alerts from now on, and answer some."""
    import aiokafka

    started_ms = _now_ms()
    reader = new_reader(settings)
    await reader.start()
    try:
        reader.assign([aiokafka.TopicPartition(ALERTS.name, partition) for partition in range(settings.partitions)])
        await reader.seek_to_end()
        async for message in reader:
            if message.timestamp >= started_ms:
                market.observe(orjson.loads(message.value), _now_ms())
    finally:
        await reader.stop()


async def _say_simulated(settings: Settings, seed: int, rate: float) -> None:
    """Leaves the note for the page; without Redis there is no page to be honest on."""
    import redis.asyncio
    from redis.exceptions import RedisError

    note = json.dumps({"simulated": True, "seed": seed, "rate": rate})
    client = redis.asyncio.Redis.from_url(settings.redis_url, socket_timeout=2.0, socket_connect_timeout=2.0)
    try:
        while True:
            with contextlib.suppress(RedisError, OSError):
                await client.set(_NOTE_KEY, note, ex=_NOTE_LASTS_S)
            await asyncio.sleep(_NOTE_EVERY_S)
    finally:
        await client.aclose()
