"""What a backup's files hold comes back as it was; offsets are kept or refused; what differs is found."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.backup import in_order
from cli.backup_files import (
    BackupFault,
    Manifest,
    Part,
    PartWriter,
    Record,
    TopicBackup,
    check_part,
    line_of,
    read_part,
    record_of,
)
from cli.log_file import Message, read_log
from cli.restore import compare, filled, look_at
from config.topics import ALERTS, FEEDS, STATE, TOPICS

data = st.none() | st.binary(max_size=30) | st.text(max_size=9).map(str.encode)
headers = st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9)), max_size=3).map(tuple)
records = st.builds(Record, st.integers(0, 999), st.integers(0, 2**53), st.integers(0, 2**53), data, data, headers)


@given(records)
def test_a_line_holds_a_message_whole(record: Record) -> None:
    assert record_of(line_of(record)) == record


def record(offset: int, value: bytes | None = b"{}") -> Record:
    return Record(0, offset, 1_000 + offset, b"C1", value, (("ce_id", b"\xff"),))


def part_of(folder: Path, topic: str, first: int, end: int, *offsets: int) -> Part:
    with PartWriter(folder, topic, 0, first, end) as writer:
        writer.put([record(offset) for offset in offsets[:1]])
        writer.put([record(offset) for offset in offsets[1:]])
    assert writer.part is not None
    return writer.part


def test_a_file_says_what_is_in_it_and_a_log_can_be_made_of_it(tmp_path: Path) -> None:
    part = part_of(tmp_path, "feeds", 3, 9, 4, 5, 7)
    assert (part.first, part.end, part.messages, part.gaps) == (3, 9, 3, 3)
    assert part.bytes == (tmp_path / part.file).stat().st_size
    check_part(tmp_path, part)
    assert list(read_part(tmp_path, part)) == [record(4), record(5), record(7)]
    with gzip.open(tmp_path / part.file) as file:
        assert list(read_log(file, "log")) == [Message(0, offset, 1_000 + offset, b"{}") for offset in (4, 5, 7)]


def test_a_file_that_was_changed_is_found(tmp_path: Path) -> None:
    part = part_of(tmp_path, "feeds", 0, 1, 0)
    whole = bytearray((tmp_path / part.file).read_bytes())
    whole[-1] ^= 1
    (tmp_path / part.file).write_bytes(whole)
    with pytest.raises(BackupFault, match="SHA-256"):
        check_part(tmp_path, part)
    (tmp_path / part.file).unlink()
    with pytest.raises(BackupFault, match="No such file"):
        check_part(tmp_path, part)


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    topic = TopicBackup(False, "id", {0: [part_of(tmp_path, "feeds", 0, 2, 0, 1)], 11: []})
    manifest = Manifest("2026-01-01T00:00:00+00:00", "cluster", 12, {"feeds": topic}, {"workers": {"feeds": {0: 2}}})
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    (tmp_path / "manifest.json").write_bytes(b'{"layout":2}')
    with pytest.raises(BackupFault, match="layout 2"):
        Manifest.read(tmp_path)
    with pytest.raises(BackupFault, match="Is it a backup"):
        Manifest.read(tmp_path / "elsewhere")


def test_gaps_are_filled_in_feeds_alone(tmp_path: Path) -> None:
    gap = TopicBackup(False, "", {0: [part_of(tmp_path, "x", 0, 4, 0, 3)]})
    look_at(tmp_path, FEEDS.name, gap)
    look_at(tmp_path, STATE.name, replace(gap, compacted=True))
    with pytest.raises(BackupFault, match="lacks 2 offsets"):
        look_at(tmp_path, ALERTS.name, gap)
    head = TopicBackup(False, "", {0: [part_of(tmp_path, "x", 2, 4, 2, 3)]})
    look_at(tmp_path, ALERTS.name, head)
    torn = TopicBackup(False, "", {0: [part_of(tmp_path, "x", 0, 1, 0), part_of(tmp_path, "x", 2, 3, 2)]})
    with pytest.raises(BackupFault, match="does not follow"):
        look_at(tmp_path, FEEDS.name, torn)


@given(st.sets(st.integers(0, 30)), st.integers(0, 40))
def test_every_offset_gets_a_message(offsets: set[int], end: int) -> None:
    found = list(filled((record(offset) for offset in sorted(offsets)), 0, end))
    assert [each.offset for each in found] == list(range(max(end, max(offsets, default=-1) + 1)))
    assert [each for each in found if each.key] == [record(offset) for offset in sorted(offsets)]
    assert all(each.value is None for each in found if not each.key)


async def pieces(*found: Record) -> AsyncIterator[list[Record]]:
    for each in found:
        yield [each]


def differ(wanted: list[Record], found: list[Record], *, keep: bool = True) -> bool:
    try:
        asyncio.run(compare(map(line_of, wanted), pieces(*found), keep=keep, done=lambda _count: None))
    except BackupFault:
        return True
    return False


def test_what_was_restored_is_compared_message_by_message() -> None:
    both = [record(0), record(2)]
    empty = Record(0, 1, 5, None, None)
    assert not differ(both, both)
    assert not differ(both, [record(0), empty, record(2)])
    assert not differ([record(5), record(9)], [replace(record(5), offset=0), replace(record(9), offset=1)], keep=False)
    assert differ(both, [record(0), replace(record(2), offset=1)])
    assert differ(both, [record(0)])
    assert differ(both, [*both, record(3)])
    assert differ(both, [record(0), record(2, b"{} ")])
    assert differ(both, [record(0), replace(record(2), broker_ts_ms=1)])
    assert differ(both, [record(0), replace(record(2), headers=())])
    assert differ([record(1), record(2, None)], [record(1), record(2)], keep=False)


def test_what_depends_on_others_is_read_before_them() -> None:
    names = in_order(topic.name for topic in TOPICS)
    assert names[-1] == FEEDS.name
    assert names.index(STATE.name) < names.index(ALERTS.name)
    with pytest.raises(BackupFault, match="no topics of pricelink: else"):
        in_order(["else"])
