"""The Kafka clients that our processes share, made from the settings in one place."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

import aiokafka
import structlog
from aiokafka.errors import KafkaError

from config.settings import Settings

LARGEST_REQUEST: Final = 8_000_000
END_OFFSETS_S: Final = 5.0
_NEVER_S: Final = 1e9
_HELD_MS: Final = 500
_A_DAY_MS: Final = 86_400_000

_log = structlog.get_logger("clients")


def new_producer(settings: Settings, purpose: str | None = None) -> Any:
    """Returns an ``AIOKafkaProducer``, not yet started: acks from all replicas, idempotent where the broker can.

    Its batches are filled by hand (``create_batch``), hold up to ``batch_bytes``, and do not linger. ``purpose`` ends its
    client id, where a process has several.
    """
    return aiokafka.AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap.split(","),
        client_id="-".join(filter(None, ("pricelink", settings.instance, purpose))),
        acks="all",
        enable_idempotence=settings.idempotent,
        compression_type=settings.compression_type,
        max_batch_size=settings.batch_bytes,
        max_request_size=LARGEST_REQUEST,
        linger_ms=0,
        request_timeout_ms=int(settings.request_timeout_s * 1000),
        **settings.security,
    )


def read_options(settings: Settings) -> dict[str, Any]:
    """Returns what all our consumers have in common, but for security: they begin at the start, and commit by hand if at all."""
    return {
        "bootstrap_servers": settings.bootstrap.split(","),
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        # A province's own producer may be transactional: what it aborted was never written.
        "isolation_level": "read_committed",
        "request_timeout_ms": int(settings.request_timeout_s * 1000),
    }


def new_reader(settings: Settings, fetch_bytes: int | None = None) -> Any:
    """Returns an ``AIOKafkaConsumer`` without a group, not yet started; partitions are assigned by hand.

    ``fetch_bytes``: of one partition in one fetch, in place of the settings'.
    """
    return aiokafka.AIOKafkaConsumer(
        client_id=f"pricelink-{settings.instance}-reader",
        group_id=None,
        fetch_max_wait_ms=settings.fetch_wait_ms,
        max_partition_fetch_bytes=fetch_bytes or settings.fetch_bytes,
        **read_options(settings),
        **settings.security,
    )


def new_member(settings: Settings, group: str, topic: str, on_change: Any) -> Any:
    """Returns an ``AIOKafkaConsumer`` of a group that reads a topic, not yet started; offsets are committed by hand.

    ``on_change``: aiokafka's ``ConsumerRebalanceListener``.
    """
    member = aiokafka.AIOKafkaConsumer(
        client_id=f"pricelink-{settings.instance}-{topic}",
        group_id=group,
        # Kafka answers at once when something comes, the embedded broker when the wait is over.
        fetch_max_wait_ms=settings.fetch_wait_ms if settings.embedded else _HELD_MS,
        max_partition_fetch_bytes=settings.fetch_bytes,
        session_timeout_ms=int(settings.session_s * 1000),
        heartbeat_interval_ms=int(settings.heartbeat_s * 1000),
        # Whoever waits for Redis or the broker stays a member; that nothing goes on is the watchdog's to say.
        max_poll_interval_ms=_A_DAY_MS,
        **read_options(settings),
        **settings.security,
    )
    member.subscribe([topic], listener=on_change)
    return member


def never_give_up(producer: Any) -> None:
    """Lets a producer keep a batch until its partition has a leader again, however long the broker was away.

    aiokafka fails a batch that is older than a request may take at the moment in which the broker is back and has no
    leader yet: every worker would end just then. That nothing goes on for too long is the watchdog's to say.
    """
    accumulator: Any = getattr(producer, "_message_accumulator", None)
    if hasattr(accumulator, "_batch_ttl"):
        accumulator._batch_ttl = _NEVER_S  # noqa: SLF001  there is no public way to say it
    else:
        _log.warning(
            "aiokafka is not the one that is known: a process ends when a broker was away for long; install what uv.lock says",
            reason="unknown_client",
        )


async def end_offsets(reader: Any, places: Iterable[Any], within_s: float = END_OFFSETS_S) -> dict[Any, int] | None:
    """Asks the broker where partitions end; None if it does not answer, which is no end of the work."""
    try:
        async with asyncio.timeout(within_s):
            found: dict[Any, int] = await reader.end_offsets(list(places))
    except (KafkaError, TimeoutError):
        return None
    return found


def quieten_clients() -> None:
    """Sets the client libraries' loggers to warnings: they build every debug record, even one nobody sees.

    mode names a service's logger after the module of its class, so that some of ours are among them.
    """
    for name in (
        "aiokafka",
        "kafka",
        "faust",
        "mode",
        "asyncio",
        "agents.app",
        "agents.batch_transport",
        "agents.scorecards",
        "agents.score_tables",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
