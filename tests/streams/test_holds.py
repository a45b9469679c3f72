"""Holds: one wrong unit must not cut a price nationwide (SPEC §5)."""

from typing import Any

import pytest

from tests.streams.timeline import CODE, DAY, OTHER_CODE, SECOND, Timeline, evidence, quote

OPENED_44 = "price_hold opened unit_mismatch 44 red"


def market(policy: dict[str, Any] | None = None) -> Timeline:
    """Two provinces at 1000 yuan, in messages 0 and 1."""
    log = Timeline(policy)
    log.quotes(p32=1000, p33=1000)
    return log


# --- what is held -----------------------------------------------------------------------------------------------------


def test_a_quote_far_below_the_lowest_is_held() -> None:
    log = market()
    assert log.quote("44", 100, id="src") == [OPENED_44]
    assert log.changes == []
    assert log.open_alerts == {"price_hold red": 1}
    assert log.last == {
        "event_id": f"price_hold:{CODE}:440000:1/1",
        "alert_id": f"price_hold:{CODE}:440000:1",
        "revision": 1,
        "kind": "price_hold",
        "change": "opened",
        "reason": "unit_mismatch",
        "source_id": "src",
        "code": CODE,
        "province": "440000",
        "supplier": "91320000MA1XXXXX1A",
        "band": "red",
        "previous_band": None,
        "price": "100.0000",
        "reference": {"price": "1000.0000", "rule": "lowest", "provinces": ["320000"]},
        "excess_bp": -9000,
        "high_value": False,
        "at": "2026-01-01T00:00:03.000Z",
        "evidence": [{"partition": 0, "offset": 2, "line": 0}, {"partition": 0, "offset": 0, "line": 0}],
        "policy_version": "44136fa355b3678a",
    }


@pytest.mark.parametrize(
    ("price", "guard_bp", "held"),
    [
        ("500", 5000, False),
        ("499.9999", 5000, True),
        ("909.0909", 10_000, True),
        ("909.0910", 10_000, False),  # within 10 %
        ("850.1", 8500, False),
        ("849.9999", 8500, True),
        ("0.0001", 0, False),
        ("333.3", 3333, False),
        ("333.2999", 3333, True),
    ],
)
def test_the_guards_edge(price: str, guard_bp: int, held: bool) -> None:
    log = market({"guard_bp": guard_bp})
    events = log.quote("44", price)
    assert events[0].startswith("price_hold opened") is held
    assert ("price_hold red" in log.open_alerts) is held


@pytest.mark.parametrize(("others", "held"), [(0, False), (1, False), (2, True), (3, True)])
def test_enough_other_provinces_must_be_in_force(others: int, held: bool) -> None:
    log = Timeline()
    log.quote("44", 1000)
    log.quotes(**dict.fromkeys(("p31", "p32", "p33")[:others], 1000))
    assert (log.quote("44", 100)[:1] == [OPENED_44]) is held


def test_one_other_province_is_enough_if_the_policy_says_so() -> None:
    log = Timeline({"guard_min_sources": 1})
    log.quote("32", 1000)
    assert log.quote("44", 100) == [OPENED_44]
    log = Timeline({"guard_min_sources": 0})
    assert log.quote("44", 100) == []
    assert log.quote("44", 10) == [OPENED_44]


def test_provinces_out_of_force_do_not_count() -> None:
    log = market()
    log.quote("33", status="suspended")
    assert OPENED_44 not in log.quote("44", 100)


def test_the_own_price_may_be_the_lowest() -> None:
    log = Timeline()
    log.quotes(p44=1000, p32=1200, p33=1200)
    assert log.quote("44", 499) == ["price_hold opened unit_mismatch 44 red"]
    assert log.last["reference"]["provinces"] == ["440000"]
    assert evidence(log.last) == [(3, 0), (0, 0)]


@pytest.mark.parametrize(
    ("kind", "held"), [("selected", False), ("listed", True), ("filed", True), ("emergency", True)]
)
def test_only_prices_won_in_procurement_are_exempt(kind: str, held: bool) -> None:
    assert (OPENED_44 in market().quote("44", 100, kind=kind)) is held


