"""Creates the topics of ``config.topics``, and tells what is different where they exist."""

import re
from dataclasses import dataclass
from typing import Any, Final

import kafka.errors
from kafka.admin import KafkaAdminClient, NewTopic

from agents.exits import ConfigFault
from config.settings import Settings
from config.topics import TOPICS, Topic, events_of
from schemas.codes import is_supplier

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
"""Of a principal; what Kafka takes in the name of a topic."""
MOST_COPIES: Final = 200
"""Suppliers with topics of their own: whoever has more of them has the gateway."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What ``apply`` found or did: ``partitions`` is what the topic has now."""

    topic: str
    created: bool
    partitions: int


class WrongPartitions(RuntimeError):
    """A topic exists with another number of partitions: records of a code would lose their order."""


def copies_of(settings: Settings) -> dict[str, str]:
    """Returns whose events go into topics of their own: principal → supplier; raises ConfigFault."""
    copies: dict[str, str] = {}
    for pair in filter(None, map(str.strip, settings.copies.split(","))):
        name, _, supplier = pair.partition("=")
        if not NAME.fullmatch(name) or not is_supplier(supplier):
            raise ConfigFault(
                f"PRICELINK_COPIES: {pair!r} is no NAME=USCC: a principal's name (letters, digits, '.', '_' and '-'), and "
                "the 18 digits and capital letters of a supplier's social credit code"
            )
        if name in copies:
            raise ConfigFault(f"PRICELINK_COPIES: {name} is there twice; a topic has one supplier's events")
        copies[name] = supplier
    if len(copies) > MOST_COPIES:
        raise ConfigFault(f"PRICELINK_COPIES: {len(copies)} suppliers, and {MOST_COPIES} are the most")
    return copies


def apply(settings: Settings) -> list[Applied]:
    """Creates the topics that are missing, those of ``copies_of`` among them; raises ConfigFault.

    Raises ``WrongPartitions`` where one of ``TOPICS`` has another partition count: a supplier's own may have.
    """
    of_suppliers = [events_of(name) for name in copies_of(settings)]
    admin = _admin(settings)
    try:
        existing = _existing(admin)
        applied = []
        for topic in (*TOPICS, *of_suppliers):
            created = topic.name not in existing and create(admin, topic, settings)
            applied.append(Applied(topic.name, created, existing.get(topic.name, settings.partitions)))
    finally:
        admin.close()
    wrong = [found for found in applied[: len(TOPICS)] if found.partitions != settings.partitions]
    if wrong:
        names = ", ".join(f"{found.topic} has {found.partitions}" for found in wrong)
        raise WrongPartitions(f"{settings.partitions} partitions are configured, but {names}")
    return applied


def _admin(settings: Settings) -> Any:
    return KafkaAdminClient(
        bootstrap_servers=settings.bootstrap.split(","), client_id="pricelink-topics", **settings.security
    )


def _existing(admin: Any) -> dict[str, int]:
    return {found["name"]: len(found["partitions"]) for found in admin.describe_topics() if not found.get("error_code")}


def create(admin: Any, topic: Topic, settings: Settings) -> bool:
    """Creates a topic; tells whether it was not there."""
    new = NewTopic(topic.name, settings.partitions, settings.replication, topic_configs=topic.config)
    try:
        admin.create_topics([new])
    except kafka.errors.TopicAlreadyExistsError:
        return False  # somebody else was quicker; its partition count is checked at the next start
    return True
