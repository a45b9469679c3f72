"""`pricelink topics move`: a backup of n partitions into one of k·n, from file to file, and its events compared.

A code's events depend on its own records and on the partition's clock that each of them sees, which records of all codes
move. With k times as many partitions, the codes of a partition go to k new ones and to no other (both are remainders of one hash); each gets the
old one's records of its codes, its policies and its ticks, and where the old clock had moved between two of its records, a tick that
says so. So every code sees the clock that it saw, and its events have the same ids, the same bytes, the same order, but for
positions: evidence names the new log. The machine runs over both, and what differs in anything else is a fault.

Counts that are no multiple would mix clocks of several partitions: refused.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from cli.backup import is_compacted
from cli.backup_files import BackupFault, Manifest, PartWriter, Record, TopicBackup, check_part, read_part
from cli.log_file import Message, batch_of
from cli.moved_webhooks import move_progress
from config.topics import ALERTS, DEAD_LETTERS, DELIVERIES, FEEDS, INSPECTIONS, KEYS, PRICE_CHANGES, SILENCE, WEBHOOKS
from schemas.batches import Batch, Effects, Run
from schemas.codes import murmur2
from schemas.columns import OK, POLICY, TICK
from schemas.policy import Policy
from schemas.scanner import FUTURE_MS, admit, scan
from streams.machine import Machine

MOVED: Final = (ALERTS, PRICE_CHANGES, DEAD_LETTERS, KEYS, WEBHOOKS, SILENCE, INSPECTIONS)
"""Topics that go along, by their keys, or where they are without one, beside feeds. Cards are counted anew."""
_MESSAGES: Final = 5_000
_POSITIONS: Final = re.compile(rb'"evidence":\[[^\]]*\]|"position":\{[^}]*\}')

Moved = tuple[Manifest, int, list[str]]
"""The new manifest, how many events were compared, and the webhooks' endpoints that were not through."""

Digests = dict[bytes, Any]
"""By code: a hash over its events in their order, without positions."""


def place_of(key: bytes, partitions: int) -> int:
    """Returns the partition of a key, as Kafka's default partitioner has it."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@dataclass(slots=True)
class Child:
    """One of the new partitions of an old one, as it grows. ``clock_ms``: its clock behind its last line."""

    partition: int
    machine: Machine
    clock_ms: int = -1
    offset: int = 0
    lines: list[bytes] = field(default_factory=list)
    messages: list[Record] = field(default_factory=list)

    def put(self, line: bytes, at_ms: int, clock_ms: int) -> None:
        """Adds a line that the old partition's clock ``clock_ms`` came before; ``at_ms``: -1 if it is a dead letter."""
        if clock_ms > self.clock_ms:
            self.lines.append(b'{"type":"tick","at":%d}' % clock_ms)
        self.clock_ms = max(self.clock_ms, clock_ms, at_ms)
        self.lines.append(line)

    def end_message(self, key: bytes | None, broker_ts_ms: int, headers: tuple[tuple[str, bytes], ...]) -> None:
        """Makes a message of the lines there are."""
        if self.lines:
            value = b"\n".join(self.lines)
            self.messages.append(Record(self.partition, self.offset, broker_ts_ms, key, value, headers))
            self.offset += 1
            self.lines = []


