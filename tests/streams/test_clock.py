"""Time is a record: the partition clock and its timers, last writer wins, what the machine turns away (SPEC §2)."""

import json

import pytest

from schemas.codes import partition_of
from schemas.columns import QUOTE, TICK
from tests.naive import Message
from tests.streams.logs import batch_of
from tests.streams.timeline import (
    CODE,
    DAY,
    DRUG,
    MINUTE,
    OTHER_CODE,
    SECOND,
    START_MS,
    Timeline,
    absolute,
    evidence,
    quote,
)


def times(log: Timeline) -> list[str]:
    return [alert["at"] for alert in log.alerts]


def test_timers_come_before_a_record_of_their_own_millisecond() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0, valid_until=DAY)
    log.quote("37", 1010)
    assert log.quote("44", 1200, at=DAY, id="src-1") == [
        "price_adjustment resolved reference_rose 37 -",
        "price_adjustment opened new_listing 44 yellow",
    ]
    assert times(log) == ["2026-01-02T00:00:00.000Z"] * 2
    assert log.changes == [("1010.0000", "1000.0000", "37", "1000.0000")]


def test_a_timer_names_the_record_that_moved_the_clock_but_not_its_source() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0, valid_until=DAY)
    log.quote("37", 1010)
    log.quote("44", 1200, at=2 * DAY, id="src-1")
    fired, opened = log.alerts
    assert evidence(fired)[0] == log.position
    assert "source_id" not in fired
    assert fired["at"] == "2026-01-02T00:00:00.000Z"
    assert opened["source_id"] == "src-1"


def test_a_timer_has_no_reporting_province() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010, p44=1010)
    log.quote("32", 900, effective_at=DAY)
    assert log.quote("44", 1100, at=2 * DAY) == [
        "price_adjustment escalated reference_fell 37 yellow",
        "price_adjustment escalated reference_fell 44 yellow",
        "price_adjustment escalated own_price_rose 44 red",
    ]


def test_timers_fire_in_order_of_due_time_each_with_the_clock_at_its_own() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0, valid_until=DAY + 1)
    log.quote("37", 1010, valid_until=DAY)
    log.quote("44", 1100)
    assert log.tick(2 * DAY) == [
        "price_adjustment resolved expired 37 -",
        "price_adjustment resolved reference_rose 44 -",
    ]
    assert times(log) == ["2026-01-02T00:00:00.000Z", "2026-01-02T00:00:00.001Z"]


def test_timers_of_one_millisecond_are_one_step() -> None:
    log = Timeline()
    log.quote("31", 1005, at=0, valid_until=DAY)
    log.quote("32", 1000, valid_until=DAY)
    log.quote("37", 1010)
    assert log.tick(DAY) == [
        "price_adjustment resolved expired 31 -",
        "price_adjustment resolved reference_rose 37 -",
    ]
    assert log.changes == [("1010.0000", "1000.0000", "37", "1000.0000")]


def test_a_handover_within_one_instant_is_no_change() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0, valid_until=DAY)
    log.quote("37", 1010)
    log.quote("31", 1000, effective_at=DAY)
    assert log.tick(DAY) == []
    assert log.changes == []


def test_a_timer_may_set_the_next() -> None:
    log = Timeline({"default": {"adjust_within_days": 1}})
    log.quote("32", 1000, at=0)
    log.quote("37", 1100, effective_at=DAY)
    assert log.tick(5 * DAY) == [
        "price_adjustment opened new_listing 37 yellow",
        "price_adjustment overdue policy_deadline 37 yellow",
    ]
    assert times(log) == ["2026-01-02T00:00:00.000Z", "2026-01-03T00:00:00.000Z"]
    assert log.last["due_at"] == "2026-01-03T00:00:00.000Z"


def test_timers_of_different_codes_share_the_clock() -> None:
    log = Timeline()
    for code in (CODE, OTHER_CODE):
        log.quote("32", 1000, code=code)
    ends = {CODE: (DAY + 1, DAY + 3), OTHER_CODE: (DAY, DAY + 2)}
    for code, (first, second) in ends.items():
        log.quote("37", 1100, code=code, valid_until=first)
        log.quote("44", 1100, code=code, valid_until=second)
    log.tick(2 * DAY)
    assert [(alert["code"], alert["province"][:2]) for alert in log.alerts] == [
        (OTHER_CODE, "37"),
        (CODE, "37"),
        (OTHER_CODE, "44"),
        (CODE, "44"),
    ]


