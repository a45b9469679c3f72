"""Policies: how each province links its prices, and what a policy record does (SPEC §3)."""

import hashlib
import json
from typing import Any

import pytest

from tests.streams.timeline import CODE, DAY, DRUG, OTHER_CODE, Timeline, evidence

Rules = dict[str, Any]


def linked(rules: Rules, *, own: int | str = 2000, kind: str = "listed", **prices: int | str) -> dict[str, Any] | None:
    """Returns the event that Shandong's price opens among others' prices, ``p32=1000`` or ``p32_filed=1000``."""
    log = Timeline({"guard_bp": 0, "provinces": {"370000": rules}})
    for name, price in prices.items():
        province, _, of_kind = name[1:].partition("_")
        log.quote(province, price, kind=of_kind or "listed")
    log.quote("37", own, kind=kind)
    return next((alert for alert in log.alerts if alert["province"] == "370000"), None)


def reference(alert: dict[str, Any] | None) -> tuple[str, str] | None:
    """Returns the reference's price and provinces, two digits each."""
    if alert is None:
        return None
    return alert["reference"]["price"], " ".join(province[:2] for province in alert["reference"]["provinces"])


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, ("1000.0000", "32")),
        ({"scope": None}, ("1000.0000", "32")),
        ({"scope": ""}, ("1000.0000", "32")),
        ({"scope": ["330000", "440000"]}, ("1100.0000", "33")),
        ({"scope": ["440000", "440000"]}, ("1300.0000", "44")),
        ({"scope": ["370000", "440000"]}, ("1300.0000", "44")),
        ({"scope": ["370000"]}, None),
        ({"scope": ["510000"]}, None),
        ({"scope": []}, None),
    ],
)
def test_scope(rules: Rules, expected: tuple[str, str] | None) -> None:
    assert reference(linked(rules, p32=1000, p33=1100, p44=1300)) == expected


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (None, ("1001.0000", "33")),
        (["listed"], ("1004.0000", "44")),
        (["listed", "selected", "filed", "emergency"], ("1000.0000", "32")),
        (["filed", "filed"], ("1002.0000", "34")),
        ([], None),
    ],
)
def test_kinds_that_count_for_the_reference(kinds: list[str] | None, expected: tuple[str, str] | None) -> None:
    prices: dict[str, Any] = {"p32_emergency": 1000, "p33_selected": 1001, "p34_filed": 1002, "p44": 1004}
    assert reference(linked({"kinds": kinds}, **prices)) == expected


@pytest.mark.parametrize(
    ("own_kinds", "adjusted"),
    [
        (None, ["listed", "filed"]),
        (["selected"], ["selected"]),
        (["emergency", "listed"], ["listed", "emergency"]),
        ([], []),
    ],
)
def test_kinds_that_must_be_adjusted(own_kinds: list[str] | None, adjusted: list[str]) -> None:
    kinds = ["listed", "selected", "filed", "emergency"]
    assert [kind for kind in kinds if linked({"own_kinds": own_kinds}, kind=kind, p32=1000)] == adjusted


@pytest.mark.parametrize(
    ("rules", "prices", "expected"),
    [
        ({}, (1000, 1002, 1004, 1100), ("1002.0000", "31 32 33")),
        ({"k": 2}, (1000, 1002, 1004), ("1001.0000", "31 32")),
        ({"k": 1}, (1000, 1002), ("1000.0000", "31")),
        ({"k": 1_000_000}, (1000, 1002), ("1001.0000", "31 32")),
        ({"k": 2}, ("1", "1.0001"), ("1.0001", "31 32")),  # 1.00005
        ({"k": 3}, ("1", "1", "1.0001"), ("1.0000", "31 32 33")),
        ({"k": 3}, ("1", "1.0001", "1.0001"), ("1.0001", "31 32 33")),
        ({"k": 2}, (1004, 1002, 1000), ("1001.0000", "33 32")),
        ({"k": 2}, (1000, 1000, 1000), ("1000.0000", "31 32")),
    ],
)
def test_mean_of_lowest(rules: Rules, prices: tuple[int | str, ...], expected: tuple[str, str]) -> None:
    rules = {"aggregate": "mean_of_lowest", **rules}
    named: dict[str, Any] = {f"p{31 + i}": price for i, price in enumerate(prices)}
    alert = linked(rules, **named)
    assert alert
    assert reference(alert) == expected
    assert alert["reference"]["rule"] == "mean_of_lowest"
    numbers = [int(province) - 31 for province in expected[1].split()]
    assert evidence(alert) == [(len(prices), 0), *((number, 0) for number in numbers)]


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ((1000,), ("1000.0000", "31")),
        ((1000, 1100), ("1050.0000", "31 32")),
        ((1000, 1100, 1800), ("1100.0000", "32")),
        ((1800, 1000, 1100), ("1100.0000", "33")),
        ((1900, 1000, 1100, 1200), ("1150.0000", "33 34")),
        (("1", "1.0001"), ("1.0001", "31 32")),
        ((1000, 1000, 1000, 1000), ("1000.0000", "32 33")),
    ],
)
def test_median(prices: tuple[int | str, ...], expected: tuple[str, str]) -> None:
    named: dict[str, Any] = {f"p{31 + i}": price for i, price in enumerate(prices)}
    alert = linked({"aggregate": "median"}, **named)
    assert reference(alert) == expected
    assert alert
    assert alert["reference"]["rule"] == "median"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"min_sources": 3}, ("1000.0000", "31")),
        ({"min_sources": 4}, None),
        ({"min_sources": 0}, ("1000.0000", "31")),
        ({"min_sources": 3, "aggregate": "mean_of_lowest", "k": 1}, ("1000.0000", "31")),
        ({"min_sources": 3, "scope": ["310000", "320000"]}, None),
        ({"min_sources": 3, "aggregate": "median"}, ("1100.0000", "32")),
    ],
)
def test_min_sources(rules: Rules, expected: tuple[str, str] | None) -> None:
    assert reference(linked(rules, p31=1000, p32=1100, p33=1200)) == expected


