"""Two processes of scorecards share the partitions; one that is killed is replaced by the other, and nothing counts twice."""

import asyncio
import signal
import time
from typing import Any

import pytest
import redis
from kafka.admin import KafkaAdminClient

from tests.integration.cluster import Cluster, stop
from tests.integration.test_scorecards import recount, story, until_shown, write

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOGETHER_S = 60.0


def members(cluster: Cluster) -> int:
    """How many members of the group have partitions."""
    admin = KafkaAdminClient(bootstrap_servers=cluster.settings.bootstrap.split(","))
    try:
        groups: Any = admin.describe_groups([cluster.settings.scorecards_group])
        return str(groups).count("'topic': 'alerts'")
    finally:
        admin.close()


def until_members(cluster: Cluster, wanted: int) -> None:
    deadline = time.monotonic() + _TOGETHER_S
    while (found := members(cluster)) != wanted:
        assert time.monotonic() < deadline, f"{found} members have alerts, not {wanted}"
        time.sleep(0.3)


def test_two_processes_share_the_work_and_one_takes_over_when_the_other_is_killed() -> None:
    made = story(7, 3_000)
    with Cluster.make(partitions=4, session_timeout_s=3.0) as cluster:
        client = redis.Redis.from_url(cluster.settings.redis_url)
        first = cluster.start_process("agents.scorecards", "s0")
        asyncio.run(write(cluster, made[:1_000]))
        until_shown(client, recount(made[:1_000]))
        second = cluster.start_process("agents.scorecards", "s1")
        until_members(cluster, 2)
        asyncio.run(write(cluster, made[1_000:2_000]))
        until_shown(client, recount(made[:2_000]))
        asyncio.run(write(cluster, made[2_000:2_500]))
        first.kill()
        assert first.wait() == -signal.SIGKILL
        asyncio.run(write(cluster, made[2_500:]))
        until_members(cluster, 1)
        until_shown(client, recount(made))
        assert stop(second)[0] == 0
