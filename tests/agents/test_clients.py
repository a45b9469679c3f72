"""A producer keeps what it has for as long as the broker is away; where topics end is then not known."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, LeaderNotAvailableError
from aiokafka.structs import TopicPartition

from agents.clients import end_offsets, never_give_up, new_producer
from config.settings import Settings

PLACE = TopicPartition("alerts", 0)


@pytest.mark.parametrize("patient", [False, True])
def test_a_batch_waits_for_a_leader_longer_than_a_request_may_take(patient: bool) -> None:
    async def scene() -> Any:
        producer = new_producer(Settings(broker_kind="kafka", request_timeout_s=0.001))
        if patient:
            never_give_up(producer)
        producer._txn_manager.set_pid_and_epoch(1, 0)
        accumulator = producer._message_accumulator
        accumulator._cluster.leader_for_partition = lambda _place: -1  # the broker is back, and has not elected yet
        sent = await accumulator.add_message(PLACE, None, b"x", 1, timestamp_ms=None)
        await asyncio.sleep(0.01)
        accumulator.drain_by_nodes(ignore_nodes=set())
        producer._closed = True  # it was never started
        return sent.exception() if sent.done() else None

    found = asyncio.run(scene())
    assert found is None if patient else isinstance(found, LeaderNotAvailableError)


class Reader:
    """A consumer whose broker answers, refuses, or is silent."""

    def __init__(self, fault: Exception | None, *, silent: bool = False) -> None:
        self._fault = fault
        self._silent = silent

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self._silent:
            await asyncio.sleep(60)
        if self._fault is not None:
            raise self._fault
        return dict.fromkeys(places, 7)


@pytest.mark.parametrize(
    ("reader", "expected"),
    [(Reader(None), {PLACE: 7}), (Reader(KafkaTimeoutError()), None), (Reader(None, silent=True), None)],
)
def test_where_a_topic_ends_is_not_known_while_the_broker_is_away(reader: Reader, expected: Any) -> None:
    assert asyncio.run(end_offsets(reader, [PLACE], within_s=0.05)) == expected
