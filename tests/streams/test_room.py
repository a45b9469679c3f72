"""Pools grow: many codes, listings, orders, past lowests and events, more than any pool begins with."""

from streams.machine import Machine
from streams.pools import ALERTS_PER_STEP
from tests.naive import Message
from tests.naive_records import PROVINCES
from tests.streams.logs import policy_of, run
from tests.streams.timeline import CODE, DAY, START_MS, SUPPLIER, Record, Timeline, encoded, quote

MANY = 700
"""More than twice what the pools begin with."""


def codes(count: int = MANY) -> list[str]:
    return [f"C{number:026}" for number in range(count)]


def message(offset: int, *records: Record) -> Message:
    """Returns a message with a line for each record."""
    return Message(0, offset, START_MS + 10_000 * DAY, b"\n".join(encoded({"at": 0, **record}) for record in records))


def restored(machine: Machine) -> Machine:
    """Returns another machine that took up the state of one."""
    again = Machine(machine.partition, machine.partitions, machine.policy)
    assert again.restore([machine.checkpoint(2)]) == 2
    return again


def check_same(machine: Machine, again: Machine, *then: Message) -> None:
    """Checks that two machines stand at the same place and go on alike."""
    assert again.rows() == machine.rows()
    assert again.open_alerts().tolist() == machine.open_alerts().tolist()
    assert run(machine, then) == run(again, then)
    assert again.rows() == machine.rows()


def test_many_codes_with_timers_each() -> None:
    machine = Machine(0, 1, policy_of({}))
    one = [quote("32", 1000, code=code, valid_until=DAY + number) for number, code in enumerate(codes())]
    two = [quote("37", 1100, code=code, valid_until=DAY) for code in codes()]
    first = run(machine, [message(0, *one, *two)])
    assert len(first.alerts) == len(first.price_changes) == MANY
    assert machine.open_alerts().sum() == MANY
    again = restored(machine)
    check_same(machine, again, message(2, {"type": "tick", "at": 2 * DAY}))
    assert machine.open_alerts().sum() == again.open_alerts().sum() == 0


