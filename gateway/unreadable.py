"""What the gateway and the notifier say of a message that is none of its topic; agents.logs does for the other processes."""

import structlog

_log = structlog.get_logger("topics")


def pass_over(topic: str, partition: int, offset: int, fault: BaseException) -> None:
    """Says, and so counts, that a message of a topic of ours is not what it should be and is left out."""
    _log.warning(
        "a message is none of its topic and is passed over; whoever else writes there must not: look at the topic's ACLs",
        reason="unreadable", fault=fault, topic=topic, partition=partition, offset=offset,
    )  # fmt: skip
