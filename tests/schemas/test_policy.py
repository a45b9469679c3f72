"""Policies: defaults, gaps, what is unfit, and their version (SPEC §3)."""

import hashlib
import json
from typing import Any

import pytest

from config.provinces import PROVINCE_CODES, PROVINCE_INDEX
from schemas.columns import EMERGENCY, FILED, LISTED, NOT_JSON, REASONS, SELECTED
from schemas.parser import Record, Reject, parse_line
from schemas.policy import Policy, ProvincePolicy, SupplyRules, load_policy
from tests.schemas.lines import GOOD, line_of

WHOLE = """{"window_days":365,"guard_bp":5000,"guard_min_sources":2,
"supply":{"window_days":30,"fill_yellow_bp":9500,"fill_red_bp":8000,"late_yellow_hours":24,"late_red_hours":72},
"default":{"scope":null,"kinds":["listed","selected"],"own_kinds":["listed","filed"],"aggregate":"lowest","k":3,
"lookback":"current","min_sources":1,"bands":{"blue":0,"yellow":500,"red":2000},"adjust_within_days":30,
"high_value_only":false,"exclude_prefixes":[]},"provinces":{"320000":{}}}"""


def loaded(value: Any) -> Policy:
    policy = load_policy(value if isinstance(value, bytes) else json.dumps(value).encode())
    assert isinstance(policy, Policy), policy
    return policy


def test_the_defaults_are_the_specs() -> None:
    whole, empty = loaded(WHOLE.encode()), loaded({})
    assert whole.provinces == empty.provinces == (ProvincePolicy(),) * 32
    assert whole.supply == empty.supply == SupplyRules()
    assert (empty.window_days, empty.guard_bp, empty.guard_min_sources) == (365, 5_000, 2)
    rules = empty.provinces[0]
    assert (rules.kinds, rules.own_kinds, rules.scope) == ((LISTED, SELECTED), (LISTED, FILED), None)


