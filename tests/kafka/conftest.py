"""One real Kafka for all tests of this folder; the tests that bounce it leave it running."""

import os
from collections.abc import Iterator

import pytest

from agents.real_kafka import RealKafka


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKafka]:
    """The broker. Where Java or Maven Central is missing this raises, and every test fails with what to do."""
    with RealKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(autouse=True)
def on_kafka(kafka: RealKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets ``Cluster.make`` use the broker."""
    assert kafka.alive
    assert kafka.answers(10)
    monkeypatch.setitem(os.environ, "PRICELINK_TEST_KAFKA", kafka.bootstrap)
