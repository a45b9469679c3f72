"""The embedded broker and Redis: they start, they have our topics, and they are gone with their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents import topics
from agents.embedded import Embedded, free_port
from config.settings import Settings
from tests.integration.cluster import ROOT

pytestmark = pytest.mark.integration


def gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            with Path(f"/proc/{pid}/stat").open() as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_topics_are_created_once_and_a_wrong_partition_count_is_refused() -> None:
    with Embedded(redis=False) as embedded:
        settings = Settings(broker_kind="embedded", bootstrap=embedded.bootstrap, partitions=2)
        assert all(found.created for found in topics.apply(settings))
        assert not any(found.created for found in topics.apply(settings))
        with pytest.raises(topics.WrongPartitions, match="feeds has 2"):
            topics.apply(settings.model_copy(update={"partitions": 3}))


def test_ports_may_be_chosen() -> None:
    port = free_port()
    with Embedded(redis=False, broker_port=port) as embedded:
        assert embedded.bootstrap == f"127.0.0.1:{port}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_they_die_with_their_parent(number: signal.Signals) -> None:
    code = (
        "import time; from agents.embedded import Embedded; e = Embedded().start(); "
        "print(*[c.process.pid for c in e.children], flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ})
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    assert all(gone(pid) for pid in children)


def test_stopping_leaves_no_process() -> None:
    with Embedded() as embedded:
        pids = [child.process.pid for child in embedded.children]
    assert all(gone(pid) for pid in pids)
