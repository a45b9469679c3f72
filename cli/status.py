"""`pricelink status`: the workers, the partitions and who has them, lag, checkpoints, versions; and what is wrong with it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import kafka.errors
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from redis import Redis
from redis.exceptions import RedisError
from rich.table import Table

from agents.status import PREFIX
from config.settings import Settings
from config.topics import FEEDS, TOPICS

_ANSWER_MS = 5_000
_STALE_CHECKPOINT_S = 60.0
"""A checkpoint that is older, while records wait, is no longer being written."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found; ``None`` where Redis or the broker did not answer, and ``faults`` says so.

    ``workers``: by instance, as each says of itself; ``ends`` and ``committed``: offsets of feeds by partition, the
    second those of the workers' group; ``missing``: topics that are not there.
    """

    workers: Mapping[str, Mapping[str, Any]] | None
    ends: Mapping[int, int] | None
    committed: Mapping[int, int]
    brokers: tuple[str, ...]
    missing: tuple[str, ...]
    faults: tuple[str, ...]


def look(settings: Settings) -> Found:
    """Asks Redis for the workers and the broker for offsets; neither being away is a fault of this command."""
    faults: list[str] = []
    workers = None
    try:
        with Redis.from_url(settings.redis_url, socket_timeout=3, socket_connect_timeout=3) as client:
            keys = sorted(client.scan_iter(match=f"{PREFIX}*", count=1_000))
            values = client.mget(keys) if keys else []
            workers = {
                key.decode().removeprefix(PREFIX): json.loads(value)
                for key, value in zip(keys, values, strict=True)  # type: ignore[arg-type, unused-ignore]
                if value is not None
            }
    except (RedisError, OSError) as fault:
        faults.append(f"Redis does not answer, so workers are not known: {fault}")
    try:
        ends, committed, brokers, missing = _broker(settings)
    except (kafka.errors.KafkaError, OSError) as fault:
        faults.append(f"no Kafka answers at {settings.bootstrap}: {fault}")
        return Found(workers, None, {}, (), (), tuple(faults))
    return Found(workers, ends, committed, brokers, missing, tuple(faults))


def _broker(settings: Settings) -> tuple[dict[int, int], dict[int, int], tuple[str, ...], tuple[str, ...]]:
    admin = KafkaAdminClient(
        bootstrap_servers=settings.bootstrap.split(","), client_id="pricelink-status",
        bootstrap_timeout_ms=_ANSWER_MS, request_timeout_ms=_ANSWER_MS, **settings.security,
    )  # fmt: skip
    try:
        brokers = tuple(f"{each['host']}:{each['port']}" for each in admin.describe_cluster()["brokers"])
        there = {
            each["name"]: len(each["partitions"]) for each in admin.describe_topics() if not each.get("error_code")
        }
        missing = tuple(topic.name for topic in TOPICS if topic.name not in there)
        places = [TopicPartition(FEEDS.name, number) for number in range(there.get(FEEDS.name, 0))]
        latest = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST)) if places else {}
        of_group = admin.list_group_offsets({settings.worker_group: None}).get(settings.worker_group, {})
    finally:
        admin.close()
    ends = {place.partition: int(found.offset) for place, found in latest.items()}
    committed = {place.partition: int(found.offset) for place, found in of_group.items() if place.topic == FEEDS.name}
    return ends, committed, brokers, missing


def problems(found: Found) -> Iterator[str]:
    """Yields what an operator should look at, in words."""
    yield from found.faults
    if found.missing:
        yield f"topics are missing: {', '.join(found.missing)}: `pricelink topics apply` makes them"
    if found.workers is None:
        return
    if not found.workers:
        yield "no worker says that it is alive"
    owners = owners_of(found.workers)
    for number in sorted(found.ends or ()):
        if found.workers and number not in owners:
            yield f"partition {number} has no worker"
        elif len(owners.get(number, ())) > 1:
            yield f"partition {number} is claimed by {', '.join(owners[number])}"
    for name, worker in found.workers.items():
        if worker["lag_records"] and worker["checkpoint_age_s"] > _STALE_CHECKPOINT_S:
            yield f"{name} wrote no checkpoint for {worker['checkpoint_age_s']:.0f} s while records wait"
    for what in ("version", "policy_version"):
        versions = {str(worker[what]) for worker in found.workers.values() if worker[what] is not None}
        if len(versions) > 1:
            yield f"workers differ in {what}: {', '.join(sorted(versions))}"


def owners_of(workers: Mapping[str, Mapping[str, Any]]) -> dict[int, list[str]]:
    """Returns the workers that say they have each partition."""
    owners: dict[int, list[str]] = {}
    for name, worker in workers.items():
        for number in worker["partitions"]:
            owners.setdefault(number, []).append(name)
    return owners


def tables(found: Found) -> Iterator[Table]:
    """Yields the tables to print."""
    if found.workers is not None:
        table = Table("worker", "version", "policy", "partitions", "records/s", "lag", "lag s", "checkpoint s", "records",
                      "dead letters", title="Workers")  # fmt: skip
        for name, worker in found.workers.items():
            table.add_row(
                name, worker["version"], worker["policy_version"] or "", ", ".join(map(str, worker["partitions"])),
                f"{worker['records_per_s']:,.0f}", f"{worker['lag_records']:,}", f"{worker['lag_seconds']:.1f}",
                f"{worker['checkpoint_age_s']:.1f}", f"{worker['records_total']:,}", f"{worker['dead_letters_total']:,}",
            )  # fmt: skip
        yield table
    if found.ends is not None:
        owners = owners_of(found.workers or {})
        table = Table(
            "partition",
            "end",
            "checkpoint",
            "not in one yet",
            "worker",
            title=f"{FEEDS.name} at {', '.join(found.brokers)}",
        )
        for number, end in sorted(found.ends.items()):
            done = found.committed.get(number)
            table.add_row(
                str(number), f"{end:,}", "none" if done is None else f"{done:,}", f"{max(0, end - (done or 0)):,}",
                ", ".join(owners.get(number, ())) or "none",
            )  # fmt: skip
        yield table
