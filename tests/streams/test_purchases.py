"""``purchase_shortfall``: whether enough was ordered, asked at midnights of Asia/Shanghai (SPEC §6)."""

from typing import Any

from tests.streams.timeline import DAY, HOUR, Timeline

MIDNIGHT = 16 * HOUR
"""The first midnight of Asia/Shanghai behind START_MS, which is eight in the morning there."""


def contracted(days: int = 100, **fields: Any) -> Timeline:
    """A contract of 1,000 pieces over so many days."""
    log = Timeline()
    log.contract("32", at=0, ends_at=days * DAY, **fields)
    return log


def test_ten_per_cent_of_the_term_must_have_passed() -> None:
    log = contracted()
    assert log.tick(MIDNIGHT + 8 * DAY) == []
    assert log.tick(MIDNIGHT + 9 * DAY) == ["purchase_shortfall opened 32 red"]
    assert log.last["quantity"] == {"due": 100, "filled": 0, "overdue": 100, "fill_rate_bp": 0}
    assert log.last["due_at"] == "2026-04-11T00:00:00.000Z"


def test_orders_between_midnights_are_seen_at_the_next() -> None:
    log = contracted()
    log.tick(MIDNIGHT + 9 * DAY)
    assert log.place(100) == []
    assert log.tick(MIDNIGHT + 10 * DAY) == ["purchase_shortfall resolved 32 -"]
    assert log.place(0) == []
    assert log.place(80) == []
    assert log.tick(MIDNIGHT + 11 * DAY) == ["purchase_shortfall opened 32 red"], "80 of 120"


def test_a_band_rises_by_itself_while_nothing_is_ordered() -> None:
    log = contracted()
    log.place(100)
    log.deliver(100)
    log.pay(100)
    assert log.tick(99 * DAY) == ["purchase_shortfall opened 32 yellow", "purchase_shortfall escalated 32 red"]
    assert [alert["quantity"]["due"] for alert in log.alerts] == [120, 150], "above 111.1, above 142.8"
    assert log.tick(101 * DAY) == ["purchase_shortfall closed contract_ended 32 red"]
    assert log.last["quantity"] == {"due": 1000, "filled": 100, "overdue": 900, "fill_rate_bp": 1000}
    assert log.tick(500 * DAY) == []
    assert log.open_alerts == {}


def test_the_last_midnight_opens_first_where_it_must() -> None:
    log = Timeline()
    log.contract("32", at=0, ends_at=HOUR)
    assert log.tick(MIDNIGHT) == [
        "purchase_shortfall opened 32 red",
        "purchase_shortfall closed contract_ended 32 red",
    ]


def test_the_last_midnight_with_enough_resolves() -> None:
    log = contracted()
    log.tick(99 * DAY)
    log.place(900)
    log.deliver(900)
    assert log.tick(101 * DAY) == ["purchase_shortfall resolved 32 -"]


def test_a_contract_that_comes_after_its_last_midnight_is_not_evaluated() -> None:
    log = Timeline()
    log.tick(10 * DAY)
    log.contract("32", ends_at=9 * DAY)
    assert log.tick(20 * DAY) == []


def test_a_contract_cut_short_while_its_alert_is_open_has_one_more_midnight() -> None:
    log = contracted()
    log.tick(20 * DAY)
    log.contract("32", ends_at=15 * DAY)
    assert log.tick(30 * DAY) == ["purchase_shortfall closed contract_ended 32 red"]


def test_a_jump_over_a_long_term_costs_a_step_for_each_change_alone() -> None:
    """No step a midnight: what is scheduled for a century is two timers, one after the other."""
    log = Timeline()
    log.contract("32", at=0, ends_at=36_500 * DAY, agreed_quantity=1_000_000)
    log.place(100_000)
    log.deliver(100_000)
    machine = log.machine
    meta = machine._state.meta[0]
    assert int(meta.timers) <= 3
    first = int(machine._state.contracts[0].purchase_ms)
    assert first > meta.clock_ms + 1_000 * DAY
