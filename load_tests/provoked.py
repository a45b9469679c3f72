"""Brings about for real what the other alerts are about, and mends it by the runbook: ``python -m load_tests.provoked [ALERT …]``.

``load_tests.outages`` has the alerts of processes that stand still. These need an Apache Kafka, which is started for it
(Java 17, Maven). Prometheus asks as often as it does in use, and fires by the repository's own rules, but for windows of
a quarter of an hour and more (``shorter``). The commands are those of docs/operations.md, as they are without Docker;
what each must show there is looked for. Writes load_tests/results/provoked.json.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from kafka import TopicPartitionReplica
from kafka.admin import KafkaAdminClient

from agents import topics
from agents.embedded import free_port, start_redis
from agents.real_kafka import RealKafka, jars, java
from config.settings import Settings
from config.topics import ALERTS, FEEDS, STATE
from load_tests.monitored import ROOT, NotReady, Scene, scene, send_nonsense, wait_for
from load_tests.outages import firing
from load_tests.report import RESULTS, heading, save, say
from tests.cli.test_run import below

SHORTER: Final = {
    "UnreadableMessages": (("10m", "1m"),),
    "ProcessRestarts": (("15m", "3m"),),
    "StateTopicNotCompacted": (("6h", "2m"), ("2e9", "1e6")),
}
"""What is changed in the expressions of rules that look back for long: such an alert ends when its window has passed."""
SHORTER_FOR: Final = {"UnreadableMessages": "15s", "StateTopicNotCompacted": "15s"}
CLASSES: Final = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
}
"""Of Kafka's tools, as docs/operations.md has them."""
KILLS: Final = 3
_PATIENCE_S: Final = 240.0
_SECONDS: Final = "segment.ms=10000,min.compaction.lag.ms=0"
"""The state topic is compacted after seconds in place of an hour, as its rule looks back for minutes."""
_STATE_TOPIC: Final = ("--entity-type", "topics", "--entity-name", STATE.name)
_HALF_SENT: Final = """
import asyncio, os, signal, sys
from aiokafka import AIOKafkaProducer
async def send():
    producer = AIOKafkaProducer(bootstrap_servers=sys.argv[1], transactional_id="a-province", transaction_timeout_ms=600_000)
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait("feeds", b"\\n", partition=0)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(send())
"""
"""A producer that dies in the middle of a transaction."""


def shorter(rule: dict[str, Any]) -> None:
    """Lets rules that look back for long look back for minutes."""
    name = rule.get("alert", "")
    for usual, short in SHORTER.get(name, ()):
        rule["expr"] = rule["expr"].replace(usual, short)
    if name in SHORTER_FOR:
        rule["for"] = SHORTER_FOR[name]


@dataclass(slots=True)
class Call:
    """What runs, and what the person on call does there. ``done``: each command, and the line of its answer that matters."""

    running: Scene
    kafka: RealKafka
    disk: Path
    """Holds the state topic, and nothing else."""
    redis_url: str
    done: list[str] = field(default_factory=list)

    def pricelink(self, *arguments: str, shows: str) -> None:
        """Runs a command of ours; its answer must have ``shows``."""
        environment = {"PRICELINK_BOOTSTRAP": self.kafka.bootstrap, "PRICELINK_REDIS_URL": self.redis_url}
        self._run(f"pricelink {' '.join(arguments)}", [sys.executable, "-m", "cli", *arguments], shows, environment)

    def tool(self, name: str, *arguments: str, shows: str) -> str:
        """Runs a tool of Kafka's; its answer must have ``shows``, or it may say nothing. Returns the line that has it."""
        command = [java(), "-cp", f"{jars()}/*", CLASSES[name], "--bootstrap-server", self.kafka.bootstrap, *arguments]
        return self._run(f"kafka-{name}.sh {' '.join(arguments)}", command, shows, {})

    def configure_state(self, settings: str) -> None:
        """Gives the state topic settings."""
        self.tool("configs", "--alter", *_STATE_TOPIC, "--add-config", settings, shows="Completed updating config")

    def log(self, name: str, shows: str) -> None:
        """Looks into a process's log, as ``docker compose logs`` does; ``run``: into what supervises them."""
        path = self.running.logs.parent / "run.log" if name == "run" else self.running.logs / f"{name}.log"
        self._note(f"log of {name}", path.read_text("utf-8", "replace"), shows)

    def did(self, what: str) -> None:
        """Notes what was done without a command."""
        self.done.append(what)

    def _run(self, words: str, command: list[str], shows: str, environment: dict[str, str]) -> str:
        run = subprocess.run(
            command, check=False, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60
        )
        if not shows and run.returncode == 0:
            self.did(words)
            return ""
        return self._note(words, run.stdout + run.stderr, shows)

    def _note(self, words: str, said: str, shows: str) -> str:
        line = next((line for line in reversed(said.splitlines()) if re.search(shows, line)), None)
        if line is None:
            raise NotReady(f"{words} does not show {shows}: {said[-2000:]}")
        self.done.append(f"{words}: {' '.join(line.split())[:300]}")
        return line


