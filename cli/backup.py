"""`pricelink backup`: topics, and how far groups are, into a folder; see ``backup_files`` for what is in it.

Processes may run meanwhile. The order is that of what depends on what, backwards: offsets of groups, compacted topics
(the state), events, ``feeds`` last. So no state and no event in it is ahead of its feeds, and what is behind comes again with the
same ids when workers start on it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiokafka.errors
from aiokafka.structs import TopicPartition

from agents.clients import new_reader
from agents.standing import admin_of, group_offsets
from cli.backup_files import MANIFEST, BackupFault, Manifest, Part, PartWriter, Record, TopicBackup
from config.settings import Settings
from config.topics import FEEDS, SCORES_BY, TOPICS

_FETCH_BYTES: Final = 8_000_000
_AT_ONCE: Final = 20_000
_WAIT_MS: Final = 500
_PATIENCE_S: Final = 30.0

PASSING: Final = frozenset(topic.name for topic in SCORES_BY.values())
"""Topics whose messages are on their way for a week: a backup may do without them."""

OnMessages = Callable[[str, int], object]
"""Is told a topic and how many more messages of it are done."""


def in_order(names: Iterable[str]) -> list[str]:
    """Returns topics in the order in which they are read: what depends on others before these."""
    wanted = set(names)
    unknown = sorted(wanted - {topic.name for topic in TOPICS})
    if unknown:
        raise BackupFault(f"no topics of pricelink: {', '.join(unknown)}")

    def rank(name: str) -> tuple[bool, bool, str]:
        return name == FEEDS.name, not is_compacted(name), name

    return sorted(wanted, key=rank)


def is_compacted(name: str) -> bool:
    """Tells whether a topic keeps the last message of each key, so that its offsets mean nothing to anybody."""
    return next(topic.config["cleanup.policy"] for topic in TOPICS if topic.name == name) == "compact"


def backup(settings: Settings, folder: Path, names: Iterable[str], on_messages: OnMessages) -> Manifest:
    """Writes a backup, or adds to the one that is in ``folder``; raises ``BackupFault``."""
    wanted = in_order(names)
    folder.mkdir(parents=True, exist_ok=True)
    with admin_of(settings) as admin:
        cluster = str(admin.describe_cluster().get("cluster_id"))
        there = {each["name"]: each for each in admin.describe_topics() if not each.get("error_code")}
        groups = {
            group: offsets
            for group in (settings.worker_group, settings.read_model_group, settings.scorecards_group)
            if (offsets := group_offsets(admin, group))
        }
    missing = [name for name in wanted if name not in there]
    if missing:
        raise BackupFault(f"not at this broker: {', '.join(missing)}")
    before = Manifest.read(folder) if (folder / MANIFEST).exists() else None
    if before is not None and before.cluster != cluster:
        raise BackupFault(
            f"{folder} has a backup of another Kafka ({before.cluster}, not {cluster}): take a new folder"
        )
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = Manifest(made_at, cluster, len(there[wanted[-1]]["partitions"]), {}, groups)
    replaced: list[Part] = []
    for name in wanted:
        old = before.topics.get(name) if before else None
        identity = str(there[name].get("topic_id", ""))
        if old is not None and not old.compacted and old.identity != identity:
            raise BackupFault(f"{name} is not the topic that {folder} has: it was made anew since. Take a new folder")
        if old is not None and old.compacted:
            replaced += [part for parts in old.parts.values() for part in parts]
            old = None
        partitions = len(there[name]["partitions"])
        manifest.topics[name] = asyncio.run(_topic(settings, folder, name, identity, partitions, old, on_messages))
    if before is not None:
        manifest.topics |= {name: topic for name, topic in before.topics.items() if name not in manifest.topics}
    manifest.write(folder)
    kept = {part.file for topic in manifest.topics.values() for parts in topic.parts.values() for part in parts}
    for part in replaced:
        if part.file not in kept:
            (folder / part.file).unlink(missing_ok=True)
    return manifest


async def _topic(
    settings: Settings,
    folder: Path,
    name: str,
    identity: str,
    partitions: int,
    old: TopicBackup | None,
    on_messages: OnMessages,
) -> TopicBackup:
    made = TopicBackup(is_compacted(name), identity)
    reader = new_reader(settings, _FETCH_BYTES)
    await reader.start()
    try:
        for number in range(partitions):
            parts = list(old.parts.get(number, ())) if old else []
            start = parts[-1].end if parts else None
            part = await _partition(reader, folder, TopicPartition(name, number), start, on_messages)
            made.parts[number] = parts if part is None else [*parts, part]
    finally:
        await reader.stop()
    return made


async def _partition(
    reader: Any, folder: Path, place: TopicPartition, start: int | None, on_messages: OnMessages
) -> Part | None:
    """Writes what a partition has from the offset ``start`` on, or all; None if that is nothing."""
    reader.assign([place])
    end = (await reader.end_offsets([place]))[place]
    oldest = (await reader.beginning_offsets([place]))[place]
    first = oldest if start is None else start
    name = f"{place.topic}[{place.partition}]"
    if not oldest <= first <= end:
        raise BackupFault(f"{name} is from {oldest} to {end}, the backup ends at {first}: take a new folder")
    if first == end and start is not None:
        return None
    with PartWriter(folder, place.topic, place.partition, first, end) as writer:
        async for records in read_records(reader, place, first, end):
            writer.put(records)
            on_messages(place.topic, len(records))
    return writer.part


async def read_records(reader: Any, place: TopicPartition, first: int, end: int) -> AsyncIterator[list[Record]]:
    """Yields a partition's messages from ``first`` up to ``end`` in pieces; raises aiokafka's ``KafkaError``."""
    loop = asyncio.get_running_loop()
    reader.seek(place, first)
    waited_until = loop.time() + _PATIENCE_S
    while await reader.position(place) < end:
        fetched = await reader.getmany(place, timeout_ms=_WAIT_MS, max_records=_AT_ONCE)
        if found := fetched.get(place):
            waited_until = loop.time() + _PATIENCE_S
            yield [
                Record(place.partition, each.offset, each.timestamp, each.key, each.value, tuple(each.headers))
                for each in found
                if each.offset < end
            ]
        elif loop.time() > waited_until:
            raise aiokafka.errors.KafkaTimeoutError(
                f"{place.topic}[{place.partition}]: nothing for {_PATIENCE_S:.0f} s"
            )
