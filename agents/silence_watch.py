"""When a province counts as silent (SPEC §8 ``feed_silence``): the rules, without a clock, a log or a broker.

Wall time is told to it; what it knows comes from ``feeds`` and from topic ``silence``, whose order decides between
processes: of two that find the same silence, the one whose decision is first in the topic opened the alert.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import orjson

from agents.headers import rfc3339
from config.provinces import NO_PROVINCE, PROVINCE_CODES
from schemas.batches import Rows
from schemas.columns import OK
from schemas.events import NotAnEvent, object_of, text, whole
from schemas.times import parse_rfc3339

BAND: Final = "yellow"
"""SPEC names no band for a silence; it is something to look into, not yet harm."""
KEYS_REMEMBERED: Final = 2_000_000
"""Of so many (type, code, province) the newest time is remembered; beyond, the oldest half is forgotten."""


class Newest:
    """Tells records that are accepted from those that cannot be told from stale ones.

    A record newer than all before it of its type, code and province is newer than the last one of its slot (SPEC §2),
    so it is accepted. One that is not may be stale: a feed that sends an old file again and again is silent.
    """

    def __init__(self, limit: int = KEYS_REMEMBERED) -> None:
        self._limit = limit
        self._newest: dict[int, int] = {}

    def accepted(self, records: Rows) -> dict[str, int]:
        """Takes RECORD rows; returns the latest broker timestamp of an accepted record of each province that has one."""
        found = records[(records["reason"] == OK) & (records["province"] != NO_PROVINCE)]
        if not len(found):
            return {}
        keys = found["hash"].astype(np.int64) << 16 | found["type"].astype(np.int64) << 8 | found["province"]
        latest: dict[int, int] = {}
        newest = self._newest
        for key, at_ms, broker_ms in zip(
            keys.tolist(), found["at_ms"].tolist(), found["broker_ts_ms"].tolist(), strict=True
        ):
            if at_ms > newest.get(key, -1):
                newest[key] = at_ms
                latest[key & 0xFF] = max(broker_ms, latest.get(key & 0xFF, 0))
        if len(newest) > self._limit:
            self._newest = dict(list(newest.items())[len(newest) // 2 :])
        return {PROVINCE_CODES[index]: broker_ms for index, broker_ms in latest.items()}


@dataclass(frozen=True, slots=True)
class Decision:
    """What topic ``silence`` says of a province. ``number`` 0: it has sent something, and was never silent.

    ``event``: the alert event's bytes; ``sent``: whether they are in topic ``alerts``; ``by``: who decided.
    """

    province: str
    number: int
    revision: int
    is_open: bool
    event: bytes
    by: str
    sent: bool

    @property
    def order(self) -> tuple[int, int, bool]:
        """Returns what decides between decisions: a greater one counts, of equals the first."""
        return self.number, self.revision, self.sent

    def as_bytes(self) -> bytes:
        """Returns the message's value."""
        return orjson.dumps(
            {"province": self.province, "number": self.number, "revision": self.revision, "open": self.is_open,
             "event": self.event.decode(), "by": self.by, "sent": self.sent}
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, value: bytes) -> Self:
        """Reads a message's value; raises NotAnEvent."""
        found = object_of(value)
        province, number, event = text(found, "province"), whole(found, "number"), text(found, "event").encode()
        is_open, sent = found.get("open"), found.get("sent")
        if province not in PROVINCE_CODES or not isinstance(is_open, bool) or not isinstance(sent, bool):
            raise NotAnEvent("province, open or sent is none")
        if (number or is_open) and parse_rfc3339(text(object_of(event), "at")) is None:
            raise NotAnEvent("at is no time")
        return cls(province, number, whole(found, "revision"), is_open, event, text(found, "by"), sent)


class Watch:
    """The 32 provinces. ``me``: this process's name in decisions."""

    def __init__(self, max_silence_ms: int, me: str) -> None:
        self._max_ms = max_silence_ms
        self._me = me
        self.decided: dict[str, Decision] = {}
        self.last_ms: dict[str, int] = {}

    def heard(self, latest: dict[str, int]) -> None:
        """Notes when records of provinces were accepted."""
        for province, ms in latest.items():
            self.last_ms[province] = max(ms, self.last_ms.get(province, 0))

    def take(self, decision: Decision) -> bool:
        """Takes the next message of topic ``silence``; True if it counts."""
        known = self.decided.get(decision.province)
        if known is not None and decision.order <= known.order:
            return False
        self.decided[decision.province] = decision
        return True

    def due(self, now_ms: int) -> list[Decision]:
        """Returns what is to be decided now, when all of ``feeds`` up to ``now_ms`` was heard.

        A province is watched from its first record on: one that never sent anything has no feed that could be silent.
        """
        found = []
        for province in PROVINCE_CODES:
            last_ms = self.last_ms.get(province)
            known = self.decided.get(province)
            if known is None:
                if last_ms is not None:
                    found.append(Decision(province, 0, 0, False, b"", self._me, True))  # noqa: FBT003
            elif known.is_open:
                if last_ms is not None and last_ms > _at_ms(known) - self._max_ms:
                    found.append(self._decide(known, opened=False, at_ms=max(last_ms, _at_ms(known))))
            elif last_ms is None:  # not since before we began to read, which is longer ago than allowed
                found.append(self._decide(known, opened=True, at_ms=now_ms))
            elif now_ms - last_ms >= self._max_ms:
                found.append(self._decide(known, opened=True, at_ms=last_ms + self._max_ms))
        return found

    def _decide(self, known: Decision, *, opened: bool, at_ms: int) -> Decision:
        number, revision = (known.number + 1, 1) if opened else (known.number, known.revision + 1)
        event = silence_event(known.province, number, revision, opened=opened, at_ms=at_ms)
        return Decision(known.province, number, revision, opened, event, self._me, False)  # noqa: FBT003


def _at_ms(decision: Decision) -> int:
    at_ms = parse_rfc3339(orjson.loads(decision.event)["at"])
    assert at_ms is not None
    return at_ms


def silence_event(province: str, number: int, revision: int, *, opened: bool, at_ms: int) -> bytes:
    """Returns the alert event, its keys in the order of SPEC §8; it has no code, no policy and no evidence."""
    alert_id = f"feed_silence:{province}:{number}"
    event: dict[str, Any] = {
        "event_id": f"{alert_id}/{revision}",
        "alert_id": alert_id,
        "revision": revision,
        "kind": "feed_silence",
        "change": "opened" if opened else "resolved",
        "province": province,
        "band": BAND if opened else None,
        "previous_band": None if opened else BAND,
        "at": rfc3339(at_ms),
        "evidence": [],
    }
    return orjson.dumps(event)
