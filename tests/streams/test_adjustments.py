"""``price_adjustment``: every change and every reason (SPEC §3)."""

from typing import Any

import pytest

from tests.streams.timeline import CODE, DAY, OTHER_CODE, Timeline, evidence


def market(policy: dict[str, Any] | None = None) -> Timeline:
    """Jiangsu at 1000 yuan, Shandong at 1100 with a yellow alert, in messages 0 and 1."""
    log = Timeline(policy)
    log.quotes(p32=1000, p37=1100)
    return log


# --- opened and escalated ---------------------------------------------------------------------------------------------


def test_opened_for_a_new_listing() -> None:
    log = Timeline()
    log.quote("32", 1000)
    assert log.quote("37", 1100, id="src") == ["price_adjustment opened new_listing 37 yellow"]
    assert log.open_alerts == {"price_adjustment yellow": 1}
    assert log.last == {
        "event_id": f"price_adjustment:{CODE}:370000:1/1",
        "alert_id": f"price_adjustment:{CODE}:370000:1",
        "revision": 1,
        "kind": "price_adjustment",
        "change": "opened",
        "reason": "new_listing",
        "source_id": "src",
        "code": CODE,
        "province": "370000",
        "supplier": "91320000MA1XXXXX1A",
        "band": "yellow",
        "previous_band": None,
        "price": "1100.0000",
        "reference": {"price": "1000.0000", "rule": "lowest", "provinces": ["320000"]},
        "target_price": "1000.0000",
        "excess_bp": 1000,
        "high_value": False,
        "due_at": "2026-01-31T00:00:02.000Z",
        "at": "2026-01-01T00:00:02.000Z",
        "evidence": [{"partition": 0, "offset": 1, "line": 0}, {"partition": 0, "offset": 0, "line": 0}],
        "policy_version": "44136fa355b3678a",
    }


def test_opened_for_a_new_listing_even_if_the_reference_came_with_it() -> None:
    log = Timeline()
    log.quote("32", 900, effective_at=DAY)
    log.quote("37", 1200, effective_at=DAY)
    assert log.tick(DAY) == ["price_adjustment opened new_listing 37 red"]


def test_opened_as_the_own_price_rose() -> None:
    log = market()
    log.quote("37", 1000)
    assert log.quote("37", 1001) == ["price_adjustment opened own_price_rose 37 blue"]


def test_opened_as_the_reference_fell() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1000)
    assert log.quote("32", 990) == ["price_adjustment opened reference_fell 37 blue"]


def test_opened_as_a_reference_came() -> None:
    log = Timeline()
    log.quote("37", 1000)
    assert log.quote("32", 990) == ["price_adjustment opened reference_fell 37 blue"]


def test_opened_as_the_reference_fell_further_than_the_own_price() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1000)
    log.quote("37", 950, effective_at=DAY)
    log.quote("32", 900, effective_at=DAY)
    assert log.tick(DAY) == ["price_adjustment opened reference_fell 37 yellow"]


def test_the_own_move_comes_before_the_references() -> None:
    log = market()
    log.quote("37", 1250, effective_at=DAY)
    log.quote("32", 990, effective_at=DAY)
    assert log.tick(DAY) == ["price_adjustment escalated own_price_rose 37 red"]
    log.quote("37", 1100, effective_at=2 * DAY)
    log.quote("32", 1020, effective_at=2 * DAY)
    assert log.tick(2 * DAY) == ["price_adjustment eased own_price_fell 37 yellow"]


def test_opened_when_the_kind_must_be_adjusted_after_all() -> None:
    log = Timeline()
    log.quote("32", 1000)
    log.quote("37", 1100, kind="selected")
    assert log.quote("37", 1100, kind="filed") == ["price_adjustment opened kind_changed 37 yellow"]


