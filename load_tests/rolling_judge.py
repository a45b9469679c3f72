"""What came of a rolling restart: records and events against the log and its replay, latency second by second."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import redis

from config.settings import Settings
from config.topics import ALERTS, FEEDS, PRICE_CHANGES, STATE
from gateway.cursors import PRICE_LANES, parse_cursor
from load_tests.latency import Arrivals
from load_tests.rolling_clients import Fed, Followed, Received, event_id_of
from streams.partition_row import PARTITION_KEY
from tests.integration.cluster import read
from tests.integration.test_scorecards import recount, until_shown
from tests.kafka.judge import judge, until_read_model_equals

_NUMBER: Final = re.compile(rb'"id":"(\d+)"}$')
_TICK: Final = b'{"type":"tick"'
_LISTED_S: Final = 60.0
_WARM_S: Final = 3
NORMAL_MS: Final = 250.0
"""A second is normal whose p99 is at most this, or twice the baseline's where that is more."""


@dataclass(frozen=True, slots=True)
class Logs:
    """The topics at the end. ``lines``: of ``feeds``, ticks apart; ``ticks_ms``: their times, by partition.

    ``events``: by lane (gateway.cursors) offset and bytes, in order.
    """

    lines: list[bytes]
    ticks_ms: dict[int, list[int]]
    events: dict[int, list[tuple[int, bytes]]]

    @property
    def by_id(self) -> dict[str, bytes]:
        """Returns every event by its id."""
        return {id_of(value): value for lane in self.events.values() for _, value in lane}

    def since(self, cursor: str) -> set[str]:
        """Returns the ids of the events behind a cursor of a live stream."""
        begin = parse_cursor(cursor)
        return {id_of(value) for lane, own in self.events.items() for offset, value in own if offset >= begin[lane]}


def id_of(value: bytes) -> str:
    """Returns an event's id."""
    return str(orjson.loads(value)["event_id"])


async def logs_of(settings: Settings) -> Logs:
    """Reads the topics whole."""
    found, ticks_ms = [], {}
    for number, messages in (await read(settings, FEEDS.name)).items():
        ticks_ms[number] = [message.timestamp for message in messages if message.value.startswith(_TICK)]
        for message in messages:
            found += [line for line in message.value.split(b"\n") if not line.startswith(_TICK)]
    events: dict[int, list[tuple[int, bytes]]] = {}
    for topic, first in ((ALERTS, 0), (PRICE_CHANGES, PRICE_LANES)):
        for number, messages in (await read(settings, topic.name)).items():
            events[first + number] = [(message.offset, message.value) for message in messages]
    return Logs(found, ticks_ms, events)


def judge_records(fed: Fed, sent: Iterable[bytes], logs: Logs) -> dict[str, Any]:
    """Returns how what was accepted compares with ``feeds``: nothing lost, nothing made up, and what came twice."""
    lines = dict(enumerate(sent))
    found: Counter[int] = Counter()
    invented = 0
    for line in logs.lines:
        told = _NUMBER.search(line)
        number = int(told[1]) if told else -1
        if lines.get(number) == line:
            found[number] += 1
        else:
            invented += 1
    return {
        "answered": fed.sent, "accepted": fed.accepted, "in_feeds": len(found), "lost": max(0, fed.accepted - len(found)),
        "invented": invented, "written_twice": found.total() - len(found), "repeated_requests": dict(fed.failures),
    }  # fmt: skip


def judge_stream(followed: Followed, logs: Logs) -> dict[str, Any]:
    """Returns how the live stream compares with the topics from where it began."""
    return _compared(followed.events, [id_of(value) for value in followed.events], logs, followed.begin) | {
        "streams": followed.streams, "resets": followed.resets, "refused": dict(followed.refused),
    }  # fmt: skip


def judge_webhooks(received: Received, logs: Logs, begin: str) -> dict[str, Any]:
    """Returns how the webhooks compare with the topics from ``begin``; each body has its event's bytes."""
    ids = [event_id_of(body) for body in received.bodies]
    return _compared(received.bodies, ids, logs, begin) | {"unverified": received.unverified}


