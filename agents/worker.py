"""The worker process: puts the feeds stream together and runs it until it is told to stop."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from faust.types import TP

from agents import logs
from agents.allocation import keep_freed_blocks, keep_imports_out_of_collections
from agents.app import App, Tasks, exit_code, make_app, run_app, stop_on_signals, tps_of
from agents.clients import END_OFFSETS_S, end_offsets, never_give_up, new_producer, new_reader
from agents.feeds import Feeds
from agents.machines import MachineLike, NewMachine, real_machines
from agents.metrics import Metrics, epoch_ms
from agents.metrics_server import serve
from agents.record_batches import Chunk
from agents.sinks import KafkaWriter, Sinks, no_headers
from agents.state_topic import KafkaStateStore
from agents.status import Status
from agents.warm_up import warm_up
from agents.watchdog import Watchdog
from config import jit
from config.settings import Settings
from config.topics import FEEDS
from config.traces import tracer_of
from schemas.batches import Effects, StateRows

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from agents.traces import Traces

_log = structlog.get_logger("worker")

_SMALL_BYTES: Final = 64_000
"""A batch below this is applied at once; a thread would cost more than it overlaps."""
_SWITCH_S: Final = 0.0005
"""Consumer and stream are two threads: by default one may keep the other waiting for 5 ms."""
_STATUS_S: Final = 1.0
_STOP_S: Final = 2.0


def run(settings: Settings, new_machine: NewMachine | None = None) -> int:
    """Runs a worker until SIGTERM or SIGINT; returns its exit code (``agents.exits``)."""
    logs.set_up(settings, "worker")
    sys.setswitchinterval(_SWITCH_S)
    keep_freed_blocks()
    with tracer_of(settings, "worker") as tracer:
        return exit_code(partial(_run, settings, new_machine, tracer))


async def _run(settings: Settings, new_machine: NewMachine | None, tracer: "Tracer | None") -> None:
    worker = Worker(settings, new_machine or real_machines(settings), tracer)
    await worker.run(stop_on_signals())


def _traces(tracer: "Tracer", settings: Settings, metrics: Metrics) -> "Traces":
    from agents.traces import Traces

    return Traces(tracer, settings, metrics)


class GroupFence:
    """Asks the consumer group whether a partition of feeds is still ours."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def still_owns(self, partition: int, generation: int) -> bool:
        """Commits what is acked; False if the group has gone on without us."""
        return await self._app.batches.still_owns(TP(FEEDS.name, partition), generation)