def test_a_quote_that_is_not_active_is_not_held() -> None:
    log = market()
    assert log.quote("44", 100, status="suspended") == []


def test_a_waiting_quote_is_held_when_its_time_comes() -> None:
    log = market()
    assert log.quote("44", 100, effective_at=DAY) == []
    assert log.tick(DAY) == [OPENED_44]
    assert log.last["at"] == "2026-01-02T00:00:00.000Z"
    assert evidence(log.last) == [(3, 0), (2, 0), (0, 0)]


def test_the_older_quote_stays_in_force() -> None:
    log = market()
    log.quote("44", 1100)
    assert log.quote("44", 100) == [OPENED_44]
    assert log.open_alerts == {"price_hold red": 1, "price_adjustment yellow": 1}
    assert log.tick(31 * DAY) == ["price_adjustment overdue policy_deadline 44 yellow"]
    assert log.last["price"] == "1100.0000"


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("100", "unit_mismatch"),
        ("98.0393", "unit_mismatch"),  # 10 × 98.0393 × 1.02 is just 1000
        ("98.0392", "outlier_low"),
        ("102.0408", "unit_mismatch"),
        ("102.0409", "outlier_low"),
        ("490.2", "unit_mismatch"),  # k = 2
        ("490.1", "outlier_low"),
        ("333.3333", "unit_mismatch"),
        ("300", "outlier_low"),
        ("1", "unit_mismatch"),  # k = 1000
        ("0.9804", "unit_mismatch"),
        ("0.9803", "outlier_low"),
        ("0.0001", "outlier_low"),
    ],
)
def test_a_wrong_unit_is_within_2_percent_of_a_multiple(price: str, reason: str) -> None:
    assert market().quote("44", price) == [f"price_hold opened {reason} 44 red"]


def test_lowest_and_others_are_those_before_the_step() -> None:
    log = market()
    log.quote("32", 600, effective_at=DAY)
    log.quote("44", 350, effective_at=DAY)
    assert log.tick(DAY)[:1] == ["price_hold opened outlier_low 44 red"]
    assert log.alerts[0]["reference"]["price"] == "1000.0000"
    log = market()
    log.quote("33", status="withdrawn", effective_at=DAY)
    log.quote("44", 100, effective_at=DAY)
    assert log.tick(DAY)[:1] == [OPENED_44]


def test_a_price_near_another_in_force_is_not_held() -> None:
    log = market()
    log.quote("31", 110, kind="selected", effective_at=DAY)
    log.quote("44", 100, effective_at=DAY)
    assert "price_hold" not in " ".join(log.tick(DAY))
    assert log.changes == [("100.0000", "1000.0000", "44", "100.0000")]


@pytest.mark.parametrize(("price", "near"), [("110", True), ("110.0001", False), ("90.9091", True), ("90.9090", False)])
def test_within_10_percent_the_higher_is_at_most_11_tenths_of_the_lower(price: str, near: bool) -> None:
    log = market()
    log.quote("44", 100)
    events = log.quote("51", price)
    assert (events[0] == "price_hold resolved corroborated 44 -") is near
    assert (events[0].startswith("price_hold opened")) is not near


def test_the_own_old_price_corroborates_nothing() -> None:
    log = Timeline({"guard_bp": 9500})
    log.quotes(p44=1000, p32=1200, p33=1200)
    assert log.quote("44", 940) == ["price_hold opened outlier_low 44 red"]


def test_a_policy_may_change_the_guard_but_leaves_open_holds() -> None:
    log = market()
    log.quote("44", 100)
    assert log.policy({"guard_bp": 0}) == []
    assert log.open_alerts == {"price_hold red": 1}
    assert log.quote("51", 50) == [
        "price_adjustment opened reference_fell 32 red",
        "price_adjustment opened reference_fell 33 red",
    ]
    assert log.decide("44", "reject") == ["price_hold resolved rejected 44 -"]


# --- how a hold ends --------------------------------------------------------------------------------------------------


