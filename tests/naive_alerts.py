"""The twin's alerts: what an alert remembers, and the bytes of its events (SPEC §8)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from tests.naive_records import Position, Record, format_e4, format_ms

RANK: Final = {None: 0, "blue": 1, "yellow": 2, "red": 3}
KEYS: Final = [
    "event_id",
    "alert_id",
    "revision",
    "kind",
    "change",
    "reason",
    "source_id",
    "code",
    "province",
    "supplier",
    "institution",
    "band",
    "previous_band",
    "price",
    "reference",
    "target_price",
    "excess_bp",
    "quantity",
    "amount",
    "high_value",
    "due_at",
    "at",
    "evidence",
    "policy_version",
]
ALWAYS: Final = ("band", "previous_band")


@dataclass(frozen=True)
class Step:
    """A record, or the timers of one millisecond: ``position`` is the record, or the one that moved the clock."""

    position: Position
    clock: int
    record: Record | None
    province: str | None

    def is_record(self, kind: str) -> bool:
        """Whether it is a record of a type."""
        return self.record is not None and self.record.type == kind

    def first(self, provinces: Iterable[str]) -> list[str]:
        """Returns provinces in the order of a step's events: the reporting one first."""
        return sorted(provinces, key=lambda province: (province != self.province, province))


@dataclass
class Alert:
    """One alert of a slot: ``key`` is its slot key behind the code."""

    kind: str
    code: str
    key: tuple[str, ...]
    n: int
    revision: int = 0
    band: str | None = None
    due_ms: int | None = None
    overdue: bool = False

    @property
    def id(self) -> str:
        """Its alert_id."""
        return ":".join((self.kind, self.code, *self.key, str(self.n)))


@dataclass(frozen=True)
class Reference:
    """A price to compare with (1/10,000 yuan), how it was found, and the provinces and records that make it."""

    price: int
    rule: str
    provinces: tuple[str, ...]
    evidence: tuple[Position, ...]


def event_bytes(alert: Alert, step: Step, policy_version: str, fields: dict[str, Any]) -> bytes:
    """Returns the alert's next event; moves its revision and its band (``fields["band"]``) on.

    ``fields``: change, band, and what else applies; prices as integers, None for what is absent; ``reference`` as
    Reference; ``own_evidence``: positions after the trigger's, the reference's follow by themselves.
    """
    alert.revision += 1
    reference: Reference | None = fields.get("reference")
    evidence = [step.position, *fields.pop("own_evidence"), *(reference.evidence if reference else ())]
    data = {
        **fields,
        "event_id": f"{alert.id}/{alert.revision}",
        "alert_id": alert.id,
        "revision": alert.revision,
        "kind": alert.kind,
        "source_id": step.record.id if step.record else None,
        "code": alert.code,
        "province": alert.key[0],
        "previous_band": alert.band,
        "at": format_ms(step.clock),
        "evidence": [position.json() for position in dict.fromkeys(evidence)],
        "policy_version": policy_version,
    }
    alert.band = fields["band"]
    for name in ("price", "target_price"):
        if data.get(name) is not None:
            data[name] = format_e4(data[name])
    if data.get("due_at") is not None:
        data["due_at"] = format_ms(data["due_at"])
    if reference:
        data["reference"] = {
            "price": format_e4(reference.price),
            "rule": reference.rule,
            "provinces": list(reference.provinces),
        }
    shown = {key: data[key] for key in KEYS if key in ALWAYS or data.get(key) is not None}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()


def excess_bp(own: int, reference: int) -> int:
    """Returns floor((own - reference) * 10,000 / reference)."""
    return (own - reference) * 10_000 // reference


def band_change(previous: str | None, band: str | None) -> str | None:
    """Returns the change from one band to another; None where both are the same."""
    if RANK[previous] == RANK[band]:
        return None
    if previous is None:
        return "opened"
    if band is None:
        return "resolved"
    return "escalated" if RANK[band] > RANK[previous] else "eased"
