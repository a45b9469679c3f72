"""`make up-native`: the compose file's services on this machine, without Docker.

Each service's own command runs with its own environment, after those that it needs and once they are healthy by their
own health checks; host names become the loopback, volumes become folders. Images of others become what Debian or Maven
Central have of them; what they do not have is named and left out.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import yaml

from agents import exits
from agents.embedded import EmbeddedUnavailable, free_port, is_free, redis_binary
from agents.real_kafka import RealKafka
from cli.compose_file import ComposeFault, Service, read
from cli.loopback import HOST, Loopback, paths
from cli.processes import Child, ProcessTree
from config import jit

LOOK_S: Final = 0.2
LATE_S: Final = 30.0
"""After so long, and again and again, it is said what is waited for."""
_INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME", "VIRTUAL_ENV", "PRICELINK_CACHE", "NUMBA_CPU_NAME")
_KAFKA_PLACES: Final = frozenset({
    "listeners", "advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name",
    "controller.listener.names", "controller.quorum.voters", "log.dirs", "heap.opts",
})  # fmt: skip
"""Where a broker is and keeps its data: the machine's own, not the file's."""


class TwinFault(RuntimeError):
    """A service cannot run here; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Program:
    """What stands for an image: names of its binary, the Debian package, arguments that say where it listens."""

    binaries: tuple[str, ...]
    package: str
    port: int
    listen: Callable[[int], tuple[str, ...]]


PROGRAMS: Final = {
    "prom/prometheus": Program(
        ("prometheus",), "prometheus", 9090, lambda port: (f"--web.listen-address={HOST}:{port}",)
    ),
    "prom/alertmanager": Program(
        ("prometheus-alertmanager", "alertmanager"), "prometheus-alertmanager", 9093,
        lambda port: (f"--web.listen-address={HOST}:{port}", "--cluster.listen-address="),
    ),
}  # fmt: skip
LEFT_OUT: Final = {"grafana/grafana": "no package registry of this machine has it; its dashboards are in ops/grafana"}
"""Images that nothing here stands for."""


@dataclass(frozen=True, slots=True)
class TwinOptions:
    """What `pricelink up-native` was asked for; ``profiles`` None: those of ``.env``."""

    file: Path
    data: Path | None = None
    profiles: tuple[str, ...] | None = None
    scale: Mapping[str, int] = field(default_factory=dict)
    free_ports: bool = False


def default_data() -> Path:
    """Returns the folder of volumes and logs: beside the other caches."""
    return jit.cache_root().parent / "native"


def run(options: TwinOptions, say: Callable[[str], None]) -> int:
    """Runs the services until Ctrl-C or SIGTERM; returns the exit code: 0 after a stop that was asked for."""
    data = (options.data or default_data()).resolve()
    with _stop_on_signals() as stop:
        try:
            services = read(options.file, os.environ, options.profiles)
            twin = _Twin(options, services, data, say)
            if not jit.is_warm():
                say("Compiling the kernels, once for this version: two minutes or so. An image has them built in.")
                subprocess.run([sys.executable, "-m", "cli", "warm-up"], stdout=subprocess.DEVNULL, check=False)
        except (ComposeFault, TwinFault, EmbeddedUnavailable) as fault:
            say(str(fault))
            return exits.CONFIG
        try:
            return twin.watch(stop)
        except (TwinFault, EmbeddedUnavailable) as fault:
            say(str(fault))
            return exits.CONFIG
        except KeyboardInterrupt:
            return 130
        finally:
            twin.stop()


@contextmanager
def _stop_on_signals() -> Iterator[list[int]]:
    """Yields a list that is empty until a signal asks to stop; a second one interrupts whatever goes on."""
    stop: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@dataclass(slots=True)
class _Running:
    """A service, or one copy of it, that was started. ``child``: None for the broker."""

    service: Service
    name: str
    child: Child | None
    environment: Mapping[str, str]
    healthy: bool = False


