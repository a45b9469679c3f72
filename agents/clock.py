"""The clock process: a ``tick`` to every partition of feeds every second, so that timers fire when feeds are silent."""

import asyncio
import contextlib
from functools import partial
from typing import Any, Final

import structlog

from agents import logs
from agents.app import exit_code, stop_on_signals
from agents.clients import new_producer, quieten_clients
from agents.metrics import epoch_ms
from config.settings import Settings
from config.topics import FEEDS

_log = structlog.get_logger("clock")

TICK_S: Final = 1.0


def run(settings: Settings) -> int:
    """Ticks until SIGTERM or SIGINT; returns the exit code. Several clocks do no harm: the later tick is stale."""
    logs.set_up(settings, "clock")
    return exit_code(partial(_run, settings))


async def _run(settings: Settings) -> None:
    quieten_clients()
    stop = stop_on_signals()
    producer = new_producer(settings)
    await producer.start()
    _log.info("ticking", partitions=settings.partitions, every_s=TICK_S)
    try:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not stop.is_set():
            await tick(producer, settings.partitions)
            due = max(due + TICK_S, loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), due - loop.time())
    finally:
        await producer.stop()


async def tick(producer: Any, partitions: int) -> None:
    """Writes one tick to every partition, of one instant, and waits for the acks."""
    value = tick_value(epoch_ms())
    sent = [await producer.send(FEEDS.name, value, partition=partition) for partition in range(partitions)]
    await asyncio.gather(*sent)


def tick_value(at_ms: int) -> bytes:
    """Returns a tick record: it carries only its time (SPEC §2)."""
    return b'{"type":"tick","at":%d}' % at_ms
