"""The Redis read model: national lowest by code, open alerts by kind, province and band, the last events.

It is a view of the topics ``alerts`` and ``price-changes`` and can be dropped and rebuilt at any time. How far it has
read is kept in Redis itself, and written in one transaction with what was read: so nothing is counted twice, whoever
dies when, and a Redis that was flushed or restored from an old copy is noticed and brought up to date.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import redis.asyncio
import redis.exceptions
import structlog
from faust.types import TP

from agents import logs, record_batches
from agents.allocation import keep_imports_out_of_collections
from agents.app import App, exit_code, make_app, run_app, stop_on_signals
from agents.logs import pass_over
from agents.metrics_server import serve
from agents.read_model_rows import Events, add_alerts, add_price_changes
from agents.record_batches import Chunk
from agents.watchdog import Watchdog
from config.settings import Settings
from config.topics import ALERTS, PRICE_CHANGES
from schemas.events import read_alert, read_price_change

_log = structlog.get_logger("read-model")

OFFSET_KEY: Final = "pl:offset:{topic}:{partition}"
_OWN_KEYS: Final = ("pl:lowest", "pl:open*", "pl:counts", "pl:last", "pl:events", "pl:history:*", "pl:offset:*")
_EVENTS_A_TRANSACTION: Final = 1_000
_TIMEOUT_S: Final = 10.0
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Redis is asked again after so long; then as often as the last says, for ever."""
_LOOK_S: Final = 1.0
_AWAY: Final = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, redis.exceptions.WatchError, OSError)
"""A connection that is lost while it watches a key is a ``WatchError``, too."""

Result = TypeVar("Result")


