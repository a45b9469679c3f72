"""A worker that hangs ends by its watchdog with 75, its supervisor starts it again, and nothing is lost or done twice."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from agents import exits
from cli.processes import Child, ProcessTree
from config.topics import ALERTS
from tests.integration.cluster import ROOT, Cluster, at_work, produce, read, until_committed
from tests.integration.test_kills import deduplicated, id_of_alert
from tests.kafka.hanging_machine import HANG

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

CODE = b"C" + b"1" * 26
STALL_S = 8.0
PATIENCE_S = 150.0
"""For the new process, which may be slow to start on a busy machine."""


def ended(tree: ProcessTree, child: Child) -> int | None:
    tree.watch()
    return child.exit_code


def pid_of(tree: ProcessTree, child: Child) -> int | None:
    tree.watch()
    return None if child.process is None else child.process.pid


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_machine_that_hangs_ends_its_process(size: str, tmp_path: Path) -> None:
    """A small batch is applied in the event loop, which hangs with it; a large one in a thread, and the loop goes on."""
    lines = [(0, CODE, b'{"code":"%s","add":%d}' % (CODE, number), None) for number in range(10)]
    hang = b'{"code":"%s","add":-1}' % CODE + b" " * (100_000 if size == "large" else 0)
    with Cluster.make(partitions=2, stall_s=STALL_S, session_timeout_s=3.0, checkpoint_s=0.2) as cluster:
        said: list[str] = []
        tree = ProcessTree(tmp_path, said.append, frozenset({exits.CONFIG}))
        once = tmp_path / "hung"
        environment = {
            **os.environ, **cluster.settings.environment(), "PRICELINK_INSTANCE": "w", "PYTHONPATH": str(ROOT), HANG: str(once),
        }  # fmt: skip
        source = (
            "import sys; from agents.worker import run; from config.settings import settings; "
            "from tests.kafka.hanging_machine import HangingMachine; sys.exit(run(settings(), HangingMachine))"
        )
        worker = tree.start("worker", [sys.executable, "-c", source], environment, stage=0)

        async def scene() -> None:
            await at_work(cluster, "w")
            assert worker.process is not None
            first = worker.process.pid
            await produce(cluster.settings, lines)
            await produce(cluster.settings, [(0, CODE, hang, None), *lines])
            deadline = time.monotonic() + STALL_S * 3 + 10
            while (code := ended(tree, worker)) is None:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            assert once.exists()  # it really hung
            assert code == exits.STALLED == 75
            assert any("exit code 75" in each and "starting it again" in each for each in said), said
            while (pid := pid_of(tree, worker)) is None:  # noqa: ASYNC110  it is another process that is waited for
                await asyncio.sleep(0.1)
            assert pid != first
            total = 2 * len(lines) + 1
            await until_committed(cluster.settings, {0: total, 1: 0}, PATIENCE_S)
            alerts = await read(cluster.settings, ALERTS.name, {0: total})
            assert len(deduplicated(alerts[0], id_of_alert)[CODE]) == total

        try:
            asyncio.run(scene())
        finally:
            tree.stop()
        assert worker.exit_code == exits.STALLED