def test_opened_when_the_item_becomes_high_value() -> None:
    log = Timeline({"default": {"high_value_only": True}})
    log.quotes(p32=2500, p37=3000)
    assert log.item(device_class=3) == ["price_adjustment opened item_changed 37 red"]
    assert log.item(device_class=1) == ["price_adjustment resolved item_changed 37 -"]


def test_opened_when_the_policy_changes() -> None:
    log = market({"default": {"own_kinds": []}})
    assert log.policy({}) == ["price_adjustment opened policy_changed 37 yellow"]


@pytest.mark.parametrize(("own", "band"), [(1050, "yellow"), (1200, "red")])
def test_escalated_as_the_own_price_rose(own: int, band: str) -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    assert log.quote("37", own) == [f"price_adjustment escalated own_price_rose 37 {band}"]
    assert (log.last["previous_band"], log.last["revision"]) == ("blue", 2)


def test_escalated_as_the_reference_fell() -> None:
    log = market()
    assert log.quote("32", 900) == ["price_adjustment escalated reference_fell 37 red"]
    assert evidence(log.last) == [(2, 0), (1, 0)]


def test_escalated_when_the_policy_changes() -> None:
    log = market()
    assert log.policy({"default": {"bands": {"red": 1000}}}) == ["price_adjustment escalated policy_changed 37 red"]


# --- eased and resolved -----------------------------------------------------------------------------------------------


def test_eased_as_the_own_price_fell() -> None:
    log = market()
    assert log.quote("37", 1049) == ["price_adjustment eased own_price_fell 37 blue"]
    assert log.last["previous_band"] == "yellow"


def test_eased_as_the_reference_rose() -> None:
    log = market()
    assert log.quote("32", 1050) == ["price_adjustment eased reference_rose 37 blue"]


def test_eased_as_the_cheapest_province_left() -> None:
    log = market()
    log.quote("33", 1050, kind="selected")
    assert log.quote("32", status="withdrawn") == ["price_adjustment eased reference_rose 37 blue"]


def test_eased_when_the_policy_changes() -> None:
    log = market()
    policy = {"default": {"bands": {"yellow": 1001}}}
    assert log.policy(policy) == ["price_adjustment eased policy_changed 37 blue"]


def test_eased_when_the_policy_looks_elsewhere() -> None:
    log = market()
    log.quote("33", 1060, kind="selected")
    policy = {"default": {"scope": ["330000"]}}
    assert log.policy(policy) == ["price_adjustment eased reference_rose 37 blue"]


def test_resolved_as_the_own_price_fell() -> None:
    log = market()
    assert log.quote("37", 1000) == ["price_adjustment resolved own_price_fell 37 -"]
    assert log.last["excess_bp"] == 0
    assert (log.last["previous_band"], log.last["revision"]) == ("yellow", 2)
    assert log.last["due_at"] == "2026-01-31T00:00:02.000Z"
    assert log.open_alerts == {}


def test_resolved_as_the_reference_rose_or_went() -> None:
    log = market()
    assert log.quote("32", 1100) == ["price_adjustment resolved reference_rose 37 -"]
    log.quote("32", 1000)
    assert log.quote("32", status="suspended") == ["price_adjustment resolved reference_rose 37 -"]
    assert log.last["price"] == "1100.0000"
    assert not {"reference", "target_price", "excess_bp"} & log.last.keys()
    assert evidence(log.last) == [(4, 0), (1, 0)]


def test_resolved_as_the_cheaper_quote_is_of_another_kind() -> None:
    log = market()
    assert log.quote("32", 1000, kind="filed") == ["price_adjustment resolved reference_rose 37 -"]


def test_resolved_as_the_quote_expired() -> None:
    log = market()
    log.quote("37", 1100, valid_until=DAY)
    assert log.tick(DAY) == ["price_adjustment resolved expired 37 -"]
    assert not {"price", "excess_bp", "high_value"} & log.last.keys()
    assert log.last["reference"]["price"] == log.last["target_price"] == "1000.0000"
    assert log.last["due_at"] == "2026-01-31T00:00:02.000Z"
    assert evidence(log.last) == [(3, 0), (0, 0)]


