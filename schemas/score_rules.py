"""The rules of scorecards and of the inspection list, a JSON file: thresholds are ours, none is published (docs/scorecards.md)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

STEPS: Final = ("remind", "interview", "violation_list", "disqualify")
"""What the rules may suggest, mildest first."""
MEASURES_BELOW: Final = frozenset({"fill_rate_below_bp"})
"""Measures of which too little is bad; their threshold is reached below it."""
MEASURES: Final = (
    "open", "open_red", "opened", "overdue_quantity", "amount_overdue_yuan", "banded_share_bp", "fill_rate_below_bp",
)  # fmt: skip
OWNERS: Final = ("supplier", "institution", "province")
MAX_THRESHOLD: Final = 10**14


class RulesFault(ValueError):
    """A file of rules that cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class OveruseRules:
    """When a row is for re-inspection (docs/scorecards.md).

    ``min_own_bp``: of what the institution ordered in 30 days before; ``min_peers_bp``: of the median of its peers, of
    which there are at least ``min_peers``. ``min_quantity``: pieces. ``most_rows``: of a day's list.
    """

    min_own_bp: int = 15_000
    min_peers_bp: int = 15_000
    min_peers: int = 3
    min_quantity: int = 100
    most_rows: int = 100


@dataclass(frozen=True, slots=True)
class ScoreRules:
    """``steps``: by owner, mildest first: a step and its thresholds, of which one is enough.

    ``min_orders``: a share of fewer orders says nothing.
    """

    steps: Mapping[str, tuple[tuple[str, tuple[tuple[str, int], ...]], ...]]
    min_orders: int = 20
    overuse: OveruseRules = OveruseRules()


def parse_score_rules(text: bytes) -> ScoreRules:
    """Returns the rules of a JSON file; raises RulesFault."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise RulesFault(f"not JSON: {error}") from None
    top = _object(given, "", (*OWNERS, "min_orders", "overuse"))
    steps = {owner: _steps(top.get(owner, {}), owner) for owner in OWNERS}
    names = tuple(field.name for field in fields(OveruseRules))
    overuse = _object(top.get("overuse", {}), "overuse", names)
    return ScoreRules(
        steps=steps,
        min_orders=_count(top.get("min_orders", 20), "min_orders"),
        overuse=OveruseRules(**{name: _count(value, f"overuse.{name}") for name, value in overuse.items()}),
    )


def _steps(given: Any, owner: str) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
    chosen = _object(given, owner, STEPS)
    steps = []
    for step in STEPS:
        if step in chosen:
            thresholds = _object(chosen[step], f"{owner}.{step}", MEASURES)
            named = tuple((name, _count(value, f"{owner}.{step}.{name}")) for name, value in thresholds.items())
            if not named:
                raise RulesFault(f"{owner}.{step} has no threshold; leave the step out to suggest it never")
            steps.append((step, named))
    return tuple(steps)


def _object(given: Any, path: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise RulesFault(f"{path or 'the file'} must be an object")
    for name in given:
        if name not in known:
            where = f"{path}.{name}" if path else name
            raise RulesFault(f"{where} is unknown; there are {', '.join(known)}")
    return given


def _count(given: Any, path: str) -> int:
    if type(given) is not int or not 1 <= given <= MAX_THRESHOLD:
        raise RulesFault(f"{path} must be an integer from 1 to {MAX_THRESHOLD}")
    return given
