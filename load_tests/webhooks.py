"""Webhooks where most receivers are bad: do the good ones get their events in time, and does a kill lose any?

``python -m load_tests.webhooks`` starts a broker, a Redis and a notifier of its own, and 100 receivers of which 80 hang,
fail, reset or answer slowly. Every event goes to all of them. ``--kill``: the notifier is killed (SIGKILL) so many times.
"""

import argparse
import asyncio
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web
from standardwebhooks import Webhook

from agents.clients import new_producer
from gateway.endpoints import Endpoint, EndpointBook, Secret, new_secret
from load_tests.report import RESULTS, heading, save
from load_tests.sse_clients import append, process, share, supplier
from tests.gateway.live import Stage, stage

BAD: Final = ("hang", "fail", "reset", "slow")
SLOW_S: Final = 10.0


class Receivers:
    """All receivers, on one port; the path says which, and how it behaves."""

    def __init__(self, secrets: dict[str, str]) -> None:
        self.secrets = secrets
        self.took_ms: list[float] = []
        self.got: dict[str, list[str]] = {}
        self.asked: Counter[str] = Counter()
        self.unverified = 0

    async def hook(self, request: web.Request) -> web.StreamResponse:
        """Takes a message."""
        name = request.match_info["name"]
        how = name.partition("-")[0]
        self.asked[how] += 1
        body = await request.read()
        if how == "hang":
            await asyncio.sleep(3_600)
        if how == "slow":
            await asyncio.sleep(SLOW_S)
        if how == "reset" and request.transport:
            request.transport.abort()
        if how != "good":
            return web.Response(status=500 if how == "fail" else 200)
        data = orjson.loads(body)["data"]
        try:
            Webhook(self.secrets[name]).verify(body, dict(request.headers))  # type: ignore[no-untyped-call,unused-ignore]
        except Exception:  # noqa: BLE001
            self.unverified += 1
            return web.Response(status=401)
        got = self.got.setdefault(name, [])
        if data["event_id"] not in got:
            self.took_ms.append((time.time_ns() - int(data["source_id"])) / 1e6)
        got.append(data["event_id"])
        return web.Response(status=204)

    async def start(self) -> int:
        """Listens; returns the port."""
        app = web.Application()
        app.router.add_post("/{name}", self.hook)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert runner.addresses
        return int(runner.addresses[0][1])


async def name_endpoints(scene: Stage, receivers: Receivers, port: int, good: int, bad: int) -> None:
    """Makes the endpoints, all of one supplier."""
    book = EndpointBook(scene.settings, new_producer)
    at_ms = time.time_ns() // 1_000_000 - 1_000
    for number in range(good + bad):
        how = "good" if number < good else BAD[number % len(BAD)]
        name, secret = f"{how}-{number}", new_secret()
        receivers.secrets[name] = secret
        url = f"http://127.0.0.1:{port}/{name}"
        made = Endpoint(f"ep_{number}", supplier(0), url, "", (), (), (), (Secret(secret),), True, at_ms, at_ms)  # noqa: FBT003
        await book.put(made)


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Runs it once; returns the figures."""
    receivers = Receivers({})
    allowed = {
        "PRICELINK_WEBHOOKS_ALLOW_HTTP": "1", "PRICELINK_WEBHOOKS_ALLOWED_NETWORKS": "127.0.0.0/8",
        "PRICELINK_LOG_FORMAT": "console", "PRICELINK_LOG_LEVEL": "error",
    }  # fmt: skip
    port = await receivers.start()
    async with stage() as scene:
        await name_endpoints(scene, receivers, port, options.good, options.bad)
        kills = 0

        async def killed() -> None:
            nonlocal kills
            for number in range(options.kill + 1):
                async with process("notifier", scene, **allowed) as child:
                    if number == options.kill:
                        await asyncio.Event().wait()
                    await asyncio.sleep(options.seconds / (options.kill + 1))
                    child.send_signal(signal.SIGKILL)
                    assert await child.wait() == -signal.SIGKILL
                    kills += 1

        keeping = asyncio.create_task(killed())
        await append(scene, 1, 1, 1)
        deadline = time.monotonic() + 90
        while len(receivers.got) < options.good and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        receivers.took_ms.clear()
        sent = await append_from(scene, options.rate, options.seconds)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and any(len(set(got)) < sent + 1 for got in receivers.got.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        missing = sum(sent + 1 - len(set(got)) for got in receivers.got.values())
        repeats = sum(len(got) - len(set(got)) for got in receivers.got.values())
        return {
            "good": len(receivers.got), "bad": options.bad, "events": sent, "kills": kills, "missing": missing, "repeats": repeats,
            "unverified": receivers.unverified, "bad_attempts": dict(receivers.asked), "p50_ms": share(receivers.took_ms, 0.5),
            "p99_ms": share(receivers.took_ms, 0.99), "most_ms": share(receivers.took_ms, 1.0),
        }  # fmt: skip


async def append_from(scene: Stage, rate: float, seconds: float) -> int:
    """Appends alerts behind the first one."""
    from tests.gateway.fakes import event

    count = int(rate * seconds)
    began_s = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began_s + number / rate - time.monotonic()))
        happened = event(number + 1, code=f"C{number + 1:026}")
        happened |= {"supplier": supplier(0), "source_id": str(time.time_ns())}
        await scene.producer.send("alerts", orjson.dumps(happened), key=happened["code"].encode())
    await scene.producer.flush()
    return count


def main() -> None:
    """Measures, prints, writes load_tests/results/webhooks.json."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--good", type=int, default=20)
    options.add_argument("--bad", type=int, default=80)
    options.add_argument("--rate", type=float, default=5.0)
    options.add_argument("--seconds", type=float, default=30.0)
    options.add_argument("--kill", type=int, default=0)
    options.add_argument("--out", type=Path, default=RESULTS / "webhooks.json")
    asked = options.parse_args()
    save(asked.out, heading("embedded") | asyncio.run(run(asked)))


if __name__ == "__main__":
    main()
