"""Who may do what in Kafka, declared once: roles and their rights. ``agents.acls`` applies them.

Nothing that is not here is allowed: a broker with an authorizer refuses whatever no ACL permits.
"""

from dataclasses import dataclass
from typing import Final, Literal

from config import topics
from config.settings import Settings
from config.topics import EVENTS_PREFIX, Topic

Operation = Literal["READ", "WRITE", "CREATE", "DESCRIBE"]
"""Kafka's. Who may read or write may also describe."""

GROUPS: Final = ("worker_group", "read_model_group", "scorecards_group", "copier_group")
"""Settings that name our processes' groups."""


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on a topic, a group or the cluster.

    ``name`` may have fields: ``{principal}``, and the settings' names of groups. ``prefixed``: all names that begin so.
    """

    resource: Literal["TOPIC", "GROUP", "CLUSTER"]
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False

    def of(self, principal: str, settings: Settings) -> "Right":
        """Returns it with the name's fields filled in."""
        groups = {name: getattr(settings, name) for name in GROUPS}
        return Right(self.resource, self.name.format(principal=principal, **groups), self.operations, self.prefixed)


def _reads(*read: Topic) -> tuple[Right, ...]:
    return tuple(Right("TOPIC", topic.name, ("READ",)) for topic in read)


def _writes(*written: Topic) -> tuple[Right, ...]:
    return tuple(Right("TOPIC", topic.name, ("WRITE",)) for topic in written)


def _keeps(*kept: Topic) -> tuple[Right, ...]:
    return tuple(Right("TOPIC", topic.name, ("READ", "WRITE")) for topic in kept)


def _joins(group: str) -> tuple[Right, ...]:
    return (Right("GROUP", group, ("READ",)),)


_OWN_GROUPS: Final = (Right("GROUP", "{principal}-", ("READ",), prefixed=True),)

PROCESSES: Final[dict[str, tuple[Right, ...]]] = {
    "worker": (
        *_reads(topics.FEEDS),
        *_keeps(topics.STATE),
        *_writes(topics.ALERTS, topics.PRICE_CHANGES, topics.DEAD_LETTERS),
        *_joins("{worker_group}"),
    ),
    "clock": _writes(topics.FEEDS),
    "read-model": (*_reads(topics.ALERTS, topics.PRICE_CHANGES), *_joins("{read_model_group}")),
    # It measures the topics, too: their sizes are told to who may describe the cluster and them.
    "listings": (
        *_reads(topics.STATE),
        *(Right("TOPIC", topic.name, ("DESCRIBE",)) for topic in topics.TOPICS if topic is not topics.STATE),
        Right("CLUSTER", "kafka-cluster", ("DESCRIBE",)),
    ),
    "scorecards": (
        *_reads(topics.ALERTS, topics.FEEDS),
        *_keeps(*topics.SCORES_BY.values(), *topics.SCORE_ROWS.values(), topics.INSPECTIONS),
        *_writes(topics.SCORECARDS),
        *_joins("{scorecards_group}"),
    ),
    "silence": (*_reads(topics.FEEDS), *_keeps(topics.SILENCE), *_writes(topics.ALERTS)),
    "gateway": (
        *_reads(topics.ALERTS, topics.PRICE_CHANGES, topics.KEYS),
        *_keeps(topics.FEEDS, topics.WEBHOOKS),
        *_writes(topics.DEAD_LETTERS),
    ),
    "notifier": (*_reads(topics.ALERTS, topics.PRICE_CHANGES, topics.WEBHOOKS), *_keeps(topics.DELIVERIES)),
    "copier": (
        *_reads(topics.ALERTS, topics.PRICE_CHANGES),
        Right("TOPIC", EVENTS_PREFIX, ("WRITE",), prefixed=True),
        *_joins("{copier_group}"),
    ),
}
"""Roles of our processes; the principal of each is ``pricelink-`` and the role, unless told otherwise."""

PEOPLE: Final[dict[str, tuple[Right, ...]]] = {
    # The command line: topics, keys, status, feed, dumps. ACLs and passwords are the super user's alone.
    "operator": (
        Right("CLUSTER", "kafka-cluster", ("CREATE", "DESCRIBE")),
        *(Right("TOPIC", topic.name, ("READ",)) for topic in topics.TOPICS if topic not in {topics.FEEDS, topics.KEYS}),
        *_keeps(topics.FEEDS, topics.KEYS),
        Right("GROUP", "{worker_group}", ("DESCRIBE",)),
    ),
    # A producer of its own. Kafka knows no provinces within a topic: see docs/security.md before granting it.
    "province": _writes(topics.FEEDS),
    "supplier": (Right("TOPIC", EVENTS_PREFIX + "{principal}", ("READ",)), *_OWN_GROUPS),
    "observer": (*_reads(topics.ALERTS, topics.PRICE_CHANGES), *_OWN_GROUPS),
    "market": (*_writes(topics.FEEDS), *_reads(topics.ALERTS)),
}
"""Roles of whoever else has a principal; each is granted by name."""

ROLES: Final = PROCESSES | PEOPLE
