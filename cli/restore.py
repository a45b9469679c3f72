"""`pricelink restore`: a backup into empty topics, and every message compared afterwards.

Ids of events are functions of positions in ``feeds``, consumers remember offsets of ``alerts``: topics that are not compacted
get their messages at the offsets they had. What retention has taken from a topic's head is written as empty messages, which
are deleted when the rest is there; a gap amid ``feeds`` (a province's transaction) stays an empty message, which has
no lines; a gap anywhere else is refused. Broker timestamps are inputs of the machine, too (``from_future``): ``feeds`` takes them
from the messages meanwhile, and stamps again by itself afterwards.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Final

from aiokafka.structs import TopicPartition
from kafka import OffsetAndMetadata
from kafka import TopicPartition as Place
from kafka.admin import ConfigResource, ConfigResourceType

from agents.clients import new_producer, new_reader
from agents.standing import admin_of, create_topic, partition_counts, standings
from cli.backup import OnMessages, in_order, read_records
from cli.backup_files import (
    BackupFault,
    Manifest,
    Part,
    Record,
    TopicBackup,
    check_part,
    line_of,
    read_lines,
    read_part,
    record_of,
)
from config.settings import Settings
from config.topics import FEEDS, TOPICS

_FETCH_BYTES: Final = 8_000_000
_IN_FLIGHT: Final = 8
"""Batches of a partition that wait for the broker."""
_EMPTY: Final = b',"key":null,"value":null}\n'
_STAMPS: Final = "message.timestamp.type"


def restore(settings: Settings, folder: Path, names: Iterable[str] | None, on_messages: OnMessages) -> Manifest:
    """Writes a backup's topics, all or ``names``, and compares them; raises ``BackupFault``, nothing written if it can."""
    manifest = Manifest.read(folder)
    wanted = in_order(manifest.topics if names is None else names)
    if absent := [name for name in wanted if name not in manifest.topics]:
        raise BackupFault(f"{folder} has no {', '.join(absent)}")
    for name in wanted:
        look_at(folder, name, manifest.topics[name])
    with admin_of(settings) as admin:
        _make_topics(admin, settings, manifest, wanted)
        _set_stamps(admin, wanted, "CreateTime")
        try:
            asyncio.run(_write(settings, folder, manifest, wanted, on_messages))
        finally:
            _set_stamps(admin, wanted, "LogAppendTime")
        heads = {
            Place(name, number): parts[0].first
            for name in wanted
            if not manifest.topics[name].compacted
            for number, parts in manifest.topics[name].parts.items()
            if parts and parts[0].first > 0
        }
        if heads:
            admin.delete_records(heads)
        for group, offsets in manifest.groups.items():
            _set_group(admin, group, {name: places for name, places in offsets.items() if name in wanted})
    asyncio.run(_compare(settings, folder, manifest, wanted, on_messages))
    return manifest


def look_at(folder: Path, name: str, topic: TopicBackup) -> None:
    """Reads a topic's files for their checksums, and asks whether their offsets can be kept; raises ``BackupFault``."""
    for number, parts in topic.parts.items():
        for part in parts:
            check_part(folder, part)
            if part.gaps and not topic.compacted and name != FEEDS.name:
                raise BackupFault(
                    f"{name}[{number}] lacks {part.gaps} offsets amid its messages, which cannot be made again. "
                    "Restore without it: --topic"
                )
        for before, after in pairwise(parts):
            if before.end != after.first:
                raise BackupFault(f"{name}[{number}]: {after.file} does not follow on {before.file}")


def _make_topics(admin: Any, settings: Settings, manifest: Manifest, names: list[str]) -> None:
    if settings.partitions != manifest.partitions:
        raise BackupFault(f"the backup has {manifest.partitions} partitions, the settings say {settings.partitions}")
    there = partition_counts(admin)
    for name in names:
        if name not in there:
            continue
        if there[name] != manifest.partitions:
            raise BackupFault(f"{name} has {there[name]} partitions, the backup {manifest.partitions}")
        full = [number for number, at in standings(admin, name, None).items() if at.end]
        if full:
            raise BackupFault(f"{name} is not empty (partitions {full}): a backup is restored into empty topics only")
    for topic in TOPICS:
        if topic.name in names and topic.name not in there:
            create_topic(admin, topic, manifest.partitions, settings.replication)


def _set_stamps(admin: Any, names: list[str], kind: str) -> None:
    stamped = [topic.name for topic in TOPICS if topic.name in names and topic.config.get(_STAMPS) == "LogAppendTime"]
    if stamped:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {_STAMPS: kind}) for name in stamped])