def test_a_late_record_leaves_the_clock_where_it_is() -> None:
    log = Timeline()
    log.tick(DAY)
    log.quote("32", 1000, at=0)
    log.quote("37", 1100, at=1)
    assert log.last["at"] == "2026-01-02T00:00:00.000Z"
    assert log.last["due_at"] == "2026-02-01T00:00:00.000Z"
    assert log.machine.clock_ms == START_MS + DAY
    log.quote("32", 1000, at=DAY - 2, effective_at=DAY)
    assert log.quote("32", 1050, at=DAY - 1, effective_at=DAY - 1) == ["price_adjustment eased reference_rose 37 blue"]


def test_a_tick_does_nothing_but_move_the_clock() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    assert log.tick(DAY) == []
    assert log.machine.clock_ms == START_MS + DAY
    assert log.tick(DAY - 1) == []
    assert log.machine.clock_ms == START_MS + DAY


def test_nothing_is_left_undone_after_a_long_silence() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    assert log.tick(20_000 * DAY) == ["price_adjustment overdue policy_deadline 37 yellow"]
    assert log.tick(30_000 * DAY) == []


# --- last writer wins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "seq", "accepted"),
    [
        (10, 6, True),
        (11, 0, True),
        (10, 5, False),
        (10, 4, False),
        (10, None, False),
        (9, 2**63 - 1, False),
    ],
)
def test_a_quote_is_accepted_only_if_at_and_seq_are_greater(at: int, seq: int | None, accepted: bool) -> None:
    log = Timeline()
    log.quote("32", 1000, at=10, seq=5)
    log.quote("32", 900, at=at, seq=seq)
    assert log.stale == (0 if accepted else 1)
    assert log.changes == ([("900.0000", "1000.0000", "32", "900.0000")] if accepted else [])


def test_the_largest_seq_is_the_last_of_its_at() -> None:
    log = Timeline()
    log.quote("32", 1000, at=10, seq=2**63 - 1)
    log.quote("32", 900, at=10, seq=2**63 - 1)
    assert log.stale == 1
    log.quote("32", 900, at=11)
    assert log.stale == 0


def test_every_slot_has_its_own_last_writer() -> None:
    log = Timeline()
    log.quote("32", 1000, at=DAY)
    log.quote("37", 1100, at=0)
    assert log.stale == 0
    log.quote("32", 1000, at=0, code=OTHER_CODE)
    assert log.stale == 0
    assert log.ceiling("37", 1050, at=0) == ["ceiling_breach opened reference_fell 37 red"]
    log.item(at=0)
    assert log.stale == 0
    assert log.order("37", 1200, "a", at=0) == ["bargain observed above_listing 37 red"]
    assert log.order("37", 1200, "b", at=0) == ["bargain observed above_listing 37 red"]
    assert log.order("32", 1200, "a", at=0) == ["bargain observed above_listing 32 red"]
    assert log.order("37", 1200, "a", at=0) == []
    assert log.stale == 1


@pytest.mark.parametrize("at", [0, 10])
def test_stale_ceilings_items_and_policies_have_no_effect(at: int) -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    log.ceiling("37", 2000, at=10)
    assert log.ceiling("37", 1050, at=at) == []
    log.item(at=10)
    assert log.item(status="disabled", at=at) == []
    log.policy({}, at=10)
    assert log.policy({"default": {"own_kinds": []}}, at=at) == []
    assert log.stale == 1


def test_a_decision_has_no_slot() -> None:
    log = Timeline()
    log.quotes(p32=1000, p33=1000)
    log.quote("44", 100, at=DAY)
    log.decide("44", "reject", opening=7, at=DAY)
    assert log.decide("44", "confirm", at=0)[:1] == ["price_hold resolved confirmed 44 -"]


# --- what is turned away ----------------------------------------------------------------------------------------------


def test_at_may_be_five_minutes_after_the_brokers_timestamp_and_no_more() -> None:
    log = Timeline()
    log.write(quote("32", 1000, at=5 * MINUTE), broker_ts=0)
    assert log.dead == []
    log.write(quote("37", 1100, at=5 * MINUTE + 1), broker_ts=0)
    assert log.dead == ["from_future"]
    assert log.machine.clock_ms == START_MS + 5 * MINUTE


def test_a_record_of_another_partition_is_turned_away() -> None:
    here = partition_of(CODE, 4)
    assert partition_of(DRUG, 4) != here
    log = Timeline(partition=here, partitions=4)
    log.quote("32", 1000)
    log.quote("37", 1100, code=DRUG, at=DAY)
    assert log.dead == ["wrong_partition"]
    assert log.machine.clock_ms == START_MS + SECOND
    log.write({"type": "tick", "at": 2 * SECOND}, {"type": "policy", "at": 2 * SECOND, "policy": {}})
    assert log.dead == []


