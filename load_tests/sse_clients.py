"""The suppliers' stream under many clients: from append to the client, for one gateway process.

``python -m load_tests.sse_clients`` starts a broker, a Redis and a gateway of its own, opens the streams, appends alerts
at a rate and tells p50, p99 and the most. Clients are this process: it does little, and tells what part of a core that took.
"""

import argparse
import asyncio
import gc
import math
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import orjson

from agents.embedded import free_port
from config.topics import KEYS
from gateway.key_ring import now_ms
from gateway.keys import Owner, OwnerKind, make_key
from load_tests.harness import usage
from load_tests.report import RESULTS, heading, save
from tests.gateway.fakes import event
from tests.gateway.live import Stage, stage

STREAMS_A_KEY: Final = 100
_START_S: Final = 150.0
_APPENDED: Final = re.compile(rb'"source_id":"([0-9]+)"')


def supplier(number: int) -> str:
    """Returns a supplier's code."""
    return f"91320000MA1{number:07}"


@asynccontextmanager
async def process(command: str, scene: Stage, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a process of pricelink over the scene's broker and Redis."""
    environment = os.environ | scene.settings.environment() | settings
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "cli", command, env=environment)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()


async def new_token(scene: Stage, owner: Owner) -> str:
    """Makes a key; returns what its owner gets."""
    key, token = make_key(owner, (), 1, now_ms(), ())
    await scene.producer.send_and_wait(KEYS.name, key.to_bytes(), key=key.id.encode())
    return token


async def ready(address: str) -> None:
    """Waits until a gateway is ready."""
    async with httpx.AsyncClient(base_url=address, timeout=5, trust_env=False) as client:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.3)
    raise TimeoutError("the gateway did not get ready")


class Client(asyncio.Protocol):
    """One client: counts what it gets, and how long each event took since it was appended.

    ``source_id`` of each event says when that was, in nanoseconds.
    """

    def __init__(self, token: str, took_ms: list[float], opened: asyncio.Semaphore) -> None:
        self.fault: str | None = None
        self._token = token
        self._took_ms = took_ms
        self._opened = opened
        self._is_open = False
        self._part = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the stream."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._token}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Reads whole messages: a chunk of HTTP ends with one."""
        got_ns = time.time_ns()
        data = self._part + data
        if not data.endswith(b"\n\n\r\n"):
            self._part = data
            return
        self._part = b""
        self._took_ms += [(got_ns - int(at)) / 1e6 for at in _APPENDED.findall(data)]
        if not self._is_open and b"event: ready" in data:
            self._is_open = True
            self._opened.release()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes that it ended."""
        self.fault = str(exc or "ended")


async def append(scene: Stage, rate: float, seconds: float, owners: int) -> int:
    """Appends alerts at a rate, of each owner in turn; returns how many."""
    count = int(rate * seconds)
    began_s = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began_s + number / rate - time.monotonic()))
        happened = event(number + 1, code=f"C{number:026}")
        happened |= {"supplier": supplier(number % owners), "source_id": str(time.time_ns())}
        await scene.producer.send("alerts", orjson.dumps(happened), key=happened["code"].encode())
    await scene.producer.flush()
    return count


def share(values: list[float], part: float) -> float:
    """Returns a quantile."""
    return round(sorted(values)[min(len(values) - 1, math.ceil(part * len(values)) - 1)], 1) if values else math.nan


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Runs it once; returns the figures."""
    async with stage() as scene:
        owners = max(1, options.clients // STREAMS_A_KEY)
        kind: OwnerKind = "operator" if options.everything else "supplier"
        names = [f"desk-{n}" if options.everything else supplier(n) for n in range(owners)]
        tokens = [await new_token(scene, Owner(kind, name)) for name in names]
        port = free_port()
        settings = {"PRICELINK_GATEWAY_PORT": str(port), "PRICELINK_LOG_FORMAT": "console"}
        async with process("gateway", scene, **settings) as gateway:
            await ready(f"http://127.0.0.1:{port}")
            await asyncio.sleep(1)
            opened, took_ms = asyncio.Semaphore(0), list[float]()
            clients = [Client(tokens[n % owners], took_ms, opened) for n in range(options.clients)]
            for each in clients:
                await asyncio.get_running_loop().create_connection(lambda each=each: each, "127.0.0.1", port)  # type: ignore[misc]
                await asyncio.wait_for(opened.acquire(), 60)
            gc.collect()
            gc.freeze()  # a full collection of ours would be measured, too
            spent_s, own_s, began_s = usage(gateway.pid).cpu_s, time.process_time(), time.monotonic()
            sent = await append(scene, options.rate, options.seconds, owners)
            await asyncio.sleep(2)
            seconds = time.monotonic() - began_s
            spent_s, own_s = usage(gateway.pid).cpu_s - spent_s, time.process_time() - own_s
            faults = sum(each.fault is not None for each in clients)
        wanted = sent * options.clients // (1 if options.everything else owners)
        return {
            "clients": options.clients, "rate": options.rate, "events": sent, "received": len(took_ms), "wanted": wanted,
            "faults": faults, "p50_ms": share(took_ms, 0.5), "p99_ms": share(took_ms, 0.99), "most_ms": share(took_ms, 1.0),
            "gateway_cores": round(spent_s / seconds, 2), "clients_cores": round(own_s / seconds, 2),
        }  # fmt: skip


def main() -> None:
    """Measures, prints, writes load_tests/results/sse_clients.json."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=1_000)
    options.add_argument("--rate", type=float, default=100.0)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--everything", action="store_true", help="operators, who get every event, not suppliers")
    options.add_argument("--out", type=Path, default=RESULTS / "sse_clients.json")
    asked = options.parse_args()
    save(asked.out, heading("embedded") | asyncio.run(run(asked)))


if __name__ == "__main__":
    main()
