"""The tree of processes: what ends is started again, what is stopped is gone, nothing outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import processes
from cli.processes import ProcessTree

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def tree(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessTree]:
    monkeypatch.setattr(processes, "BACKOFF_S", (0.05, 0.1))
    monkeypatch.setattr(processes, "GRACE_S", 2.0)
    tree = ProcessTree(tmp_path, said.append)
    yield tree
    tree.stop()


def test_a_child_that_ends_is_said_and_started_again(tree: ProcessTree, said: list[str]) -> None:
    child = tree.start("broken", [sys.executable, "-c", "print('no luck'); raise SystemExit(3)"], os.environ, stage=0)

    def restarted() -> bool:
        tree.watch()
        return child.failures >= 3

    until(restarted)
    assert "broken ended (exit code 3); starting it again in 0.05 s; its log" in said[0]
    assert said[1] == "  broken | no luck"
    assert any("in 0.1 s" in text for text in said)


def test_a_killed_child_is_started_again(tree: ProcessTree, said: list[str]) -> None:
    child = tree.start("sleeper", SLEEP, os.environ, stage=0)
    assert child.process is not None
    first = child.process.pid
    os.kill(first, signal.SIGKILL)

    def restarted() -> bool:
        tree.watch()
        return child.process is not None and child.process.pid != first

    until(restarted)
    assert "killed by SIGKILL" in said[0]


def test_a_child_that_is_not_kept_may_end(tree: ProcessTree, said: list[str]) -> None:
    child = tree.start("once", [sys.executable, "-c", "pass"], os.environ, stage=0, kept=False)

    def ended() -> bool:
        tree.watch()
        return child.process is None

    until(ended)
    assert said == []


def test_a_child_whose_restart_would_not_help_is_not_restarted(tmp_path: Path, said: list[str]) -> None:
    tree = ProcessTree(tmp_path, said.append, frozenset({78}))
    tree.start("misled", [sys.executable, "-c", "raise SystemExit(78)"], os.environ, stage=0)

    def given_up() -> bool:
        tree.watch()
        return tree.given_up is not None

    until(given_up)
    assert said[0].startswith("misled ended (exit code 78); its log")


def test_stop_goes_stage_by_stage_and_leaves_nothing(tree: ProcessTree, tmp_path: Path) -> None:
    note = tmp_path / "order"
    program = (
        "import signal, sys, time\n"
        "def stop(*_):\n"
        f"    open({str(note)!r}, 'a').write(sys.argv[1] + ' '); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    children = [
        tree.start(name, [sys.executable, "-c", program, name], os.environ, stage=stage)
        for name, stage in [("first", 0), ("second", 1), ("third", 2)]
    ]
    pids = [child.process.pid for child in children if child.process is not None]
    until(lambda: all(tree.tail(child) == ["ready"] for child in children))
    tree.stop()
    assert note.read_text() == "third second first "
    assert not any(map(is_alive, pids))


def test_what_ignores_sigterm_is_killed_and_said(
    tree: ProcessTree, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.3)
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    child = tree.start("deaf", [sys.executable, "-c", program], os.environ, stage=0)
    until(lambda: tree.tail(child) == ["deaf"])
    assert child.process is not None
    pid = child.process.pid
    tree.stop()
    assert not is_alive(pid)
    assert any("deaf did not stop" in text for text in said)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children of their parent's death on Linux alone")
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys, time\n"
        "from cli.processes import ProcessTree\n"
        f"tree = ProcessTree(pathlib.Path({str(tmp_path)!r}), print)\n"
        f"child = tree.start('child', {SLEEP!r}, os.environ, stage=0)\n"
        "print(child.process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not is_alive(child))