def _set_group(admin: Any, group: str, offsets: Mapping[str, Mapping[int, int]]) -> None:
    places = {
        Place(name, number): OffsetAndMetadata(at, "", -1)
        for name, numbers in offsets.items()
        for number, at in numbers.items()
    }
    if places:
        admin.alter_group_offsets(group, places)


async def _write(
    settings: Settings, folder: Path, manifest: Manifest, names: list[str], on_messages: OnMessages
) -> None:
    producer = new_producer(settings)
    await producer.start()
    try:
        for name in names:
            topic = manifest.topics[name]
            for number, parts in topic.parts.items():
                records = messages_of(folder, parts)
                if not topic.compacted:
                    records = filled(records, parts[0].first if parts else 0, parts[-1].end if parts else 0)
                await _write_partition(producer, name, number, records, on_messages, keep=not topic.compacted)
    finally:
        await producer.stop()


def messages_of(folder: Path, parts: list[Part]) -> Iterator[Record]:
    """Yields the messages of a partition's files."""
    return chain.from_iterable(read_part(folder, part) for part in parts)


def filled(records: Iterable[Record], first: int, end: int) -> Iterator[Record]:
    """Yields messages from offset 0 to ``end`` without a gap: empty ones where there is none."""
    at = 0
    for record in records:
        for offset in range(at, record.offset):
            yield Record(record.partition, offset, record.broker_ts_ms, None, None)
        yield record
        at = record.offset + 1
    for offset in range(max(at, 0), max(first, end)):
        yield Record(0, offset, 0, None, None)


async def _write_partition(
    producer: Any, name: str, number: int, records: Iterator[Record], on_messages: OnMessages, *, keep: bool
) -> None:
    waiting: list[tuple[int, int, Any]] = []
    following = next(records, None)
    while following is not None:
        batch = producer.create_batch()
        first = following.offset
        while following is not None and batch.append(
            timestamp=following.broker_ts_ms, key=following.key, value=following.value, headers=list(following.headers)
        ) is not None:  # fmt: skip
            following = next(records, None)
        batch.close()
        if not batch.record_count():
            raise BackupFault(f"{name}[{number}]: the message at {first} fits into no batch")
        waiting.append((first, batch.record_count(), await producer.send_batch(batch, name, partition=number)))
        if len(waiting) >= _IN_FLIGHT or following is None:
            for wanted, _, acked in waiting:
                offset = (await acked).offset
                if keep and offset != wanted:
                    raise BackupFault(
                        f"{name}[{number}]: offset {wanted} was written to {offset}: does somebody else write?"
                    )
            on_messages(name, sum(size for _, size, _ in waiting))
            waiting.clear()


async def _compare(
    settings: Settings, folder: Path, manifest: Manifest, names: list[str], on_messages: OnMessages
) -> None:
    reader = new_reader(settings, _FETCH_BYTES)
    await reader.start()
    try:
        for name in names:
            topic = manifest.topics[name]
            for number, parts in topic.parts.items():
                place = TopicPartition(name, number)
                reader.assign([place])
                end = (await reader.end_offsets([place]))[place]
                first = (await reader.beginning_offsets([place]))[place]
                written = read_records(reader, place, first, end)
                lines = chain.from_iterable(read_lines(folder, part) for part in parts)
                await compare(lines, written, keep=not topic.compacted, done=partial(on_messages, name))
    finally:
        await reader.stop()


async def compare(
    wanted: Iterator[bytes], written: AsyncIterator[list[Record]], *, keep: bool, done: Callable[[int], object]
) -> None:
    """Compares messages with lines one by one; raises ``BackupFault`` at the first that differs. ``keep``: offsets, too.

    An empty message stands for none, or for an empty one of the backup.
    """
    if keep:
        wanted = (line for line in wanted if not _is_empty(line))
    async for records in written:
        for found in records:
            line = line_of(found)
            if keep and _is_empty(line):
                continue
            expected = next(wanted, b"")
            if not keep and expected:
                line = line_of(replace(found, offset=record_of(expected).offset))
            if line != expected:
                raise BackupFault(
                    f"partition {found.partition}: what was written at offset {found.offset} is not what the backup has"
                )
        done(len(records))
    if (missing := next(wanted, None)) is not None:
        raise BackupFault(f"not written: {missing[:200].decode(errors='replace')}")


def _is_empty(line: bytes) -> bool:
    """Tells whether a line is that of a message without key, value and headers."""
    return line.endswith(_EMPTY)
