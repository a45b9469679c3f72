"""``supply_shortfall``: what fell due, what was delivered on time, what is overdue (SPEC §6)."""

from typing import Any

import pytest

from streams.machine import Machine
from tests.naive import Message
from tests.streams.logs import Outputs, policy_of, run
from tests.streams.timeline import CODE, DAY, HOUR, START_MS, SUPPLIER, Record, Timeline, encoded, evidence

DUE = 72 * HOUR


def contracted(**fields: Any) -> Timeline:
    """A contract of Jiangsu in message 0."""
    log = Timeline()
    log.contract("32", at=0, **fields)
    return log


def test_an_order_falls_due_and_is_overdue() -> None:
    log = contracted(institution="H1")
    log.place(10, at=0)
    assert log.tick(DUE - 1) == []
    assert log.tick(DUE) == ["supply_shortfall opened 32 red"], "nothing of it was delivered"
    assert log.last["quantity"] == {"due": 10, "filled": 0, "overdue": 10, "fill_rate_bp": 0}
    assert log.last["due_at"] == "2026-01-04T00:00:00.000Z"
    assert log.last["institution"] == "H1"
    assert evidence(log.last) == [(3, 0), (0, 0)]
    assert "reason" not in log.last
    assert log.open_alerts == {"supply_shortfall red": 1}


@pytest.mark.parametrize(
    ("delivered", "event"),
    [
        (100, None),
        (95, "supply_shortfall opened 32 blue"),
        (94, "supply_shortfall opened 32 yellow"),
        (80, "supply_shortfall opened 32 yellow"),
        (79, "supply_shortfall opened 32 red"),
        (101, None),
    ],
)
def test_the_fill_rate_makes_the_band(delivered: int, event: str | None) -> None:
    log = contracted()
    log.place(100, at=0)
    log.deliver(delivered, at=DUE - 1)
    assert log.tick(DUE) == ([event] if event else [])


@pytest.mark.parametrize(
    ("accepted_at", "filled"), [(DUE - 1, 99), (DUE, 99), (DUE + 1, 0)], ids=["before", "at the time", "after"]
)
def test_what_comes_after_the_due_time_fills_nothing_but_is_not_overdue(accepted_at: int, filled: int) -> None:
    log = contracted()
    log.place(100, at=0)
    log.tick(DUE)
    log.deliver(99, at=DUE + HOUR, accepted_at=accepted_at)
    assert log.last["quantity"]["filled"] == filled
    assert log.last["quantity"]["overdue"] == 1


def test_marks_of_the_oldest_overdue_order() -> None:
    log = contracted()
    log.place(100, at=0)
    log.deliver(99, at=1)
    assert log.tick(DUE + 100 * HOUR) == [
        "supply_shortfall opened 32 blue",
        "supply_shortfall escalated 32 yellow",
        "supply_shortfall escalated 32 red",
    ]
    assert [alert["at"] for alert in log.alerts] == [
        "2026-01-04T00:00:00.000Z",
        "2026-01-05T00:00:00.000Z",
        "2026-01-07T00:00:00.000Z",
    ]
    assert log.deliver(1, delivery_id="e") == ["supply_shortfall resolved 32 -"]
    assert "due_at" not in log.last


def test_an_order_leaves_the_window_but_stays_overdue() -> None:
    log = contracted()
    log.place(100, at=0)
    log.tick(DUE)
    assert log.tick(DUE + 30 * DAY) == []
    assert log.deliver(1) == ["supply_shortfall revised 32 red"]
    assert log.last["quantity"] == {"due": 0, "filled": 0, "overdue": 99}
    assert log.deliver(99, delivery_id="e") == ["supply_shortfall resolved 32 -"]


def test_a_late_fill_rate_ends_with_the_window() -> None:
    log = contracted()
    log.place(100, at=0)
    log.tick(DUE)
    assert log.deliver(100) == ["supply_shortfall revised 32 red"]
    assert log.tick(DUE + 30 * DAY - 1) == []
    assert log.tick(DUE + 30 * DAY) == ["supply_shortfall resolved 32 -"]


def test_records_come_in_any_order() -> None:
    log = Timeline()
    log.deliver(40, at=HOUR)
    log.place(50, at=0)
    assert log.tick(DUE + DAY) == []
    assert log.contract("32") == ["supply_shortfall opened 32 yellow"], "24 hours late already, but 80 % filled"
    assert log.last["quantity"] == {"due": 50, "filled": 40, "overdue": 10, "fill_rate_bp": 8000}


def test_a_cancelled_order_counts_no_more() -> None:
    log = contracted()
    log.place(100, at=0)
    log.tick(DUE)
    assert log.place(0) == ["supply_shortfall resolved 32 -"]
    assert log.place(100) == ["supply_shortfall opened 32 red"], "due after its first record"
    assert log.last["alert_id"].endswith(":k:2")


