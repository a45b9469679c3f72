"""Restarts told step by step: what a checkpoint must hold, and what is not done twice (see test_properties for any log)."""

import pytest

from streams.machine import Machine
from streams.partition_row import PARTITION_KEY
from tests.streams.logs import Pairs, blocks_of, pairs_of, policy_of, run
from tests.streams.timeline import CODE, DAY, OTHER_CODE, SECOND, Timeline


def saved(log: Timeline) -> Pairs:
    """Returns the rows of a checkpoint now."""
    return pairs_of(log.machine.checkpoint(log.position[0] + 1))


def restarted(*pairs: tuple[bytes, bytes]) -> Machine:
    """Returns a machine that took up rows."""
    machine = Machine(0, 1, policy_of({}))
    machine.restore(blocks_of(pairs))
    return machine


def test_an_offer_told_again_is_saved_though_nothing_moved() -> None:
    log = Timeline()
    log.quote("32", 1000)
    first = saved(log)
    assert log.quote("32", 1000) == []
    second = saved(log)
    assert [key for key, _ in second] == [CODE.encode(), PARTITION_KEY]
    machine = restarted(*first, *second)
    assert machine.rows() == log.machine.rows()
    repeat = log.messages[-1]
    assert run(machine, [type(repeat)(0, 9, repeat.broker_ts_ms, repeat.value)]).stale == 1


def test_ticks_and_dead_letters_change_no_row() -> None:
    log = Timeline()
    log.quote("32", 1000)
    saved(log)
    log.tick(DAY)
    log.quote("32", -1)
    ((key, value),) = saved(log)
    assert key == PARTITION_KEY
    assert restarted((key, value)).clock_ms == log.machine.clock_ms


def test_a_policy_outlives_a_restart_and_the_files_does_not_come_back() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    log.policy({"default": {"bands": {"red": 1000}}})
    machine = restarted(*saved(log))
    assert machine.policy == log.machine.policy
    log.quote("44", 1100)
    (alert,) = run(machine, log.messages[-1:]).alerts
    assert b'"band":"red"' in alert
    assert log.last["policy_version"].encode() in alert


def test_the_files_policy_holds_after_a_restart_if_no_record_came() -> None:
    log = Timeline()
    log.quotes(p32=1000)
    machine = Machine(0, 1, policy_of({"default": {"bands": {"red": 1000}}}))
    machine.restore(blocks_of(saved(log)))
    log.quote("37", 1100)
    (alert,) = run(machine, log.messages[-1:]).alerts
    assert b'"band":"red"' in alert


def test_a_row_that_is_ahead_takes_no_policy_record_twice() -> None:
    """The code's row is of a checkpoint that was never finished, and the older one is compacted away."""
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    *_, own = saved(log)
    next_offset = log.position[0] + 1
    log.policy({"default": {"own_kinds": []}})
    log.policy({})
    row, _ = saved(log)
    machine = restarted(own, row)
    assert run(machine, log.messages[next_offset:]).alerts == []
    assert machine.rows() == log.machine.rows()
    assert machine.policy == log.machine.policy


def test_a_row_that_is_ahead_turns_nothing_away_that_was_accepted() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    *_, own = saved(log)
    next_offset = log.position[0] + 1
    log.quote("37", 1200)
    log.item(status="disabled")
    row, _ = saved(log)
    machine = restarted(own, row)
    out = run(machine, log.messages[next_offset:])
    assert (out.alerts, out.dead_letters) == ([], [])
    assert machine.rows() == log.machine.rows()


def test_timers_ring_after_a_restart() -> None:
    log = Timeline()
    log.quote("32", 1000, at=0, valid_until=3 * DAY)
    log.quote("37", 1100, at=0)
    log.quote("33", 1000, at=0)
    log.quote("44", 100, at=SECOND, valid_until=DAY)
    log.quote("33", 990, at=2 * SECOND, effective_at=2 * DAY)
    machine = restarted(*saved(log))
    assert machine.open_alerts().tolist() == log.machine.open_alerts().tolist()
    assert log.tick(40 * DAY) == [
        "price_hold resolved expired 44 -",
        "price_adjustment opened reference_fell 32 blue",
        "price_adjustment revised reference_fell 37 yellow",
        "price_adjustment resolved expired 32 -",
        "price_adjustment overdue policy_deadline 37 yellow",
    ]
    assert len(run(machine, log.messages[-1:]).alerts) == 5
    assert machine.rows() == log.machine.rows()


def test_an_older_checkpoint_that_comes_late_turns_nothing_back() -> None:
    """A worker that lost its partition may still write: its rows and its partition row are older."""
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    first = saved(log)
    log.quote("37", 1000)
    second = saved(log)
    machine = Machine(0, 1, policy_of({}))
    assert machine.restore(blocks_of([*first, *second, *first])) == log.position[0] + 1
    assert machine.clock_ms == log.machine.clock_ms
    assert machine.rows() == log.machine.rows()


@pytest.mark.parametrize(
    "pool",
    [
        "listings",
        "window",
        "moved",
        "extras",
    ],
)
def test_older_versions_of_a_row_leave_nothing_behind(pool: str) -> None:
    """A topic may hold thousands of a busy code's versions before it is compacted."""
    log = Timeline()
    versions: Pairs = []
    for number in range(20):
        for province in ("32", "37"):
            log.quote(province, 1000 + number)
            log.ceiling(province, 2000 + number)
        log.item(moved_to=OTHER_CODE)
        log.item()
        versions += saved(log)
    machine = restarted(*versions)
    assert machine.rows() == log.machine.rows()
    assert int(machine._state.meta[0][pool]) <= 2 * int(log.machine._state.meta[0][pool])
