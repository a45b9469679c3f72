"""More partitions: every code's events stay what they were, but for positions, and it is noticed where they would not."""

import random
import re
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pytest

from cli.backup_files import BackupFault, Manifest, PartWriter, Record, TopicBackup, read_part
from cli.log_file import Message
from cli.repartition import Child, move, place_of
from cli.replay import read_policy, replay
from config.settings import Settings
from config.topics import ALERTS, FEEDS
from tests.kafka.price_log import START_MS, Shape, price_log

SHAPE = Shape(records=6_000, products=300, partitions=2, lines=4)
POLICY = read_policy(Settings().policy_file)
GROUP = "workers"
STAMP_MS = START_MS + 400 * 86_400_000


def quiet(*_told: object) -> None:
    """Nobody looks at the progress."""


def log() -> dict[int, list[Record]]:
    """A log of every type, with lines that are no records and a change of policy amid it."""
    rng = random.Random(11)
    made: dict[int, list[Record]] = {0: [], 1: []}
    changed = orjson.loads(POLICY.canonical)
    changed["default"]["bands"] = {"blue": 100, "yellow": 700, "red": 1500}
    for number, (partition, key, value, _) in enumerate(price_log(5, SHAPE)):
        lines = value.split(b"\n")
        if rng.random() < 0.05:
            lines.insert(rng.randrange(len(lines) + 1), rng.choice([b"{", b"", b'{"type":"quote"}', lines[0][:-1]]))
        if number in (500, 501):
            last = START_MS + 3_000 * 60_000
            lines.append(orjson.dumps({"type": "policy", "at": last + number, "policy": changed}))
        records = made[partition]
        records.append(Record(partition, len(records), STAMP_MS + number, key, b"\n".join(lines), (("h", b"1"),)))
    return made


def write_backup(folder: Path, topics: dict[str, dict[int, list[Record]]], committed: int = 0) -> None:
    manifest = Manifest("2026-01-01T00:00:00+00:00", "k", 2)
    for name, made in topics.items():
        manifest.topics[name] = TopicBackup(False, "", {})
        for number, records in made.items():
            with PartWriter(folder, name, number, 0, len(records)) as writer:
                writer.put(records)
            assert writer.part is not None
            manifest.topics[name].parts[number] = [writer.part]
    ends = {number: len(records) - committed for number, records in topics[FEEDS.name].items()}
    manifest.groups[GROUP] = {FEEDS.name: ends}
    manifest.write(folder)


def messages_of(folder: Path, name: str) -> list[Record]:
    parts = Manifest.read(folder).topics[name].parts.values()
    return [record for part in chain.from_iterable(parts) for record in read_part(folder, part)]


def events(folder: Path, records: list[Record], partitions: int) -> dict[str, list[str]]:
    """Each code's events, without positions, as `pricelink replay` makes them."""
    replay(
        (Message(each.partition, each.offset, each.broker_ts_ms, each.value or b"") for each in records),
        POLICY,
        partitions,
        folder,
    )
    found: dict[str, list[str]] = {}
    for name in ("alerts.ndjson", "price-changes.ndjson"):
        for line in (folder / name).read_text().splitlines():
            bare = re.sub(r'"evidence":\[.*?\]|"position":\{.*?\}', "", line)
            found.setdefault(f"{name} {orjson.loads(line)['code']}", []).append(bare)
    return found


def test_every_event_is_the_same_in_three_times_as_many_partitions(tmp_path: Path) -> None:
    made = log()
    alerts = {
        number: [Record(number, at, 7, b"C%026d" % (at * 2), b"{}", ()) for at in range(9)] for number in (0, 1)
    }  # fmt: skip
    write_backup(tmp_path / "old", {FEEDS.name: made, ALERTS.name: alerts})
    manifest, compared, _ = move(tmp_path / "old", tmp_path / "new", 6, POLICY, GROUP, quiet)
    moved = messages_of(tmp_path / "new", FEEDS.name)
    before = events(tmp_path / "a", list(chain.from_iterable(made.values())), 2)
    after = events(tmp_path / "b", moved, 6)
    assert after == before
    assert compared == sum(map(len, before.values())) > 1_000
    kinds = "".join(chain.from_iterable(before.values()))
    assert all(word in kinds for word in ('"overdue"', '"price_hold"', '"resolved"', '"ceiling_breach"'))
    assert {each.partition for each in moved} == set(range(6))
    assert manifest.groups[GROUP][FEEDS.name] == {
        number: sum(each.partition == number for each in moved) for number in range(6)
    }  # fmt: skip
    for each in messages_of(tmp_path / "new", ALERTS.name):
        assert each.partition == place_of(each.key or b"", 6)
    assert len(messages_of(tmp_path / "new", ALERTS.name)) == 18


def test_without_the_ticks_it_would_not_be_and_that_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_backup(tmp_path / "old", {FEEDS.name: log()})

    def put(self: Child, line: bytes, at_ms: int, clock_ms: int) -> None:
        del at_ms
        self.clock_ms = clock_ms
        self.lines.append(line)

    monkeypatch.setattr(Child, "put", put)
    with pytest.raises(BackupFault, match="would differ"):
        move(tmp_path / "old", tmp_path / "new", 4, POLICY, GROUP, quiet)


@pytest.mark.parametrize(
    ("partitions", "committed", "said"), [(3, 0, "can become 4, 6"), (2, 0, "can become"), (4, 1, "workers are at")]
)
def test_what_cannot_be_the_same_is_refused(tmp_path: Path, partitions: int, committed: int, said: str) -> None:
    few: dict[int, Any] = {number: records[:2] for number, records in log().items()}
    write_backup(tmp_path / "old", {FEEDS.name: few}, committed)
    with pytest.raises(BackupFault, match=said):
        move(tmp_path / "old", tmp_path / "new", partitions, POLICY, GROUP, quiet)