@pytest.mark.parametrize("fields", [{"status": "suspended"}, {"status": "withdrawn", "price": 1}])
def test_resolved_as_the_quote_was_delisted(fields: dict[str, Any]) -> None:
    assert market().quote("37", **fields) == ["price_adjustment resolved delisted 37 -"]


@pytest.mark.parametrize("item", [{"status": "disabled"}, {"moved_to": OTHER_CODE}])
def test_resolved_as_the_code_was_disabled_or_moved(item: dict[str, Any]) -> None:
    log = market()
    assert log.item(**item) == ["price_adjustment resolved delisted 37 -"]
    assert "reference" not in log.last


def test_the_own_end_comes_before_the_references() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0, valid_until=DAY)
    log.quote("37", 1100, valid_until=DAY)
    assert log.tick(DAY) == ["price_adjustment resolved expired 37 -"]


def test_resolved_when_the_kind_need_not_be_adjusted() -> None:
    log = market()
    assert log.quote("37", 1100, kind="selected") == ["price_adjustment resolved kind_changed 37 -"]
    assert log.last["excess_bp"] == 1000


def test_a_rise_into_a_kind_that_need_not_be_adjusted_is_no_down_move() -> None:
    assert market().quote("37", 1200, kind="emergency") == ["price_adjustment resolved kind_changed 37 -"]


def test_resolved_when_the_policy_changes() -> None:
    log = market()
    policy = {"provinces": {"370000": {"bands": {"blue": 1001, "yellow": 1001}}}}
    assert log.policy(policy) == ["price_adjustment resolved policy_changed 37 -"]


# --- revised and overdue ----------------------------------------------------------------------------------------------


def test_revised_when_the_target_moves_within_the_band() -> None:
    log = market()
    assert log.quote("32", 990) == ["price_adjustment revised reference_fell 37 yellow"]
    assert (log.last["band"], log.last["previous_band"], log.last["target_price"]) == ("yellow", "yellow", "990.0000")
    assert log.quote("32", 995) == ["price_adjustment revised reference_rose 37 yellow"]
    assert log.last["revision"] == 3


def test_nothing_happens_when_only_the_own_price_moves_within_the_band() -> None:
    log = market()
    assert log.quote("37", 1110) == []
    assert log.quote("33", 1000, kind="selected") == []
    assert log.quote("32", 1000) == []


def test_revised_even_if_the_own_price_moved_as_well() -> None:
    log = market()
    log.quote("32", 990, effective_at=DAY)
    log.quote("37", 1105, effective_at=DAY)
    assert log.tick(DAY) == ["price_adjustment revised reference_fell 37 yellow"]


def test_revised_when_the_policy_moves_the_target() -> None:
    log = market()
    log.quote("33", 1010, kind="selected")
    assert log.policy({"default": {"aggregate": "median"}}) == ["price_adjustment revised reference_rose 37 yellow"]
    assert log.policy({}) == ["price_adjustment revised reference_fell 37 yellow"]


def test_overdue_once_when_the_deadline_comes() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0)
    log.quote("37", 1100, at=5)
    assert log.tick(30 * DAY + 4) == []
    assert log.tick(30 * DAY + 5) == ["price_adjustment overdue policy_deadline 37 yellow"]
    assert (log.last["band"], log.last["previous_band"], log.last["revision"]) == ("yellow", "yellow", 2)
    assert log.last["due_at"] == log.last["at"] == "2026-01-31T00:00:00.005Z"
    assert log.tick(90 * DAY) == []
    assert log.quote("32", 1001) == ["price_adjustment revised reference_rose 37 yellow"]


