"""`pricelink run`, whole: alerts arrive on the page, what is killed comes back, and nothing is left behind."""

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

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

READY_S = 240.0
"""The kernels may have to be compiled first."""


class Run:
    """A `pricelink run` under test."""

    def __init__(self, logs: Path, *options: str, **environment: str) -> None:
        self.said = logs / "said"
        command = [sys.executable, "-m", "cli", "run", "--port", "0", "--rate", "100", "--logs", str(logs), *options]
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})

    def text(self) -> str:
        return self.said.read_text()

    def until(self, condition: Callable[[], Any], seconds: float = READY_S) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.1)
        return found

    def url(self) -> str:
        found = self.until(lambda: re.search(r"pricelink is running: (\S+)", self.text()))
        return str(found[1])

    def descendants(self) -> dict[int, str]:
        return dict(below(self.process.pid))


def below(parent: int) -> Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            yield int(path.name), command
            yield from below(int(path.name))


def alive(pids: set[int]) -> set[int]:
    return {
        pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()
    }


def alerts(url: str) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{url}api/alerts", timeout=5) as answer:
            return list(json.load(answer)["alerts"])
    except OSError:
        return []


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    if run.process.poll() is None:
        run.process.kill()
        run.process.wait()


def test_alerts_arrive_a_killed_worker_comes_back_and_ctrl_c_leaves_nothing(run: Run) -> None:
    url = run.url()
    run.until(lambda: alerts(url))
    children = run.descendants()
    assert len(children) >= 7  # broker, Redis, gateway, read model, worker, market, clock
    worker = next(pid for pid, command in children.items() if command.endswith("cli worker "))
    os.kill(worker, signal.SIGKILL)
    run.until(lambda: "worker-1 ended (killed by SIGKILL); starting it again" in run.text(), 10)
    run.until(lambda: any(command.endswith("cli worker ") for command in run.descendants().values()), 10)
    children |= run.descendants()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(30) == 0, run.text()
    assert alive(set(children)) == set()
    assert "did not stop" not in run.text()
    assert "Stopped." in run.text()


def test_nothing_outlives_a_parent_that_is_killed(run: Run) -> None:
    run.url()
    children = set(run.descendants())
    assert children
    run.process.kill()
    run.process.wait()
    deadline = time.monotonic() + 10
    while alive(children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
