"""How large topics are on a real broker's disk, which is what StateTopicNotCompacted looks at."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaProducer

from agents import topics
from agents.real_kafka import RealKafka
from agents.topic_sizes import TopicSizes
from config.settings import Settings
from config.topics import STATE, TOPICS
from tests.integration.cluster import delete_topics

pytestmark = pytest.mark.kafka

WRITTEN = 200_000


async def write(settings: Settings) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(STATE.name, bytes(WRITTEN), key=b"C", partition=0)
    finally:
        await producer.stop()


def test_what_is_written_is_on_the_disk(kafka: RealKafka) -> None:
    settings = Settings(broker_kind="kafka", bootstrap=kafka.bootstrap)
    topics.apply(settings)
    try:
        sizes = TopicSizes(settings)
        deadline = time.monotonic() + 20
        while sizes.bytes_of.keys() != {topic.name for topic in TOPICS}:  # their folders are made one after the other
            assert time.monotonic() < deadline, sizes.bytes_of
            sizes.ask()
        before = sizes.bytes_of[STATE.name]
        asyncio.run(write(settings))
        sizes.ask()
        assert WRITTEN <= sizes.bytes_of[STATE.name] - before < WRITTEN * 2
    finally:
        delete_topics(settings, {topic.name for topic in TOPICS})
