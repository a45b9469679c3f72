"""The national lowest price and the rolling one (SPEC §3)."""

from typing import Any

from tests.streams.logs import run
from tests.streams.timeline import CODE, DAY, SECOND, START_MS, Timeline, evidence

ROLLING: dict[str, Any] = {"window_days": 1, "provinces": {"370000": {"lookback": "rolling"}}}


def test_a_price_change_event_whole() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0)
    (message,) = log.messages
    again = Timeline()
    (event,) = run(again.machine, [message]).price_changes
    assert event == (
        b'{"event_id":"price.lowest.changed:C09100100000000211790000049:1","code":"C09100100000000211790000049",'
        b'"lowest":"1000.0000","previous":null,"province":"320000","rolling_lowest":"1000.0000",'
        b'"at":"2026-01-01T00:00:00.000Z","position":{"partition":0,"offset":0,"line":0}}'
    )


def test_price_changes_are_numbered_and_name_their_trigger() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    log.quote("32", 900, effective_at=DAY)
    log.order("32", 1, at=2 * DAY)
    (event,) = log.change_events
    assert event["event_id"] == f"price.lowest.changed:{CODE}:2"
    assert event["at"] == "2026-01-02T00:00:00.000Z"
    assert event["position"] == {"partition": 0, "offset": 3, "line": 0}
    log.quote("32", status="suspended")
    (event,) = log.change_events
    assert event["event_id"] == f"price.lowest.changed:{CODE}:3"
    assert event["position"] == {"partition": 0, "offset": 4, "line": 0}


def test_ties_go_to_the_smaller_province_whoever_came_first() -> None:
    log = Timeline()
    log.quotes(p37=1000, p32=1000)
    assert log.changes == []
    log.quote("44", 100)
    assert log.last["reference"]["provinces"] == ["320000"]
    assert evidence(log.last) == [(2, 0), (1, 0)]


def test_no_event_where_only_the_province_changes() -> None:
    log = Timeline()
    log.quote("32", 1000)
    log.quote("31", 1000)
    assert log.changes == []
    log.quote("31", 1100)
    assert log.changes == []
    log.quote("32", status="withdrawn")
    assert log.changes == [("1100.0000", "1000.0000", "31", "1000.0000")]


def test_a_past_lowest_counts_until_the_window_after_its_end() -> None:
    log = Timeline({"window_days": 1})
    log.quote("32", 900, at=0)
    log.quote("32", 1000, at=10)
    log.quote("32", 1001, at=DAY + 9)
    assert log.changes == [("1001.0000", "1000.0000", "32", "900.0000")]
    log.quote("32", 1002, at=DAY + 10)
    assert log.changes == [("1002.0000", "1001.0000", "32", "1000.0000")]
    log.quote("32", 1003, at=2 * DAY + 9)
    assert log.changes == [("1003.0000", "1002.0000", "32", "1001.0000")]
    log.quote("32", 990, at=2 * DAY + 9, seq=1)
    assert log.changes == [("990.0000", "1003.0000", "32", "990.0000")]
    log.quote("32", status="withdrawn", at=3 * DAY + 8)
    assert log.changes == [(None, "990.0000", None, "990.0000")]
    log.quote("32", 2000, at=4 * DAY + 7)
    assert log.changes == [("2000.0000", None, "32", "990.0000")]
    log.quote("32", 2001, at=4 * DAY + 8)
    assert log.changes == [("2001.0000", "2000.0000", "32", "2000.0000")]


def test_a_window_of_no_days_forgets_at_once() -> None:
    log = Timeline({"window_days": 0})
    log.quote("32", 900)
    log.quote("32", 1000)
    assert log.changes == [("1000.0000", "900.0000", "32", "1000.0000")]


def test_the_least_of_several_past_lowests_counts_then_the_next() -> None:
    log = Timeline(ROLLING)
    for at, price in enumerate((500, 700, 600, 800, 900)):
        log.quote("32", price, at=at)
    log.quote("37", 2000, at=5)
    targets = [log.last["target_price"]]
    for at in (DAY + 1, DAY + 2, DAY + 3, DAY + 4):
        events = log.tick(at)
        targets.append(log.last["target_price"] if events else "")
    assert targets == ["500.0000", "600.0000", "", "800.0000", "900.0000"]


def test_a_province_may_link_to_the_rolling_lowest() -> None:
    log = Timeline(ROLLING)
    log.quote("32", 900, at=0)
    assert log.quote("37", 1000, at=1) == ["price_adjustment opened new_listing 37 yellow"]
    assert log.last["reference"] == {"price": "900.0000", "rule": "rolling_lowest", "provinces": ["320000"]}
    assert log.quote("32", 1000, at=2) == []
    assert log.changes == [("1000.0000", "900.0000", "32", "900.0000")]
    assert log.quote("37", 1080, at=3) == ["price_adjustment escalated own_price_rose 37 red"]
    assert evidence(log.last) == [(3, 0), (0, 0)]
    assert log.tick(DAY + 1) == []
    assert log.tick(DAY + 2) == ["price_adjustment eased reference_rose 37 yellow"]
    assert log.last["reference"] == {"price": "1000.0000", "rule": "rolling_lowest", "provinces": ["320000"]}
    assert log.last["at"] == "2026-01-02T00:00:00.002Z"