def test_overdue_comes_after_the_steps_other_event() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0)
    log.quote("37", 1100, at=0)
    log.quote("32", 900, effective_at=30 * DAY)
    assert log.tick(31 * DAY) == [
        "price_adjustment escalated reference_fell 37 red",
        "price_adjustment overdue policy_deadline 37 red",
    ]
    assert log.alerts[0]["at"] == log.alerts[1]["at"] == "2026-01-31T00:00:00.000Z"


def test_never_overdue_if_resolved_at_the_deadline() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0)
    log.quote("37", 1100, at=0, valid_until=30 * DAY)
    assert log.tick(31 * DAY) == ["price_adjustment resolved expired 37 -"]


def test_a_record_at_the_deadline_comes_too_late() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0)
    log.quote("37", 1100, at=0)
    assert log.quote("37", 1000, at=30 * DAY) == [
        "price_adjustment overdue policy_deadline 37 yellow",
        "price_adjustment resolved own_price_fell 37 -",
    ]


def test_an_alert_that_opens_again_is_another_with_a_deadline_of_its_own() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0)
    log.quote("37", 1100, at=0)
    log.quote("37", 1000, at=DAY)
    assert log.quote("37", 1100, at=2 * DAY) == ["price_adjustment opened own_price_rose 37 yellow"]
    assert log.last["event_id"] == f"price_adjustment:{CODE}:370000:2/1"
    assert log.tick(32 * DAY - 1) == []
    assert log.tick(32 * DAY) == ["price_adjustment overdue policy_deadline 37 yellow"]


def test_an_overdue_alert_may_open_and_be_overdue_again() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0)
    log.quote("37", 1100, at=0)
    log.tick(30 * DAY)
    log.quote("37", 1000)
    log.quote("37", 1100, at=40 * DAY)
    assert log.tick(70 * DAY) == ["price_adjustment overdue policy_deadline 37 yellow"]


def test_with_no_days_to_adjust_it_is_overdue_as_it_opens() -> None:
    log = Timeline({"default": {"adjust_within_days": 0}})
    log.quote("32", 1000)
    assert log.quote("37", 1100, id="src") == [
        "price_adjustment opened new_listing 37 yellow",
        "price_adjustment overdue policy_deadline 37 yellow",
    ]
    opened, overdue = log.alerts
    assert (overdue["source_id"], overdue["revision"], overdue["due_at"]) == ("src", 2, opened["at"])
    assert overdue["evidence"] == opened["evidence"]
    assert log.quote("37", 1300) == ["price_adjustment escalated own_price_rose 37 red"]
    assert log.tick(DAY) == []


def test_a_deadline_beyond_9999_is_cut() -> None:
    log = Timeline({"default": {"adjust_within_days": 1_000_000}})
    log.quote("32", 1000, at=2_000_000 * DAY)
    log.quote("37", 1100)
    assert log.last["due_at"] == "9999-12-31T23:59:59.999Z"


# --- order and numbering ----------------------------------------------------------------------------------------------


def test_the_reporting_provinces_event_comes_first_then_by_province() -> None:
    log = Timeline()
    log.quotes(p65=1000, p44=1000, p11=1000)
    assert log.quote("37", 900) == [
        "price_adjustment opened reference_fell 11 yellow",
        "price_adjustment opened reference_fell 44 yellow",
        "price_adjustment opened reference_fell 65 yellow",
    ]
    assert log.quote("44", 800) == [
        "price_adjustment resolved own_price_fell 44 -",
        "price_adjustment escalated reference_fell 11 red",
        "price_adjustment opened reference_fell 37 yellow",
        "price_adjustment escalated reference_fell 65 red",
    ]


def test_every_slot_counts_its_own_openings() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100, p44=1100)
    log.quote("37", 1000)
    assert log.quote("37", 1200)[0].startswith("price_adjustment opened")
    assert log.last["alert_id"] == f"price_adjustment:{CODE}:370000:2"
    log.quote("44", 1300)
    assert log.last["event_id"] == f"price_adjustment:{CODE}:440000:1/2"