class Split:
    """An old partition on its way into its new ones. ``digests``: of the old one's events and of the new ones'."""

    def __init__(self, partition: int, old: int, new: int, policy: Policy) -> None:
        self._old = Machine(partition, old, policy)
        self._new = new
        self.children = {
            number: Child(number, Machine(number, new, policy)) for number in range(partition, new, old)
        }  # fmt: skip
        self._clock_ms = -1
        self._last_ts_ms = 0
        self.events = 0
        self.digests: tuple[Digests, Digests] = ({}, {})

    def take(self, records: list[Record]) -> None:
        """Takes consecutive messages of the old partition; the children's messages are then to be fetched."""
        batch = _batch(records)
        scanned = scan(batch)
        admit(scanned.records, self._old.partition, self._old.partitions)
        effects = self._old.apply(batch)
        self.events += _digest(self.digests[0], effects)
        dead = {(letter.offset, letter.line) for letter in effects.dead_letters}
        by_offset = {record.offset: record for record in records}
        rows = scanned.records.view(np.ndarray)
        offset = None
        for row in rows:
            if int(row["offset"]) != offset:
                self._end_messages(by_offset.get(offset) if offset is not None else None)
                offset = int(row["offset"])
            valid = (offset, int(row["line"])) not in dead
            at_ms = int(row["at_ms"]) if valid else -1
            line = scanned.data[row["line_start"] : row["line_end"]].tobytes()
            for child in self._children_of(row, by_offset[offset], valid=valid):
                child.put(line, at_ms, self._clock_ms)
            self._clock_ms = max(self._clock_ms, at_ms)
        self._end_messages(by_offset.get(offset) if offset is not None else None)
        if self._clock_ms >= 0 and self._clock_ms != self._old.clock_ms:
            raise BackupFault(f"the clock of partition {self._old.partition} is not what its records say: report it")

    def _children_of(self, row: Any, record: Record, *, valid: bool) -> Iterable[Child]:
        if valid and row["type"] in (TICK, POLICY):
            return self.children.values()
        if row["reason"] == OK and row["code_length"]:
            place = (int(row["hash"]) & 0x7FFFFFFF) % self._new
        else:
            place = place_of(record.key or b"", self._new)
        # What is no record, or of no code of this partition, stays a dead letter wherever it is.
        return [self.children.get(place) or self.children[self._old.partition]]

    def _end_messages(self, record: Record | None) -> None:
        if record is None:
            return
        if self._clock_ms > record.broker_ts_ms + FUTURE_MS:
            raise BackupFault(
                f"feeds[{record.partition}] at {record.offset}: the broker's clock went back by minutes; a tick cannot say what time it was"
            )
        self._last_ts_ms = max(self._last_ts_ms, record.broker_ts_ms)
        for child in self.children.values():
            key = record.key if record.key is not None and place_of(record.key, self._new) == child.partition else None
            child.end_message(key, record.broker_ts_ms, record.headers)

    def finish(self) -> None:
        """Gives every child the last time of the old partition."""
        for child in self.children.values():
            if self._clock_ms > child.clock_ms:
                child.lines.append(b'{"type":"tick","at":%d}' % self._clock_ms)
                child.clock_ms = self._clock_ms
                child.end_message(None, self._last_ts_ms, ())

    def hand_over(self) -> Iterator[tuple[Child, list[Record]]]:
        """Yields what is new of each child, having run its machine over it."""
        for child in self.children.values():
            if child.messages:
                _digest(self.digests[1], child.machine.apply(_batch(child.messages)))
                yield child, child.messages
                child.messages = []

    def compare(self) -> None:
        """Raises ``BackupFault`` where a code's events are not the same."""
        old, new = ({code: each.digest() for code, each in side.items()} for side in self.digests)
        if different := sorted(code for code in old.keys() | new.keys() if old.get(code) != new.get(code)):
            raise BackupFault(
                f"events of {len(different)} codes of partition {self._old.partition} would differ, {different[0].decode()} among them: "
                "nothing was moved. Report it"
            )


def _batch(records: list[Record]) -> Batch:
    return batch_of([Message(each.partition, each.offset, each.broker_ts_ms, each.value or b"") for each in records])


def _digest(digests: Digests, effects: Effects) -> int:
    for run in (effects.alerts, effects.price_changes):
        _digest_run(digests, run)
    return len(effects.alerts.table) + len(effects.price_changes.table)


def _digest_run(digests: Digests, run: Run) -> None:
    for code, value in zip(run.table["code"].tolist(), run.values(), strict=True):
        digests.setdefault(code, hashlib.sha256()).update(_POSITIONS.sub(b"", value) + b"\n")