def test_confirm_puts_the_quote_in_force() -> None:
    log = market()
    log.quote("44", 100)
    assert log.decide("44", "confirm", id="d-1") == [
        "price_hold resolved confirmed 44 -",
        "price_adjustment opened reference_fell 32 red",
        "price_adjustment opened reference_fell 33 red",
    ]
    assert log.changes == [("100.0000", "1000.0000", "44", "100.0000")]
    resolved = log.alerts[0]
    assert (resolved["previous_band"], resolved["band"], resolved["revision"]) == ("red", None, 2)
    assert (resolved["price"], resolved["source_id"]) == ("100.0000", "d-1")
    assert not {"reference", "target_price", "excess_bp"} & resolved.keys()
    assert evidence(resolved) == [(3, 0), (2, 0)]
    assert "price_hold red" not in log.open_alerts
    assert log.decide("44", "confirm") == []


def test_reject_drops_the_quote() -> None:
    log = market()
    log.quote("44", 1100)
    log.quote("44", 100)
    assert log.decide("44", "reject") == ["price_hold resolved rejected 44 -"]
    assert log.changes == []
    assert log.decide("44", "confirm") == []
    assert log.quote("44", 1000) == ["price_adjustment resolved own_price_fell 44 -"]


def test_a_decision_must_name_the_open_hold_of_its_code_and_province() -> None:
    log = market()
    log.quote("44", 100)
    log.quotes(p45=1000, p46=1000)
    wrongs: tuple[dict[str, Any], ...] = (
        {"alert_id": f"price_hold:{CODE}:440000:2"},
        {"alert_id": f"price_hold:{CODE}:440000:11"},
        {"alert_id": f"price_hold:{CODE}:440000:01"},
        {"alert_id": f"price_hold:{CODE}:440000:"},
        {"alert_id": f"price_hold:{CODE}:450000:1"},
        {"alert_id": f"price_hold:{OTHER_CODE}:440000:1"},
        {"alert_id": f"price-hold:{CODE}:440000:1"},
        {"alert_id": f"price_hold:{CODE}:440000:1/1"},
        {"alert_id": "x"},
        {"province": "45"},
        {"province": "51"},
        {"code": OTHER_CODE},
    )
    for wrong in wrongs:
        assert log.decide("44", "confirm", **wrong) == [], wrong
    assert log.decide("44", "confirm", note="per piece")[0] == "price_hold resolved confirmed 44 -"


def test_the_tenth_hold_is_named_like_the_first() -> None:
    log = market()
    for opening in range(1, 11):
        log.quote("44", 100)
        assert log.decide("44", "reject", opening=opening) == ["price_hold resolved rejected 44 -"]
    assert log.last["alert_id"] == f"price_hold:{CODE}:440000:10"


@pytest.mark.parametrize(
    ("second", "then"),
    [
        ({"price": 300}, ["price_hold opened outlier_low 44 red"]),
        ({"price": 100, "kind": "filed"}, [OPENED_44]),
        ({"price": 100, "valid_until": DAY}, [OPENED_44]),
        ({"price": 1000}, []),
        ({"price": 1010}, ["price_adjustment opened new_listing 44 blue"]),
        ({"price": 100, "status": "withdrawn"}, []),
        ({"price": 100, "effective_at": DAY}, []),
        ({"price": 100, "valid_until": 0}, []),
    ],
)
def test_a_newer_quote_supersedes_the_held_one(second: dict[str, Any], then: list[str]) -> None:
    log = market()
    log.quote("44", 100)
    assert log.quote("44", **second) == ["price_hold resolved superseded 44 -", *then]
    assert log.alerts[0]["alert_id"].endswith(":1")
    assert evidence(log.alerts[0]) == [(3, 0), (2, 0)]
    if then and then[0].startswith("price_hold"):
        assert log.alerts[1]["event_id"] == f"price_hold:{CODE}:440000:2/1"


def test_a_selected_quote_supersedes_and_takes_force() -> None:
    log = market()
    log.quote("44", 100)
    assert log.quote("44", 100, kind="selected") == [
        "price_hold resolved superseded 44 -",
        "price_adjustment opened reference_fell 32 red",
        "price_adjustment opened reference_fell 33 red",
    ]