def worker_pid(running: Scene) -> int:
    """Returns the worker's process that runs, once it does."""
    found = lambda: [pid for pid, command in below(running.pid) if "cli worker" in command]  # noqa: E731
    return int(wait_for(found, "no worker runs")[0])


@contextmanager
def stranger(call: Call) -> Iterator[None]:
    """A worker of another host in our group: Prometheus does not know it, and it has a Redis of its own."""
    environment = {
        "PRICELINK_BOOTSTRAP": call.kafka.bootstrap,
        "PRICELINK_INSTANCE": "stranger",
        "PRICELINK_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "PRICELINK_METRICS_PORT": "0",
    }
    log = call.running.logs / "stranger.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "worker"],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield
        call.pricelink("status", shows=r"partition \d has no worker")
        call.tool("consumer-groups", "--describe", "--group", "pricelink-worker", shows="stranger")
        call.did("ended the stranger")
    finally:
        process.terminate()
        process.wait()


@contextmanager
def open_transaction(call: Call) -> Iterator[None]:
    """A producer of a province's own dies within a transaction: nobody who waits for its end is given what follows."""
    subprocess.run([sys.executable, "-c", _HALF_SENT, call.kafka.bootstrap], check=False, cwd=ROOT, timeout=60)
    yield
    place = ("--topic", FEEDS.name, "--partition", "0")
    open_one = call.tool("transactions", "describe-producers", *place, shows=r"^\d+\s.*\s\d+\s*$")
    call.tool("transactions", "abort", *place, "--start-offset", open_one.split()[-1], shows="")


@contextmanager
def state_without_disk(call: Call) -> Iterator[None]:
    """The disk with the state topic goes: its partitions have no leader, everything else goes on."""
    gone = call.disk.with_name("gone")
    call.disk.rename(gone)
    try:
        yield
        call.tool("topics", "--describe", "--topic", STATE.name, shows="Leader: none")
    finally:
        gone.rename(call.disk)
    call.did("brought the disk back, restarted the broker")
    call.kafka.stop()
    call.kafka.start()


@contextmanager
def killed_again_and_again(call: Call) -> Iterator[None]:
    """The worker is killed as soon as Prometheus has seen it start."""

    def starts() -> float:
        seen = call.running.ask('changes(process_start_time_seconds{job="worker"}[3m])')
        return float(seen[0]["value"][1]) if seen else 0.0

    def seen_to_start(times: float) -> bool:
        return starts() >= times

    before = starts()
    for number in range(1, KILLS + 1):
        os.kill(worker_pid(call.running), signal.SIGKILL)
        wait_for(partial(seen_to_start, before + number), "the worker is not seen to start again")
    yield
    call.log("run", shows="worker-1 ended .killed by SIGKILL.; starting it again")
    call.did("killed it no more")


@contextmanager
def unreadable(call: Call) -> Iterator[None]:
    """Somebody writes into a topic of ours."""
    asyncio.run(send_nonsense(call.running, 3, ALERTS.name))
    yield
    call.log("read-model", shows="unreadable.*alerts|alerts.*unreadable")
    call.did("nothing more: it was written once")


@contextmanager
def state_with_wrong_policy(call: Call) -> Iterator[None]:
    """Somebody gives the state topic another cleanup policy."""
    call.configure_state("cleanup.policy=delete")
    call.done.clear()
    yield
    call.tool("configs", "--describe", *_STATE_TOPIC, shows="cleanup.policy=delete")
    call.configure_state("cleanup.policy=compact")