def test_min_sources_counts_the_dearer_ones_too() -> None:
    log = Timeline({"default": {"min_sources": 3}})
    log.quotes(p32=1000, p33=1050, p34=1060)
    assert log.quote("37", 1100, kind="filed") == ["price_adjustment opened new_listing 37 yellow"]
    assert log.quote("34", status="withdrawn") == ["price_adjustment resolved reference_rose 37 -"]
    assert log.quote("34", 1070) == ["price_adjustment opened reference_fell 37 yellow"]


def test_without_sources_there_is_no_reference_even_if_none_are_asked_for() -> None:
    assert linked({"min_sources": 0}) is None


@pytest.mark.parametrize(
    ("bands", "own", "band"),
    [
        ({}, "1000", None),
        ({}, "1000.0001", "blue"),
        ({}, "1049.9999", "blue"),
        ({}, "1050", "yellow"),
        ({}, "1199.9999", "yellow"),
        ({}, "1200", "red"),
        ({"blue": 100}, "1009.9999", None),
        ({"blue": 100}, "1010", "blue"),
        ({"blue": None, "yellow": "", "red": 1000}, "1100", "red"),
        ({"blue": 500, "yellow": 300, "red": 100}, "1009.9", None),
        ({"blue": 500, "yellow": 300, "red": 100}, "1010", "red"),
        ({"blue": 0, "yellow": 300, "red": 100}, "1005", "blue"),
        ({"red": 0}, "1000.0001", "red"),
        ({"red": 0}, "1000", None),
        ({"blue": 1_000_000, "yellow": 1_000_000, "red": 1_000_000}, "100999.9999", None),
        ({"blue": 1_000_000, "yellow": 1_000_000, "red": 1_000_000}, "101000", "red"),
    ],
)
def test_the_highest_band_whose_threshold_is_reached(bands: Rules, own: str, band: str | None) -> None:
    alert = linked({"bands": bands}, own=own, p32=1000)
    assert (alert["band"] if alert else None) == band


def test_provinces_differ_from_the_default_in_what_they_say() -> None:
    default = {"bands": {"blue": 200, "yellow": 400}, "adjust_within_days": 10}
    log = Timeline({"default": default, "provinces": {"370000": {"bands": {"yellow": 100}}, "440000": None}})
    log.quotes(p32=1000)
    assert log.quote("37", 1010) == ["price_adjustment opened new_listing 37 yellow"]
    assert log.last["due_at"] == "2026-01-11T00:00:02.000Z"
    assert log.quote("44", 1019) == []
    assert log.quote("44", 1030) == ["price_adjustment opened own_price_rose 44 blue"]
    assert log.quote("37", 1300) == ["price_adjustment escalated own_price_rose 37 red"]


def test_high_value_only_silences_adjustments_and_bargains_below_it() -> None:
    log = Timeline({"provinces": {"370000": {"high_value_only": True}}})
    log.item(device_class=3)
    log.quotes(p32=1900)
    assert log.quote("37", 2000) == []
    assert log.order("37", 2000) == []
    assert log.quote("37", "2000.0001") == ["price_adjustment opened own_price_rose 37 yellow"]
    assert log.order("37", "2000.0002") == ["bargain observed above_listing 37 red"]
    assert log.quote("37", "2000") == ["price_adjustment resolved own_price_fell 37 -"]
    assert log.quote("44", 2000) == ["price_adjustment opened new_listing 44 yellow"]


def test_exclude_prefixes_silence_codes() -> None:
    log = Timeline(
        {"provinces": {"370000": {"exclude_prefixes": ["Z", "C0910"]}, "440000": {"exclude_prefixes": [CODE]}}}
    )
    for code in (CODE, OTHER_CODE, DRUG):
        log.quote("32", 1000, code=code)
    assert log.quote("37", 1100) == []
    assert log.order("37", 1200) == []
    assert log.quote("44", 1100) == []
    assert log.order("44", 1200) == []
    assert log.quote("37", 1100, code=OTHER_CODE) == ["price_adjustment opened new_listing 37 yellow"]
    assert log.quote("37", 1100, code=DRUG) == ["price_adjustment opened new_listing 37 yellow"]
    assert log.ceiling("37", 1000) == ["ceiling_breach opened reference_fell 37 red"]