class Worker:
    """One worker process's parts, and how they are started and stopped."""

    def __init__(self, settings: Settings, new_machine: NewMachine, tracer: "Tracer | None" = None) -> None:
        self._settings = settings
        self._new_machine = new_machine
        self._metrics = Metrics()
        self._traces = None if tracer is None else _traces(tracer, settings, self._metrics)
        observer = self._traces or self._metrics
        self._tasks = Tasks()
        self._threads = ThreadPoolExecutor(1, "machine")
        self._watchdog = Watchdog(settings.stall_s)
        # A producer has one request to a broker under way: events would wait for rows, which are many and in no hurry.
        self._producers = new_producer(settings), new_producer(settings, "state")
        for producer in self._producers:
            never_give_up(producer)
        events, rows = (KafkaWriter(producer, settings, epoch_ms) for producer in self._producers)
        self._app = make_app(
            settings,
            group=settings.worker_group,
            topics=[FEEDS.name],
            handle=self._handle,
            find_positions=self._find_positions,
        )
        self._feeds = Feeds(
            new_machine=new_machine,
            sinks=Sinks(
                events,
                settings,
                self._tasks.spawn,
                observer.alerts_acked,
                None if self._traces is None else self._traces.changes_acked,
                no_headers if self._traces is None else self._traces.headers_of,
            ),
            store=KafkaStateStore(rows, settings),
            fence=GroupFence(self._app),
            observer=observer,
            settings=settings,
            spawn=self._tasks.spawn,
            apply=self._apply,
            rows=self._rows,
        )
        self._app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        self._closing = False
        self._warm = asyncio.Event()
        self._assigned: set[int] | None = None
        self._known_ends: set[int] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop`` is set; raises the first fault of any part."""
        serve(self._settings, self._metrics, ready=self._ready)
        warming = self._tasks.spawn(self._warm_up())
        if not jit.is_warm():
            await warming  # to compile takes minutes, in which the group would hear too little of us
        await asyncio.gather(*(producer.start() for producer in self._producers))
        self._watchdog.start()
        self._tasks.spawn(self._watch())
        self._tasks.spawn(Status(self._settings, self._metrics, self._feeds).run())
        running = asyncio.ensure_future(run_app(self._app, stop=stop, before_stop=self._drain))
        try:
            await asyncio.wait([running, self._tasks.fault], return_when=asyncio.FIRST_COMPLETED)
            if self._tasks.fault.done():
                self._tasks.fault.result()
            await running
        finally:
            running.cancel()
            await self._tasks.cancel()
            with contextlib.suppress(Exception):  # what matters of them is acked
                await asyncio.wait_for(asyncio.gather(*(producer.stop() for producer in self._producers)), _STOP_S)
            self._watchdog.stop()
            self._threads.shutdown(wait=False)
        _log.info("stopped", records=self._metrics.records_total)

    def _ready(self) -> dict[str, bool]:
        """Partitions are assigned, perhaps none; their state is here; what waits in them is known."""
        assigned = self._assigned
        owned = set(self._metrics.partitions)
        return {
            "assigned": assigned is not None and not self._closing,
            "recovered": assigned is not None and assigned <= owned,
            "lag_known": owned <= self._known_ends,
        }

    async def _warm_up(self) -> None:
        """Has every kernel at hand; meanwhile we join the group."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, warm_up, self._new_machine, self._settings.partitions)
        keep_imports_out_of_collections()
        self._warm.set()

    async def _handle(self, chunk: Chunk, generation: int, ack: Any) -> None:
        if not self._closing:
            await self._feeds.process(chunk, generation, ack)

    async def _apply(self, machine: MachineLike, chunk: Chunk) -> Effects:
        reached = self._traces.stages() if self._traces is not None and chunk.traced else None
        if len(chunk.batch.data) < _SMALL_BYTES:
            return machine.apply(chunk.batch, reached)
        return await asyncio.get_running_loop().run_in_executor(self._threads, machine.apply, chunk.batch, reached)

    async def _rows(self, machine: MachineLike, next_offset: int) -> StateRows:
        return await asyncio.get_running_loop().run_in_executor(self._threads, machine.checkpoint, next_offset)

    async def _find_positions(self, assigned: set[TP], generation: int) -> Mapping[TP, int]:
        numbers = {tp.partition for tp in assigned}
        self._assigned = numbers
        _log.info("assigned", partitions=sorted(numbers), generation=generation)
        self._metrics.rebalances_total += 1
        found = await self._app.batches.earliest_offsets(*assigned)
        await self._warm.wait()
        positions = await self._feeds.assign({tp.partition: offset for tp, offset in found.items()}, generation)
        _log.info("restored", positions=positions, seconds=round(self._metrics.restore_s, 3))
        return {TP(FEEDS.name, number): offset for number, offset in positions.items()}

    async def _on_revoked(self, _app: Any, revoked: set[TP], **_others: Any) -> None:
        numbers = {tp.partition for tp in revoked}
        if numbers:
            done = await self._feeds.release(numbers)
            await self._app.batches.commit()
            _log.info("revoked", partitions=sorted(numbers), drained=done)

    async def _drain(self) -> None:
        self._closing = True
        self._app.batches.stop_flow()
        began = time.monotonic()
        done = await self._feeds.release(set(self._feeds.owned))
        await self._app.batches.commit()
        _log.info("drained", complete=done, seconds=round(time.monotonic() - began, 3))

    async def _watch(self) -> None:
        """Tells the watchdog how far the work is, by our own count and by what the broker says waits."""
        reader = new_reader(self._settings)
        await reader.start()
        try:
            ends: dict[int, int] | None = {}
            asked_at = 0.0
            loop = asyncio.get_running_loop()
            while True:
                owned = set(self._metrics.partitions)
                if owned and loop.time() - asked_at > END_OFFSETS_S:
                    found = await end_offsets(reader, tps_of(FEEDS.name, owned))
                    ends = None if found is None else {place.partition: end for place, end in found.items()}
                    self._known_ends = set(ends or ())
                    asked_at = loop.time()
                self._note_highwaters(ends or {})
                unknown = int(ends is None)  # something may wait where nobody can tell
                # What is done is what is durable: a partition whose events or rows are not taken stands still, too.
                self._watchdog.tell_parts({
                    f"{FEEDS.name}[{number}]": (progress.done, max(unknown, progress.highwater - progress.done))
                    for number, progress in self._metrics.partitions.items()
                })  # fmt: skip
                await asyncio.sleep(_STATUS_S)
        finally:
            await reader.stop()

    def _note_highwaters(self, ends: dict[int, int]) -> None:
        for number, progress in self._metrics.partitions.items():
            with contextlib.suppress(Exception):
                fetched = self._app.batches.highwater(TP(FEEDS.name, number)) or 0
                progress.highwater = max(progress.highwater, fetched, ends.get(number, 0))
