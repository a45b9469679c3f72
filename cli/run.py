"""`pricelink run`: everything on one machine, as one process tree that starts in seconds and leaves nothing behind."""

import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from agents import exits
from agents.embedded import Child, EmbeddedUnavailable, free_port, start_broker, start_redis
from agents.topics import WrongPartitions
from agents.topics import apply as apply_topics
from cli.processes import ProcessTree
from config import jit
from config.settings import Settings

LOOK_S: Final = 0.1
"""Pause between two looks at the children."""
PAGE_S: Final = 60.0
"""The page that has not answered for so long is reported, once."""
USUAL_PORT: Final = 8000
_ANSWER_S: Final = 2.0
_SERVICES, _STREAM, _SOURCES = range(3)
"""Stages of the tree: the sources stop first, then the stream, then what it writes to and is looked at with."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `pricelink run` was asked for. ``port`` None: the usual one, or a free one where that is taken."""

    port: int | None = None
    workers: int = 1
    kafka: str | None = None
    redis: str | None = None
    partitions: int = 4
    policy: Path | None = None
    market: bool = True
    rate: float = 200.0
    seed: int = 1
    logs: Path | None = None


class _StopFlag:
    """Set by the first signal; a second one interrupts whatever goes on."""

    def __init__(self) -> None:
        self.is_set = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True


@contextmanager
def _signals() -> Iterator[_StopFlag]:
    stop = _StopFlag()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop.on_signal) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def run(options: RunOptions, say: Callable[[str], None]) -> int:
    """Runs until Ctrl-C, SIGTERM or SIGHUP; returns the exit code: 0 after a stop that was asked for."""
    logs = options.logs or jit.cache_root().parent / "logs" / time.strftime("%Y%m%d-%H%M%S")
    logs.mkdir(parents=True, exist_ok=True)
    tree = ProcessTree(logs, say, frozenset({exits.CONFIG}))
    embedded: list[Child] = []
    with _signals() as stop:
        try:
            settings = _settings(options, embedded)
            apply_topics(settings)
            _start(tree, options, settings, stop, say)
            return _watch(tree, embedded, settings, stop, say)
        except (EmbeddedUnavailable, WrongPartitions) as error:
            say(str(error))
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            tree.stop()
            for child in reversed(embedded):
                child.stop()
            say(f"Stopped. Logs are in {logs}")


def _settings(options: RunOptions, embedded: list[Child]) -> Settings:
    """Starts the embedded broker and Redis that are needed, into ``embedded``, and says where everything is."""
    chosen: dict[str, object] = {"partitions": options.partitions, "gateway_port": _page_port(options.port)}
    if options.kafka is None:
        embedded.append(broker := start_broker())
        chosen |= {"broker_kind": "embedded", "bootstrap": f"127.0.0.1:{broker.port}"}
    else:
        chosen |= {"broker_kind": "kafka", "bootstrap": options.kafka}
    if options.redis is None:
        embedded.append(redis := start_redis())
        chosen["redis_url"] = f"redis://127.0.0.1:{redis.port}/0"
    else:
        chosen["redis_url"] = options.redis
    if options.policy is not None:
        chosen["policy_file"] = options.policy.resolve()
    return Settings(**chosen)  # type: ignore[arg-type]


def _page_port(asked: int | None) -> int:
    if asked is not None:
        return asked or free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", USUAL_PORT))
        except OSError:
            return free_port()
    return USUAL_PORT


def _start(
    tree: ProcessTree, options: RunOptions, settings: Settings, stop: _StopFlag, say: Callable[[str], None]
) -> None:
    environment = {"PRICELINK_LOG_FORMAT": "console"} | os.environ | settings.environment()

    def start(name: str, *arguments: str, stage: int, instance: str | None = None) -> None:
        own = environment | {"PRICELINK_INSTANCE": instance or name}
        tree.start(name, [sys.executable, "-m", "cli", *arguments], own, stage=stage)

    start("gateway", "gateway", stage=_SERVICES)
    start("read-model", "read-model", stage=_SERVICES)
    if not jit.is_warm():
        say("Compiling the kernels, once for this version: a minute or so. Later starts take seconds.")
        _warm_up(tree, environment, stop)
    for number in range(1, options.workers + 1):
        start(f"worker-{number}", "worker", stage=_STREAM)
    start("clock", "clock", stage=_SOURCES)
    if options.market:
        start("market", "market", "--rate", str(options.rate), "--seed", str(options.seed), stage=_SOURCES)


def _warm_up(tree: ProcessTree, environment: dict[str, str], stop: _StopFlag) -> None:
    child = tree.start("warm-up", [sys.executable, "-m", "cli", "warm-up"], environment, stage=_STREAM, kept=False)
    while not stop.is_set and child.process is not None:
        tree.watch()
        time.sleep(LOOK_S)


def _watch(
    tree: ProcessTree, embedded: list[Child], settings: Settings, stop: _StopFlag, say: Callable[[str], None]
) -> int:
    url = f"http://127.0.0.1:{settings.gateway_port}/"
    asked_s, shown, late = time.monotonic(), False, False
    while not stop.is_set:
        tree.watch()
        if (child := tree.given_up) is not None:
            return child.exit_code or exits.BUG
        if gone := next((child for child in embedded if not child.alive), None):
            say(f"The embedded {gone.name} ended, and what it held is gone: {gone.said() or 'it said nothing'}")
            return 1
        if not shown and _answers(url):
            shown = True
            say(f"pricelink is running: {url}  (Ctrl-C stops it; logs: {tree.logs})")
        elif not shown and not late and time.monotonic() - asked_s > PAGE_S:
            late = True
            say(f"The page at {url} does not answer yet; see {tree.logs}/gateway.log")
        time.sleep(LOOK_S)
    return 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:  # noqa: S310  # our own page
            return bool(answer.status < 500)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