def test_the_same_offer_takes_the_held_ones_place_without_an_event() -> None:
    log = market()
    log.quote("44", 100, valid_until=DAY)
    assert log.quote("44", 1000, pack_size=10, valid_until=DAY, supplier="9" * 18, id="later") == []
    assert log.open_alerts == {"price_hold red": 1}
    log.decide("44", "confirm")
    assert log.alerts[0]["supplier"] == "9" * 18
    assert evidence(log.alerts[0]) == [(4, 0), (3, 0)]
    assert evidence(log.alerts[1]) == [(4, 0), (0, 0), (3, 0)]


def test_the_same_offer_effective_by_now_need_not_wait() -> None:
    log = market()
    log.quote("44", 100)
    assert log.quote("44", 100, effective_at=0) == []
    assert log.open_alerts == {"price_hold red": 1}


def test_a_stale_quote_supersedes_nothing() -> None:
    log = market()
    log.quote("44", 100, at=DAY)
    assert log.quote("44", 1000, at=DAY) == []
    assert log.open_alerts == {"price_hold red": 1}


def test_a_hold_expires_with_its_quote() -> None:
    log = market()
    log.quote("44", 100, valid_until=DAY)
    assert log.tick(DAY - 1) == []
    assert log.tick(DAY) == ["price_hold resolved expired 44 -"]
    assert evidence(log.last) == [(4, 0), (2, 0)]
    assert log.decide("44", "confirm") == []


def test_holds_expire_before_quotes_take_force_and_corroborate() -> None:
    log = market()
    log.quote("44", 100, valid_until=DAY)
    log.quote("45", 100, effective_at=DAY)
    assert log.tick(DAY) == ["price_hold resolved expired 44 -", "price_hold opened unit_mismatch 45 red"]
    log = market()
    log.quote("51", 100, valid_until=DAY)
    log.quote("11", 100, effective_at=DAY)
    assert log.tick(DAY) == ["price_hold resolved expired 51 -", "price_hold opened unit_mismatch 11 red"]


def test_a_confirmed_quote_past_the_guard_releases_an_own_price_above_the_reference() -> None:
    log = market()
    log.quote("44", 300)
    log.quote("51", 100, kind="selected")
    assert log.decide("44", "confirm") == [
        "price_hold resolved confirmed 44 -",
        "price_adjustment opened hold_released 44 red",
    ]


def test_a_confirmed_quote_that_replaces_another_is_a_move_of_the_own_price() -> None:
    log = market()
    log.quote("51", 100, kind="selected")
    log.quote("44", 100)
    log.quote("44", 200)
    log.quote("44", 40)
    assert log.decide("44", "confirm") == [
        "price_hold resolved confirmed 44 -",
        "price_adjustment resolved own_price_fell 44 -",
        "price_adjustment revised reference_fell 32 red",
        "price_adjustment revised reference_fell 33 red",
    ]


# --- corroboration ----------------------------------------------------------------------------------------------------


def test_another_province_that_would_be_held_corroborates_and_both_take_force() -> None:
    log = market()
    log.quote("44", 100)
    assert log.quote("51", 108) == [
        "price_hold resolved corroborated 44 -",
        "price_adjustment opened new_listing 51 yellow",
        "price_adjustment opened reference_fell 32 red",
        "price_adjustment opened reference_fell 33 red",
    ]
    assert log.changes == [("100.0000", "1000.0000", "44", "100.0000")]
    assert evidence(log.alerts[0]) == [(3, 0), (2, 0)]


def test_a_corroborated_price_that_must_come_down_at_once_was_released() -> None:
    log = market()
    log.quote("44", 108)
    assert log.quote("51", 100)[:2] == [
        "price_hold resolved corroborated 44 -",
        "price_adjustment opened reference_fell 32 red",
    ]
    assert log.last["province"] == "440000"
    assert (log.last["change"], log.last["reason"]) == ("opened", "hold_released")


