"""From append to whoever looks: an SSE client of the gateway, and Redis. ``python -m load_tests.delivery``.

A worker, a read model and a gateway run; single records go out at a steady rate. Beside the reader of topic ``alerts``
there is a client of ``GET /events``, and one that waits at the stream in which the read model keeps the last events: it
is written in the same transaction as all that an event changes there. Each notes when it has an alert.
"""

import argparse
import asyncio
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import aiohttp
import redis

import config.jit  # noqa: F401  (before the first kernel)
from agents.embedded import free_port
from agents.read_model_rows import EVENTS
from config.settings import Settings
from load_tests import bars
from load_tests.bench import add_broker_argument, split_batches, started_now
from load_tests.catchup import CATCHUP_S
from load_tests.core import add_load_arguments, load_of
from load_tests.expected import POLICY, Outputs, outputs_of
from load_tests.generate import Load
from load_tests.harness import BenchFault, Process, Worker, fill, read_outputs, surroundings, usage
from load_tests.latency import Arrivals, ObservedWith, Reader, SplitLog, alerts_reader, observe_with, summary
from load_tests.report import RESULTS, heading, save

_START_S: Final = 150.0
_QUIET_MS: Final = 1_500
_LOOK_MS: Final = 200


def delivery(load: Load, kafka: str | None, rate: int, seconds: float) -> dict[str, Any]:
    """Returns the latency to each place at ``rate``, the market listed beforehand. Raises BenchFault."""
    log = SplitLog(load, int(rate * seconds))
    tail = log.tail()
    expected = outputs_of(split_batches(log, tail), load.partitions)
    with surroundings(kafka, load.partitions, POLICY) as plain:
        settings = plain.model_copy(update={"gateway_port": free_port()})
        fill(settings, log.head(), "lz4")
        with (
            Worker(settings) as worker,
            Process(settings, "read-model") as model,
            Process(settings, "gateway") as gateway,
        ):
            worker.wait_for_records(log.listings, CATCHUP_S)
            _wait_for_gateway(settings, gateway)
            processes = {"worker": worker, "read_model": model, "gateway": gateway}
            before = {name: usage(process.pid).cpu_s for name, process in processes.items()}
            readers: dict[str, Reader] = {
                "alerts": alerts_reader(settings),
                "sse": partial(_sse, f"http://127.0.0.1:{settings.gateway_port}/events"),
                "redis": partial(_redis, settings.redis_url),
            }
            seen = observe_with(settings, tail, rate, readers)
            used = {name: usage(process.pid).cpu_s for name, process in processes.items()}
            for process in (gateway, model, worker):
                process.stop()
        outputs = read_outputs(settings).outputs
    return {
        "rate": rate,
        "market": load.market,
        **{name: asdict(summary(seen.sent, came, rate, seen.sent_per_s)) for name, came in seen.arrivals.items()},
        "cpu_share": {name: round((used[name] - before[name]) / seconds, 3) for name in processes},
        "difference": _difference(expected, outputs, seen),
    }


def _difference(expected: Outputs, outputs: Outputs, seen: ObservedWith) -> str | None:
    """Returns what is not equal: the topics against the machine, and the places against each other."""
    if (fault := expected.difference(outputs)) is not None:
        return fault
    events = {name: {value for _, value in came} for name, came in seen.arrivals.items()}
    for name, values in events.items():
        if missing := len(events["alerts"] - values):
            return f"{name}: {missing} of {len(events['alerts'])} alerts never came"
    return None


def _wait_for_gateway(settings: Settings, gateway: Process) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        gateway.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{settings.gateway_port}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise BenchFault(f"the gateway is not ready after {_START_S:.0f} s:\n{gateway.said()}")


def _sse(url: str, pipe: Connection) -> None:
    asyncio.run(_read_sse(url, pipe))


async def _read_sse(url: str, pipe: Connection) -> None:
    """Reads the stream as any client would; it tells by itself when what was there before has been sent."""
    arrivals: Arrivals = []
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), read_bufsize=1 << 20) as session,
        session.get(url) as answer,
    ):
        kind = b""
        reading = asyncio.ensure_future(answer.content.readline())
        while not pipe.poll():
            done, _ = await asyncio.wait({reading}, timeout=_LOOK_MS / 1000)
            if not done:
                continue
            line, now_ns = reading.result(), time.time_ns()
            if not line:
                break
            reading = asyncio.ensure_future(answer.content.readline())
            if line.startswith(b"event: "):
                kind = line[7:].strip()
                if kind == b"ready":
                    pipe.send("ready")
            elif line.startswith(b"data: ") and kind == b"alert":
                arrivals.append((now_ns, line[6:].rstrip(b"\n")))
        reading.cancel()
    pipe.send(arrivals)


def _redis(url: str, pipe: Connection) -> None:
    """Waits at the stream of the last events; what was there before is passed over once it is quiet."""
    client = redis.Redis.from_url(url)
    arrivals: Arrivals = []
    last: bytes | str = "0"
    ready = False
    while not (ready and pipe.poll()):
        found: Any = client.xread({EVENTS: last}, count=5_000, block=_LOOK_MS if ready else _QUIET_MS)
        now_ns = time.time_ns()
        for _, entries in found:
            last = entries[-1][0]
            if ready:
                arrivals += [(now_ns, fields[b"event"]) for _, fields in entries]
        if not found and not ready:
            ready = True
            pipe.send("ready")
    pipe.send(arrivals)


def main() -> int:
    """Measures, prints, writes load_tests/results/delivery.json; returns 1 where an event is missing or differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    add_broker_argument(parser)
    parser.set_defaults(products=10_000)
    parser.add_argument("--rate", type=int, default=2_000, help="records a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, help="default: delivery.json, on a Kafka delivery-kafka.json")
    options = parser.parse_args()
    result = heading("kafka" if options.kafka else "embedded")
    try:
        result |= delivery(started_now(load_of(options)), options.kafka, options.rate, options.seconds)
    except BenchFault as fault:
        print(fault, file=sys.stderr)
        return 2
    result["outputs_exact"] = result["difference"] is None
    save(options.out or RESULTS / ("delivery-kafka.json" if options.kafka else "delivery.json"), result)
    print(bars.table())
    return int(not result["outputs_exact"])


if __name__ == "__main__":
    sys.exit(main())
