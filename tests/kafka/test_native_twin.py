"""`make up-native`, whole: the compose file's services come up, take records, alert, and are all seen by Prometheus."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.real_kafka import jars
from tests.cli.test_run import alerts, alive, below

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
UP_S = 60.0
"""The bar, from the command to alerts, once everything is downloaded and compiled."""
PATIENCE_S = 180.0
JOBS = {"worker", "gateway", "notifier", "read-model", "listings", "scorecards", "silence", "clock", "prometheus"}
CODE = "C09100100000000211790000049"


class Twin:
    """A `pricelink up-native` under test."""

    def __init__(self, folder: Path, number: int, *options: str) -> None:
        self.said = folder / f"said{number}"
        self.data = folder / "data"
        command = [sys.executable, "-m", "cli", "up-native", "--free-ports", "--data", str(self.data), *options]
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=dict(os.environ))

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.2)
        return found

    def url(self, service: str) -> str:
        found = self.until(lambda: re.search(rf"^  {service} +(http\S+)$", self.said.read_text(), re.MULTILINE))
        return str(found[1])

    def stop(self) -> None:
        children = {pid for pid, _ in below(self.process.pid)}
        assert len(children) >= 12  # Kafka, Redis, eight of ours, Prometheus, Alertmanager
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0, self.said.read_text()
        assert alive(children) == set()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Twin]]:
    twins: list[Twin] = []

    def start_one(*options: str) -> Twin:
        twins.append(Twin(tmp_path, len(twins), *options))
        return twins[-1]

    yield start_one
    for twin in twins:
        if twin.process.poll() is None:
            twin.process.kill()
            twin.process.wait()


def feed(url: str, token: str) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    quotes = [
        {"type": "quote", "province": province, "code": CODE, "at": now_ms + number, "price": price, "supplier": "91320000MA1XXXXX1A"}
        for number, (province, price) in enumerate([("320000", "1200.00"), ("140000", "1150.00"), ("370000", "1000.00")])
    ]  # fmt: skip
    answers = {}
    for quote in quotes:
        request = urllib.request.Request(
            f"{url}v1/feeds/{quote['province']}/records",
            json.dumps(quote).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            answers[str(quote["province"])] = json.load(answer)["accepted"]
    return answers


def targets(url: str) -> dict[str, str]:
    try:
        with urllib.request.urlopen(f"{url}api/v1/targets", timeout=5) as answer:
            return {each["labels"]["job"]: each["health"] for each in json.load(answer)["data"]["activeTargets"]}
    except OSError:
        return {}


def test_the_compose_file_runs_here_and_is_watched(
    start: Callable[..., Twin], capsys: pytest.CaptureFixture[str]
) -> None:
    jars()  # downloaded before the clock runs
    began_s = time.monotonic()
    twin = start()
    gateway = twin.url("gateway")
    up_s = time.monotonic() - began_s
    token = re.search(r"^first-key \| (pl_\S+)$", twin.said.read_text(), re.MULTILINE)
    assert token
    assert feed(gateway, token[1]) == {"320000": 1, "140000": 1, "370000": 1}
    opened = twin.until(lambda: [alert for alert in alerts(gateway) if alert["kind"] == "price_adjustment"])
    alerting_s = time.monotonic() - began_s
    assert {alert["province"] for alert in opened} <= {"320000", "140000"}
    assert "grafana is left out" in twin.said.read_text()
    prometheus = twin.url("prometheus")
    twin.until(lambda: set(targets(prometheus).values()) == {"up"})
    assert targets(prometheus).keys() >= JOBS
    twin.stop()
    with capsys.disabled():
        print(f"\nnative twin: up after {up_s:.0f} s, alerts after {alerting_s:.0f} s (bar: {UP_S:.0f} s)")

    again = start()
    gateway = again.url("gateway")
    assert "| pl_" not in again.said.read_text()  # a key is shown once
    assert "there   " in again.said.read_text()  # topics
    again.until(lambda: alerts(gateway))  # volumes are what they were
    again.stop()
    assert alerting_s <= UP_S