def test_an_order_moves_to_another_contract() -> None:
    log = contracted()
    log.contract("32", "m", delivery_hours=1)
    log.place(100, at=0)
    log.tick(HOUR)
    assert log.place(100, contract_id="m") == ["supply_shortfall opened 32 red"]
    assert log.place(100, contract_id="m2") == ["supply_shortfall resolved 32 -"]
    assert log.tick(DUE) == []


def test_delivery_hours_change_when_all_orders_fall_due() -> None:
    log = contracted(delivery_hours=100)
    log.place(10, "a", at=0)
    log.place(10, "b", at=HOUR)
    log.deliver(10, "a", at=3 * HOUR)
    assert log.contract("32", delivery_hours=2, at=4 * HOUR) == ["supply_shortfall opened 32 red"]
    assert log.last["quantity"] == {"due": 20, "filled": 0, "overdue": 10, "fill_rate_bp": 0}
    assert log.contract("32", delivery_hours=4) == ["supply_shortfall resolved 32 -"]
    assert log.tick(5 * HOUR) == ["supply_shortfall opened 32 red"]
    assert log.last["quantity"] == {"due": 20, "filled": 10, "overdue": 10, "fill_rate_bp": 5000}


def test_a_policy_moves_the_thresholds_and_the_window() -> None:
    log = contracted()
    log.place(100, at=0)
    log.deliver(90, at=1)
    log.tick(DUE)
    assert log.policy({"supply": {"fill_yellow_bp": 8000}}) == ["supply_shortfall eased 32 blue"]
    assert log.policy({"supply": {"fill_yellow_bp": 8000, "late_red_hours": 0}}) == [
        "supply_shortfall escalated 32 red"
    ]
    log.policy({"supply": {"window_days": 0}})
    assert log.last["quantity"] == {"due": 0, "filled": 0, "overdue": 10}


def test_a_disabled_code_takes_no_contract_but_is_still_to_be_delivered() -> None:
    log = contracted()
    log.place(10, at=0)
    log.item(status="disabled")
    log.contract("32", "m")
    assert log.dead == ["disabled_code"]
    assert log.tick(DUE) == ["supply_shortfall opened 32 red"]
    assert log.deliver(10) == ["supply_shortfall revised 32 red"]


# --- many ------------------------------------------------------------------------------------------------------------


MANY = 3_000


def lines(*records: Record) -> bytes:
    return b"\n".join(map(encoded, records))


def many_orders(contracts: int) -> Message:
    """Returns a message of MANY orders placed at once, and the contracts."""
    place: Record = {"code": CODE, "province": "32", "supplier": SUPPLIER, "price": 1, "at": 0}
    term = {"starts_at": 0, "ends_at": 365 * DAY, "agreed_quantity": 1}
    head = [{**place, **term, "type": "contract", "contract_id": f"k{number:04}"} for number in range(contracts)]
    orders = [
        {**place, "type": "order", "order_id": f"o{number}", "contract_id": f"k{number % contracts:04}",
         "institution": "H1", "quantity": 2}
        for number in range(MANY)
    ]  # fmt: skip
    return Message(0, 0, START_MS, lines(*head, *orders))


def tick(offset: int, at: int) -> Message:
    return Message(0, offset, START_MS + at, lines({"type": "tick", "at": at}))


def ids(out: Outputs) -> list[bytes]:
    return [alert.split(b'"')[3] for alert in out.alerts]


def test_all_orders_of_a_contract_fall_due_in_one_step() -> None:
    machine = Machine(0, 1, policy_of({}))
    run(machine, [many_orders(1)])
    out = run(machine, [tick(1, DUE)])
    assert len(out.alerts) == 1
    assert b'"overdue":%d' % (2 * MANY) in out.alerts[0]


def test_all_contracts_of_a_code_open_in_one_step_in_order_of_their_ids() -> None:
    machine = Machine(0, 1, policy_of({}))
    run(machine, [many_orders(MANY)])
    again = Machine(0, 1, policy_of({}))
    assert again.restore([machine.checkpoint(1)]) == 1
    out = run(machine, [tick(1, DUE)])
    assert ids(out) == [b"supply_shortfall:%s:320000:k%04d:1/1" % (CODE.encode(), number) for number in range(MANY)]
    assert run(again, [tick(1, DUE)]) == out
    assert again.rows() == machine.rows()


def test_a_record_costs_the_same_however_many_orders_there_are() -> None:
    """What it evaluates is one contract and one order; none of the others is touched."""
    machine = Machine(0, 1, policy_of({}))
    run(machine, [many_orders(1), tick(1, DUE)])
    before = machine.rows()
    late: Record = {"type": "delivery", "code": CODE, "province": "32", "order_id": "o7", "delivery_id": "d"}
    run(machine, [Message(0, 2, START_MS + 2 * DUE, lines({**late, "quantity": 1, "at": DUE + 1}))])
    after = machine.rows()
    changed = [key for key in after if after[key] != before.get(key)]
    assert len(changed) == 3, "the code, the contract with its alert, the delivery"
