"""Apache Kafka itself, one broker on this machine: for tests, and for whoever has Java but no Docker.

Maven gets the jars of ``config/kafka/pom.xml`` from Maven Central into the cache, once. The data is kept in a folder
and survives the broker, however it ends. The broker is a child process that dies with its parent.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

import kafka.errors
from kafka.admin import KafkaAdminClient

from agents.embedded import EmbeddedUnavailable, die_with_parent, free_port, is_free
from config import jit

_HOST: Final = "127.0.0.1"
_CONFIG: Final = Path(__file__).resolve().parent.parent / "config" / "kafka"
_JAVA: Final = 17
_JVM: Final = ("-Xms256m", "-Xmx768m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.showDateTime=true",
               "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")  # fmt: skip
_MAVEN_S: Final = 600.0
_FORMAT_S: Final = 60.0
_START_S: Final = 180.0
"""It takes 5 s by itself, and a minute beside others that want the processors."""
_STOP_S: Final = 30.0
_PROPERTIES: Final = "server.properties"
_HOW: Final = (
    "start Kafka with `docker compose up kafka`, or say where one is (`pricelink run --kafka HOST:PORT`, "
    "PRICELINK_TEST_KAFKA=HOST:PORT for the tests)"
)


class KafkaUnavailable(EmbeddedUnavailable):
    """Java, Maven or the jars cannot be had, or the broker did not start; the message says what to do."""


def default_data() -> Path:
    """Returns the folder of `pricelink run --kafka`: beside the other caches."""
    return jit.cache_root().parent / "kafka-data"


def java() -> str:
    """Returns the Java to run with: ``JAVA_HOME``'s, or the one on PATH; raises ``KafkaUnavailable``."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None) or shutil.which("java")
    if found is None:
        raise KafkaUnavailable(f"Kafka needs Java {_JAVA}: apt-get install openjdk-{_JAVA}-jre-headless; or {_HOW}")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < _JAVA:
        first = (said.strip().splitlines() or ["nothing"])[0]
        raise KafkaUnavailable(f"Kafka needs Java {_JAVA} or newer, {found} says {first}: set JAVA_HOME; or {_HOW}")
    return found


def jars() -> Path:
    """Returns the folder of Kafka's jars, which Maven fills when they are first wanted; raises ``KafkaUnavailable``."""
    pom = _CONFIG / "pom.xml"
    name = hashlib.sha256(pom.read_bytes()).hexdigest()[:16]
    folder = jit.cache_root().parent / "kafka-jars" / name
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable(f"Kafka's jars come with Maven: apt-get install maven; or {_HOW}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix="new-"))
    try:
        command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={new}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MAVEN_S, check=False)
        if done.returncode != 0 or not any(new.glob("kafka_*.jar")):
            said = next((line for line in done.stdout.splitlines() if "ERROR" in line), done.stderr.strip())
            raise KafkaUnavailable(f"Maven did not get Kafka's jars from Maven Central ({said[:300]}): look at the "
                                   f"network, or at a proxy or mirror in ~/.m2/settings.xml; or {_HOW}")  # fmt: skip
        with contextlib.suppress(OSError):  # another process was quicker
            new.rename(folder)
    except subprocess.TimeoutExpired as late:
        raise KafkaUnavailable(f"Maven got no jars from Maven Central within {_MAVEN_S:.0f} s; or {_HOW}") from late
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


