"""The scorecards process: alerts, re-keyed by province, then by supplier and by institution, counted once each (SPEC §8).

``alerts`` → by province → a table of rows; each row knows to whom its alert belongs, and passes its events on by
supplier and by institution → a table of rows each. An event is acked when its row is in the changelog and what it
passed on is in its topic: a crash repeats events, and a repeat counts nothing. Faust's own transport: the millisecond
that an alert costs is no matter at the rate of alerts.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import faust
import orjson
import structlog
from aiokafka import TopicPartition
from faust.app.base import BootStrategy
from faust.types import TP
from yarl import URL

from agents import logs
from agents.app import Tasks, exit_code, stop_on_signals
from agents.clients import end_offsets, never_give_up, new_producer, new_reader, quieten_clients
from agents.exits import ConfigFault
from agents.logs import pass_over
from agents.metrics import epoch_ms
from agents.metrics_server import serve
from agents.overuse import Overuse
from agents.score_metrics import ScoreMetrics
from agents.score_publisher import Publisher
from agents.score_tables import Cards, RowTable, table_key
from agents.watchdog import Watchdog
from config.settings import Settings
from config.topics import ALERTS, SCORE_ROWS, SCORES_BY
from schemas.codes import partition_of
from schemas.events import NotAnEvent, read_alert, text
from schemas.score_rules import RulesFault, ScoreRules, parse_score_rules
from streams.scorecards import DIMENSIONS, Row, Standing, left, standing_from, standing_of

_log = structlog.get_logger("scorecards")

_SAVE_S: Final = 0.3
_MOST_WAITING: Final = 5_000
"""Events that wait for their rows' acks; more hold the stream back."""
_WATCH_S: Final = 3.0
_FORGET_S: Final = 3_600.0
_STOP_S: Final = 3.0
_CHANGES_KEPT: Final = 8
"""A row of a province remembers so many changes of owner, for events that come again."""
_PASSED_ON: Final = ("supplier", "institution")


def run(settings: Settings) -> int:
    """Keeps the scorecards until SIGTERM or SIGINT; returns the exit code (``agents.exits``)."""
    logs.set_up(settings, "scorecards")
    return exit_code(partial(_run, settings))


async def _run(settings: Settings) -> None:
    await Scorecards(settings, load_rules(settings)).run(stop_on_signals())


def load_rules(settings: Settings) -> ScoreRules:
    """Reads the file of rules; raises ConfigFault."""
    try:
        return parse_score_rules(settings.scorecards_file.read_bytes())
    except (OSError, RulesFault) as fault:
        raise ConfigFault(f"{settings.scorecards_file}: {fault}") from fault


class _Boot(BootStrategy):  # type: ignore[misc]
    enable_kafka_producer = False  # what is sent is awaited, by a producer of ours
    enable_web = False  # it would listen on all interfaces, and serve tables without a login


class _App(faust.App):  # type: ignore[misc]
    BootStrategy = _Boot

    def _create_directories(self) -> None:
        """Makes no directory: tables are in memory, and in their changelogs."""


def make_app(settings: Settings) -> Any:
    """Returns a Faust app with its own transport and our tables."""
    quieten_clients()
    return _App(
        settings.scorecards_group,
        broker=[URL(f"kafka://{place}") for place in settings.bootstrap.split(",")],
        broker_credentials=_credentials(settings),
        store="memory://",
        Table=RowTable,
        agent_supervisor="mode.CrashingSupervisor",
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.partitions,
        table_standby_replicas=0,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        broker_commit_interval=settings.checkpoint_s,
        broker_session_timeout=settings.session_s,
        broker_heartbeat_interval=settings.heartbeat_s,
    )


def _credentials(settings: Settings) -> Any:
    context = settings.security.get("ssl_context")
    if settings.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password,
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


class Stage:
    """One topic of events and what is done with each: ``take`` counts it and returns what it passes on, as futures."""

    def __init__(self, save: Callable[[], Any]) -> None:
        self._save = save
        self._waiting: list[Any] = []
        self._sent: list[Any] = []
        self._busy = asyncio.Lock()
        self.acked = 0

    async def wait(self, event: Any, sent: list[Any]) -> None:
        """Notes an event that was taken; it is acked with the next ``settle``."""
        self._waiting.append(event)
        self._sent += sent
        if len(self._waiting) >= _MOST_WAITING:
            await self.settle()

    async def settle(self) -> None:
        """Awaits all acks, and acks what waits for them."""
        async with self._busy:
            if not self._waiting:
                return
            events, self._waiting = self._waiting, []
            sent, self._sent = self._sent, []
            await asyncio.gather(*sent)
            await self._save()
            for event in events:
                event.ack()
            self.acked += len(events)


