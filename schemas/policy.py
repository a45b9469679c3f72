"""The policy: how each province links its prices (SPEC §3). A JSON object, whole, with its gaps filled by the defaults.

No colour threshold is published anywhere: the defaults are ours.
"""

import hashlib
import json
import re
from dataclasses import dataclass, fields
from typing import Any, Final

from config.provinces import PROVINCE_CODES, PROVINCE_INDEX
from schemas.columns import BAD_TYPE, NOT_JSON, QUOTE_KINDS
from schemas.json_text import Integer, Invalid, read_json
from schemas.records import Reject

AGGREGATES: Final = ("lowest", "mean_of_lowest", "median")
LOOKBACKS: Final = ("current", "rolling")
MAX_COUNT: Final = 10**6
MAX_GUARD_BP: Final = 10_000
VERSION_DIGITS: Final = 16

PREFIX_PATTERN: Final = "[0-9A-Z]{1,27}"
_PREFIX: Final = re.compile(PREFIX_PATTERN)
_MAX_INTEGER_CHARACTERS: Final = 7


@dataclass(frozen=True, slots=True)
class SupplyRules:
    """Thresholds of ``supply_shortfall`` (SPEC §6)."""

    window_days: int = 30
    fill_yellow_bp: int = 9_500
    fill_red_bp: int = 8_000
    late_yellow_hours: int = 24
    late_red_hours: int = 72


@dataclass(frozen=True, slots=True)
class ProvincePolicy:
    """One province's rules, complete.

    ``scope``: indexes of the provinces looked at, ascending (its own may be among them); None: all others. ``kinds``,
    ``own_kinds``: indexes in QUOTE_KINDS, ascending. ``aggregate``: one of AGGREGATES. ``lookback``: one of LOOKBACKS.
    """

    scope: tuple[int, ...] | None = None
    kinds: tuple[int, ...] = (0, 1)
    own_kinds: tuple[int, ...] = (0, 2)
    aggregate: str = "lowest"
    k: int = 3
    lookback: str = "current"
    min_sources: int = 1
    blue_bp: int = 0
    yellow_bp: int = 500
    red_bp: int = 2_000
    adjust_within_days: int = 30
    high_value_only: bool = False
    exclude_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy with its gaps filled. ``provinces``: 32, by index.

    ``canonical``: the object as given, as canonical JSON; ``version``: 16 hex digits of its SHA-256.
    """

    window_days: int
    guard_bp: int
    guard_min_sources: int
    supply: SupplyRules
    provinces: tuple[ProvincePolicy, ...]
    version: str
    canonical: bytes


class _Unfit(Exception):
    """Something in a policy is unknown or unfit; caught in this module, where it becomes a Reject."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message


def load_policy(text: bytes) -> Policy | Reject:
    """Returns the policy that a file's bytes hold, or what is wrong with it."""
    value = read_json(text)
    if isinstance(value, Invalid):
        return Reject(NOT_JSON, None, "not one JSON value (RFC 8259, UTF-8)")
    return parse_policy(value)


def parse_policy(value: object) -> Policy | Reject:
    """Returns the policy that a JSON value (as ``read_json`` gives it) is, or what is unfit in it, as ``bad_type``."""
    try:
        return _policy(value)
    except _Unfit as unfit:
        return Reject(BAD_TYPE, unfit.path or None, unfit.message)


def _policy(value: object) -> Policy:
    top = _object(value, "", ("window_days", "guard_bp", "guard_min_sources", "supply", "default", "provinces"))
    window_days = _count(top, "window_days", "", 365)
    guard_bp = _count(top, "guard_bp", "", 5_000, most=MAX_GUARD_BP)
    guard_min_sources = _count(top, "guard_min_sources", "", 2)
    supply = _supply(top.get("supply", {}))
    default = _province(top.get("default", {}), "default", ProvincePolicy())
    given = _object(top.get("provinces", {}), "provinces", PROVINCE_CODES)
    provinces = [default] * len(PROVINCE_CODES)
    for code, rules in given.items():
        provinces[PROVINCE_INDEX[code]] = _province(rules, f"provinces.{code}", default)
    canonical = _canonical(value)
    version = hashlib.sha256(canonical).hexdigest()[:VERSION_DIGITS]
    return Policy(window_days, guard_bp, guard_min_sources, supply, tuple(provinces), version, canonical)


def _supply(value: object) -> SupplyRules:
    names = tuple(field.name for field in fields(SupplyRules))
    given = _object(value, "supply", names)
    return SupplyRules(**{name: _count(given, name, "supply", 0) for name in names if name in given})


