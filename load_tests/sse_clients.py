"""The suppliers' stream under many clients: from append to the client, for one gateway process.

``python -m load_tests.sse_clients`` starts a broker, a Redis and a gateway of its own, opens the streams, appends alerts
at a rate and tells p50, p99 and the most. Clients are this process: it must not be what is measured, so it does little.
"""

import argparse
import asyncio
import json
import math
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from agents.embedded import free_port
from config.topics import KEYS
from gateway.key_ring import now_ms
from gateway.keys import Owner, OwnerKind, make_key
from load_tests.report import commit, machine
from tests.gateway.fakes import event
from tests.gateway.live import Stage, stage

STREAMS_A_KEY: Final = 100
_START_S: Final = 150.0


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


async def listen(address: str, token: str, opened: asyncio.Semaphore, took_ms: list[float]) -> None:
    """Reads a stream until cancelled; ``source_id`` of each event says when it was appended, in nanoseconds."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
    writer.write(
        f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode(),
    )
    try:
        assert b" 200 " in await reader.readline()
        while line := await reader.readline():
            if line.startswith(b"event: ready"):
                opened.release()
            elif line.startswith(b'data: {"event_id"'):
                at = line.index(b'"source_id":"') + 13
                took_ms.append((time.time_ns() - int(line[at : line.index(b'"', at)])) / 1e6)
    finally:
        writer.close()


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
        address = f"http://127.0.0.1:{port}"
        async with process("gateway", scene, PRICELINK_GATEWAY_PORT=str(port), PRICELINK_LOG_FORMAT="console"):
            await ready(address)
            await asyncio.sleep(1)
            opened, took_ms = asyncio.Semaphore(0), list[float]()
            listening = [
                asyncio.create_task(listen(address, tokens[n % owners], opened, took_ms))
                for n in range(options.clients)
            ]
            for _ in range(options.clients):
                await asyncio.wait_for(opened.acquire(), 60)
            sent = await append(scene, options.rate, options.seconds, owners)
            await asyncio.sleep(2)
            for task in listening:
                task.cancel()
            ended = await asyncio.gather(*listening, return_exceptions=True)
            faults = [each for each in ended if isinstance(each, Exception)]
        wanted = sent * options.clients // (1 if options.everything else owners)
        return {
            "clients": options.clients, "rate": options.rate, "events": sent, "received": len(took_ms), "wanted": wanted,
            "faults": len(faults), "p50_ms": share(took_ms, 0.5), "p99_ms": share(took_ms, 0.99),
            "most_ms": share(took_ms, 1.0), "load": os.getloadavg()[0], "commit": commit(), "machine": machine(),
        }  # fmt: skip


def main() -> None:
    """Reads the command line, measures, prints."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=1_000)
    options.add_argument("--rate", type=float, default=100.0)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--everything", action="store_true", help="operators, who get every event, not suppliers")
    print(json.dumps(asyncio.run(run(options.parse_args())), indent=1))


if __name__ == "__main__":
    main()
