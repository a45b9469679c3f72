"""How many bytes each topic has on the brokers' disks, asked for seldom, in a thread: a Prometheus collector."""

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import structlog
from kafka.admin import KafkaAdminClient
from prometheus_client.core import GaugeMetricFamily, Metric

from config.settings import Settings
from config.topics import TOPICS

EVERY_S: Final = 30.0

_log = structlog.get_logger("topic-sizes")


class TopicSizes:
    """``bytes_of``: by topic, all replicas together; empty while unknown, which it stays where the broker does not tell."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = threading.Event()
        self._warned = False
        self.bytes_of: dict[str, int] = {}

    def start(self) -> None:
        """Starts asking, in a thread that does not keep the process alive. The embedded broker has no disk to ask for."""
        if not self._settings.embedded:
            threading.Thread(target=self._ask_on, name="topic-sizes", daemon=True).start()

    def stop(self) -> None:
        """Stops asking."""
        self._stopped.set()

    def _ask_on(self) -> None:
        while not self._stopped.is_set():
            try:
                self.ask()
                self._warned = False
            except Exception as fault:  # noqa: BLE001  a view: whatever is wrong with it must not end the process
                self.bytes_of = {}
                if not self._warned:
                    _log.warning(
                        "the sizes of topics are not known: Kafka does not say; asked again twice a minute",
                        reason="sizes_unknown", fault=fault,
                    )  # fmt: skip
                    self._warned = True
            self._stopped.wait(EVERY_S)

    def ask(self) -> None:
        """Asks the brokers once; raises what kafka-python raises."""
        admin = KafkaAdminClient(
            bootstrap_servers=self._settings.bootstrap.split(","),
            client_id="pricelink-sizes",
            **self._settings.security,
        )
        try:
            self.bytes_of = sizes_of(admin.describe_log_dirs())
        finally:
            admin.close()

    def describe(self) -> list[Metric]:
        """Returns nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yields the sizes."""
        family = GaugeMetricFamily("pricelink_topic_bytes", "On the brokers' disks, all replicas", labels=["topic"])
        for topic, size in sorted(self.bytes_of.items()):
            family.add_metric([topic], size)
        yield family


def sizes_of(described: Any) -> dict[str, int]:
    """Adds up what brokers said of their log folders, for the topics that are ours."""
    ours = {topic.name for topic in TOPICS}
    sizes: Counter[str] = Counter()
    for broker in described:
        for folder in broker["log_dirs"]:
            for topic in folder["topics"]:
                if topic["name"] in ours:
                    sizes[topic["name"]] += sum(part["partition_size"] for part in topic["partitions"])
    return dict(sizes)