class Moved(Exception):
    """What Redis has of a partition ends elsewhere than we thought: it was flushed, or another process writes."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"Redis is at {offset}")
        self.offset = offset


def run(settings: Settings, *, rebuild: bool = False) -> int:
    """Keeps the read model until SIGTERM or SIGINT; ``rebuild`` drops it first. Returns the exit code."""
    logs.set_up(settings, "read-model")
    return exit_code(partial(_run, settings, rebuild=rebuild))


async def _run(settings: Settings, *, rebuild: bool) -> None:
    stop = stop_on_signals()
    client = redis.asyncio.from_url(
        settings.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, decode_responses=False
    )
    model = ReadModel(client)
    follower = Follower(settings, model)
    serve(settings, ready=lambda: {"assigned": follower.assigned, "redis": not model.waiting})
    if rebuild:
        await model.patiently(model.drop)
    record_batches.compile_kernels()
    keep_imports_out_of_collections()
    try:
        await follower.run(stop)
    finally:
        await client.aclose()


class ReadModel:
    """What Redis holds. Every method raises what redis-py raises; ``patiently`` waits until Redis is back."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.waiting_since_start = 0
        self.waiting = False

    async def drop(self) -> None:
        """Deletes all that ``apply`` ever wrote."""
        for pattern in _OWN_KEYS:
            async for key in self._client.scan_iter(match=pattern, count=1_000):
                await self._client.unlink(key)
        _log.info("dropped")

    async def offset(self, topic: str, partition: int) -> int:
        """Returns the offset from which the partition is to be read."""
        place = TP(topic, partition)
        return (await self.offsets([place]))[place]

    async def offsets(self, places: Sequence[TP]) -> dict[TP, int]:
        """Returns the offset from which each partition is to be read; one question, however many there are."""
        if not places:
            return {}
        found = await self._client.mget([OFFSET_KEY.format(topic=tp.topic, partition=tp.partition) for tp in places])
        return {tp: int(offset or 0) for tp, offset in zip(places, found, strict=True)}

    async def apply(self, topic: str, partition: int, events: Events, before: int, after: int) -> None:
        """Adds events, and moves the partition's offset from ``before`` to ``after``; raises ``Moved``."""
        key = OFFSET_KEY.format(topic=topic, partition=partition)
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(key)
            stored = int(await pipe.get(key) or 0)
            if stored != before and not (stored == 0 and before == events.earliest):
                raise Moved(stored)
            pipe.multi()  # from here on commands wait for execute(), which fails if the offset was changed meanwhile
            if topic == ALERTS.name:
                await add_alerts(self._client, pipe, events)
            else:
                await add_price_changes(self._client, pipe, events)
            pipe.set(key, after)
            try:
                await pipe.execute()
            except redis.exceptions.WatchError:
                raise Moved(await self.offset(topic, partition)) from None

    async def patiently(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Awaits ``work()`` again and again until Redis takes it."""
        attempt = 0
        while True:
            try:
                done = await work()
            except _AWAY as fault:
                if attempt == 0:
                    _log.warning(
                        "Redis does not answer; waiting for it, what is read stays in Kafka",
                        reason="redis_away",
                        fault=fault,
                    )
                self.waiting_since_start += 1
                self.waiting = True
                await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1
            else:
                self.waiting = False
                if attempt:
                    _log.info("Redis is back", attempts=attempt)
                return done


class Follower:
    """Reads the two topics into a ``ReadModel``."""

    def __init__(self, settings: Settings, model: ReadModel) -> None:
        self._settings = settings
        self._model = model
        self._reached: dict[TP, int] = {}
        self._earliest: dict[TP, int] = {}
        self._highwater: dict[TP, int] = {}
        self._busy = asyncio.Lock()
        self._watchdog = Watchdog(settings.stall_s)
        self.assigned = False
        self.app: App = make_app(
            settings,
            group=settings.read_model_group,
            topics=[ALERTS.name, PRICE_CHANGES.name],
            handle=self._handle,
            find_positions=self._find_positions,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Follows until ``stop`` is set."""
        self._watchdog.start()
        watching = asyncio.ensure_future(self._watch())
        try:
            await run_app(self.app, stop=stop, before_stop=self._commit)
        finally:
            watching.cancel()
            self._watchdog.stop()

    async def _watch(self) -> None:
        while True:
            lag = sum(max(0, self._highwater.get(tp, 0) - offset) for tp, offset in self._reached.items())
            # Waiting for Redis is no fault of this process, which a restart would not cure.
            self._watchdog.tell((dict(self._reached), self._model.waiting_since_start), lag=lag)
            async with self._busy:
                await self._look_for_moves()
            await asyncio.sleep(_LOOK_S)

    async def _look_for_moves(self) -> None:
        """Notices a Redis that was flushed while no event came."""
        stored = await self._model.patiently(partial(self._model.offsets, list(self._reached)))
        for tp, offset in stored.items():
            if tp in self._reached and max(offset, self._earliest[tp]) != self._reached[tp]:
                await self._read_again(tp, offset)

    async def _commit(self) -> None:
        await self.app.batches.commit()

    async def _find_positions(self, assigned: set[TP], generation: int) -> Mapping[TP, int]:
        self._earliest = {
            TP(*tp): offset for tp, offset in (await self.app.batches.earliest_offsets(*assigned)).items()
        }
        self._reached = {}
        stored = await self._model.patiently(partial(self._model.offsets, list(assigned)))
        self._reached = {tp: max(offset, self._earliest[tp]) for tp, offset in stored.items()}
        self.assigned = True
        _log.info(
            "assigned",
            generation=generation,
            positions={f"{tp.topic}[{tp.partition}]": offset for tp, offset in self._reached.items()},
        )
        return dict(self._reached)

    async def _handle(self, chunk: Chunk, generation: int, ack: Callable[[], object]) -> None:
        tp = TP(chunk.topic, chunk.partition)
        if generation != self.app.consumer_generation_id or tp not in self._reached:
            return
        self._highwater[tp] = chunk.highwater
        async with self._busy:
            try:
                await self._add(tp, chunk)
            except Moved as moved:
                await self._read_again(tp, moved.offset)
            else:
                ack()

    async def _read_again(self, tp: TP, stored: int) -> None:
        offset = max(stored, self._earliest[tp])
        _log.warning(
            "Redis is not where it was: flushed, or another process writes; the topic is read again from where Redis is",
            reason="redis_moved", topic=tp.topic, partition=tp.partition, offset=offset,
        )  # fmt: skip
        self._reached[tp] = offset
        await self.app.batches.seek_chunks(tp, offset)

    async def _add(self, tp: TP, chunk: Chunk) -> None:
        reached = self._reached[tp]
        if chunk.position > reached:
            return  # it was on its way when we sought back
        offsets = chunk.batch.messages["offset"]
        first = int(offsets.searchsorted(reached))
        while reached < chunk.next_offset:
            last = min(first + _EVENTS_A_TRANSACTION, len(offsets))
            after = chunk.next_offset if last == len(offsets) else int(offsets[last])
            read = read_alert if tp.topic == ALERTS.name else read_price_change
            passed_over = partial(pass_over, tp.topic, tp.partition)
            events = Events.of(chunk.batch, first, last, self._earliest[tp], read, passed_over)
            await self._model.patiently(partial(self._model.apply, tp.topic, tp.partition, events, reached, after))
            self._reached[tp] = reached = after
            first = last