def move(
    old_folder: Path,
    folder: Path,
    partitions: int,
    policy: Policy,
    group: str,
    on_messages: Callable[[str, int], object],
) -> Moved:
    """Writes the backup ``folder`` with so many partitions.

    Raises ``BackupFault``: also where the workers' ``group`` was not through with feeds, as their events could not be told from others.
    """
    old = Manifest.read(old_folder)
    if partitions <= old.partitions or partitions % old.partitions:
        raise BackupFault(
            f"{old.partitions} partitions can become {2 * old.partitions}, {3 * old.partitions}, …, not {partitions}"
        )
    feeds = old.topics.get(FEEDS.name)
    if feeds is None:
        raise BackupFault(f"{old_folder} has no {FEEDS.name}")
    for topic in old.topics.values():
        for part in chain.from_iterable(topic.parts.values()):
            check_part(old_folder, part)
    done = old.groups.get(group, {}).get(FEEDS.name, {})
    for number, parts in feeds.parts.items():
        if parts and (parts[0].first or done.get(number, 0) != parts[-1].end):
            raise BackupFault(
                f"feeds[{number}] is from {parts[0].first} to {parts[-1].end}, workers are at {done.get(number)}: it takes all of it, with "
                "workers that are through: stop what writes, wait for `pricelink status` to show no lag, stop all, back up"
            )
    new = Manifest(old.made_at, f"{old.cluster}, moved to {partitions}", partitions)
    if folder.exists() and any(folder.iterdir()):
        raise BackupFault(f"{folder} is not empty")
    new.topics[FEEDS.name] = TopicBackup(compacted=False, identity="")
    events = 0
    for number, parts in feeds.parts.items():
        records = chain.from_iterable(read_part(old_folder, part) for part in parts)
        split = Split(number, old.partitions, partitions, policy)
        new.topics[FEEDS.name].parts |= _write_split(split, folder, records, on_messages)
        events += split.events
    for topic_name in [topic.name for topic in MOVED if topic.name in old.topics]:
        new.topics[topic_name] = _by_key(
            old_folder, folder, topic_name, old.topics[topic_name], partitions, on_messages
        )
    late = _move_progress(old_folder, folder, old, new)
    new.groups[group] = {FEEDS.name: _ends(new.topics[FEEDS.name])}
    new.write(folder)
    return new, events, late


def _ends(topic: TopicBackup) -> dict[int, int]:
    return {number: parts[-1].end for number, parts in topic.parts.items() if parts}


def _move_progress(old_folder: Path, folder: Path, old: Manifest, new: Manifest) -> list[str]:
    """Writes how far webhooks are; returns the endpoints that were not through."""
    topic = old.topics.get(DELIVERIES.name)
    if topic is None:
        return []
    records = chain.from_iterable(read_part(old_folder, part) for parts in topic.parts.values() for part in parts)
    ends = ({name: _ends(each) for name, each in side.topics.items()} for side in (old, new))
    moved, late = move_progress(records, *ends)
    new.topics[DELIVERIES.name] = TopicBackup(compacted=True, identity="")
    for number in range(new.partitions):
        mine = [each for each in moved if place_of(each.key or b"", new.partitions) == number]
        with PartWriter(folder, DELIVERIES.name, number, 0, len(mine)) as writer:
            writer.put(replace(each, partition=number, offset=at) for at, each in enumerate(mine))
        assert writer.part is not None
        new.topics[DELIVERIES.name].parts[number] = [writer.part]
    return late


def _write_split(
    split: Split, folder: Path, records: Iterable[Record], on_messages: Callable[[str, int], object]
) -> dict[int, list[Any]]:
    with ExitStack() as stack:
        writers = {
            number: stack.enter_context(PartWriter(folder, FEEDS.name, number, 0, 0)) for number in split.children
        }  # fmt: skip
        for some in _pieces(records):
            split.take(some)
            for child, messages in split.hand_over():
                writers[child.partition].put(messages)
            on_messages(FEEDS.name, len(some))
        split.finish()
        for child, messages in split.hand_over():
            writers[child.partition].put(messages)
        for number, writer in writers.items():
            writer.end = split.children[number].offset
    split.compare()
    return {number: [writer.part] for number, writer in writers.items()}


def _by_key(
    old_folder: Path,
    folder: Path,
    name: str,
    topic: TopicBackup,
    partitions: int,
    on_messages: Callable[[str, int], object],
) -> TopicBackup:
    made = TopicBackup(compacted=is_compacted(name), identity="")
    ends = dict.fromkeys(range(partitions), 0)
    with ExitStack() as stack:
        writers = {number: stack.enter_context(PartWriter(folder, name, number, 0, 0)) for number in ends}
        for some in _pieces(
            chain.from_iterable(read_part(old_folder, part) for parts in topic.parts.values() for part in parts)
        ):
            for each in some:
                number = each.partition if each.key is None else place_of(each.key, partitions)
                moved = Record(number, ends[number], each.broker_ts_ms, each.key, each.value, each.headers)
                writers[number].put([moved])
                ends[number] += 1
            on_messages(name, len(some))
        for number, writer in writers.items():
            writer.end = ends[number]
    made.parts = {number: [writer.part] for number, writer in writers.items() if writer.part is not None}
    return made


def _pieces(records: Iterable[Record]) -> Iterator[list[Record]]:
    some: list[Record] = []
    for record in records:
        some.append(record)
        if len(some) == _MESSAGES:
            yield some
            some = []
    if some:
        yield some
