"""Logs read from a broker: whole topics to their ends, single positions, and what is said where there is none."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer

from agents.embedded import free_port, start_broker
from agents.topics import apply
from cli.kafka_log import partitions_of, read_positions, read_topic
from cli.log_file import LogFault, Message
from config.settings import Settings

pytestmark = pytest.mark.integration

PARTITIONS = 3


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    broker = start_broker()
    address = f"127.0.0.1:{broker.port}"
    apply(Settings(broker_kind="embedded", bootstrap=address, partitions=PARTITIONS))
    asyncio.run(fill(address))
    yield address
    broker.stop()


async def fill(address: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    for number in range(500):
        await producer.send_and_wait("feeds", b"%d" % number, partition=number % 2)  # nothing in the last one
    await producer.stop()


def in_order(messages: list[Message], partition: int) -> list[bytes]:
    return [message.value for message in messages if message.partition == partition]


def test_a_topic_is_read_to_its_end(bootstrap: str) -> None:
    messages = list(read_topic(bootstrap, "feeds"))
    assert in_order(messages, 0) == [b"%d" % number for number in range(0, 500, 2)]
    assert in_order(messages, 1) == [b"%d" % number for number in range(1, 500, 2)]
    assert in_order(messages, 2) == []
    assert [message.offset for message in messages if message.partition == 1] == list(range(250))
    assert all(message.broker_ts_ms > 0 for message in messages)


def test_single_partitions_are_read(bootstrap: str) -> None:
    assert {message.partition for message in read_topic(bootstrap, "feeds", [1])} == {1}
    assert list(read_topic(bootstrap, "feeds", [2])) == []


def test_positions_are_read_and_what_is_not_there_is_left_out(bootstrap: str) -> None:
    found = read_positions(bootstrap, "feeds", [(0, 7), (1, 0), (0, 3)])
    assert {place: message.value for place, message in found.items()} == {(0, 7): b"14", (1, 0): b"1", (0, 3): b"6"}


def test_partitions_are_counted(bootstrap: str) -> None:
    assert partitions_of(bootstrap, "feeds") == PARTITIONS


def test_a_topic_that_is_not_there_is_said(bootstrap: str) -> None:
    with pytest.raises(LogFault, match="there is no topic nothing"):
        partitions_of(bootstrap, "nothing")


def test_a_broker_that_is_not_there_is_said() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(LogFault, match=f"no Kafka answers at {address}"):
        list(read_topic(address, "feeds"))