class RealKafka:
    """One broker with its data in ``folder``; a context manager.

    It may be stopped, killed, paused and started again: it has the same data then, and the same port unless somebody
    else took that meanwhile. Start it from the main thread: Linux ends it when the thread that started it ends.
    """

    name: Final = "Kafka"
    format_options: Sequence[str] = ()
    """Of the tool that formats its folder."""

    def __init__(
        self, folder: Path, properties: Mapping[str, str] | None = None, heap: Sequence[str] = (), port: int = 0
    ) -> None:
        """``properties``: server properties that go before the usual ones; ``heap``: options of the JVM, likewise."""
        self.folder = folder.resolve()
        self.port = port
        self._properties = dict(properties or {})
        self._heap = tuple(heap)
        self._controller_port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Returns the broker's address, the same as long as this object lives."""
        return f"{_HOST}:{self.port}"

    @property
    def client_options(self) -> dict[str, Any]:
        """Returns what a client of it needs beside the address: nothing."""
        return {}

    @property
    def pid(self) -> int:
        """Returns the number of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Tells whether it still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """Returns the file it writes its log to."""
        return self.folder / "kafka.log"

    def said(self) -> str:
        """Returns the end of what it wrote to its log."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 2000))
            return log.read().decode(errors="replace").strip()
        return ""

    def start(self) -> Self:
        """Starts it and waits until it answers; raises ``KafkaUnavailable``."""
        self.launch()
        self.wait()
        return self

    def launch(self) -> None:
        """Starts its process; formats the folder the first time. Raises ``KafkaUnavailable``."""
        command = [java(), *_JVM, *self._heap, "-cp", f"{jars()}/*"]
        self._choose_ports()
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(command)
        with self.log.open("ab") as log:
            self._process = self._run([*command, "kafka.Kafka", str(self.folder / _PROPERTIES)], log)

    def wait(self) -> None:
        """Waits until it answers; raises ``KafkaUnavailable`` if it ends, or takes too long."""
        deadline = time.monotonic() + _START_S
        while not self.answers():
            if not self.alive or time.monotonic() > deadline:
                self.kill()
                raise KafkaUnavailable(f"Kafka did not start; its log is {self.log}: {self.said()[-500:]}")
            time.sleep(0.1)

    def answers(self, within_s: float = 1.0) -> bool:
        """Asks it for its brokers and topics, with a connection of its own: tells whether it answered in time."""
        try:
            admin = KafkaAdminClient(
                bootstrap_servers=self.bootstrap,
                bootstrap_timeout_ms=int(within_s * 1000),
                request_timeout_ms=int(within_s * 1000),
                **self.client_options,
            )
        except (kafka.errors.KafkaError, OSError):
            return False
        try:
            admin.list_topics()
            return bool(admin.describe_cluster()["brokers"])
        except (kafka.errors.KafkaError, OSError):
            return False
        finally:
            admin.close()

    def stop(self) -> None:
        """Stops it in order, so that the next start need not recover; kills it where that takes too long."""
        if self.alive and self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        self.kill()

    def kill(self) -> None:
        """Ends it at once, with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stops its process where it is: connections stay, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # its threads stop one after the other

    def resume(self) -> None:
        """Lets a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _choose_ports(self) -> None:
        """Takes this object's ports, else those the folder had before; free ones where those are taken."""
        properties = self.folder / _PROPERTIES
        if not self.port and properties.exists():
            before = re.search(r"^listeners=\S+:(\d+),\S+:(\d+)$", properties.read_text(), re.MULTILINE)
            if before and all(is_free(int(port)) for port in before.groups()):
                self.port, self._controller_port = map(int, before.groups())
        self.port = self.port or free_port()
        self._controller_port = self._controller_port or free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        properties.write_text(
            (_CONFIG / _PROPERTIES).read_text()
            + f"listeners=PLAINTEXT://{_HOST}:{self.port},CONTROLLER://{_HOST}:{self._controller_port}\n"
            + f"advertised.listeners=PLAINTEXT://{_HOST}:{self.port}\n"
            + f"controller.quorum.bootstrap.servers={_HOST}:{self._controller_port}\n"
            + f"log.dirs={self.folder / 'data'}\n"
            + "".join(f"{name}={value}\n" for name, value in self._properties.items())
        )

    def _format(self, command: list[str]) -> None:
        """Writes the ids of a new cluster into the folder."""
        tool = [*command, "kafka.tools.StorageTool"]
        made = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, timeout=_FORMAT_S, check=False)
        cluster = (made.stdout.split() or [""])[-1]
        format_it = [
            "format",
            "--standalone",
            "-t",
            cluster,
            "-c",
            str(self.folder / _PROPERTIES),
            *self.format_options,
        ]
        done = subprocess.run([*tool, *format_it], capture_output=True, text=True, timeout=_FORMAT_S, check=False)
        if done.returncode != 0:
            raise KafkaUnavailable(f"Kafka cannot use {self.folder}: {(done.stderr or made.stderr).strip()[-500:]}")

    def _run(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.folder,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  it only calls prctl
            start_new_session=True,  # Ctrl-C goes to the parent, which stops everything in order
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_fault: object) -> None:
        self.stop()
