"""Runs the gateway as a process."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final

import structlog
import uvicorn

from config.settings import Settings
from config.traces import tracer_of
from gateway.app import create_app
from gateway.feed_log import NewProducer
from gateway.metrics import GatewayMetrics
from gateway.sources import Sources, end

DRAIN_S: Final = 3
"""SIGTERM: answers under way may take so long; live streams are closed at once."""
START_S: Final = 10.0
"""A connection is taken once all that a request may need is there, or after so long: then answers say what is not."""
_LOOK_S: Final = 0.02

_log = structlog.get_logger("gateway")
ServeMetrics = Callable[..., object]


class _Server(uvicorn.Server):
    """Closes live streams as soon as it is asked to stop: they would never end by themselves."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_start: Callable[[], Coroutine[Any, Any, None]],
        on_exit: Callable[[], None],
        on_stop: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._on_start = on_start
        self._on_exit = on_exit
        self._on_stop = on_stop
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        beside = asyncio.create_task(self._on_start())
        try:
            await super().serve(sockets)
        finally:
            await end([beside])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # Not uvicorn's own: that one ends the process by the signal once all is closed, as if it had been killed.
        if not self.should_exit:
            self._on_stop()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._on_exit)


def run(
    settings: Settings,
    new_producer: NewProducer,
    on_stop: Callable[[], object] = lambda: None,
    serve_metrics: ServeMetrics = lambda *_settings, **_ready: None,
) -> None:
    """Serves until SIGTERM or SIGINT.

    ``on_stop``: called when it is asked to stop.
    ``serve_metrics``: serves a Prometheus collector, and whether the gateway is ready; called in the event loop.

    Raises OSError when the address cannot be bound, and the first fault of what goes on beside the requests.
    """
    # It repeats itself many times a second while a broker is away; gateway.alerts_topic says it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with tracer_of(settings, "gateway") as tracer:
        _serve(settings, Sources.of(settings, new_producer, tracer), on_stop, serve_metrics)


def _serve(
    settings: Settings,
    sources: Sources,
    on_stop: Callable[[], object],
    serve_metrics: ServeMetrics,
) -> None:
    measured = GatewayMetrics(sources)

    def measure() -> Coroutine[Any, Any, None]:
        serve_metrics(settings, measured, ready=sources.ready)
        return measured.holds.keep()

    faults: list[BaseException] = []

    def give_up(fault: BaseException) -> None:
        faults.append(fault)
        server.should_exit = True

    async def until_ready() -> None:
        deadline = time.monotonic() + START_S
        while not (all(sources.ready().values()) or server.should_exit or time.monotonic() > deadline):  # noqa: ASYNC110  these tell nobody
            await asyncio.sleep(_LOOK_S)
        _log.info("the page is there", url=address)

    config = uvicorn.Config(
        create_app(settings, sources, before_serving=until_ready, on_fault=give_up),
        host=settings.gateway_host,
        port=settings.gateway_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=DRAIN_S,
        server_header=False,
        ssl_certfile=settings.gateway_cert_file,
        ssl_keyfile=settings.gateway_key_file,
    )
    bound = bind(settings.gateway_host, settings.gateway_port)
    host = f"[{settings.gateway_host}]" if ":" in settings.gateway_host else settings.gateway_host
    scheme = "http" if settings.gateway_cert_file is None else "https"
    address = f"{scheme}://{host}:{bound.getsockname()[1]}/"
    server = _Server(config, measure, sources.hub.clients.close, on_stop)
    server.run([bound])
    if faults:
        raise faults[0]


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket for a server to listen on, which refuses connections until then; port 0: any free one. Raises OSError.

    What it accepts sends at once. asyncio sees to that only for sockets that name their protocol, which those of
    ``socket`` do not: each answer's body would wait 40 ms for its head to be acknowledged.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError as fault:
        made.close()
        raise OSError(fault.errno, f"cannot listen on {host}:{port}: {fault.strerror}") from fault
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