def test_silenced_codes_are_held_all_the_same() -> None:
    log = Timeline({"default": {"exclude_prefixes": ["C"], "high_value_only": True}})
    log.quotes(p32=1000, p33=1000)
    assert log.quote("44", 100) == ["price_hold opened unit_mismatch 44 red"]


# --- policy records ---------------------------------------------------------------------------------------------------


def test_a_policy_record_evaluates_every_code_at_once() -> None:
    log = Timeline({"default": {"own_kinds": []}})
    for code in (OTHER_CODE, DRUG, CODE):
        log.quote("32", 1000, code=code)
        log.quote("37", 1100, code=code)
        log.quote("44", 1000, code=code)
    policy = {"provinces": {"440000": {"scope": ["370000"]}}}
    assert log.policy(policy, id="p-1") == ["price_adjustment opened policy_changed 37 yellow"] * 3
    assert sorted(alert["code"] for alert in log.alerts) == sorted((CODE, OTHER_CODE, DRUG))
    assert {alert["source_id"] for alert in log.alerts} == {"p-1"}
    assert {evidence(alert)[0] for alert in log.alerts} == {log.position}


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"window_days": 30},
        {"provinces": {"370000": {"bands": {"red": 100}, "aggregate": "median"}}, "guard_bp": None, "default": {}},
    ],
)
def test_a_policys_version_is_of_the_object_as_given(policy: Rules) -> None:
    canonical = json.dumps(policy, sort_keys=True, separators=(",", ":")).encode()
    version = hashlib.sha256(canonical).hexdigest()[:16]
    log = Timeline(policy)
    log.quotes(p32=1000, p37=1300)
    assert log.last["policy_version"] == version
    log = Timeline({"default": {"own_kinds": []}})
    log.quotes(p32=1000, p37=1300)
    log.policy(policy)
    assert log.last["policy_version"] == version
    log.quote("37", 1000)
    assert log.last["policy_version"] == version


def test_events_of_a_batch_name_the_policy_that_held_at_each() -> None:
    log = Timeline()
    lines: list[Rules] = [
        {"type": "quote", "code": CODE, "province": "32", "price": 1000, "supplier": "9" * 18, "at": 0},
        {"type": "quote", "code": CODE, "province": "37", "price": 1100, "supplier": "9" * 18, "at": 0},
        {"type": "policy", "policy": {"default": {"bands": {"red": 1000}}}, "at": 1},
        {"type": "policy", "policy": {}, "at": 2},
    ]
    assert log.write(*lines) == [
        "price_adjustment opened new_listing 37 yellow",
        "price_adjustment escalated policy_changed 37 red",
        "price_adjustment eased policy_changed 37 yellow",
    ]
    versions = [alert["policy_version"] for alert in log.alerts]
    assert versions[0] == versions[2] == "44136fa355b3678a" != versions[1]


def test_an_open_alert_keeps_its_deadline() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0)
    log.quote("37", 1100, at=0)
    assert log.policy({"default": {"adjust_within_days": 1}}, at=5 * DAY) == []
    log.quote("44", 1100, at=5 * DAY)
    assert log.last["due_at"] == "2026-01-07T00:00:00.000Z"
    assert log.tick(29 * DAY) == ["price_adjustment overdue policy_deadline 44 yellow"]
    assert log.tick(30 * DAY) == ["price_adjustment overdue policy_deadline 37 yellow"]


def test_a_policy_fires_timers_under_the_one_before_it() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0, valid_until=DAY)
    log.quotes(p37=1100, p44=1150)
    assert log.policy({"default": {"own_kinds": []}}, at=DAY) == [
        "price_adjustment resolved reference_rose 37 -",
        "price_adjustment eased reference_rose 44 blue",
        "price_adjustment resolved policy_changed 44 -",
    ]


def test_the_last_policy_wins() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    log.policy({}, at=DAY, seq=1)
    assert log.policy({"default": {"own_kinds": []}}, at=DAY, seq=1) == []
    assert log.stale == 1
    assert log.policy({"default": {"own_kinds": []}}, at=DAY, seq=2) == [
        "price_adjustment resolved policy_changed 37 -"
    ]
    assert log.policy({}, at=DAY - 1, seq=9) == []
    assert log.stale == 1


def test_an_unfit_policy_is_turned_away_whole() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    assert log.policy({"default": {"own_kinds": [], "k": 0}}) == []
    assert log.dead == ["bad_type"]


def test_a_policy_changes_nothing_by_itself() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    log.ceiling("37", 1000)
    assert log.policy({"window_days": 1}) == []
    assert log.changes == []
