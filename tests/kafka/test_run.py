"""`pricelink run --kafka`, whole: what it was told is there after a restart, and what hangs or dies comes back."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_run import Run, alerts, alive

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

STALL_S = 12.0
PATIENCE_S = 150.0
"""For what starts again, which may be slow on a busy machine."""
NEW_CODE = "C" + "9" * 26
Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    runs: list[Run] = []

    def start_one(*options: str, **environment: str) -> Run:
        logs = tmp_path / f"logs{len(runs)}"
        logs.mkdir()
        data = str(tmp_path / "data")
        runs.append(Run(logs, "--kafka", "--data", data, *options, **environment))
        return runs[-1]

    yield start_one
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def stop(run: Run) -> None:
    children = set(run.descendants())
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(60) == 0, run.text()
    assert alive(children) == set()
    assert "did not stop" not in run.text()


def pid_of(run: Run, words: str) -> int | None:
    return next((pid for pid, command in run.descendants().items() if words in command), None)


def test_what_it_was_told_survives_a_restart_and_a_kill_of_everything(start: Start, tmp_path: Path) -> None:
    run = start()
    url = run.url()
    run.until(lambda: len(alerts(url)) > 20)
    stop(run)

    run = start("--no-market")
    url = run.url()
    run.until(lambda: len(alerts(url)) > 20)
    before = {event["event_id"] for event in alerts(url)}
    kafka = pid_of(run, "kafka.Kafka")
    assert kafka is not None
    os.kill(kafka, signal.SIGKILL)
    run.until(lambda: "Kafka ended; starting it again" in run.text(), 10)
    run.until(lambda: pid_of(run, "kafka.Kafka") not in (kafka, None), PATIENCE_S)
    children = set(run.descendants())
    run.process.kill()
    run.process.wait()
    deadline = time.monotonic() + 10
    while alive(children):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    run = start("--no-market")
    url = run.url()
    run.until(lambda: before <= {event["event_id"] for event in alerts(url)}, PATIENCE_S)
    feed(run, tmp_path / "two.ndjson")
    run.until(lambda: any(event["code"] == NEW_CODE for event in alerts(url)), PATIENCE_S)  # and it goes on
    stop(run)


def feed(run: Run, file: Path) -> None:
    found = run.until(lambda: re.search(r"Feed it: pricelink feed FILE (.+)", run.text()))
    quote = '{"type":"quote","code":"%s","province":"%s","at":%d,"price":%d,"supplier":"91310000MA1FL00001"}\n'
    now_ms = time.time_ns() // 1_000_000
    file.write_text("".join(quote % (NEW_CODE, *quoted) for quoted in (("110000", now_ms, 90), ("320000", now_ms, 99))))
    command = [sys.executable, "-m", "cli", "feed", str(file), *found[1].split()]
    subprocess.run(command, check=True, capture_output=True)


def test_a_worker_that_stalls_ends_with_75_and_is_started_again(start: Start) -> None:
    run = start(PRICELINK_STALL_S=str(STALL_S))
    url = run.url()
    run.until(lambda: alerts(url))
    worker, kafka = pid_of(run, "cli worker"), pid_of(run, "kafka.Kafka")
    assert worker is not None
    assert kafka is not None
    os.kill(kafka, signal.SIGSTOP)
    try:
        run.until(lambda: "worker-1 ended (exit code 75); starting it again" in run.text(), STALL_S * 3 + 10)
    finally:
        os.kill(kafka, signal.SIGCONT)
    run.until(lambda: pid_of(run, "cli worker") not in (worker, None), PATIENCE_S)
    known = {event["event_id"] for event in alerts(url)}
    run.until(lambda: {event["event_id"] for event in alerts(url)} - known, PATIENCE_S)
    stop(run)
