"""What must be true at the end of every fault test: topics, tables and read model equal to `pricelink replay`'s."""

import asyncio
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import redis

from agents.machines import real_machines
from agents.state_topic import KafkaStateStore
from config.settings import Settings
from config.topics import ALERTS, DEAD_LETTERS, FEEDS, PRICE_CHANGES
from streams.machine import Machine
from tests.integration.cluster import batch, read, until_committed
from tests.integration.test_kills import NoWriter, id_of_alert, id_of_change
from tests.integration.test_read_model import kept, recount

Ends = Mapping[str, Mapping[int, int]]
"""Where a topic's partitions end, by topic."""

_POSITIONS: Final = re.compile(rb'"evidence":\[[^\]]*\]|"position":\{[^}]*\}')
_CAUGHT_UP_S: Final = 120.0
_READ_MODEL_S: Final = 60.0


@dataclass(slots=True)
class Verdict:
    """What was compared, and how many events came more than once."""

    records: int = 0
    events: int = 0
    repeats: int = 0
    dead_letters: int = 0
    kinds: set[tuple[str, str]] = field(default_factory=set)
    """Kind and change of the alerts."""


async def judge(settings: Settings, out: Path, moved: Ends | None = None) -> Verdict:
    """Waits until everything is committed and compares; raises AssertionError.

    ``moved``: where topics ended when the log had been moved to more partitions: the positions in what is before are the old log's.
    """
    moved = moved or {}
    feeds = await read(settings, FEEDS.name)
    await until_committed(settings, {number: len(records) for number, records in feeds.items()}, _CAUGHT_UP_S)
    await replay(settings, out)
    verdict = Verdict(records=sum(map(len, feeds.values())))
    await _events(settings, ALERTS.name, out / "alerts.ndjson", id_of_alert, moved, verdict)
    await _events(settings, PRICE_CHANGES.name, out / "price-changes.ndjson", id_of_change, moved, verdict)
    await _dead_letters(settings, out / "dead-letters.ndjson", moved, verdict)
    await _tables(settings, feeds)
    verdict.kinds = {(event["kind"], event["change"]) for event in map(orjson.loads, _lines(out / "alerts.ndjson"))}
    return verdict


async def replay(settings: Settings, out: Path) -> None:
    """Runs `pricelink replay` over topic feeds, as somebody who doubts the machine would."""
    command = [sys.executable, "-m", "cli", "replay", "--from-kafka", settings.bootstrap, "--out", str(out)]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--policy",
        str(settings.policy_file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()


async def _events(
    settings: Settings, topic: str, file: Path, id_of: Callable[[Any], bytes], moved: Ends, verdict: Verdict
) -> None:
    """Each code's events are the replay's, in their order; a repeat has the id and the bytes of the first."""
    wanted: dict[str, list[bytes]] = {}
    for line in _lines(file):
        wanted.setdefault(orjson.loads(line)["code"], []).append(line)
    found: dict[str, list[bytes]] = {}
    seen: dict[bytes, bytes] = {}
    for number, records in (await read(settings, topic)).items():
        end = moved.get(topic, {}).get(number, 0)
        for record in records:
            event_id = id_of(record)
            if event_id in seen:
                assert seen[event_id] == record.value, event_id
                verdict.repeats += 1
                continue
            seen[event_id] = record.value
            code = record.key.decode()
            mine = found.setdefault(code, [])
            if record.offset < end:
                wanted[code][len(mine)] = _bare(wanted[code][len(mine)])
            mine.append(_bare(record.value) if record.offset < end else record.value)
    missing = {code: len(events) - len(found.get(code, ())) for code, events in wanted.items()}
    assert not (lacking := {code: count for code, count in missing.items() if count > 0}), (topic, lacking)
    assert found == wanted, topic
    verdict.events += len(seen)


def _bare(event: bytes) -> bytes:
    return _POSITIONS.sub(b"", event)


async def _dead_letters(settings: Settings, file: Path, moved: Ends, verdict: Verdict) -> None:
    ends = moved.get(FEEDS.name, {})
    wanted = {
        (letter["partition"], letter["offset"], letter["line"], letter["reason"])
        for letter in map(orjson.loads, _lines(file))
        if letter["offset"] >= ends.get(letter["partition"], 0)
    }
    found = set()
    for number, records in (await read(settings, DEAD_LETTERS.name)).items():
        for record in records:
            if record.offset < moved.get(DEAD_LETTERS.name, {}).get(number, 0):
                continue
            headers = dict(record.headers)
            found.add((number, int(headers["offset"]), int(headers["line"]), headers["reason"].decode()))
    assert found == wanted
    verdict.dead_letters = len(found)


async def _tables(settings: Settings, feeds: dict[int, list[Any]]) -> None:
    """A machine rebuilt from the state topic has the rows of one that never stopped."""
    new_machine = real_machines(settings)
    for number, records in feeds.items():
        offline, rebuilt = new_machine(number), new_machine(number)
        assert isinstance(offline, Machine)
        assert isinstance(rebuilt, Machine)
        offline.apply(batch(number, records))
        next_offset = await KafkaStateStore(NoWriter(), settings).restore(number, rebuilt)
        assert next_offset == len(records), number
        assert rebuilt.clock_ms == offline.clock_ms
        rows, wanted = rebuilt.rows(), offline.rows()
        assert rows.keys() == wanted.keys()
        assert len(rows) > 0
        different = [key for key, row in wanted.items() if rows[key] != row]
        assert not different, (number, len(different), different[:3])


def until_read_model_equals(settings: Settings, out: Path, within_s: float = _READ_MODEL_S) -> float:
    """Waits until Redis holds what a recount of the replay's events gives; returns the seconds it took."""
    made = [(ALERTS.name, b"", line) for line in _lines(out / "alerts.ndjson")]
    made += [(PRICE_CHANGES.name, b"", line) for line in _lines(out / "price-changes.ndjson")]
    wanted = recount(made)
    del wanted["alerts"]  # pl:events keeps the last ones
    client: Any = redis.Redis.from_url(settings.redis_url)
    began = time.monotonic()
    while True:
        found = kept(client)
        del found["alerts"]
        if found == wanted:
            return time.monotonic() - began
        if time.monotonic() - began > within_s:
            different = {name: sum(found[name].get(k) != v for k, v in wanted[name].items()) for name in wanted}
            raise AssertionError(f"the read model differs: {different} of { {n: len(w) for n, w in wanted.items()} }")
        time.sleep(0.3)
