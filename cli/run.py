"""`pricelink run`: everything on one machine, as one process tree that starts in seconds and leaves nothing behind."""

import os
import shutil
import signal
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

from kafka.errors import KafkaError

from agents import exits
from agents.embedded import Child, EmbeddedUnavailable, free_port, is_free, start_broker, start_redis
from agents.real_kafka import RealKafka
from agents.topics import WrongPartitions
from agents.topics import apply as apply_topics
from cli.processes import Child as KeptChild
from cli.processes import ProcessTree
from config import jit
from config.settings import Settings

LOOK_S: Final = 0.1
"""Pause between two looks at the children."""
PAGE_S: Final = 60.0
"""The page that has not answered for so long is reported, once."""
MARKET_SILENCE_MINUTES: Final = "3"
"""The simulated market's feeds fall silent within minutes, so that it can be seen; an environment variable goes first."""
RUNS_KEPT: Final = 5
"""Runs whose logs are kept."""
USUAL_PORT: Final = 8000
SESSION_S: Final = 3.0
"""A worker that is silent for so long counts as dead; our own Kafka allows less than others do."""
_ANSWER_S: Final = 2.0
_SERVICES, _STREAM, _SOURCES = range(3)
"""Stages of the tree: the sources stop first, then the stream, then what it writes to and is looked at with."""

Service = Child | RealKafka
"""A broker or a Redis of our own."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `pricelink run` was asked for. ``port`` None: the usual one, or a free one where that is taken.

    ``kafka``: the address of a broker that runs; ``own_kafka``: the data folder of one to be started here.
    """

    port: int | None = None
    workers: int = 1
    kafka: str | None = None
    own_kafka: Path | None = None
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
    logs = options.logs or _new_logs_folder()
    logs.mkdir(parents=True, exist_ok=True)
    tree = ProcessTree(logs, say, frozenset({exits.CONFIG}))
    embedded: list[Service] = []
    with _signals() as stop:
        try:
            settings = _settings(options, embedded, say)
            apply_topics(settings)
            return _watch(tree, _Tree(tree, options, settings, say), embedded, stop, say)
        except (EmbeddedUnavailable, WrongPartitions) as error:
            say(str(error))
            return exits.CONFIG
        except (KafkaError, OSError) as error:
            say(f"No Kafka answers at {options.kafka}: {error}" if options.kafka else str(error))
            return exits.INFRASTRUCTURE
        except KeyboardInterrupt:
            return 130
        finally:
            tree.stop()
            for child in reversed(embedded):
                child.stop()
            say(f"Stopped. Logs are in {logs}")


