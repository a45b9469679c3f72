"""Workers come and go, one to four and back, while records flow: no event is lost, and none comes twice."""

import asyncio
import json
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.cluster import REAL, Cluster, at_work
from tests.integration.cluster import stop as stop_worker
from tests.kafka.flow import Flow, Progress
from tests.kafka.judge import judge
from tests.kafka.price_log import Shape, price_log

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

COUNTS = (2, 3, 4, 3, 2, 1, 2, 3, 4, 3, 4, 3, 2, 1, 2)
"""How many workers there are after each of the fifteen changes; one before the first."""
DRAIN_S = 5.0
RATE = 300.0
SHAPE = Shape()


def test_fifteen_changes_of_one_to_four_workers_lose_and_repeat_nothing(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with Cluster.make(partitions=SHAPE.partitions, session_timeout_s=3.0) as cluster:
        drains: list[float] = []

        async def scene() -> None:
            workers: dict[str, subprocess.Popen[bytes]] = {"w0": cluster.start_worker(REAL, "w0")}
            await at_work(cluster, *workers)
            async with (
                Flow(cluster.settings, price_log(seed, SHAPE), RATE) as flow,
                Progress(cluster.settings) as progress,
            ):
                for number, count in enumerate(COUNTS, 1):
                    acked = flow.acked
                    if count > len(workers):
                        name = f"w{number}"
                        workers[name] = cluster.start_worker(REAL, name)
                    else:
                        leaving = workers.pop(rng.choice(sorted(workers)))
                        code, took_s = await asyncio.to_thread(stop_worker, leaving)
                        assert code == 0
                        drains.append(took_s)
                    await at_work(cluster, *workers)
                    assert len(workers) == count
                    await asyncio.sleep(rng.uniform(0, 2))
                    assert flow.acked > acked  # it flowed meanwhile
                assert not flow.exhausted
                await progress.after(asyncio.get_running_loop().time(), 30)
                await flow.rest()
            verdict = await judge(cluster.settings, tmp_path)
            assert verdict.repeats == 0
            assert verdict.records >= SHAPE.records
            for process in workers.values():
                code, took_s = await asyncio.to_thread(stop_worker, process)
                assert code == 0
                drains.append(took_s)

        asyncio.run(scene())
        print(f"drains {sorted(round(each, 1) for each in drains)} s")
        assert max(drains) <= DRAIN_S


def test_a_static_member_comes_back_by_its_name_and_the_others_notice_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(1 << 30)
    few = Shape(records=20_000, products=4_000)
    with Cluster.make(partitions=few.partitions, session_timeout_s=20.0, static_member=True) as cluster:

        async def scene() -> None:
            workers = {name: cluster.start_worker(REAL, name) for name in ("w0", "w1")}
            await at_work(cluster, *workers)
            capfd.readouterr()
            async with (
                Flow(cluster.settings, price_log(seed, few), RATE) as flow,
                Progress(cluster.settings) as progress,
            ):
                await asyncio.sleep(1)
                workers["w0"].kill()
                assert await asyncio.to_thread(workers["w0"].wait) == -signal.SIGKILL
                killed_at = asyncio.get_running_loop().time()
                cluster.start_worker(REAL, "w0")
                await progress.after(killed_at, 15)  # of every partition, and the session lasts longer
                await flow.rest()
            assert (await judge(cluster.settings, tmp_path)).records >= flow.acked

        asyncio.run(scene())
        said = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
        restored = [line["instance"] for line in said if line["event"] == "restored"]
        assert restored == ["w0"], f"seed {seed}"
        assert not [line for line in said if line["event"] == "revoked"], f"seed {seed}"
