"""The topics, declared once; ``agents.topics`` creates them."""

from dataclasses import dataclass, field
from typing import Final

_DAY_MS: Final = 86_400_000
_LARGEST_MESSAGE: Final = 4_194_304
"""A feed message packs many lines, a dead letter is a whole line however long."""


@dataclass(frozen=True, slots=True, eq=False)
class Topic:
    """A topic and the broker settings it needs. Every topic has as many partitions as ``feeds``."""

    name: str
    about: str
    config: dict[str, str] = field(default_factory=dict)


FEEDS: Final = Topic(
    "feeds",
    "records of the provinces, keyed by code; the log that everything else is a function of",
    {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(_LARGEST_MESSAGE),
    },
)
ALERTS: Final = Topic(
    "alerts",
    "alert events, keyed by code, CloudEvents in binary mode",
    {"cleanup.policy": "delete", "retention.ms": str(400 * _DAY_MS), "max.message.bytes": str(_LARGEST_MESSAGE)},
)
PRICE_CHANGES: Final = Topic(
    "price-changes",
    "changes of the national lowest price, keyed by code",
    {"cleanup.policy": "delete", "retention.ms": str(400 * _DAY_MS), "max.message.bytes": str(_LARGEST_MESSAGE)},
)
DEAD_LETTERS: Final = Topic(
    "feeds.dead-letter",
    "lines that are no valid records: their original bytes, and why in the headers",
    {"cleanup.policy": "delete", "retention.ms": str(30 * _DAY_MS), "max.message.bytes": str(_LARGEST_MESSAGE)},
)
STATE: Final = Topic(
    "pricelink.state",
    "rows of the machine's tables, co-partitioned with feeds; read to the end at every assignment",
    {
        "cleanup.policy": "compact",
        # A worker that lost its partition without knowing may still write rows, older than the new owner's. Until
        # compaction both are there, and restore takes the one applied furthest. So compaction waits.
        "min.compaction.lag.ms": "600000",
        "min.cleanable.dirty.ratio": "0.3",
        "segment.ms": "3600000",
        # Only closed segments are compacted, and all that is left is read at each assignment.
        "segment.bytes": str(128 << 20),
        "max.message.bytes": str(_LARGEST_MESSAGE),
    },
)
_COMPACTED: Final = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.3",
    "segment.ms": "3600000",
    "max.message.bytes": str(_LARGEST_MESSAGE),
}
_PASSING: Final = {
    "cleanup.policy": "delete",
    "retention.ms": str(7 * _DAY_MS),
    "max.message.bytes": str(_LARGEST_MESSAGE),
}

SCORECARDS: Final = Topic("scorecards", "the latest card of each supplier, institution and province", _COMPACTED)
SCORES_BY: Final = {
    owner: Topic(f"scorecards.by-{owner}", f"alert events keyed by {owner}, on their way to the scorecards", _PASSING)
    for owner in ("province", "supplier", "institution")
}
SCORE_ROWS: Final = {
    owner: Topic(f"scorecards.{owner}-rows", f"changelog of the scorecards' table by {owner}", _COMPACTED)
    for owner in ("province", "supplier", "institution")
}
INSPECTIONS: Final = Topic(
    "inspections",
    "the daily list of where a random re-inspection may look, keyed by date",
    {"cleanup.policy": "delete", "retention.ms": str(400 * _DAY_MS), "max.message.bytes": str(_LARGEST_MESSAGE)},
)
SILENCE: Final = Topic("silence", "what was decided about each province's silence, keyed by province", _COMPACTED)

KEYS: Final = Topic(
    "pricelink.keys",
    "API keys, hashed, by their id; every gateway reads it whole and follows it",
    {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.3", "segment.ms": str(_DAY_MS)},
)

WEBHOOKS: Final = Topic(
    "pricelink.webhooks",
    "webhook endpoints with their secrets, by their id; gateways and the notifier read it whole and follow it",
    {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.3", "segment.ms": str(_DAY_MS)},
)
DELIVERIES: Final = Topic(
    "pricelink.deliveries",
    "how far each webhook endpoint is, and which events are still on their way to it; the notifier's own",
    {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": "600000"},
)

EVENTS_PREFIX: Final = "events."


def events_of(principal: str) -> Topic:
    """Returns the topic of a supplier that reads Kafka itself: its own events, as they are in the two topics."""
    return Topic(EVENTS_PREFIX + principal, "one supplier's own events, copied", ALERTS.config)


TOPICS: Final = (
    FEEDS, ALERTS, PRICE_CHANGES, DEAD_LETTERS, STATE, KEYS, WEBHOOKS, DELIVERIES, SCORECARDS, *SCORES_BY.values(), *SCORE_ROWS.values(),
    SILENCE, INSPECTIONS,
)  # fmt: skip
