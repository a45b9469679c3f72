"""Creates the topics of ``config.topics``, and tells what is different where they exist."""

from dataclasses import dataclass
from typing import Any

import kafka.errors
from kafka.admin import KafkaAdminClient, NewTopic

from config.settings import Settings
from config.topics import TOPICS, Topic


@dataclass(frozen=True, slots=True)
class Applied:
    """What ``apply`` found or did: ``partitions`` is what the topic has now."""

    topic: str
    created: bool
    partitions: int


class WrongPartitions(RuntimeError):
    """A topic exists with another number of partitions: records of a code would lose their order."""


def apply(settings: Settings) -> list[Applied]:
    """Creates the topics that are missing; raises ``WrongPartitions`` where one has another partition count."""
    admin = _admin(settings)
    try:
        existing = _existing(admin)
        applied = []
        for topic in TOPICS:
            created = topic.name not in existing and _create(admin, topic, settings)
            applied.append(Applied(topic.name, created, existing.get(topic.name, settings.partitions)))
    finally:
        admin.close()
    wrong = [found for found in applied if found.partitions != settings.partitions]
    if wrong:
        names = ", ".join(f"{found.topic} has {found.partitions}" for found in wrong)
        raise WrongPartitions(f"{settings.partitions} partitions are configured, but {names}")
    return applied


def _admin(settings: Settings) -> Any:
    return KafkaAdminClient(
        bootstrap_servers=settings.bootstrap.split(","), client_id="pricelink-topics", **settings.security
    )


def _existing(admin: Any) -> dict[str, int]:
    wanted = {topic.name for topic in TOPICS}
    return {
        found["name"]: len(found["partitions"])
        for found in admin.describe_topics()
        if found["name"] in wanted and not found.get("error_code")
    }


def _create(admin: Any, topic: Topic, settings: Settings) -> bool:
    new = NewTopic(topic.name, settings.partitions, settings.replication, topic_configs=topic.config)
    try:
        admin.create_topics([new])
    except kafka.errors.TopicAlreadyExistsError:
        return False  # somebody else was quicker; its partition count is checked at the next start
    return True
