"""Makes the Faust apps: one agent over batches, acks by hand, no tables, no web server, no topics of Faust's own."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

import faust
import structlog
from faust.app.base import BootStrategy
from faust.types import TP
from yarl import URL

from agents import batch_transport, exits
from agents.batch_transport import BatchConsumer, FindPositions
from agents.clients import quieten_clients
from agents.record_batches import Chunk
from agents.watchdog import end_in_time
from config.settings import Settings

_log = structlog.get_logger("app")

_A_LONG_TIME_S: Final = 86_400.0
"""For timeouts of Faust that would end a recovery that works; the watchdog looks at progress instead."""

_STOP_S: Final = 1.0
"""For leaving the group and closing connections; a member that does not leave is missed after its session."""

_CANCEL_AGAIN_S: Final = 2.0
"""A task that still runs so long after it was cancelled is cancelled again."""

Handle = Callable[[Chunk, int, Callable[[], object]], Awaitable[None]]
"""Takes a chunk, the generation of the group in which it was handed over, and its ack."""


class _Boot(BootStrategy):  # type: ignore[misc]
    enable_kafka_producer = False  # sinks have one of their own: Faust's costs 100 µs a message
    enable_web = False  # it would listen on all interfaces, and serve tables without a login


class App(faust.App):  # type: ignore[misc]
    """A Faust app with the batch transport."""

    BootStrategy = _Boot
    pricelink_settings: Settings

    def _create_directories(self) -> None:
        """Makes no directory: there are no tables to keep in one."""

    @property
    def batches(self) -> BatchConsumer:
        """Returns the transport's consumer."""
        consumer = self.consumer
        assert isinstance(consumer, BatchConsumer)
        return consumer


class ChunkSchema(faust.Schema):  # type: ignore[misc]
    """Hands the chunk on as it is: there is nothing to decode."""

    def compile(self, app: Any, **_others: Any) -> Callable[..., Awaitable[Any]]:
        """Returns what makes an event of a message."""

        async def decode(message: Any, **_options: Any) -> Any:
            return app.create_event(None, message.value, message.headers, message)

        return decode


def make_app(
    settings: Settings, *, group: str, topics: list[str], handle: Handle, find_positions: FindPositions | None
) -> App:
    """Returns an app whose one agent gives every chunk of ``topics`` to ``handle``, one after the other."""
    batch_transport.register()
    quieten_clients()
    app = App(
        group,
        broker=[URL(f"{batch_transport.SCHEME}://{place}") for place in settings.bootstrap.split(",")],
        store="memory://",
        agent_supervisor="mode.CrashingSupervisor",
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.partitions,
        table_standby_replicas=0,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=settings.chunks_buffered,
        # What is in hand at a revocation is finished by a last checkpoint, which is bounded, and not by Faust's wait.
        stream_wait_empty=False,
        broker_commit_interval=settings.checkpoint_s,
        broker_session_timeout=settings.session_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_request_timeout=_A_LONG_TIME_S,
        broker_max_poll_interval=_A_LONG_TIME_S,
    )
    app.pricelink_settings = settings
    source = app.topic(*topics, schema=ChunkSchema(), internal=False)

    async def chunks(stream: Any) -> None:
        await hand_on(stream.noack().events(), handle)

    app.agent(source, name="chunks", concurrency=1)(chunks)
    app.find_positions = find_positions
    return app


async def hand_on(events: AsyncIterator[Any], handle: Handle) -> None:
    """Gives the chunk of every event to ``handle``, and keeps it no longer than that takes.

    An event waits for its ack until the next checkpoint, seconds later in a catch-up, and needs the offset alone for it.
    """
    async for event in events:
        chunk, event.value, event.message.value = event.value, None, None
        await handle(chunk, event.message.generation_id, event.ack)
        del chunk


async def run_app(app: App, *, stop: asyncio.Event, before_stop: Callable[[], Awaitable[None]]) -> None:
    """Runs the app until ``stop`` is set; raises what crashed it. ``before_stop`` is awaited while all still works."""
    app.batches.find_positions = app.find_positions
    started = asyncio.ensure_future(app.start())
    crashed = asyncio.ensure_future(app._crashed.wait())  # noqa: SLF001  there is no public way to wait for it
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([crashed, stopping, started], return_when=asyncio.FIRST_COMPLETED)
        if started.done() and not (crashed.done() or stopping.done()):
            started.result()
            await asyncio.wait([crashed, stopping], return_when=asyncio.FIRST_COMPLETED)
        if crashed.done():
            raise app.crash_reason or RuntimeError("the stream ended")
        await before_stop()
        with contextlib.suppress(TimeoutError):  # all that matters is done
            await asyncio.wait_for(app.stop(), _STOP_S)
    finally:
        for task in (started, crashed, stopping):
            task.cancel()


def stop_on_signals() -> asyncio.Event:
    """Returns an event that SIGTERM and SIGINT set; from then on the process ends in time, whatever hangs."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if not stop.is_set():
            end_in_time()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


async def cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels tasks and waits until all have ended.

    It asks again and again: redis-py may swallow a cancellation while it connects, and Python 3.11's ``wait_for`` one
    that comes with the result.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)


class Tasks:
    """Background tasks of a process; the first that fails ends it."""

    def __init__(self) -> None:
        self._running: set[asyncio.Future[None]] = set()
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def spawn(self, work: Awaitable[None]) -> asyncio.Future[None]:
        """Starts ``work``."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None and not self.fault.done():
            self.fault.set_exception(fault)

    async def cancel(self) -> None:
        """Ends all that runs."""
        await cancel(list(self._running))
        if self.fault.cancelled():
            return
        if self.fault.done():
            self.fault.exception()
        else:
            self.fault.cancel()


def exit_code(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Runs a process's main coroutine; returns its exit code, having logged what went wrong."""
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        return exits.OK
    except Exception as fault:  # noqa: BLE001  every fault becomes a documented exit code
        return exits.ended_by(fault)
    return exits.OK


def tps_of(topic: str, partitions: set[int]) -> set[TP]:
    """Returns Faust's names of partitions."""
    return {TP(topic, number) for number in partitions}