def _compared(values: list[bytes], ids: list[str], logs: Logs, begin: str) -> dict[str, Any]:
    known, wanted, got = logs.by_id, logs.since(begin), Counter(ids)
    differ = sum(
        event_id not in known or known[event_id] not in value for event_id, value in zip(ids, values, strict=True)
    )
    return {"wanted": len(wanted), "got": len(got), "missing": len(wanted - got.keys()), "repeats": got.total() - len(got),
            "differ": differ}  # fmt: skip


def judge_events(settings: Settings, logs: Logs, out: Path, views: Collection[str]) -> dict[str, Any]:
    """Holds topics and tables against the replay of ``feeds``, and those of the views that ran; ``difference``: None if equal."""
    found: dict[str, Any] = {"difference": None}
    client = redis.Redis.from_url(settings.redis_url)
    try:
        verdict = asyncio.run(judge(settings, out))
        found |= {"messages": verdict.records, "events": verdict.events, "repeats": verdict.repeats}
        if "read-model" in views:
            until_read_model_equals(settings, out)
        if "scorecards" in views:
            until_shown(
                client, recount([value for lane, own in logs.events.items() if lane < PRICE_LANES for _, value in own])
            )
        if "listings" in views:
            _until_listed(settings, client)
    except AssertionError as fault:
        found["difference"] = str(fault)[:2_000] or "an assertion of tests.kafka.judge"
    finally:
        client.close()
    return found


def _until_listed(settings: Settings, client: Any) -> None:
    """Waits until Redis has the row of each code that the state topic has; raises AssertionError."""
    rows: dict[bytes, bytes] = {}
    for messages in asyncio.run(read(settings, STATE.name)).values():
        rows |= {message.key: message.value for message in messages if b"/" not in message.key}
    rows.pop(PARTITION_KEY, None)
    deadline = time.monotonic() + _LISTED_S
    while (kept := client.hgetall("pl:rows")) != rows:
        different = sum(kept.get(key) != value for key, value in rows.items())
        assert time.monotonic() < deadline, f"listings: {different} of {len(rows)} rows differ, {len(kept)} are there"
        time.sleep(0.3)


class Seconds:
    """The p99 of each second of the load, by when records were due, in milliseconds; NaN where no event came of it."""

    def __init__(self, fed: Fed, arrivals: Arrivals) -> None:
        handed = fed.handed_ns[fed.handed_ns > 0]
        self.began_ns = int(handed.min())
        self._late: list[list[float]] = [[] for _ in range(int((handed.max() - self.began_ns) // 1_000_000_000) + 1)]
        for received_ns, value in arrivals:
            number = orjson.loads(value).get("source_id", "")
            due_ns = int(fed.handed_ns[int(number)]) if number.isdigit() else 0
            if due_ns:
                self._late[(due_ns - self.began_ns) // 1_000_000_000].append((received_ns - due_ns) / 1e6)
        self.p99_ms = [float(np.percentile(late, 99)) if late else float("nan") for late in self._late]

    def baseline_ms(self, until_ns: int) -> tuple[float, float, int]:
        """Returns p50 and p99 of all events before a moment but for the first seconds, and how many they are."""
        seconds = (until_ns - self.began_ns) // 1_000_000_000
        late = [each for own in self._late[min(_WARM_S, seconds // 2) : seconds] for each in own]
        p50, p99 = np.percentile(late or [0.0], (50, 99)).tolist()
        return p50, p99, len(late)

    def over(self, limit_ms: float, start_ns: int, stop_ns: int) -> Iterator[tuple[float, float]]:
        """Yields the seconds between two moments that are not normal: their end, in seconds from the first moment, and p99."""
        first, last = ((at - self.began_ns) // 1_000_000_000 for at in (start_ns, stop_ns))
        for second in range(max(first - 1, 0), min(last, len(self.p99_ms))):
            if self.p99_ms[second] > limit_ms:
                yield (self.began_ns + (second + 1) * 1e9 - start_ns) / 1e9, self.p99_ms[second]


def longest_gap_s(logs: Logs) -> float:
    """Returns the longest time between two ticks of some partition; 0 where none ran."""
    return max((float(np.diff(ticks).max()) / 1000 for ticks in logs.ticks_ms.values() if len(ticks) > 1), default=0.0)