def test_the_rolling_lowest_has_the_own_province_in_it() -> None:
    log = Timeline(ROLLING)
    log.quote("37", 1000, at=0)
    assert log.quote("37", 1100, at=1) == ["price_adjustment opened own_price_rose 37 yellow"]
    assert log.last["reference"]["provinces"] == ["370000"]
    assert log.tick(DAY + 1) == ["price_adjustment resolved reference_rose 37 -"]


def test_nothing_but_the_rolling_lowest_applies_to_a_rolling_reference() -> None:
    rules = {"lookback": "rolling", "scope": [], "kinds": [], "min_sources": 9, "aggregate": "median"}
    log = Timeline({"provinces": {"370000": rules}})
    log.quote("32", 900, kind="emergency")
    assert log.quote("37", 1000) == ["price_adjustment opened new_listing 37 yellow"]
    assert log.last["reference"]["rule"] == "rolling_lowest"
    assert log.quote("37", 1000, kind="selected") == ["price_adjustment resolved kind_changed 37 -"]


def test_of_equal_lowests_the_latest_counts() -> None:
    log = Timeline(ROLLING)
    log.quote("32", 900)
    log.quote("32", 1000)
    log.quote("33", 900)
    log.quote("37", 1000)
    assert log.last["reference"]["provinces"] == ["330000"]
    log.quote("33", 1000)
    log.quote("37", 1100)
    assert log.last["reference"]["provinces"] == ["330000"]
    assert evidence(log.last) == [(5, 0), (2, 0)]


def test_a_lowest_goes_by_the_province_that_had_it_when_it_ended() -> None:
    log = Timeline(ROLLING)
    log.quote("32", 900, at=0)
    log.quote("31", 900, at=1)
    log.quote("32", 1000, at=2)
    log.quote("32", 900, at=3)
    log.quote("31", 1000, at=4)
    log.quote("32", 1000, at=5)
    log.quote("37", 1000, at=6)
    assert log.last["reference"]["provinces"] == ["320000"]
    assert evidence(log.last) == [(6, 0), (3, 0)]
    assert log.tick(DAY + 4) == []
    assert log.tick(DAY + 5) == ["price_adjustment resolved reference_rose 37 -"]


def test_a_rolling_reference_outlives_every_quote() -> None:
    log = Timeline(ROLLING)
    log.quote("32", 900, at=0)
    log.quote("32", status="withdrawn", at=1)
    assert log.quote("37", 1000, at=2) == ["price_adjustment opened new_listing 37 yellow"]
    assert log.tick(DAY + 1) == ["price_adjustment resolved reference_rose 37 -"]
    assert log.last["reference"]["provinces"] == ["370000"]


def test_what_has_left_the_window_stays_out_when_a_policy_widens_it() -> None:
    log = Timeline({"window_days": 1})
    log.quote("32", 900, at=0)
    log.quote("32", 1000, at=10)
    log.quote("37", 1000, at=11)
    assert log.policy({**ROLLING, "window_days": 30}, at=DAY + 10) == []
    log = Timeline({"window_days": 1})
    log.quote("32", 900, at=0)
    log.quote("32", 1000, at=10)
    log.quote("37", 1000, at=11)
    assert log.policy({**ROLLING, "window_days": 30}, at=DAY + 9) == [
        "price_adjustment opened reference_fell 37 yellow"
    ]
    assert log.tick(30 * DAY + 9) == []
    assert log.tick(30 * DAY + 10) == ["price_adjustment resolved reference_rose 37 -"]


def test_a_policy_that_narrows_the_window_lets_past_lowests_go() -> None:
    log = Timeline({**ROLLING, "window_days": 30})
    log.quote("32", 900, at=0)
    log.quote("32", 1000, at=1)
    assert log.quote("37", 1000, at=2) == ["price_adjustment opened new_listing 37 yellow"]
    assert log.policy({**ROLLING, "window_days": 2}, at=2 * DAY) == []
    assert log.policy(ROLLING, at=2 * DAY, seq=1) == ["price_adjustment resolved reference_rose 37 -"]


def test_a_policy_without_days_keeps_no_past() -> None:
    log = Timeline({**ROLLING, "window_days": 30})
    log.quote("37", 900)
    log.quote("37", 1000)
    assert log.policy({**ROLLING, "window_days": 0}) == ["price_adjustment resolved reference_rose 37 -"]
    assert log.machine.clock_ms == START_MS + 3 * SECOND