def test_from_future_comes_before_wrong_partition() -> None:
    log = Timeline(partition=(partition_of(CODE, 4) + 1) % 4, partitions=4)
    log.write(quote("32", 1000, at=DAY), broker_ts=0)
    assert log.dead == ["from_future"]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"status": "disabled"}, "disabled_code"),
        ({"moved_to": OTHER_CODE}, f"disabled_code {OTHER_CODE}"),
        ({"status": "disabled", "moved_to": DRUG}, f"disabled_code {DRUG}"),
    ],
)
def test_a_disabled_code_takes_no_quote_ceiling_or_contract(item: dict[str, str], reason: str) -> None:
    log = Timeline()
    log.quote("32", 1000, at=0, valid_until=DAY)
    log.item(**item)
    contract: dict[str, str | int] = {
        "type": "contract",
        "code": CODE,
        "province": "32",
        "contract_id": "k",
        "supplier": "9" * 18,
    }
    contract |= {"agreed_quantity": 1, "price": 1, "starts_at": 0, "ends_at": DAY}
    clock_ms = log.machine.clock_ms
    assert log.quote("32", 900, at=2 * DAY) == []
    assert log.dead == [reason]
    log.quote("32", 900, at=0)  # stale as well
    assert log.dead == [reason]
    log.ceiling("32", 900, at=2 * DAY)
    assert log.dead == [reason]
    log.write(contract | {"at": 2 * DAY})
    assert log.dead == [reason]
    assert log.machine.clock_ms == clock_ms
    log.order("32", 900, at=3 * SECOND)
    log.decide("32", "confirm")
    log.write({"type": "delivery", "code": CODE, "province": "32", "order_id": "o", "delivery_id": "d", "quantity": 1})
    log.write({"type": "payment", "code": CODE, "province": "32", "order_id": "o", "paid_total": 1})
    assert (log.dead, log.stale) == ([], 0)
    log.item(at=2 * DAY)
    log.quote("32", 900)
    assert log.dead == []


def test_a_code_moves_on() -> None:
    log = Timeline()
    log.item(moved_to=OTHER_CODE)
    log.item(moved_to=DRUG)
    log.quote("32", 1000)
    assert log.dead == [f"disabled_code {DRUG}"]


def test_dead_letters_do_not_fire_timers() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0, valid_until=DAY)
    log.quote("37", 1100)
    log.item(code=OTHER_CODE, status="disabled")
    assert log.quote("37", 1100, code=OTHER_CODE, at=2 * DAY) == []
    assert log.tick(DAY) == ["price_adjustment resolved reference_rose 37 -"]


def test_lines_are_numbered_blank_ones_too() -> None:
    log = Timeline()
    first, second = (json.dumps(absolute(one)).encode() for one in (quote("32", 1000, at=0), quote("37", 1100, at=1)))
    events = log.raw(b"\n \t\r\n" + first + b"\r\n{broken\n\n" + second + b"\n", START_MS)
    assert events == ["price_adjustment opened new_listing 37 yellow"]
    assert evidence(log.last) == [(0, 5), (0, 2)]
    assert log.dead == ["not_json"]


def test_a_dead_letter_says_all_that_is_needed_to_mend_it() -> None:
    log = Timeline()
    log.item(moved_to=OTHER_CODE)
    line = json.dumps(absolute(quote("32", 1000, at=SECOND)), indent=None).encode() + b" \r"
    effects = log.machine.apply(batch_of([Message(0, 7, START_MS, b"\n" + line + b"\n")]))
    (letter,) = effects.dead_letters
    assert (letter.partition, letter.offset, letter.line) == (0, 7, 1)
    assert letter.original == line
    assert (letter.reason, letter.moved_to, letter.field) == ("disabled_code", OTHER_CODE, "code")


def test_a_batch_says_how_many_records_were_applied_stale_or_dead() -> None:
    log = Timeline()
    log.item(code=OTHER_CODE, status="disabled")
    lines = [
        quote("32", 1000, at=5),
        quote("32", 900, at=5),
        quote("32", 900, at=5, code=OTHER_CODE),
        quote("32", -1, at=5),
        {"type": "tick", "at": 6},
        {"type": "bid", "at": 6},
    ]
    value = b"\n".join(json.dumps(absolute(line)).encode() for line in lines)
    effects = log.machine.apply(batch_of([Message(0, 1, START_MS, value)]))
    assert effects.records == 6
    assert effects.outcomes[QUOTE].tolist() == [1, 1, 2]
    assert effects.outcomes[TICK].tolist() == [1, 0, 0]
    assert effects.outcomes.sum() == 5
