"""The twin's own reading of policies (SPEC §3)."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

BUILT_IN: Final[dict[str, Any]] = {
    "window_days": 365,
    "guard_bp": 5000,
    "guard_min_sources": 2,
    "supply": {
        "window_days": 30,
        "fill_yellow_bp": 9500,
        "fill_red_bp": 8000,
        "late_yellow_hours": 24,
        "late_red_hours": 72,
    },
    "default": {
        "scope": None,
        "kinds": ["listed", "selected"],
        "own_kinds": ["listed", "filed"],
        "aggregate": "lowest",
        "k": 3,
        "lookback": "current",
        "min_sources": 1,
        "bands": {"blue": 0, "yellow": 500, "red": 2000},
        "adjust_within_days": 30,
        "high_value_only": False,
        "exclude_prefixes": [],
    },
}
KINDS: Final = ("listed", "selected", "filed", "emergency")
PROVINCE: Final = re.compile(
    "(11|12|13|14|15|21|22|23|31|32|33|34|35|36|37|41|42|43|44|45|46|50|51|52|53|54|61|62|63|64|65|66)0000"
)
PREFIX: Final = re.compile(r"[0-9A-Z]{1,27}", re.ASCII)


class PolicyFault(Exception):
    """Something in a policy is unknown or unfit."""


POLICY_FAULT: Final = PolicyFault


@dataclass(frozen=True)
class Policy:
    """A policy with its gaps filled: ``rules`` as BUILT_IN without ``default``, ``provinces`` what differs from it."""

    rules: dict[str, Any]
    supply: dict[str, int]
    default: dict[str, Any]
    own: dict[str, dict[str, Any]]
    version: str
    _filled: dict[str, dict[str, Any]] = field(default_factory=dict)

    def province(self, code: str) -> dict[str, Any]:
        """Returns a province's rules, complete."""
        if code not in self._filled:
            own = self.own.get(code, {})
            self._filled[code] = {**self.default, **own, "bands": {**self.default["bands"], **own.get("bands", {})}}
        return self._filled[code]


def plain(value: object) -> object:
    """Returns a JSON value with whole numbers as int; what is no integer stays what it is, and is unfit."""
    digits = getattr(value, "text", None)
    if digits is not None:
        return int(digits) if re.fullmatch(r"-?[0-9]{1,18}", digits) else value
    if isinstance(value, dict):
        return {key: plain(element) for key, element in value.items()}
    if isinstance(value, list):
        return [plain(element) for element in value]
    return value


def parse_policy(given: object) -> Policy:
    """Returns the policy that a JSON object stands for; raises PolicyFault."""
    try:
        rules = _read(given, {**_READERS, "supply": _supply, "default": _province_rules, "provinces": _provinces})
    except (TypeError, ValueError):
        raise PolicyFault from None
    canonical = json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    default = {**BUILT_IN["default"], **rules.get("default", {})}
    default["bands"] = {**BUILT_IN["default"]["bands"], **default["bands"]}
    return Policy(
        {name: rules.get(name, BUILT_IN[name]) for name in _READERS},
        {**BUILT_IN["supply"], **rules.get("supply", {})},
        default,
        rules.get("provinces", {}),
        hashlib.sha256(canonical).hexdigest()[:16],
    )


def _read(given: object, readers: dict[str, Any]) -> dict[str, Any]:
    """Returns what is not left out of an object, each value read by its reader."""
    if not isinstance(given, dict):
        raise TypeError
    present = {name: value for name, value in given.items() if value is not None and value != ""}
    if not present.keys() <= readers.keys():
        raise ValueError
    return {name: readers[name](value) for name, value in present.items()}


def _integer(least: int, most: int) -> Any:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError
        return value

    return read


def _one_of(*words: str) -> Any:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return read


def _list_of(fits: Any) -> Any:
    def read(value: object) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(element, str) and fits(element) for element in value):
            raise ValueError
        return value

    return read


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


COUNT: Final = _integer(0, 10**6)
_READERS: Final = {"window_days": COUNT, "guard_bp": _integer(0, 10_000), "guard_min_sources": COUNT}
_PROVINCE_READERS: Final = {
    "scope": _list_of(PROVINCE.fullmatch),
    "kinds": _list_of(KINDS.__contains__),
    "own_kinds": _list_of(KINDS.__contains__),
    "aggregate": _one_of("lowest", "mean_of_lowest", "median"),
    "k": _integer(1, 10**6),
    "lookback": _one_of("current", "rolling"),
    "min_sources": COUNT,
    "bands": lambda value: _read(value, dict.fromkeys(("blue", "yellow", "red"), COUNT)),
    "adjust_within_days": COUNT,
    "high_value_only": _flag,
    "exclude_prefixes": _list_of(PREFIX.fullmatch),
}


def _supply(value: object) -> dict[str, Any]:
    return _read(value, dict.fromkeys(BUILT_IN["supply"], COUNT))


def _province_rules(value: object) -> dict[str, Any]:
    return _read(value, _PROVINCE_READERS)


def _provinces(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return _read(value, {name: _province_rules for name in value if PROVINCE.fullmatch(name)})
