"""Each code's saved row in Redis: what the state topic has, through kills of the copier and a flush of Redis."""

import asyncio
import signal
import time
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaProducer

from agents.listings import CHECKPOINTS, ROWS, position_of
from config.topics import STATE
from streams.checkpoint import ROW_VERSION
from streams.layout import CODE
from streams.partition_row import PARTITION_KEY
from tests.integration.cluster import Cluster, stop

pytestmark = pytest.mark.integration

CODES, ROUNDS = 60, 4
_OFFSET_AT = 1 + dict(CODE.fields or {})["applied_offset"][1]
_LENGTH = 200


def row(offset: int) -> bytes:
    """A row that is applied up to an offset; what else it says does not matter to the copier."""
    made = bytearray(_LENGTH)
    made[0] = ROW_VERSION
    made[_OFFSET_AT : _OFFSET_AT + 8] = offset.to_bytes(8, "little")
    return bytes(made)


def rounds(partition: int) -> list[list[tuple[bytes, bytes | None]]]:
    """What a worker writes of its partition: newer rows each round, an older one of a worker that lost it, rows beside."""
    codes = [f"C{number:026}".encode() for number in range(CODES) if number % 4 == partition]
    made: list[list[tuple[bytes, bytes | None]]] = []
    for turn in range(1, ROUNDS + 1):
        wave: list[tuple[bytes, bytes | None]] = [(code, row(turn * 100 + place)) for place, code in enumerate(codes)]
        wave += [
            (codes[0], row(turn * 100 - 90)),
            (codes[1] + b"/1", b"supply"),
            (PARTITION_KEY, b"p%d-%d" % (partition, turn)),
        ]
        made.append(wave)
    return made


def wanted() -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    rows: dict[bytes, bytes] = {}
    for partition in range(4):
        for wave in rounds(partition):
            for key, value in wave:
                if b"/" in key or key == PARTITION_KEY or value is None:
                    continue
                if key not in rows or position_of(value) >= position_of(rows[key]):
                    rows[key] = value
    return rows, {b"%d" % partition: b"p%d-%d" % (partition, ROUNDS) for partition in range(4)}


async def until(client: Any, expected: tuple[dict[bytes, bytes], dict[bytes, bytes]]) -> None:
    deadline = time.monotonic() + 60
    while (client.hgetall(ROWS), client.hgetall(CHECKPOINTS)) != expected:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def test_rows_are_what_the_state_topic_has_through_kills_and_a_flush() -> None:
    async def run(cluster: Cluster, client: Any) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=cluster.settings.bootstrap)
        await producer.start()
        copier = cluster.start_process("agents.listings", "l")
        for turn in range(ROUNDS):
            for partition in range(4):
                for key, value in rounds(partition)[turn]:
                    await producer.send(STATE.name, value, key=key, partition=partition)
            await producer.flush()
            if turn in (0, 1):
                deadline = time.monotonic() + 60
                while len(client.hgetall(CHECKPOINTS)) < 4:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
                copier.kill()
                assert copier.wait() == -signal.SIGKILL
                copier = cluster.start_process("agents.listings", "l")
        await producer.stop()
        await until(client, wanted())
        client.flushall()
        assert not client.hgetall(ROWS)
        await until(client, wanted())
        assert stop(copier)[0] == 0

    with Cluster.make() as cluster:
        client = redis.Redis.from_url(cluster.settings.redis_url)
        asyncio.run(asyncio.wait_for(run(cluster, client), 200))
        client.close()
