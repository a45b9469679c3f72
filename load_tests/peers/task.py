"""The task, slowly: what every engine has to answer. README.md beside this file states it in words.

Prices are integers of 1/10,000 yuan a piece (``_e4``). No engine uses this module; it is what they are held against.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from config.topics import ALERTS, PRICE_CHANGES

BANDS: Final = (("red", 2000), ("yellow", 500), ("blue", 0))
"""Bands and the excess over the reference, in basis points, from which each holds; the first that fits."""
NO_BAND: Final = "none"
LOWEST: Final = "lowest"
_KEPT: Final = frozenset({"opened", "escalated", "eased", "resolved"})

Answer = tuple[str, str | int]
"""(province, band) where a band changes, (``lowest``, price_e4) where the national lowest does."""
Position = tuple[int, int]
"""(partition, offset) of the record that caused an answer."""


@dataclass(slots=True)
class Answers:
    """Answers in order by code. ``where``: the record behind each. ``repeats``: events seen before, byte for byte."""

    by_code: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    where: dict[str, list[Position]] = field(default_factory=lambda: defaultdict(list))
    events: int = 0
    repeats: int = 0
    odd: list[str] = field(default_factory=list)
    _seen: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def add(self, code: str, answer: Answer, position: Position) -> None:
        """Adds what the reference found."""
        self.by_code[code].append(answer)
        self.where[code].append(position)
        self.events += 1

    def add_event(self, topic: str, value: bytes) -> None:
        """Adds what an engine wrote; what is no answer to the task is left out."""
        try:
            code, answer = answer_of(topic, value)
        except (ValueError, KeyError, TypeError) as fault:
            self.odd.append(f"{fault!r} in {value[:200]!r}")
            return
        if answer is None:
            return
        if value in self._seen[code]:
            self.repeats += 1
            return
        self._seen[code].add(value)
        self.by_code[code].append(answer)
        self.events += 1

    def difference(self, other: "Answers", *, one_topic: bool = True) -> str | None:
        """Returns in words how ``other``, an engine's answers, differs from these, or None.

        Args:
            other: what the engine wrote.
            one_topic: False where bands and lowest prices come in topics of their own, so that only the order within each is known.
        """
        if other.odd:
            return f"{len(other.odd)} events cannot be read, the first: {other.odd[0]}"
        for code, answers in self.by_code.items():
            found = other.by_code.get(code, [])
            mine, theirs = (answers, found) if one_topic else (_apart(answers), _apart(found))
            if mine != theirs:
                where = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), "the end")
                return (
                    f"{other.events} answers, not {self.events}; of {code} {len(theirs)}, not {len(mine)}, "
                    f"and they part at {where}"
                )
        if more := set(other.by_code) - set(self.by_code):
            return f"{len(more)} codes that have no answer, {min(more)} among them"
        return None


def _apart(answers: list[Answer]) -> list[Answer]:
    return sorted(answers, key=lambda answer: answer[0] == LOWEST)


def answer_of(topic: str, value: bytes) -> tuple[str, Answer | None]:
    """Returns (code, answer) of an event; no answer for an event of ours that the task does not ask for."""
    event = json.loads(value)
    if topic == ALERTS.name:
        if event["kind"] != "price_adjustment" or event["change"] not in _KEPT:
            return event["code"], None
        return event["code"], (event["province"], event["band"] or NO_BAND)
    if topic == PRICE_CHANGES.name:
        return event["code"], (LOWEST, int(Decimal(event["lowest"]).scaleb(4)))
    if "band" in event:
        return event["code"], (event["province"], event["band"])
    return event["code"], (LOWEST, event["lowest_e4"])


def per_piece_e4(price: Decimal, pack_size: int) -> int:
    """Returns the price of one piece, rounded half up."""
    return int(Fraction(price) * 10_000 / pack_size + Fraction(1, 2))


def epoch_ms(at: int | str) -> int:
    """Returns a time of a record in milliseconds since the epoch; digits beyond milliseconds are dropped."""
    if isinstance(at, int):
        return at
    moment = datetime.fromisoformat(at)
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def band_of(own_e4: int, reference_e4: int | None) -> str:
    """Returns the band of a price over a reference."""
    if reference_e4 is None or own_e4 <= reference_e4:
        return NO_BAND
    excess_bp = (own_e4 - reference_e4) * 10_000 // reference_e4
    return next(band for band, threshold in BANDS if excess_bp >= threshold)


class Reference:
    """Everything known of every product, evaluated as the task says it, without a thought for speed."""

    def __init__(self) -> None:
        self.answers = Answers()
        self._slots: dict[str, dict[str, tuple[int, int, int]]] = defaultdict(dict)
        self._bands: dict[str, dict[str, str]] = defaultdict(dict)
        self._lowest: dict[str, int] = {}

    def apply(self, value: bytes, position: Position) -> None:
        """Takes the next record of a partition."""
        record: dict[str, Any] = json.loads(value, parse_float=Decimal)
        code, province = record["code"], record["province"]
        price_e4 = per_piece_e4(Decimal(record["price"]), record.get("pack_size", 1))
        version = (epoch_ms(record["at"]), record.get("seq", 0))
        slots = self._slots[code]
        before = slots.get(province, (-1, -1, 0))
        if version <= before[:2]:
            return
        slots[province] = (*version, price_e4)
        if price_e4 != before[2]:
            self._evaluate(code, position)

    def _evaluate(self, code: str, position: Position) -> None:
        slots, bands = self._slots[code], self._bands[code]
        prices = sorted(slot[2] for slot in slots.values())
        if prices[0] != self._lowest.get(code):
            self._lowest[code] = prices[0]
            self.answers.add(code, (LOWEST, prices[0]), position)
        for province in sorted(slots):
            own_e4 = slots[province][2]
            others_e4 = (
                prices[1:2] if own_e4 == prices[0] else prices[:1]
            )  # the lowest of the others, where there are any
            band = band_of(own_e4, others_e4[0] if others_e4 else None)
            if band != bands.get(province, NO_BAND):
                bands[province] = band
                self.answers.add(code, (province, band), position)


def reference_answers(log: Iterable[tuple[int, bytes]]) -> Answers:
    """Returns what has to come of a log of (partition, record), one record a message, offsets from 0."""
    reference = Reference()
    offsets: dict[int, int] = defaultdict(int)
    for partition, value in log:
        reference.apply(value, (partition, offsets[partition]))
        offsets[partition] += 1
    return reference.answers
