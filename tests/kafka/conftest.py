"""One real Kafka for all tests of this folder; the tests that bounce it leave it running."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from agents.machines import real_machines
from agents.real_kafka import KafkaUnavailable, RealKafka, jars
from agents.warm_up import warm_up
from config.settings import Settings


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compiles the kernels and gets Kafka's jars before the first test's clock runs: a new clone takes minutes for it."""
    if session.config.option.collectonly or not any(item.get_closest_marker("kafka") for item in session.items):
        return
    with contextlib.suppress(KafkaUnavailable):  # the broker's fixture says it
        jars()
    settings = Settings()
    warm_up(real_machines(settings), settings.partitions)


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