class Scorecards:
    """The process's parts."""

    def __init__(self, settings: Settings, rules: ScoreRules) -> None:
        self._settings = settings
        self.app = make_app(settings)
        self._producer = new_producer(settings)
        never_give_up(self._producer)
        self.cards = {name: Cards(name, settings.partitions) for name in DIMENSIONS}
        self._tables = {name: self._table(name) for name in DIMENSIONS}
        self._metrics = ScoreMetrics(self.cards)
        self.publisher = Publisher(settings, rules, self.cards, self._send, self._metrics)
        self.overuse = Overuse(settings, rules.overuse, self._send)
        self.publisher.order_counts = self.overuse
        self._metrics.overuse = self.overuse
        self._stages = {name: Stage(partial(self._save, name)) for name in DIMENSIONS}
        self._first = Stage(_nothing)
        self._watchdog = Watchdog(settings.stall_s)
        self._tasks = Tasks()
        self._recovered_tables: set[str] = set()
        self._lag_known = False
        self._sources = {ALERTS.name, *(topic.name for topic in SCORES_BY.values())}
        self._agents()

    def _table(self, name: str) -> Any:
        table = self.app.Table(
            f"{name}-rows", partitions=self._settings.partitions, changelog_topic=self._raw_topic(SCORE_ROWS[name].name)
        )
        if name == "province":
            table.is_behind = _are_owners_and_changes
        table.on_recover(partial(self._recovered, name))
        return table

    async def _recovered(self, name: str) -> None:
        owned = {tp.partition for tp in self.app.assignor.assigned_actives() if tp.topic == SCORES_BY[name].name}
        self.cards[name].rebuild(self._tables[name], owned)
        self.publisher.start_anew(name)
        self._recovered_tables.add(name)
        _log.info("rows are here", by=name, cards=len(self.cards[name].cards), rows=len(self._tables[name]))

    def _agents(self) -> None:
        takes: list[tuple[str, Any, Stage]] = [(ALERTS.name, self._rekey, self._first)]
        takes += [
            (SCORES_BY["province"].name, self._take_province, self._stages["province"]),
            (SCORES_BY["supplier"].name, partial(self._take_owner, "supplier"), self._stages["supplier"]),
            (SCORES_BY["institution"].name, partial(self._take_owner, "institution"), self._stages["institution"]),
        ]
        for topic, take, stage in takes:
            self.app.agent(self._raw_topic(topic), name=f"take {topic}", concurrency=1)(_agent(take, stage))

    def _raw_topic(self, name: str) -> Any:
        return self.app.topic(
            name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", internal=False
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop`` is set; raises the first fault of any part."""
        serve(self._settings, self._metrics, ready=self._ready)
        await self._producer.start()
        self._watchdog.start()
        started = asyncio.ensure_future(self.app.start())
        crashed = asyncio.ensure_future(self.app._crashed.wait())  # noqa: SLF001  there is no public way to wait for it
        stopping = asyncio.ensure_future(stop.wait())
        for work in (self._settle(), self.publisher.run(), self._forget(), self.overuse.run(), self._watch()):
            self._tasks.spawn(work)
        try:
            await asyncio.wait([crashed, stopping, self._tasks.fault], return_when=asyncio.FIRST_COMPLETED)
            if self._tasks.fault.done():
                self._tasks.fault.result()
            if crashed.done():
                raise self.app.crash_reason or RuntimeError("the stream ended")
            await self._finish()
        finally:
            for task in (started, crashed, stopping):
                task.cancel()
            await self._tasks.cancel()
            # Also after a fault: the consumer's thread would outlive the loop that it reports to, and say so in a traceback.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_STOP_S):
                    await self.app.stop()
            self._watchdog.stop()
            await self.publisher.close()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._producer.stop(), self._settings.drain_s)
        _log.info("stopped")

    def _ready(self) -> dict[str, bool]:
        """The tables are here, what waits for them is known, and the orders of the log are counted."""
        return {
            "recovered": self._recovered_tables >= set(DIMENSIONS),
            "lag_known": self._lag_known,
            "log_read": self.overuse.ready,
        }

    async def _finish(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                for stage in (self._first, *self._stages.values()):
                    await stage.settle()
                await self.app.consumer.commit()
                await self.publisher.publish()

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_S)
            for stage in (self._first, *self._stages.values()):
                await stage.settle()

    async def _watch(self) -> None:
        """Tells the watchdog how far the streams are: a consumer can die quietly."""
        reader = new_reader(self._settings)
        await reader.start()
        try:
            while True:
                consumer = self.app.consumer
                places = [tp for tp in consumer.assignment() if tp.topic in self._sources] if consumer else []
                asked = [TopicPartition(tp.topic, tp.partition) for tp in places]
                ends = await end_offsets(reader, asked) if asked else {}
                self._lag_known = bool(ends)
                lag, reached = int(ends is None), []  # something may wait where nobody can tell
                for place, end in (ends or dict.fromkeys(asked, 0)).items():
                    position = await consumer.position(TP(place.topic, place.partition)) or 0
                    reached.append(position)
                    lag += max(0, end - position)
                self._watchdog.tell(reached, lag=lag)
                await asyncio.sleep(_WATCH_S)
        finally:
            await reader.stop()

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(_FORGET_S)
            for name, cards in self.cards.items():
                if dropped := cards.forget(self._tables[name], epoch_ms()):
                    await self._save(name)
                    _log.info("rows forgotten", by=name, rows=dropped)

    async def _save(self, name: str) -> None:
        table = self._tables[name]
        await table.save(self._send, SCORE_ROWS[name].name, self._settings.partitions, seal=self._settings.embedded)

    async def _send(self, topic: str, key: bytes, value: bytes | None, partition: int) -> Any:
        return await self._producer.send(topic, value, key=key, partition=partition)

    async def _pass_on(self, dimension: str, owner: str, value: bytes) -> Any:
        place = partition_of(owner, self._settings.partitions)
        return await self._send(SCORES_BY[dimension].name, owner.encode(), value, place)

    async def _rekey(self, value: bytes) -> list[Any]:
        """An event of ``alerts``: passes it on by province. Raises NotAnEvent, as all that take do."""
        event = read_alert(value)
        standing_of(event)
        return [await self._pass_on("province", text(event, "province"), value)]

    async def _take_province(self, value: bytes) -> list[Any]:
        """Counts an event for its province, and passes it on to whom it belongs, and to whom it did before."""
        event = read_alert(value)
        standing, province = standing_of(event), text(event, "province")
        owners = [event.get(name) or "" for name in _PASSED_ON]
        changes: list[list[Any]] = []

        def behind(was: list[Any] | None) -> list[Any]:
            nonlocal changes
            before, kept = (was[-2], was[-1]) if was else (["", ""], [])
            moved = [
                [name, old, standing.number, standing.revision]
                for name, old, new in zip(_PASSED_ON, before, owners, strict=True)
                if old and old != new
            ]
            changes = (kept + moved)[-_CHANGES_KEPT:]
            return [owners, changes]

        table = self._tables["province"]
        if not self.cards["province"].take(table, province, standing, behind):
            changes = _row_of(table, province, standing)[-1]
        sent = [
            await self._pass_on(name, owner, orjson.dumps(list(standing)))
            for name, owner in zip(_PASSED_ON, owners, strict=True)
            if owner
        ]
        gone = orjson.dumps(list(left(standing)))
        sent += [
            await self._pass_on(name, owner, gone)
            for name, owner, number, revision in changes
            if (number, revision) == (standing.number, standing.revision)
        ]
        return sent

    async def _take_owner(self, dimension: str, value: bytes, owner: bytes) -> list[Any]:
        try:
            name, standing = (owner or b"").decode(), standing_from(orjson.loads(value or b""))
        except (orjson.JSONDecodeError, UnicodeDecodeError) as fault:
            raise NotAnEvent(str(fault)) from fault
        if not name:
            raise NotAnEvent("no owner")
        self.cards[dimension].take(self._tables[dimension], name, standing)
        return []


def _are_owners_and_changes(behind: list[Any]) -> bool:
    """Tells what a row of a province carries behind it: its event's owners, and the last changes of owner."""
    try:
        owners, changes = behind
        shaped = [*owners, *(part for name, owner, _, _ in changes for part in (name, owner))]
    except (TypeError, ValueError):
        return False
    return len(owners) == len(_PASSED_ON) and all(isinstance(each, str) for each in shaped)


def _row_of(table: Any, owner: str, standing: Standing) -> list[Any]:
    row: list[Any] = table[table_key(owner, standing.slot)]
    assert len(row) == len(Row._fields) + 2
    return row


async def _nothing() -> None:
    """A stage without a table has nothing to save."""


def _agent(take: Any, stage: Stage) -> Any:
    with_key = isinstance(take, partial)

    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                sent = await (take(event.value, event.key) if with_key else take(event.value))
            except NotAnEvent as fault:
                message, sent = event.message, []
                pass_over(message.topic, message.partition, message.offset, fault)
            await stage.wait(event, sent)

    return agent