def _new_logs_folder() -> Path:
    """Returns a folder for this run's logs, and drops those of the oldest runs."""
    root = jit.cache_root().parent / "logs"
    if root.is_dir():
        for old in sorted(root.iterdir())[: 1 - RUNS_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    return root / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def _settings(options: RunOptions, embedded: list[Service], say: Callable[[str], None]) -> Settings:
    """Starts the broker and Redis that are needed, into ``embedded``, and returns where everything is."""
    chosen: dict[str, object] = {"partitions": options.partitions, "gateway_port": _page_port(options.port)}
    if options.own_kafka is not None:
        say(f"Starting Kafka; its data is in {options.own_kafka}, and stays there.")
        embedded.append(kafka := RealKafka(options.own_kafka).start())
        chosen |= {"broker_kind": "kafka", "bootstrap": kafka.bootstrap, "session_timeout_s": SESSION_S}
        chosen["static_member"] = True  # nobody else is on it, and what is killed comes back by its name
    elif options.kafka is None:
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
    return USUAL_PORT if is_free(USUAL_PORT) else free_port()


class _Tree:
    """The processes of a run, and in which order they come up.

    The page and the workers take longest to come up, so they go first; what feeds them follows when the page answers.
    Where the kernels are not compiled yet, a child compiles them before the first worker starts.
    """

    def __init__(self, tree: ProcessTree, options: RunOptions, settings: Settings, say: Callable[[str], None]) -> None:
        self._tree = tree
        self._options = options
        usual = {"PRICELINK_LOG_FORMAT": "console"}
        if options.market:
            usual["PRICELINK_MAX_SILENCE_MINUTES"] = MARKET_SILENCE_MINUTES
        self._environment = usual | os.environ | settings.environment()
        self._broker = f"--kafka {settings.bootstrap}" + (" --embedded" if settings.embedded else "")
        self._say = say
        self._url = f"http://127.0.0.1:{settings.gateway_port}/"
        self._began_s = time.monotonic()
        self._compiling: KeptChild | None = None
        self._past: KeptChild | None = None
        self._working = self._fed = self._shown = self._late = False

    def start(self) -> None:
        """Starts what can start at once."""
        if jit.is_warm():
            self._start_workers()
        else:
            self._say("Compiling the kernels, once for this version: two minutes or so. Later starts take seconds.")
            arguments = [sys.executable, "-m", "cli", "warm-up"]
            self._compiling = self._tree.start("warm-up", arguments, self._environment, stage=_STREAM, kept=False)
        self._start("gateway", "gateway", stage=_SERVICES)
        self._start("read-model", "read-model", stage=_SERVICES)
        self._start("listings", "listings", stage=_SERVICES)
        self._start("notifier", "notifier", stage=_SERVICES)

    def _start(self, name: str, *arguments: str, stage: int) -> None:
        # A port that is configured is the first worker's.
        port = {} if name == "worker-1" else {"PRICELINK_METRICS_PORT": "0"}
        own = self._environment | {"PRICELINK_INSTANCE": name} | port
        self._tree.start(name, [sys.executable, "-m", "cli", *arguments], own, stage=stage)

    def _start_workers(self) -> None:
        for number in range(1, self._options.workers + 1):
            self._start(f"worker-{number}", "worker", stage=_STREAM)
        self._start("scorecards", "scorecards", stage=_SERVICES)  # it reads feeds by the same kernels
        self._working = True

    def _start_sources(self) -> None:
        """The market's past goes first: once a tick has passed a midnight, it does not come again."""
        options = self._options
        market = ["market", "--rate", str(options.rate), "--seed", str(options.seed), "--past"]
        if options.market and self._past is None:
            arguments = [sys.executable, "-m", "cli", *market, "only"]
            self._past = self._tree.start("market-past", arguments, self._environment, stage=_SOURCES, kept=False)
        if self._past is not None and self._past.process is not None:
            return
        if options.market:
            self._start("market", *market, "none", stage=_SOURCES)
        self._start("clock", "clock", stage=_SOURCES)
        self._start("silence", "silence", stage=_STREAM)
        self._fed = True

    def look(self) -> None:
        """Restarts what ended, and goes on with starting; once the page answers, says where it is."""
        self._tree.watch()
        waited_s = time.monotonic() - self._began_s
        if not self._working and (self._compiling is None or self._compiling.process is None):
            self._start_workers()
        if not self._shown and _answers(self._url):
            self._shown = True
            self._say(f"pricelink is running: {self._url}  (Ctrl-C stops it; logs: {self._tree.logs})")
            self._say(f"Feed it: pricelink feed FILE {self._broker}")
        elif not self._shown and not self._late and waited_s > PAGE_S:
            self._late = True
            self._say(f"The page at {self._url} does not answer yet; see {self._tree.logs}/gateway.log")
        if self._working and not self._fed and (self._shown or waited_s > PAGE_S):
            self._start_sources()


def _watch(
    tree: ProcessTree, run_tree: _Tree, embedded: list[Service], stop: _StopFlag, say: Callable[[str], None]
) -> int:
    run_tree.start()
    while not stop.is_set:
        run_tree.look()
        if (child := tree.given_up) is not None:
            return child.exit_code or exits.BUG
        if gone := next((child for child in embedded if not child.alive), None):
            if isinstance(gone, RealKafka):
                say(f"Kafka ended; starting it again. Its log: {gone.log}")
                gone.start()
                continue
            say(f"The embedded {gone.name} ended, and what it held is gone: {gone.said() or 'it said nothing'}")
            return exits.INFRASTRUCTURE
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