def test_a_province_is_as_the_default_but_for_what_it_says() -> None:
    policy = loaded(
        {
            "default": {"k": 5, "bands": {"yellow": 700}, "scope": ["330000", "110000", "330000"], "kinds": []},
            "provinces": {
                "320000": {"bands": {"red": 900}, "scope": [], "kinds": ["emergency", "listed"], "high_value_only": True},
                "330000": {"scope": None, "k": "", "bands": {"yellow": None, "blue": 5}, "exclude_prefixes": ["C01", "C01"]},
                "440000": None,
                "110000": "",
            },
        }
    )  # fmt: skip
    default = ProvincePolicy(k=5, yellow_bp=700, scope=(0, 10), kinds=())
    assert policy.provinces[PROVINCE_INDEX["440000"]] == policy.provinces[0] == default
    own = policy.provinces[PROVINCE_INDEX["320000"]]
    assert (own.blue_bp, own.yellow_bp, own.red_bp, own.k) == (0, 700, 900, 5)
    assert (own.scope, own.kinds, own.high_value_only) == ((), (LISTED, EMERGENCY), True)
    other = policy.provinces[PROVINCE_INDEX["330000"]]
    assert (other.blue_bp, other.yellow_bp, other.scope, other.k) == (5, 700, (0, 10), 5)
    assert other.exclude_prefixes == ("C01",)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ([], None), ("x", None), (5, None), (True, None),
        ({"x": 1}, "x"), ({"k": 1}, "k"), ({"window_days": -1}, "window_days"), ({"window_days": 10**6 + 1}, "window_days"),
        ({"window_days": 1.0}, "window_days"), ({"window_days": "1"}, "window_days"), ({"window_days": True}, "window_days"),
        ({"window_days": 10**4000}, "window_days"), ({"guard_bp": 10_001}, "guard_bp"), ({"guard_min_sources": []}, "guard_min_sources"),
        ({"supply": []}, "supply"), ({"supply": {"x": 1}}, "supply.x"), ({"supply": {"late_red_hours": -1}}, "supply.late_red_hours"),
        ({"default": []}, "default"), ({"default": {"exlude_prefixes": []}}, "default.exlude_prefixes"), ({"default": {"k": 0}}, "default.k"),
        ({"default": {"scope": "110000"}}, "default.scope"), ({"default": {"scope": ["990000"]}}, "default.scope"),
        ({"default": {"scope": [None]}}, "default.scope"), ({"default": {"kinds": ["retail"]}}, "default.kinds"),
        ({"default": {"own_kinds": {"listed": 1}}}, "default.own_kinds"), ({"default": {"aggregate": "mean"}}, "default.aggregate"),
        ({"default": {"aggregate": ["lowest"]}}, "default.aggregate"), ({"default": {"lookback": "past"}}, "default.lookback"),
        ({"default": {"min_sources": 1.5}}, "default.min_sources"), ({"default": {"bands": []}}, "default.bands"),
        ({"default": {"bands": {"green": 1}}}, "default.bands.green"), ({"default": {"bands": {"red": -1}}}, "default.bands.red"),
        ({"default": {"adjust_within_days": 10**7}}, "default.adjust_within_days"), ({"default": {"high_value_only": 0}}, "default.high_value_only"),
        ({"default": {"exclude_prefixes": ["c"]}}, "default.exclude_prefixes"), ({"default": {"exclude_prefixes": [""]}}, "default.exclude_prefixes"),
        ({"default": {"exclude_prefixes": ["A" * 28]}}, "default.exclude_prefixes"), ({"default": {"exclude_prefixes": ["A\n"]}}, "default.exclude_prefixes"),
        ({"provinces": []}, "provinces"), ({"provinces": {"990000": {}}}, "provinces.990000"), ({"provinces": {"320000": []}}, "provinces.320000"),
        ({"provinces": {"320000": {"bands": {"red": "1"}}}}, "provinces.320000.bands.red"),
    ],
)  # fmt: skip
def test_unfit(policy: Any, field: str | None) -> None:
    written = json.dumps(policy).encode()
    found = load_policy(written)
    assert isinstance(found, Reject)
    assert (REASONS[found.reason], found.field) == ("bad_type", field)
    rejected = parse_line(line_of(GOOD["policy"])[:-1] + b',"policy":' + written + b"}")
    assert isinstance(rejected, Reject)
    assert REASONS[rejected.reason] == "bad_type"


def test_left_out_everywhere() -> None:
    nothing = loaded(
        {
            "x": None,
            "default": "",
            "supply": {"y": "", "late_red_hours": None},
            "provinces": {"320000": {"z": None}, "9": ""},
        }
    )
    assert nothing.provinces == loaded({}).provinces
    assert nothing.supply == SupplyRules()


def test_not_json() -> None:
    for text in (b"", b"{", b"\xef\xbb\xbf{}", b"{}x"):
        found = load_policy(text)
        assert isinstance(found, Reject)
        assert found.reason == NOT_JSON


def test_version_is_of_the_object_as_given() -> None:
    written = b' {"provinces" : {"320000":{"k":007}}}'
    assert isinstance(load_policy(written), Reject)
    given = {"provinces": {"320000": {"k": 7, "scope": None}}, "guard_bp": "", "default": {"kinds": ["filed", "filed"]}}
    policy = loaded(given)
    canonical = json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert policy.canonical == canonical
    assert policy.version == hashlib.sha256(canonical).hexdigest()[:16]
    assert loaded(policy.canonical) == policy
    assert loaded(b'{"k":1,"guard_bp":1,"k":null,"guard_bp":2}').canonical == b'{"guard_bp":2,"k":null}'
    assert loaded(b"{}").version == hashlib.sha256(b"{}").hexdigest()[:16]


def test_in_a_record() -> None:
    parsed = parse_line(
        line_of({**GOOD["policy"], "policy": {"guard_bp": 1, "provinces": {code: {} for code in PROVINCE_CODES}}})
    )
    assert isinstance(parsed, Record)
    assert parsed.policy == loaded({"guard_bp": 1, "provinces": {code: {} for code in PROVINCE_CODES}})
