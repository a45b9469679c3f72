"""Serves a process's Prometheus metrics: its own, and what every process has (CPU, memory, loop); and its probes."""

import asyncio
import importlib.metadata
import threading
from collections.abc import Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer

from agents.logs import WARNINGS
from agents.probes import Ready, with_probes
from config.settings import Settings

LOOK_S: Final = 0.25
"""Between two looks at the event loop."""
DELAY_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

_log = structlog.get_logger("metrics")


def version() -> str:
    """Returns pricelink's version."""
    try:
        return importlib.metadata.version("pricelink")
    except importlib.metadata.PackageNotFoundError:
        return "0+source"


class LoopDelay:
    """How late an event loop calls what is due: it has more to do than time, or something holds it up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._counts = [0] * (len(DELAY_BOUNDS_S) + 1)
        self._sum_s = 0.0
        self._due = 0.0
        self._again()

    def _again(self) -> None:
        self._due = self._loop.time() + LOOK_S
        self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self.note(max(0.0, self._loop.time() - self._due))
        self._again()

    def note(self, late_s: float) -> None:
        """Counts one look."""
        self._sum_s += late_s
        at = next((index for index, bound in enumerate(DELAY_BOUNDS_S) if late_s <= bound), len(DELAY_BOUNDS_S))
        self._counts[at] += 1

    def describe(self) -> list[Metric]:
        """Returns nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yields the histogram."""
        family = HistogramMetricFamily("pricelink_loop_delay_seconds", "How late the event loop calls what is due")
        total, buckets = 0, []
        for bound, count in zip([*map(str, DELAY_BOUNDS_S), "+Inf"], list(self._counts), strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([], buckets=buckets, sum_value=self._sum_s)
        yield family
        build = GaugeMetricFamily("pricelink_build_info", "Version, as a label", labels=["version"])
        build.add_metric([version()], 1)
        yield build


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *_values: Any) -> None:  # noqa: A002
        """A scrape every few seconds is no news."""


def serve(settings: Settings, *collectors: Any, ready: Ready = dict) -> int:
    """Serves in a thread, at ``metrics_host`` and ``metrics_port``; returns the port, a free one where that is 0.

    ``ready``: what the process needs to do its work, for ``/readyz`` (``agents.probes``).

    To be called in the process's event loop. Raises OSError where the port is taken.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for collector in (*collectors, WARNINGS, LoopDelay(asyncio.get_running_loop())):
        registry.register(collector)
    try:
        app = with_probes(make_wsgi_app(registry), ready, asyncio.get_running_loop())
        server = make_server(settings.metrics_host, settings.metrics_port, app, ThreadingWSGIServer, _Silent)
    except OSError as fault:
        where = f"{settings.metrics_host}:{settings.metrics_port}"
        raise OSError(fault.errno, f"no metrics at {where}: {fault.strerror}") from fault
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    port = int(server.server_port)
    _log.info("metrics", url=f"http://{settings.metrics_host}:{port}/metrics")
    return port
