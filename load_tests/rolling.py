"""Every process restarted in turn under load: ``python -m load_tests.rolling``, on an Apache Kafka started for it.

What the compose file starts runs here: two workers, static members of their group, two gateways, clock, read model,
listings, notifier, scorecards, silence. Records come over HTTP at a steady rate from a client that sends to the other
gateway what one does not answer, as a load balancer does; a live stream resumes on the other gateway; every supplier
has a webhook. Then each process gets SIGTERM, must end with 0 within 10 s, is started again, and is waited for until
``/readyz`` says that it is ready. At last the broker, the only one there is, is restarted, too: noted apart.

Nothing may be lost: records that were accepted are in ``feeds``; events are those of a replay of ``feeds``, byte for
byte; stream and webhooks have each of them; read model, cards and listings are equal to a recount. Latency runs from when a
record was due at its province to a reader of ``alerts``; ``back_s`` is the time from SIGTERM to the end of the last second
whose p99 is not normal, before the next restart: over 250 ms and over twice the baseline's. Exit code 1 if a bar is missed.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import redis

import config.jit  # noqa: F401  (before the first kernel)
from agents.clients import new_producer, quieten_clients
from agents.embedded import free_port
from agents.real_kafka import RealKafka
from config.provinces import PROVINCE_CODES
from config.settings import Settings
from config.topics import KEYS
from gateway.endpoints import Endpoint, EndpointBook, Secret, new_secret
from gateway.key_ring import now_ms
from gateway.keys import Owner, make_key
from load_tests.core import add_load_arguments, load_of
from load_tests.expected import POLICY
from load_tests.generate import Load, Market
from load_tests.harness import BenchFault, Broker, Process, surroundings
from load_tests.latency import alerts_reader, beside, told
from load_tests.report import RESULTS, heading, save, say
from load_tests.rolling_clients import Feed, feed, follow, numbered, receive
from load_tests.rolling_judge import (
    NORMAL_MS,
    Seconds,
    judge_events,
    judge_records,
    judge_stream,
    judge_webhooks,
    logs_of,
    longest_gap_s,
)

STOPPED_S: Final = 10.0
BACK_S: Final = 10.0
PROCESSES: Final = {
    "worker-1": "worker", "worker-2": "worker", "clock": "clock", "gateway-1": "gateway", "gateway-2": "gateway",
    "read-model": "read-model", "listings": "listings", "notifier": "notifier", "scorecards": "scorecards", "silence": "silence",
}  # fmt: skip
"""Name and command, in the order in which they are restarted."""
_BACK_MS: Final = 150_000
_START_S: Final = 600.0
_LISTED: Final = 1.6
"""Records over listings until a mixed market has listed everything."""
_REST_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run. ``rate``: records a second; ``settle_s``: from when a process is ready to the next restart."""

    load: Load
    rate: float
    baseline_s: float
    settle_s: float
    restarts: tuple[str, ...]
    processes: tuple[str, ...] = tuple(PROCESSES)
    broker: bool = True

    @property
    def head(self) -> int:
        """Records that are there before the load: contracts, and every listing."""
        return int((self.load.products * (self.load.provinces + 2)) * _LISTED)


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart. ``at_ns``: SIGTERM, epoch nanoseconds; ``ready_s``: from the start of the new process to ready."""

    process: str
    at_ns: int
    stopped_s: float
    ready_s: float


class Fleet:
    """The processes, each with a port of its own for probes. A context manager."""

    def __init__(self, settings: Settings, names: tuple[str, ...]) -> None:
        self._settings = {name: _settings_of(settings, name) for name in names}
        self._running: dict[str, Process] = {}

    def __enter__(self) -> "Fleet":
        for name in self._settings:
            self._start(name)
        for name in self._settings:
            self._until_ready(name)
        return self

    def __exit__(self, *_fault: object) -> None:
        for process in self._running.values():
            process.__exit__()

    @property
    def gateways(self) -> tuple[str, ...]:
        """Returns the gateways' addresses."""
        ports = [each.gateway_port for name, each in self._settings.items() if PROCESSES[name] == "gateway"]
        return tuple(f"http://127.0.0.1:{port}" for port in ports)

    @property
    def workers(self) -> list[str]:
        """Returns the workers' names."""
        return [name for name in self._settings if PROCESSES[name] == "worker"]

    def _start(self, name: str) -> None:
        self._running[name] = Process(self._settings[name], PROCESSES[name])

    def _until_ready(self, name: str) -> None:
        deadline = time.monotonic() + _START_S
        while not _is_ready(self._settings[name].metrics_port):
            self._running[name].check()
            if time.monotonic() > deadline:
                raise BenchFault(f"{name} is not ready after {_START_S:.0f} s:\n{self._running[name].said()}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raises BenchFault where a process has ended by itself."""
        for process in self._running.values():
            process.check()

    def stop(self, name: str) -> float:
        """Asks a process to end; returns the seconds it took. Raises BenchFault if it was not clean."""
        seconds = self._running[name].stop()
        self._running.pop(name).__exit__()
        return seconds

    def restart(self, name: str) -> Restart:
        """Restarts a process, and waits until it is ready."""
        at_ns = time.time_ns()
        stopped_s = self.stop(name)
        began_s = time.monotonic()
        self._start(name)
        self._until_ready(name)
        return Restart(name, at_ns, round(stopped_s, 2), round(time.monotonic() - began_s, 2))


def _settings_of(settings: Settings, name: str) -> Settings:
    own: dict[str, Any] = {"instance": name, "metrics_port": free_port(), "static_member": PROCESSES[name] == "worker"}
    if PROCESSES[name] == "gateway":
        own["gateway_port"] = free_port()
    if PROCESSES[name] == "notifier":
        own |= {"webhooks_allow_http": True, "webhooks_allowed_networks": "127.0.0.0/8"}
    return settings.model_copy(update=own)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


async def _make_keys(settings: Settings, owners: list[Owner]) -> dict[str, str]:
    """Makes a key for each owner; returns them by name."""
    producer = new_producer(settings)
    await producer.start()
    tokens = {}
    try:
        for owner in owners:
            key, tokens[owner.name] = make_key(owner, (), 1, now_ms(), ())
            await producer.send_and_wait(KEYS.name, key.to_bytes(), key=key.id.encode())
    finally:
        await producer.stop()
    return tokens


async def _make_endpoints(settings: Settings, load: Load, port: int, secret: str) -> None:
    """Gives every supplier of the market a webhook."""
    book = EndpointBook(settings, new_producer)
    suppliers = {row.tobytes().decode() for row in Market(load).suppliers}
    for number, supplier in enumerate(sorted(suppliers)):
        url, at_ms = f"http://127.0.0.1:{port}/hook", now_ms()
        made = Endpoint(f"ep_{number}", supplier, url, "", (), (), (), (Secret(secret),), True, at_ms, at_ms)  # noqa: FBT003
        await book.put(made)


def _until_applied(settings: Settings, plan: Plan, workers: list[str]) -> None:
    """Waits until workers have applied the head, and listings and read model have it."""
    client: Any = redis.Redis.from_url(settings.redis_url)
    deadline = time.monotonic() + _START_S
    while True:
        told_of = [json.loads(client.get(f"pl:worker:{name}") or "{}") for name in workers]
        applied = sum(each.get("records_total", 0) for each in told_of)
        listed = client.hlen("pl:rows") if "listings" in plan.processes else plan.load.products
        if applied >= plan.head and listed >= plan.load.products:
            client.close()
            return
        if time.monotonic() > deadline:
            raise BenchFault(f"{applied:,} of {plan.head:,} records after {_START_S:.0f} s")
        time.sleep(0.2)


@dataclass(slots=True)
class Run:
    """What was done, and what the clients noted."""

    restarts: list[Restart] = field(default_factory=list)
    ended_ns: int = 0
    noted: dict[str, Any] = field(default_factory=dict)


def run(plan: Plan, kafka: RealKafka, settings: Settings, out: Path) -> dict[str, Any]:
    """Runs it once on a Kafka with our topics, which the settings lead to; returns the figures. Raises BenchFault."""
    desk = Owner("operator", "rolling")
    provinces = [Owner("province", code) for code in PROVINCE_CODES[: plan.load.provinces]]
    tokens = asyncio.run(_make_keys(settings, [desk, *provinces]))
    secret, port = new_secret(), free_port()
    say("rolling: the processes come up")
    with Fleet(settings, plan.processes) as fleet:
        feeder = partial(feed, Feed(plan.load, plan.head, plan.rate, fleet.gateways, tokens))
        clients: dict[str, Callable[[Connection], None]] = {
            "alerts": alerts_reader(settings),
            "stream": partial(follow, fleet.gateways, tokens[desk.name]),
            "webhooks": partial(receive, port, secret),
        }
        with beside({"feed": feeder}) as feeding:
            say(f"rolling: {plan.head:,} records are listed")
            feeding["feed"].send("head")
            feeding["feed"].recv()
            _until_applied(settings, plan, fleet.workers)
            asyncio.run(_make_endpoints(settings, plan.load, port, secret))
            with beside(clients) as pipes:
                feeding["feed"].send("go")
                done = _restart_all(plan, fleet, kafka)
                done.noted = told(feeding)
                time.sleep(_REST_S)
                done.noted |= told(pipes)
        for name in ("clock", "silence"):  # nothing else writes now
            if name in plan.processes:
                fleet.stop(name)
        result = _judged(plan, done, settings, out)
        for name in set(plan.processes) - {"clock", "silence"}:
            fleet.stop(name)
    return result


def _restart_all(plan: Plan, fleet: Fleet, kafka: RealKafka) -> Run:
    done = Run()
    time.sleep(plan.baseline_s)
    for name in plan.restarts:
        done.restarts.append(fleet.restart(name))
        say(f"rolling: {done.restarts[-1]}")
        time.sleep(plan.settle_s)
        fleet.check()
    if plan.broker:
        at_ns, began_s = time.time_ns(), time.monotonic()
        kafka.stop()
        stopped_s = time.monotonic() - began_s
        kafka.start()
        ready_s = time.monotonic() - began_s - stopped_s
        done.restarts.append(Restart("broker", at_ns, round(stopped_s, 2), round(ready_s, 2)))
        say(f"rolling: {done.restarts[-1]}")
        time.sleep(2 * plan.settle_s)
        fleet.check()
    done.ended_ns = time.time_ns()
    return done


def _judged(plan: Plan, done: Run, settings: Settings, out: Path) -> dict[str, Any]:
    say("rolling: what came of it")
    logs = asyncio.run(logs_of(settings))
    fed, followed = done.noted["feed"], done.noted["stream"]
    seconds = Seconds(fed, done.noted["alerts"])
    p50_ms, p99_ms, events = seconds.baseline_ms(done.restarts[0].at_ns)
    limit_ms = max(NORMAL_MS, 2 * p99_ms)
    told_of = list(_restarts(done, seconds, fed.answers, limit_ms))
    ours = [each for each in told_of if each["process"] != "broker"]
    records = judge_records(fed, (line for _, line in numbered(plan.load)), logs)
    made = judge_events(settings, logs, out, plan.processes)
    stream = judge_stream(followed, logs)
    webhooks = judge_webhooks(done.noted["webhooks"], logs, followed.begin)
    lost = (
        records["lost"]
        + records["invented"]
        + sum(each[what] for each in (stream, webhooks) for what in ("missing", "differ"))
    )
    return {
        "baseline": {"p50_ms": round(p50_ms, 1), "p99_ms": round(p99_ms, 1), "events": events},
        "normal_ms": round(limit_ms, 1), "restarts": told_of,
        "most_back_s": max(each["back_s"] for each in ours), "most_stopped_s": max(each["stopped_s"] for each in ours),
        "records": records, "events": made, "stream": stream, "webhooks": webhooks, "lost": lost + stream["resets"],
        "longest_without_tick_s": round(longest_gap_s(logs), 1), "outputs_exact": made["difference"] is None,
        "p99_ms_by_second": [None if math.isnan(each) else round(each) for each in seconds.p99_ms],
    }  # fmt: skip


def _restarts(
    done: Run, seconds: Seconds, answers: list[tuple[int, float]], limit_ms: float
) -> Iterator[dict[str, Any]]:
    ends = [*(each.at_ns for each in done.restarts[1:]), done.ended_ns]
    for each, end_ns in zip(done.restarts, ends, strict=True):
        over = list(seconds.over(limit_ms, each.at_ns, end_ns))
        waited_ms = [took_ms for due_ns, took_ms in answers if each.at_ns <= due_ns < end_ns]
        yield {
            "process": each.process, "stopped_s": each.stopped_s, "ready_s": each.ready_s,
            "back_s": round(max((back_s for back_s, _ in over), default=0.0), 1), "seconds_over": len(over),
            "worst_p99_ms": round(max((p99_ms for _, p99_ms in over), default=0.0)),
            "slowest_answer_ms": round(max(waited_ms, default=0.0)),
        }  # fmt: skip


def holds(result: dict[str, Any]) -> bool:
    """Tells whether nothing was lost and all was back in time."""
    in_time = result["most_back_s"] <= BACK_S and result["most_stopped_s"] <= STOPPED_S
    return bool(in_time and result["outputs_exact"] and not result["lost"])


@contextmanager
def stage(plan: Plan) -> Iterator[tuple[RealKafka, Settings, Path]]:
    """Starts a Kafka and a Redis for it; yields them, as settings, and a folder."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pricelink-rolling-")))
        kafka = stack.enter_context(RealKafka(folder / "kafka"))
        broker = Broker("kafka", kafka.bootstrap, kafka.pid)
        yield kafka, stack.enter_context(surroundings(broker, plan.load.partitions, POLICY)), folder / "replay"


def main() -> int:
    """Runs it, prints, writes load_tests/results/rolling.json; returns 1 where something is lost or late."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    parser.set_defaults(market="mixed", products=5_000, provinces=32, partitions=4, lines=1)
    parser.add_argument("--rate", type=float, default=1_000, help="records a second")
    parser.add_argument("--baseline", type=float, default=20.0, help="seconds before the first restart")
    parser.add_argument("--settle", type=float, default=8.0, help="seconds from when a process is ready to the next")
    parser.add_argument("--only", action="append", choices=tuple(PROCESSES), help="restart these alone")
    parser.add_argument("--no-broker", dest="broker", action="store_false", help="do not restart the broker")
    parser.add_argument("--out", type=Path, default=RESULTS / "rolling.json")
    options = parser.parse_args()
    quieten_clients()
    restarts = tuple(options.only or PROCESSES)
    load = replace(load_of(options), start_ms=now_ms() - _BACK_MS)
    plan = Plan(load, options.rate, options.baseline, options.settle, restarts, broker=options.broker)
    seconds = plan.baseline_s + (len(restarts) + 3 * plan.broker) * (plan.settle_s + 2 * STOPPED_S)
    plan = replace(plan, load=replace(load, records=plan.head + int(seconds * plan.rate)))
    asked = {"rate": plan.rate, "market": load.market, "products": load.products, "provinces": load.provinces,
             "partitions": load.partitions}  # fmt: skip
    result = heading("kafka") | asked
    try:
        with stage(plan) as (kafka, settings, out):
            result |= run(plan, kafka, settings, out)
    except BenchFault as fault:
        print(fault, file=sys.stderr)
        return 2
    save(options.out, result)
    return int(not holds(result))


if __name__ == "__main__":
    sys.exit(main())
