"""Feeds over HTTP: how many records a second one gateway process takes, acknowledged, with gzip; and what they cost.

``python -m load_tests.ingest`` starts a broker, a Redis and a gateway of its own, sends bodies over several connections
at once, then reads topic ``feeds`` back: every accepted record must be there.
"""

import argparse
import asyncio
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
import zstandard
from aiokafka.structs import TopicPartition

from agents.clients import new_reader
from agents.embedded import free_port
from config.settings import Settings
from config.topics import FEEDS
from load_tests.harness import PROJECT, surroundings, usage
from load_tests.report import RESULTS, heading, save

PROVINCE: Final = "320000"
PATH: Final = f"/v1/feeds/{PROVINCE}/records"
_BODIES: Final = 8
_START_S: Final = 150.0


def bodies(records: int, encoding: str, seed: int = 1) -> list[bytes]:
    """Returns bodies of so many quotes each, as they are sent."""
    made = random.Random(seed)
    start_ms = time.time_ns() // 1_000_000 - 86_400_000
    found = []
    for body in range(_BODIES):
        lines = []
        for number in range(records):
            record = {
                "type": "quote", "province": PROVINCE, "code": f"C{made.randrange(10**15):026}",
                "at": start_ms + body * records + number, "price": f"{made.randrange(1, 10**6) / 100:.2f}",
                "supplier": f"91320000MA1N4{made.randrange(10**5):05}", "id": f"q-{body}-{number}",
            }  # fmt: skip
            lines.append(json.dumps(record, separators=(",", ":")))
        raw = "\n".join(lines).encode()
        packed = {"gzip": lambda raw: gzip.compress(raw, 6), "zstd": zstandard.compress, "identity": bytes}[encoding](
            raw
        )
        found.append(packed)
    return found


async def _send(url: str, token: str, packed: list[bytes], options: argparse.Namespace) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    headers["Content-Encoding"] = options.encoding
    until_s = time.monotonic() + options.seconds
    accepted = requests = refused = 0
    took_ms: list[float] = []

    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(120)) as session:

        async def connection(number: int) -> None:
            nonlocal accepted, requests, refused
            turn = number
            while time.monotonic() < until_s:
                began_s = time.perf_counter()
                async with session.post(url, data=packed[turn % len(packed)]) as answer:
                    shown = await answer.json()
                    if answer.status == 200:
                        accepted += shown["accepted"]
                        took_ms.append((time.perf_counter() - began_s) * 1000)
                    else:
                        refused += 1
                        await asyncio.sleep(0.2)
                requests += 1
                turn += 1

        began_s = time.perf_counter()
        await asyncio.gather(*(connection(number) for number in range(options.connections)))
        seconds = time.perf_counter() - began_s
    took_ms.sort()
    return {
        "accepted": accepted, "requests": requests, "refused": refused, "seconds": round(seconds, 2),
        "records_per_s": round(accepted / seconds),
        "answer_p50_ms": round(took_ms[len(took_ms) // 2], 1), "answer_p99_ms": round(took_ms[len(took_ms) * 99 // 100], 1),
    }  # fmt: skip


async def ready(base: str, gateway: "subprocess.Popen[bytes]", token: str) -> None:
    """Waits until a gateway checks lines; raises SystemExit."""
    until_s = time.monotonic() + _START_S
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while time.monotonic() < until_s and gateway.poll() is None:
            try:
                async with session.post(base + PATH, data=b"no record") as answer:
                    if answer.status == 400:
                        return  # it was checked: the kernels are there
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
    raise SystemExit("the gateway did not come up")


def new_token(settings: Settings) -> str:
    """Makes a key of PROVINCE."""
    command = [sys.executable, "-m", "cli", "keys", "create", "--province", PROVINCE, "--days", "1"]
    environment = os.environ | settings.environment()
    made = subprocess.run(command, cwd=PROJECT, env=environment, check=True, capture_output=True, text=True)
    return made.stdout.strip()


async def lines_in_log(settings: Settings) -> int:
    """Returns how many lines topic feeds has."""
    reader = new_reader(settings)
    await reader.start()
    places = [TopicPartition(FEEDS.name, number) for number in range(settings.partitions)]
    lines = 0
    try:
        reader.assign(places)
        await reader.seek_to_beginning(*places)
        left = set(places)
        while left:
            fetched = await reader.getmany(*left, timeout_ms=200)
            lines += sum(record.value.count(b"\n") + 1 for records in fetched.values() for record in records)
            for place in list(left):
                end = reader.highwater(place)
                if end is not None and await reader.position(place) >= end:
                    left.discard(place)
    finally:
        await reader.stop()
    return lines


def start_gateway(settings: Settings, more: dict[str, str], log: Any = None) -> "tuple[subprocess.Popen[bytes], str]":
    """Starts a gateway process; returns it and its address. ``log``: a file for what it says; else ours."""
    port = free_port()
    environment = os.environ | settings.environment() | {"PRICELINK_GATEWAY_PORT": str(port)} | more
    command = [sys.executable, "-m", "cli", "gateway"]
    gateway = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log)
    return gateway, f"http://127.0.0.1:{port}"


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures; returns the figures."""
    packed = bodies(options.records, options.encoding)
    with ExitStack() as stack:
        settings: Settings = stack.enter_context(surroundings(options.kafka, options.partitions, b"{}"))
        token = new_token(settings)
        gateway, base = start_gateway(settings, {})
        stack.callback(gateway.wait)
        stack.callback(gateway.terminate)
        asyncio.run(ready(base, gateway, token))
        before, own_before = usage(gateway.pid), resource.getrusage(resource.RUSAGE_SELF)
        figures = asyncio.run(_send(base + PATH, token, packed, options))
        after, own_after = usage(gateway.pid), resource.getrusage(resource.RUSAGE_SELF)
        in_log = asyncio.run(lines_in_log(settings))
    cpu_s = after.cpu_s - before.cpu_s
    return figures | {
        "in_log": in_log,
        "gateway_cpu_s": round(cpu_s, 2),
        "gateway_cpu_us_per_record": round(cpu_s * 1e6 / max(figures["accepted"], 1), 2),
        "gateway_cpu_share": round(cpu_s / figures["seconds"], 2),
        "client_cpu_s": round(own_after.ru_utime - own_before.ru_utime, 2),
        "body_bytes": len(packed[0]),
        "lost": max(0, figures["accepted"] - in_log),
    }


def main() -> int:
    """Measures, prints, writes load_tests/results/ingest.json; returns 1 where an accepted record is not in the log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000, help="in a body")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--encoding", choices=("gzip", "zstd", "identity"), default="gzip")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a Kafka without topics of ours; default: embedded broker")
    parser.add_argument("--out", type=Path, default=RESULTS / "ingest.json")
    options = parser.parse_args()
    about = heading("kafka" if options.kafka else "embedded")
    asked = {name: getattr(options, name) for name in ("records", "connections", "partitions", "encoding")}
    result = about | asked | run(options)
    save(options.out, result)
    return 1 if result["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
