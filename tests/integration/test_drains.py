"""Every process is ready once it works, and gone within ten seconds of SIGTERM, though the broker is away."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.embedded import Embedded, free_port
from agents.topics import apply
from config.settings import Settings

pytestmark = pytest.mark.integration

PROCESSES = (
    "worker",
    "clock",
    "read-model",
    "listings",
    "scorecards",
    "silence",
    "notifier",
    "copier",
    "gateway",
    "market",
)
READY_S = 200.0
"""The kernels may have to be compiled first."""
DRAIN_S = 10.0


class Process:
    """One of pricelink's processes, and the port of its probes."""

    def __init__(self, name: str, settings: Settings, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        own = {
            "PRICELINK_METRICS_PORT": str(self.port),
            "PRICELINK_GATEWAY_PORT": str(free_port()),
            "PRICELINK_INSTANCE": name,
        }
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", name],
                stdout=log,
                stderr=log,
                env=os.environ | settings.environment() | own,
            )

    def said(self) -> tuple[int, Any]:
        if self.process.poll() is not None:
            pytest.fail(f"{self.name} ended ({self.process.returncode}): {self.log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError as error:
            return 0, str(error)

    def until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while (said := self.said())[0] != 200:
            assert time.monotonic() < deadline, f"{self.name}: {said}: {self.log.read_text()[-3000:]}"
            time.sleep(0.2)


@pytest.fixture
def embedded() -> Iterator[Embedded]:
    with Embedded() as found:
        yield found
        for child in found.children:
            child.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("away", [False, True], ids=["broker-there", "broker-away"])
def test_every_process_gets_ready_and_stops_in_time(away: bool, embedded: Embedded, tmp_path: Path) -> None:
    settings = Settings(
        broker_kind="embedded", bootstrap=embedded.bootstrap, redis_url=embedded.redis_url, metrics_host="127.0.0.1",
        copies="big=91320000MA1XXXXX1A",
    )  # fmt: skip
    apply(settings)
    running = [Process(name, settings, tmp_path) for name in PROCESSES]
    try:
        for process in running:
            process.until_ready()
        if away:
            embedded.children[0].process.send_signal(signal.SIGSTOP)
            time.sleep(2)  # something is on its way, and does not arrive
        for process in running:
            process.process.send_signal(signal.SIGTERM)
        asked_s = time.monotonic()
        codes: dict[str, int | str] = {}
        for process in running:
            left_s = max(0.1, asked_s + DRAIN_S - time.monotonic())
            try:
                codes[process.name] = process.process.wait(left_s)
            except subprocess.TimeoutExpired:
                codes[process.name] = f"did not stop: {process.log.read_text()[-2000:]}"
        if not away:
            assert codes == dict.fromkeys(PROCESSES, 0)
        # Without a broker nothing can be finished: a process may say so by its code, but it ends.
        assert all(code in {0, 70, 74, 75} for code in codes.values()), codes
    finally:
        for process in running:
            process.process.kill()
            process.process.wait()
