"""Where the partitions of a topic begin and end, how far a group is, and whether anybody is in it: asked of the broker."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic, OffsetSpec
from kafka.errors import GroupIdNotFoundError

from config.settings import Settings
from config.topics import Topic

_GONE_S: Final = 60.0
_READY_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition. ``first``: offset of its oldest message; ``end``: behind its last; ``committed``: None if never."""

    first: int
    end: int
    committed: int | None


@contextmanager
def admin_of(settings: Settings) -> Iterator[Any]:
    """Gives kafka-python's admin client; raises its ``KafkaError`` where no broker answers."""
    admin = KafkaAdminClient(
        bootstrap_servers=settings.bootstrap.split(","), client_id="pricelink-admin", **settings.security
    )
    try:
        yield admin
    finally:
        admin.close()


def partition_counts(admin: Any) -> dict[str, int]:
    """Returns how many partitions each topic has."""
    return {each["name"]: len(each["partitions"]) for each in admin.describe_topics() if not each.get("error_code")}


def identity_of(admin: Any, topic: str) -> str:
    """Returns the broker's own id of a topic, which another topic of the same name does not get; empty if there is none."""
    found = [each for each in admin.describe_topics([topic]) if not each.get("error_code")]
    return str(found[0].get("topic_id", "")) if found else ""


def standings(admin: Any, topic: str, group: str | None) -> dict[int, Standing]:
    """Returns the standing of each partition of a topic; of none, if there is no such topic."""
    places = [TopicPartition(topic, number) for number in range(partition_counts(admin).get(topic, 0))]
    if not places:
        return {}
    firsts = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
    ends = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
    committed = group_offsets(admin, group).get(topic, {}) if group else {}
    return {
        place.partition: Standing(
            int(firsts[place].offset), int(ends[place].offset), committed.get(place.partition)
        )
        for place in places
    }  # fmt: skip


def group_offsets(admin: Any, group: str) -> dict[str, dict[int, int]]:
    """Returns what a group has committed, by topic and partition."""
    offsets: dict[str, dict[int, int]] = {}
    for place, found in admin.list_group_offsets({group: None}).get(group, {}).items():
        if found.offset >= 0:
            offsets.setdefault(place.topic, {})[place.partition] = int(found.offset)
    return offsets


def members(admin: Any, group: str) -> list[str]:
    """Returns who is in a group now."""
    try:
        found = admin.describe_groups([group]).get(group, {})
    except GroupIdNotFoundError:
        return []
    return [str(member.get("client_id", member.get("member_id", "?"))) for member in found.get("members") or ()]


def create_topic(admin: Any, topic: Topic, partitions: int, replication: int) -> None:
    """Makes a topic, and waits until its partitions have leaders."""
    admin.create_topics([NewTopic(topic.name, partitions, replication, topic_configs=topic.config)])
    admin.wait_for_topics([topic.name], timeout_ms=_READY_MS)


def delete_topics(admin: Any, names: list[str]) -> None:
    """Deletes topics that are there, and waits until they are gone; raises TimeoutError if they stay."""
    there = sorted(set(names) & set(admin.list_topics()))
    if not there:
        return
    admin.delete_topics(there)
    deadline = time.monotonic() + _GONE_S
    while left := set(there) & set(admin.list_topics()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{', '.join(sorted(left))} cannot be deleted: is delete.topic.enable off?")
        time.sleep(0.1)
