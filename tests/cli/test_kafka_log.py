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
def settings() -> Iterator[Settings]:
    broker = start_broker()
    found = Settings(broker_kind="embedded", bootstrap=f"127.0.0.1:{broker.port}", partitions=PARTITIONS)
    apply(found)
    asyncio.run(fill(found))
    yield found
    broker.stop()


async def fill(settings: Settings) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
    await producer.start()
    for number in range(500):
        await producer.send_and_wait("feeds", b"%d" % number, partition=number % 2)  # nothing in the last one
    await producer.stop()


def in_order(messages: list[Message], partition: int) -> list[bytes]:
    return [message.value for message in messages if message.partition == partition]


def test_a_topic_is_read_to_its_end(settings: Settings) -> None:
    messages = list(read_topic(settings, "feeds"))
    assert in_order(messages, 0) == [b"%d" % number for number in range(0, 500, 2)]
    assert in_order(messages, 1) == [b"%d" % number for number in range(1, 500, 2)]
    assert in_order(messages, 2) == []
    assert [message.offset for message in messages if message.partition == 1] == list(range(250))
    assert all(message.broker_ts_ms > 0 for message in messages)


def test_single_partitions_are_read(settings: Settings) -> None:
    assert {message.partition for message in read_topic(settings, "feeds", [1])} == {1}
    assert list(read_topic(settings, "feeds", [2])) == []


def test_positions_are_read_and_what_is_not_there_is_left_out(settings: Settings) -> None:
    found = read_positions(settings, "feeds", [(0, 7), (1, 0), (0, 3)])
    assert {place: message.value for place, message in found.items()} == {(0, 7): b"14", (1, 0): b"1", (0, 3): b"6"}


def test_partitions_are_counted(settings: Settings) -> None:
    assert partitions_of(settings, "feeds") == PARTITIONS


def test_a_topic_that_is_not_there_is_said(settings: Settings) -> None:
    with pytest.raises(LogFault, match="there is no topic nothing"):
        partitions_of(settings, "nothing")


def test_a_broker_that_is_not_there_is_said() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(LogFault, match=f"no Kafka answers at {address}"):
        list(read_topic(Settings(bootstrap=address), "feeds"))


def test_a_client_heeds_the_settings_security(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker speaks no TLS: that it is not understood shows that TLS was spoken."""
    monkeypatch.setattr("cli.kafka_log.FETCH_TIMEOUT_S", 3.0)
    secured = settings.model_copy(update={"security_protocol": "SSL"})
    with pytest.raises(LogFault, match="no Kafka answers"):
        partitions_of(secured, "feeds")