class _Twin:
    def __init__(self, options: TwinOptions, services: list[Service], data: Path, say: Callable[[str], None]) -> None:
        self._file = options.file.resolve()
        self._data = data
        self._say = say
        self._left_out = [service for service in services if service.repository in LEFT_OUT]
        self._services = [service for service in services if service.repository not in LEFT_OUT]
        self._copies = {
            service.name: [
                service.name,
                *(f"{service.name}-{n}" for n in range(2, options.scale.get(service.name, 1) + 1)),
            ]
            for service in self._services
        }
        if unknown := options.scale.keys() - self._copies.keys():
            raise ComposeFault(f"there is no service {', '.join(unknown)} to be scaled")
        self._loopback = Loopback(services, free_port, (lambda _: False) if options.free_ports else is_free)
        for service in self._services:
            self._program(service)  # what is missing is said before anything starts
            if service.repository == "apache/kafka":  # it listens once, for those inside and outside
                outside = next(iter(service.published))
                for listener in service.environment["KAFKA_ADVERTISED_LISTENERS"].split(","):
                    self._loopback.alias(service.name, int(listener.rpartition(":")[2]), outside)
        logs = data / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        for old in logs.glob("*.log"):
            old.unlink()
        self._tree = ProcessTree(logs, say, frozenset({exits.CONFIG}))
        self._kafka: RealKafka | None = None
        self._waiting = [(service, copy) for service in self._services for copy in self._copies[service.name]]
        self._running: dict[str, _Running] = {}
        self._began_s = time.monotonic()
        self._shown = False
        self._late_s = LATE_S

    # Coming up

    def watch(self, stop: list[int]) -> int:
        for service in self._left_out:
            self._say(f"{service.name} is left out: {LEFT_OUT[service.repository]}")
        while not stop:
            self._tree.watch()
            if (code := self._failed()) is not None:
                return code
            if self._kafka is not None and not self._kafka.alive:
                self._say(f"kafka ended; starting it again. Its log: {self._kafka.log}")
                self._kafka.launch()
            self._look()
            time.sleep(LOOK_S)
        return exits.OK

    def _look(self) -> None:
        for running in self._running.values():
            if not running.healthy:
                running.healthy = self._is_healthy(running)
                if running.healthy and running.service.once and running.child is not None:
                    self._repeat(running.child)
        for service, copy in list(self._waiting):
            if all(self._fulfilled(need, how) for need, how in service.needs.items()):
                self._start(service, copy)
                self._waiting.remove((service, copy))
        if not self._shown and not self._waiting and all(running.healthy for running in self._running.values()):
            self._shown = True
            self._show()
        elif not self._shown and time.monotonic() - self._began_s > self._late_s:
            self._late_s += LATE_S
            late = [running.name for running in self._running.values() if not running.healthy]
            self._say(f"Still waiting for {', '.join(late)}; logs: {self._tree.logs}")

    def _fulfilled(self, need: str, how: str) -> bool:
        started = [self._running.get(copy) for copy in self._copies.get(need, [])]
        wants_health = how != "service_started"
        return all(running is not None and (running.healthy or not wants_health) for running in started)

    def _failed(self) -> int | None:
        for running in self._running.values():
            child = running.child
            if child is not None and running.service.once and child.process is None and child.exit_code:
                return child.exit_code
        if (given_up := self._tree.given_up) is not None:
            return given_up.exit_code or exits.BUG
        return None

    def _repeat(self, child: Child) -> None:
        """Shows what a service that ends by itself said, as compose does."""
        for line in self._tree.log_of(child).read_text(errors="replace").splitlines():
            self._say(f"{child.name} | {line}")

    def _show(self) -> None:
        self._say(f"Up after {time.monotonic() - self._began_s:.0f} s (Ctrl-C stops it; logs: {self._tree.logs})")
        for service in self._services:
            for port in service.published:
                at = f"{HOST}:{self._loopback.port(service.name, port)}"
                self._say(
                    f"  {service.name:12} {at if service.repository in {'apache/kafka', 'redis'} else f'http://{at}/'}"
                )

    # Each service

    def _start(self, service: Service, copy: str) -> None:
        if service.repository == "apache/kafka":
            self._kafka = self._new_kafka(service)
            self._kafka.launch()
            self._running[copy] = _Running(service, copy, None, {})
            return
        places = self._places(service)
        environment = self._environment(service, copy, places)
        child = self._tree.start(
            copy, self._arguments(service, places), environment, stage=self._stage(service), kept=not service.once
        )
        self._running[copy] = _Running(service, copy, child, environment)

    def _stage(self, service: Service) -> int:
        """What others need has a lower stage than they, and stops after them."""
        return 1 + max((self._stage(need) for need in self._services if need.name in service.needs), default=-1)

    def _environment(self, service: Service, copy: str, places: Mapping[str, Path]) -> dict[str, str]:
        own = self._loopback.environment(copy, service.environment)
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return inherited | {name: paths(value, places) for name, value in own.items()} | {"PRICELINK_INSTANCE": copy}

    def _arguments(self, service: Service, places: Mapping[str, Path]) -> list[str]:
        command = [paths(self._loopback.text(service.name, part), places) for part in service.command]
        return [*self._program(service), *command[service.repository == "redis" :], *self._listening(service, places)]

    def _program(self, service: Service) -> list[str]:
        """Returns what the image's entry point is here; raises TwinFault, EmbeddedUnavailable."""
        if service.ours:
            return [sys.executable, "-m", "cli"]
        if service.repository == "redis":
            return [str(redis_binary())]
        if service.repository == "apache/kafka":
            return []
        program = PROGRAMS.get(service.repository)
        if program is None:
            raise TwinFault(f"{service.name}: nothing here stands for the image {service.image}")
        found = next(filter(None, map(shutil.which, program.binaries)), None)
        if found is None:
            raise TwinFault(
                f"{service.name} needs {program.binaries[0]}: apt-get install {program.package}; "
                "or leave it out: --profile core"
            )
        return [found]

    def _listening(self, service: Service, places: Mapping[str, Path]) -> tuple[str, ...]:
        if service.repository == "redis":
            at = str(self._loopback.port(service.name, 6379))
            return ("--port", at, "--bind", HOST, "--dir", str(places["/data"]))
        program = PROGRAMS.get(service.repository)
        return program.listen(self._loopback.port(service.name, program.port)) if program else ()

    def _places(self, service: Service) -> dict[str, Path]:
        """Returns the folder that stands for each mount; files of the repository are copied, with the ports of here."""
        places = {}
        for mount in service.mounts:
            if mount.is_volume:
                places[mount.target] = self._data / "volumes" / mount.source
                places[mount.target].mkdir(parents=True, exist_ok=True)
            else:
                places[mount.target] = self._data / "mounts" / mount.source.lstrip("./")
                self._copy(self._file.parent / mount.source, places[mount.target], service)
        return places

    def _copy(self, source: Path, target: Path, service: Service) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        if service.repository == "prom/prometheus":
            for path in target.glob("*.yml"):
                whole = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
                rewritten: dict[str, Any] = self._loopback.scrape_configs(whole, self._copies)
                path.write_text(yaml.safe_dump(rewritten, sort_keys=False), encoding="utf-8")

    def _new_kafka(self, service: Service) -> RealKafka:
        """Returns a broker with the file's properties, as the image reads them from variables ``KAFKA_*``."""
        named = {
            name.removeprefix("KAFKA_").lower().replace("_", "."): value
            for name, value in service.environment.items()
            if name.startswith("KAFKA_")
        }
        properties = {name: value for name, value in named.items() if name not in _KAFKA_PLACES}
        port = self._loopback.port(service.name, next(iter(service.published)))
        return RealKafka(self._data / "volumes" / "kafka", properties, named.get("heap.opts", "").split(), port)

    # Health

    def _is_healthy(self, running: _Running) -> bool:
        service, child = running.service, running.child
        if child is None:
            return self._kafka is not None and self._kafka.answers()
        if service.once:
            return child.process is None and child.exit_code == 0
        if child.process is None:
            return False
        if service.health is None:
            return True
        places = self._places_of_volumes(service)
        test = [paths(self._loopback.text(running.name, part), places) for part in service.health.test]
        if service.health.shell:
            client = f"redis-cli -p {self._loopback.port(service.name, 6379)}"
            return self._succeeds(["sh", "-c", test[0].replace("redis-cli", client)], running)
        if test[0] == "wget":
            return _answers(test[-1], service.health.timeout_s)
        if test[0] == "python":
            test[0] = sys.executable
        return self._succeeds(test, running)

    def _places_of_volumes(self, service: Service) -> dict[str, Path]:
        return {mount.target: self._data / "volumes" / mount.source for mount in service.mounts if mount.is_volume}

    def _succeeds(self, test: list[str], running: _Running) -> bool:
        assert running.service.health is not None
        try:
            done = subprocess.run(
                test, env=dict(running.environment), capture_output=True, check=False,
                timeout=running.service.health.timeout_s,
            )  # fmt: skip
        except FileNotFoundError as fault:
            raise TwinFault(f"{running.name}: its health check needs {test[0]}: {shlex.join(test)}") from fault
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def stop(self) -> None:
        self._tree.stop()
        if self._kafka is not None:
            self._kafka.stop()
        self._say(f"Stopped. Volumes and logs are in {self._data}")


def _answers(url: str, within_s: float) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=within_s) as answer:  # noqa: S310  an address of the file's own
            return bool(answer.status == 200)
    except (urllib.error.HTTPError, OSError):
        return False
