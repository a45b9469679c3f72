"""``settlement_arrears``: what accepted deliveries owe, and by when (SPEC §7)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.quantities import MOST_OWED_E4, amount_e4, is_below_share, settlement_due, share_bp
from tests.naive_records import LATEST_MS, half_up
from tests.naive_supply import settlement_due as naive_settlement_due
from tests.streams.timeline import DAY, HOUR, Timeline

DUE = 58 * DAY + 16 * HOUR
"""The midnight that ends February 2026 in Shanghai: what is accepted in January is due then."""


def delivered() -> Timeline:
    """Ten pieces at one yuan, ordered in message 0 and accepted."""
    log = Timeline()
    log.place(10, at=0)
    log.deliver(10)
    return log


def test_bands_come_with_time() -> None:
    log = delivered()
    assert log.tick(DUE - 7 * DAY - 1) == []
    assert log.tick(DUE + 90 * DAY) == [
        "settlement_arrears opened 32 blue",
        "settlement_arrears escalated 32 yellow",
        "settlement_arrears escalated 32 red",
    ]
    assert log.last["amount"] == {"owed": "10.0000", "due_at": "2026-02-28T16:00:00.000Z"}
    assert "due_at" not in log.last
    assert log.last["evidence"][1]["offset"] == 0


def test_payments_settle_the_oldest_debts_first() -> None:
    log = delivered()
    log.deliver(5, delivery_id="e", at=32 * DAY)
    log.tick(DUE)
    assert log.pay(9) == ["settlement_arrears revised 32 yellow"]
    assert log.pay(10) == ["settlement_arrears resolved 32 -"]
    assert log.last["amount"] == {"owed": "5.0000", "due_at": "2026-03-31T16:00:00.000Z"}
    assert log.tick(DUE + 25 * DAY) == ["settlement_arrears opened 32 blue"]
    assert log.pay(15) == ["settlement_arrears resolved 32 -"]
    assert log.last["amount"] == {"owed": "0.0000"}
    assert log.pay(14) == ["settlement_arrears opened 32 blue"]


def test_payment_and_delivery_may_come_before_the_order() -> None:
    log = Timeline()
    log.pay(3, at=0)
    log.deliver(10, at=0)
    log.tick(DUE)
    assert log.place(10) == ["settlement_arrears opened 32 yellow"]
    assert log.last["amount"]["owed"] == "7.0000"


def test_what_was_accepted_is_owed_when_the_order_is_cancelled_or_dearer() -> None:
    log = delivered()
    log.tick(DUE)
    assert log.place(0) == []
    assert log.place(0, price=2, pack_size=3) == ["settlement_arrears revised 32 yellow"]
    assert log.last["amount"]["owed"] == "6.6667"


def test_deliveries_accepted_out_of_order_are_owed_in_order() -> None:
    log = Timeline()
    log.place(30, at=0)
    log.deliver(10, delivery_id="new", at=40 * DAY)
    log.pay(10)
    log.tick(DUE)
    assert log.deliver(10, delivery_id="old", at=DUE, accepted_at=DAY) == []
    assert log.tick(DUE + 31 * DAY) == ["settlement_arrears opened 32 blue", "settlement_arrears escalated 32 yellow"]


@pytest.mark.parametrize(
    ("accepted", "due"),
    [
        ("2026-01-31T15:59:59", "2026-02-28T16:00:00"),
        ("2026-01-31T16:00:00", "2026-03-31T16:00:00"),
        ("2027-12-31T15:59:59", "2028-01-31T16:00:00"),
        ("2027-12-31T16:00:00", "2028-02-29T16:00:00"),
        ("2099-12-31T16:00:00", "2100-02-28T16:00:00"),
    ],
)
def test_the_end_of_the_month_after(accepted: str, due: str) -> None:
    ms = [int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000 for text in (accepted, due)]
    assert settlement_due(ms[0]) == ms[1]


@given(st.integers(0, LATEST_MS))
def test_the_end_of_the_month_after_any_moment(accepted_ms: int) -> None:
    assert settlement_due(accepted_ms) == naive_settlement_due(accepted_ms)


@given(st.integers(0, 10**15), st.integers(1, 10**12), st.integers(1, 10**6))
def test_amounts_pass_64_bits_on_the_way(quantity: int, price_e4: int, pack_size: int) -> None:
    assert amount_e4(quantity, price_e4, pack_size) == min(half_up(quantity * price_e4, pack_size), MOST_OWED_E4)


shares = st.one_of(st.integers(0, 10**6), st.integers(0, 10**15), st.integers(10**15 - 10, 10**15))


@given(shares, shares, st.one_of(st.integers(0, 10_001), st.integers(0, 10**6)))
def test_shares_pass_64_bits_on_the_way(one: int, other: int, bp: int) -> None:
    filled, due = sorted((one, other))
    assert is_below_share(filled, due, bp) == (filled * 10_000 < bp * due)
    if due:
        assert share_bp(filled, due) == filled * 10_000 // due


def test_a_nationwide_month_end_comes_in_order_of_ids() -> None:
    log = Timeline()
    for name in ("b", "a", "c", "ab"):
        log.place(10, name, at=0)
        log.deliver(10, name, at=1)
    log.tick(DUE - 7 * DAY)
    assert [alert["alert_id"].split(":")[3] for alert in log.alerts] == ["a", "ab", "b", "c"]