FAULTS: Final = {
    "PartitionWithoutWorker": stranger,
    "LagWithoutProgress": open_transaction,
    "CheckpointTooOld": state_without_disk,
    "ProcessRestarts": killed_again_and_again,
    "UnreadableMessages": unreadable,
    "StateTopicNotCompacted": state_with_wrong_policy,
}


@dataclass(frozen=True, slots=True)
class Provoked:
    """How an alert came and went. ``besides``: others that fired when it did; ``ended_after_s``: from then on."""

    brought_about: str
    fired_after_s: float
    besides: list[str]
    done: list[str]
    ended_after_s: float


def provoke(call: Call, alert: str) -> Provoked:
    """Brings one about, mends it; raises NotReady where it does not fire, a command does not work, or it does not end."""

    def await_it(*, fires: bool) -> float:
        what = f"{alert} {'does not fire' if fires else 'does not end'}"
        wait_for(lambda: (alert in firing(call.running)) == fires, what, _PATIENCE_S)
        return time.monotonic()

    await_it(fires=False)
    call.done = []
    fault: Callable[[Call], Any] = FAULTS[alert]
    with fault(call):
        began_s = time.monotonic()
        fired_s = await_it(fires=True)
        besides = sorted(firing(call.running) - {alert})
    ended_s = await_it(fires=False)
    about = " ".join((fault.__doc__ or "").split())
    return Provoked(about, round(fired_s - began_s, 1), besides, call.done, round(ended_s - fired_s, 1))


def keep_state_apart(settings: Settings, kafka: RealKafka, disk: Path) -> None:
    """Moves the state topic to its disk, and everything else away from there."""
    admin: Any = KafkaAdminClient(bootstrap_servers=settings.bootstrap, **settings.security)

    def misplaced() -> dict[Any, str]:
        return {
            TopicPartitionReplica(topic["name"], part["partition_index"], 1): str(
                disk if state else kafka.folder / "data"
            )
            for each in admin.describe_log_dirs()
            for folder in each["log_dirs"]
            for topic in folder["topics"]
            for part in topic["partitions"]
            if (state := topic["name"] == STATE.name) != (folder["log_dir"] == str(disk)) and not part["is_future_key"]
        }

    def settled() -> bool:
        if wrong := misplaced():
            admin.alter_replica_log_dirs(wrong)
        return not wrong

    try:
        wait_for(settled, "the state topic does not move")
    finally:
        admin.close()


@contextmanager
def call_out(folder: Path) -> Iterator[Call]:
    """Starts a Kafka with two disks, pricelink and Prometheus."""
    with ExitStack() as stack:
        disk = folder / "kafka" / "state"
        properties = {"log.dirs": f"{folder / 'kafka' / 'data'},{disk}", "log.cleaner.backoff.ms": "1000"}
        kafka = stack.enter_context(RealKafka(folder / "kafka", properties))
        settings = Settings(broker_kind="kafka", bootstrap=kafka.bootstrap)
        topics.apply(settings)
        redis = start_redis()
        stack.callback(redis.stop)
        redis_url = f"redis://127.0.0.1:{redis.port}/0"
        options = ["--kafka", kafka.bootstrap, "--redis", redis_url]
        ports = {"PRICELINK_METRICS_PORT": str(free_port())}  # the worker's: it stays where Prometheus looks for it
        running = stack.enter_context(scene(folder, shorter, options=options, every=None, **ports))
        keep_state_apart(settings, kafka, disk)
        call = Call(running, kafka, disk, redis_url)
        call.configure_state(_SECONDS)
        yield call


def main() -> int:
    """Provokes them all, or those that are named; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("alerts", nargs="*", choices=[[], *FAULTS], metavar="ALERT", help=", ".join(FAULTS))
    chosen = parser.parse_args().alerts or list(FAULTS)
    result: dict[str, Any] = heading("kafka") | {"shorter": SHORTER, "shorter_for": SHORTER_FOR, "alerts": {}}
    with tempfile.TemporaryDirectory() as folder:
        try:
            with call_out(Path(folder).resolve()) as call:
                for alert in chosen:
                    found = provoke(call, alert)
                    result["alerts"][alert] = asdict(found)
                    say(f"{alert}: {json.dumps(asdict(found), indent=1)}")
        except NotReady as fault:
            say(str(fault))
            return 1
    if chosen == list(FAULTS):
        save(RESULTS / "provoked.json", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