def test_many_listings_of_one_code() -> None:
    machine = Machine(0, 1, policy_of({"guard_bp": 0}))
    records = [
        quote(province, 1000 + number, code=code)
        for number, province in enumerate(PROVINCES)
        for code in codes(MANY // 20)
    ]
    run(machine, [message(0, *records)])
    check_same(machine, restored(machine), message(2, *(quote("66", 1, code=code, at=1) for code in codes(MANY // 20))))


def test_more_ceilings_and_holds_of_one_code_than_a_pool_has_room_for_at_its_end() -> None:
    """A row read back may need many places of a pool at once."""
    machine = Machine(0, 1, policy_of({}))
    records = [
        {"type": "ceiling", "code": code, "province": province, "price": 1}
        for code in codes(MANY // 30)
        for province in PROVINCES[:31]
    ]
    run(machine, [message(0, *records)])
    check_same(machine, restored(machine), message(2, *(quote("11", 2, code=code, at=1) for code in codes(MANY // 30))))


def test_more_past_lowests_of_one_code_than_a_pool_begins_with() -> None:
    rising = [quote("32", 1000 + number, at=number) for number in range(MANY)]
    machine = Machine(0, 1, policy_of({"default": {"lookback": "rolling"}}))
    run(machine, [message(0, *rising)])
    again = restored(machine)
    check_same(machine, again, message(2, {"type": "tick", "at": 365 * DAY + MANY // 2}))


def test_many_orders_with_long_ids() -> None:
    machine = Machine(0, 1, policy_of({}))
    orders = [
        {
            "type": "order", "code": CODE, "province": "32", "order_id": f"{number}" + "x" * 250, "price": 1100,
            "institution": "H1", "supplier": SUPPLIER, "quantity": 1,
        }
        for number in range(MANY)
    ]  # fmt: skip
    first = run(machine, [message(0, quote("32", 1000), *orders)])
    assert len(first.alerts) == MANY
    again = restored(machine)
    assert run(again, [message(1, *orders)]).alerts == [], "stale"
    assert again.rows().keys() == machine.rows().keys()


def test_many_new_codes_for_old_ones() -> None:
    machine = Machine(0, 1, policy_of({}))
    run(machine, [message(0, *({"type": "item", "code": code, "moved_to": CODE} for code in codes()))])
    again = restored(machine)
    assert again.rows() == machine.rows()
    letters = run(again, [message(2, *(quote("32", 1, code=code) for code in codes()))]).dead_letters
    assert [letter["moved_to"] for letter in letters] == [CODE] * MANY


def test_more_events_in_a_batch_than_there_is_room_for_between_two_renderings() -> None:
    machine = Machine(0, 1, policy_of({"guard_bp": 0}))
    records = [quote(province, 1000) for province in PROVINCES[1:]]
    records += [quote(PROVINCES[0], 999 - number, at=number + 1) for number in range(200)]
    out = run(machine, [message(0, *records)])
    assert len(out.alerts) == 200 * 31
    alone = Machine(0, 1, policy_of({"guard_bp": 0}))
    assert run(alone, *([message(0, record)] for record in records)).price_changes[0] == out.price_changes[0]


def test_more_events_in_a_policys_step_than_there_is_room_for() -> None:
    machine = Machine(0, 1, policy_of({"default": {"own_kinds": []}}))
    records = [quote("32", 1000, code=code) for code in codes(6 * MANY)]
    records += [quote("37", 1100, code=code) for code in codes(6 * MANY)]
    run(machine, [message(0, *records)])
    out = run(machine, [message(1, {"type": "policy", "policy": {}})])
    assert len(out.alerts) == 6 * MANY


def test_no_step_causes_more_events_than_a_step_may() -> None:
    """The worst instant: prices are held and released, adjustments open and are overdue, and every breach ends."""
    log = Timeline({"guard_min_sources": 0, "default": {"adjust_within_days": 0}})
    for province in PROVINCES:
        log.ceiling(province, "9999")
        log.quote(province, "10000")
    for number, province in enumerate(PROVINCES):
        # three by three: two prices too far from each other to take force, and one between them that frees both
        price = 1.4 ** (number // 3) * (1, 1.12, 1.06)[number % 3]
        log.quote(province, f"{price:.4f}", effective_at=DAY)
    events = log.tick(DAY)
    assert len(events) == 20 * 2 + 31 * 2 + 32
    assert len(events) <= ALERTS_PER_STEP


def test_listings_are_packed_between_batches_once_an_eighth_is_free() -> None:
    """Every code's block moved twice or more: what they leave is given back, and nothing is lost."""
    machine = Machine(0, 1, policy_of({}))
    for number, province in enumerate(("32", "37", "44", "33")):
        run(machine, [message(number, *(quote(province, 1000, code=code) for code in codes()))])
    meta = machine._state.meta[0]
    assert meta.free_rows * 8 > meta.listings
    before = machine.rows()
    saved = machine.checkpoint(4)
    assert meta.free_rows == 0
    assert meta.listings == 4 * MANY
    assert machine._state.data.size == 1
    assert machine.rows() == before
    again = Machine(0, 1, machine.policy)
    again.restore([saved])
    check_same(machine, again, message(4, *(quote("51", 1000, code=code) for code in codes())))


def test_free_listings_are_counted() -> None:
    machine = Machine(0, 1, policy_of({}))
    for number, province in enumerate(("32", "37", "44", "33", "51")):
        run(machine, [message(number, *(quote(province, 1000, code=code) for code in codes()[number * 100 :]))])
        state = machine._state
        used = int(state.codes[: state.meta[0].codes]["listing_room"].sum(dtype="i8"))
        assert used + int(state.meta[0].free_rows) == int(state.meta[0].listings)