def test_a_price_won_in_procurement_corroborates() -> None:
    log = market()
    log.quote("44", 100)
    assert log.quote("51", 105, kind="selected")[0] == "price_hold resolved corroborated 44 -"


def test_a_released_price_replaces_its_provinces_older_one_even_if_no_reference_moves() -> None:
    log = market()
    assert log.quote("44", 1100, kind="filed") == ["price_adjustment opened new_listing 44 yellow"]
    log.ceiling("44", 1050)
    log.quote("44", 100, kind="filed")
    assert log.quote("51", 108, kind="filed") == [
        "price_hold resolved corroborated 44 -",
        "price_adjustment resolved own_price_fell 44 -",
        "ceiling_breach resolved own_price_fell 44 -",
    ]


@pytest.mark.parametrize(("price", "near"), [("528", True), ("528.0001", False)])
def test_a_price_that_falls_near_a_hold_corroborates(price: str, near: bool) -> None:
    log = market()
    log.quote("44", 480)
    assert ("price_hold resolved corroborated 44 -" in log.quote("32", price)) is near


def test_quotes_of_one_instant_take_force_by_province_then_corroborate() -> None:
    log = market()
    log.quote("51", 100, effective_at=DAY)
    log.quote("44", 100, effective_at=DAY)
    assert log.tick(DAY) == [
        OPENED_44,
        "price_hold resolved corroborated 44 -",
        "price_adjustment opened reference_fell 32 red",
        "price_adjustment opened reference_fell 33 red",
    ]


def test_one_price_frees_all_holds_near_it_smallest_province_first() -> None:
    log = market()
    log.quote("51", 121)
    log.quote("44", 100)
    log.quote("61", 300)
    assert log.quote("50", 110)[:3] == [
        "price_hold resolved corroborated 44 -",
        "price_hold resolved corroborated 51 -",
        "price_adjustment opened new_listing 50 yellow",
    ]
    assert log.open_alerts["price_hold red"] == 1


def test_a_hold_stays_behind_the_mask_and_corroborates_when_the_code_is_back() -> None:
    log = market()
    log.quote("44", 100)
    log.quote("51", 105, effective_at=DAY)
    log.item(status="disabled")
    assert log.tick(DAY) == []
    assert log.open_alerts == {"price_hold red": 1}
    assert log.item() == [
        "price_hold resolved corroborated 44 -",
        "price_adjustment opened new_listing 32 red",
        "price_adjustment opened new_listing 33 red",
        "price_adjustment opened new_listing 51 yellow",
    ]


def test_a_hold_expires_behind_the_mask() -> None:
    log = market()
    log.quote("44", 100, valid_until=DAY)
    log.item(moved_to=OTHER_CODE)
    assert log.tick(DAY) == ["price_hold resolved expired 44 -"]
    assert log.item() == []


def test_a_hold_is_decided_behind_the_mask() -> None:
    log = market()
    log.quote("44", 100)
    log.item(status="disabled")
    assert log.decide("44", "confirm") == ["price_hold resolved confirmed 44 -"]
    assert log.changes == []
    assert log.item() == [
        "price_adjustment opened new_listing 32 red",
        "price_adjustment opened new_listing 33 red",
    ]


def test_holds_of_a_step_come_first_as_they_happen() -> None:
    log = market({"default": {"adjust_within_days": 0}})
    log.ceiling("32", 1000)
    log.quote("51", 100)
    log.ceiling("44", 50)
    assert log.write(quote("44", 104)) == [
        "price_hold resolved corroborated 51 -",
        "price_adjustment opened new_listing 44 blue",
        "price_adjustment overdue policy_deadline 44 blue",
        "price_adjustment opened reference_fell 32 red",
        "price_adjustment overdue policy_deadline 32 red",
        "price_adjustment opened reference_fell 33 red",
        "price_adjustment overdue policy_deadline 33 red",
        "ceiling_breach opened new_listing 44 red",
    ]
    assert {alert["at"] for alert in log.alerts} == {"2026-01-01T00:00:06.000Z"}
    assert log.machine.clock_ms % SECOND == 0