def _province(value: object, path: str, default: ProvincePolicy) -> ProvincePolicy:
    """Returns a province's rules; what ``value`` leaves out is as in ``default``."""
    names = tuple(field.name for field in fields(ProvincePolicy) if not field.name.endswith("_bp"))
    given = _object(value, path, (*names, "bands"))
    bands = _object(given.get("bands", {}), f"{path}.bands", ("blue", "yellow", "red"))
    return ProvincePolicy(
        scope=_indexes(given, "scope", path, PROVINCE_CODES) if "scope" in given else default.scope,
        kinds=_indexes(given, "kinds", path, QUOTE_KINDS) if "kinds" in given else default.kinds,
        own_kinds=_indexes(given, "own_kinds", path, QUOTE_KINDS) if "own_kinds" in given else default.own_kinds,
        aggregate=_word(given, "aggregate", path, AGGREGATES, default.aggregate),
        k=_count(given, "k", path, default.k, least=1),
        lookback=_word(given, "lookback", path, LOOKBACKS, default.lookback),
        min_sources=_count(given, "min_sources", path, default.min_sources),
        blue_bp=_count(bands, "blue", f"{path}.bands", default.blue_bp),
        yellow_bp=_count(bands, "yellow", f"{path}.bands", default.yellow_bp),
        red_bp=_count(bands, "red", f"{path}.bands", default.red_bp),
        adjust_within_days=_count(given, "adjust_within_days", path, default.adjust_within_days),
        high_value_only=_flag(given, "high_value_only", path, default=default.high_value_only),
        exclude_prefixes=_prefixes(given, path) if "exclude_prefixes" in given else default.exclude_prefixes,
    )


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _object(value: object, path: str, known: tuple[str, ...]) -> dict[str, Any]:
    """Returns an object's members without those that count as left out."""
    if type(value) is not dict:
        raise _Unfit(path, "must be an object")
    given = {name: member for name, member in value.items() if member is not None and member != ""}
    for name in given:
        if name not in known:
            raise _Unfit(_at(path, name), "is unknown")
    return given


def _count(given: dict[str, Any], name: str, path: str, default: int, *, least: int = 0, most: int = MAX_COUNT) -> int:
    if name not in given:
        return default
    text = given[name]
    if type(text) is not Integer:
        raise _Unfit(_at(path, name), "must be an integer")
    if len(text) > _MAX_INTEGER_CHARACTERS or not least <= (count := int(text)) <= most:
        raise _Unfit(_at(path, name), f"must be from {least} to {most}")
    return count


def _word(given: dict[str, Any], name: str, path: str, words: tuple[str, ...], default: str) -> str:
    word = given.get(name, default)
    if type(word) is not str or word not in words:
        raise _Unfit(_at(path, name), f"must be one of {', '.join(words)}")
    return word


def _flag(given: dict[str, Any], name: str, path: str, *, default: bool) -> bool:
    flag = given.get(name, default)
    if type(flag) is not bool:
        raise _Unfit(_at(path, name), "must be true or false")
    return flag


def _texts(given: dict[str, Any], name: str, path: str) -> list[str]:
    texts = given[name]
    if type(texts) is not list or any(type(text) is not str for text in texts):
        raise _Unfit(_at(path, name), "must be a list of strings")
    return texts


def _indexes(given: dict[str, Any], name: str, path: str, known: tuple[str, ...]) -> tuple[int, ...]:
    texts = set(_texts(given, name, path))
    if not texts <= set(known):
        raise _Unfit(_at(path, name), f"must be of {', '.join(known)}")
    return tuple(index for index, word in enumerate(known) if word in texts)


def _prefixes(given: dict[str, Any], path: str) -> tuple[str, ...]:
    texts = _texts(given, "exclude_prefixes", path)
    if not all(_PREFIX.fullmatch(text) for text in texts):
        raise _Unfit(_at(path, "exclude_prefixes"), "must be of 1 to 27 of 0-9 and A-Z each")
    return tuple(dict.fromkeys(texts))


def _canonical(value: object) -> bytes:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _plain(value: object) -> object:
    """Returns a JSON value with its integers as int: a policy that passed has no other numbers."""
    if type(value) is Integer:
        return int(value)
    if type(value) is dict:
        return {name: _plain(member) for name, member in value.items()}
    if type(value) is list:
        return [_plain(member) for member in value]
    return value
