"""The clock process: a ``tick`` to every partition of feeds every second, so that timers fire when feeds are silent."""

import asyncio
import contextlib
import time
from functools import partial
from typing import Any, Final

import structlog

from agents import logs
from agents.app import exit_code, stop_on_signals
from agents.clients import never_give_up, new_producer, quieten_clients
from agents.metrics import epoch_ms
from agents.metrics_server import serve
from config.settings import Settings
from config.topics import FEEDS

_log = structlog.get_logger("clock")

TICK_S: Final = 1.0
_STOP_S: Final = 2.0
_LATE_S: Final = 10.0
"""A clock whose last tick is so old does not tick."""


def run(settings: Settings) -> int:
    """Ticks until SIGTERM or SIGINT; returns the exit code. Several clocks do no harm: the later tick is stale."""
    logs.set_up(settings, "clock")
    return exit_code(partial(_run, settings))


async def _run(settings: Settings) -> None:
    quieten_clients()
    stop = stop_on_signals()
    ticked_s = 0.0
    serve(settings, ready=lambda: {"ticking": time.monotonic() - ticked_s < _LATE_S})
    producer = new_producer(settings)
    never_give_up(producer)
    await producer.start()
    _log.info("ticking", partitions=settings.partitions, every_s=TICK_S)
    try:
        loop = asyncio.get_running_loop()
        due = loop.time()
        stopping = asyncio.ensure_future(stop.wait())
        while not stop.is_set():
            ticking = asyncio.ensure_future(tick(producer, settings.partitions))
            await asyncio.wait([ticking, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not ticking.done():
                ticking.cancel()  # a broker that is away is not waited for
                break
            ticking.result()
            ticked_s = time.monotonic()
            due = max(due + TICK_S, loop.time())
            await asyncio.wait([stopping], timeout=due - loop.time())
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(producer.stop(), _STOP_S)


async def tick(producer: Any, partitions: int) -> None:
    """Writes one tick to every partition, of one instant, and waits for the acks."""
    value = tick_value(epoch_ms())
    sent = [await producer.send(FEEDS.name, value, partition=partition) for partition in range(partitions)]
    await asyncio.gather(*sent)


def tick_value(at_ms: int) -> bytes:
    """Returns a tick record: it carries only its time (SPEC §2)."""
    return b'{"type":"tick","at":%d}' % at_ms
