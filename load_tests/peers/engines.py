"""The engines: how each is got and started, and what it does beside the task."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from config.settings import Settings
from config.topics import ALERTS, FEEDS, PRICE_CHANGES
from load_tests.harness import PROJECT

OUT: Final = "peer-out"
_CACHE: Final = PROJECT / ".cache"
_VENV: Final = _CACHE / "peers"
_JAVA_SOURCE: Final = Path(__file__).resolve().parent / "java"
_SETUP_S: Final = 900.0
_STARTS_OVER: Final = "starts over from the first record and repeats its events"


class LeftOut(RuntimeError):
    """An engine cannot be had on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine of the table.

    ``command``: makes it ready and returns what starts it; raises ``LeftOut``. ``divisor``: it gets only that part of
    the records and products, because it is slow. ``crash``: what it does after one.
    """

    name: str
    how: str
    crash: str
    command: Callable[[], list[str]]
    topics: tuple[str, ...] = (OUT,)
    divisor: int = 1
    kafka_only: bool = False

    @property
    def ours(self) -> bool:
        """Tells whether it is pricelink."""
        return OUT not in self.topics

    def environment(self, settings: Settings, group: str, state: Path) -> dict[str, str]:
        """Returns the environment of its process."""
        given = {
            "PEER_BOOTSTRAP": settings.bootstrap,
            "PEER_BROKER": settings.broker_kind,
            "PEER_PARTITIONS": str(settings.partitions),
            "PEER_IN": FEEDS.name,
            "PEER_OUT": OUT,
            "PEER_GROUP": group,
            "PEER_STATE": str(state),
        }
        return dict(os.environ) | given | (settings.environment() if self.ours else {})


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SETUP_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise LeftOut(f"{command[0]} did not end within {_SETUP_S:.0f} s") from late
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line] or [done.stderr.strip()]
        raise LeftOut(f"{Path(command[0]).name} failed: {said[0][:300]}")


@cache
def _venv() -> str:
    """Returns the Python of the peers, with what the dependency group ``peers`` says."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        raise LeftOut("no uv beside this Python: `make setup`")
    environment = dict(os.environ) | {"UV_PROJECT_ENVIRONMENT": str(_VENV)}
    environment.pop("VIRTUAL_ENV", None)
    command = [str(uv), "sync", "-q", "--frozen", "--only-group", "peers", "--python", sys.executable]
    _run(command, environment)
    return str(_VENV / "bin" / "python")


def _python(module: str, needs: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        python = _venv()
        _run([python, "-c", f"import {needs}"])
        return [python, *module.split()]

    return command


@cache
def _classes() -> Path:
    """Returns the folder with the Java peers and their jars, built by Maven."""
    sources = sorted(path for path in _JAVA_SOURCE.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = _CACHE / "peers-java" / digest
    if (folder / "ready").exists():
        return folder
    for tool, package in (("javac", "openjdk-17-jdk-headless"), ("mvn", "maven")):
        if shutil.which(tool) is None:
            raise LeftOut(f"no {tool}: apt-get install {package}")
    command = ["mvn", "-q", "-B", "-f", str(_JAVA_SOURCE / "pom.xml"), f"-Dpeers.build={folder}", "package"]
    _run([*command, "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'libs'}"])
    (folder / "ready").touch()
    return folder


def _java(main: str, *arguments: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        folder = _classes()
        path = f"{folder / 'classes'}:{folder / 'libs'}/*"
        log_level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        # Flink serialises java.util's own classes by reflection; its start script opens them, too.
        opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.lang", "java.util", "java.time")]
        return ["java", "-Xmx4g", log_level, *opened, "-cp", path, f"peers.{main}", *arguments]

    return command


ENGINES: Final = (
    Engine(
        "pricelink",
        "one worker; does more: all of SPEC §3 to §7, holds, timers, evidence, events of about 500 bytes, state in Kafka",
        "goes on from its state topic; repeats carry the same ids and bytes",
        lambda: [sys.executable, "-m", "cli", "worker"],
        topics=(ALERTS.name, PRICE_CHANGES.name),
    ),
    Engine(
        "hand loop",
        "confluent-kafka, orjson, dicts; one process",
        _STARTS_OVER,
        _python("-m load_tests.peers.hand_loop", "confluent_kafka, orjson"),
    ),
    Engine(
        "csp",
        "csp's Kafka adapter, bursts of bytes into one node, orjson; one process",
        _STARTS_OVER,
        _python("-m load_tests.peers.csp_graph", "csp, orjson"),
    ),
    Engine(
        "Bytewax",
        "Kafka operators and stateful_flat_map; one worker, recovery off as it comes",
        _STARTS_OVER,
        _python("-m bytewax.run load_tests.peers.bytewax_flow:flow", "bytewax.connectors.kafka, orjson"),
        divisor=4,
    ),
    Engine(
        "Kafka Streams, memory",
        "Processor API, in-memory stores with changelogs behind the record cache, at least once, two threads",
        "goes on from its changelogs; repeats events",
        _java("KafkaStreamsPeer", "memory"),
        kafka_only=True,
    ),
    Engine(
        "Kafka Streams, exactly once",
        "Processor API, RocksDB and exactly_once_v2 as they come, two threads",
        "goes on from its changelogs; repeats nothing",
        _java("KafkaStreamsPeer", "exactly-once"),
        divisor=4,
        kafka_only=True,
    ),
    Engine(
        "Flink DataStream",
        "keyed state on the heap, a checkpoint every 10 s, at least once, mini cluster of parallelism 2",
        "goes on from a checkpoint it is given; repeats events",
        _java("FlinkPeer"),
        kafka_only=True,
    ),
    Engine(
        "Faust",
        "an agent and a table, an event at a time; one worker",
        "goes on from its changelog; may count an event twice",
        lambda: [sys.executable, "-m", "load_tests.peers.faust_agent"],
        divisor=20,
    ),
)
