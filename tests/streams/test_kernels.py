"""Kernels against slow twins: plain Python over lists and whole numbers of any size."""

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.columns import BLUE, NO_BAND, RED, YELLOW
from streams.alarms import next_due, take_entry
from streams.effects import excess_of
from streams.growth import grown, new_state
from streams.kernels import (
    band_of,
    is_newer,
    is_unit_mismatch,
    reference_price,
    sort_provinces,
    within_tenth,
)
from streams.layout import AGGREGATES, LOWEST, NEVER_MS, PROVINCE_COUNT, PROVINCE_RULES
from streams.linkage import lowest_elsewhere
from streams.lowest import see_best
from streams.pools import ENOUGH, add_code, roomier, short_pool
from streams.state import State
from streams.timers import schedule
from tests.streams.timeline import DAY, SECOND, Timeline

DEAREST = 10**12
"""10⁸ yuan in 1/10,000."""

prices_e4 = st.one_of(st.integers(1, 5), st.integers(9_990, 10_010), st.integers(1, DEAREST))
markets = st.lists(st.one_of(st.just(0), prices_e4), min_size=PROVINCE_COUNT, max_size=PROVINCE_COUNT)
kinds_of = st.lists(st.integers(0, 3), min_size=PROVINCE_COUNT, max_size=PROVINCE_COUNT)
provinces = st.integers(0, PROVINCE_COUNT - 1)
basis_points = st.one_of(st.integers(0, 3_000), st.sampled_from((0, 500, 2_000, 1_000_000)))


@given(markets)
def test_sort_provinces(market: list[int]) -> None:
    order = np.full(PROVINCE_COUNT, -1, np.int64)
    count = sort_provinces(np.array(market), order)
    with_price = [province for province in range(PROVINCE_COUNT) if market[province]]
    assert order[:count].tolist() == sorted(with_price, key=lambda province: (market[province], province))


def rules_row(**fields: int) -> Any:
    """Returns a PROVINCE_RULES row."""
    row = np.zeros(1, PROVINCE_RULES).view(np.recarray)[0]
    for name, value in fields.items():
        setattr(row, name, value)
    return row


def slow_reference(market: list[int], kinds: list[int], own: int, rules: dict[str, int]) -> tuple[int, list[int]]:
    """Returns the reference price and the provinces that make it, as SPEC §3 says it."""
    found = sorted(
        (price, province)
        for province, (price, kind) in enumerate(zip(market, kinds, strict=True))
        if price
        and province != own
        and rules["kinds"] >> kind & 1
        and (rules["everywhere"] or rules["scope"] >> province & 1)
    )
    if not found or len(found) < rules["min_sources"]:
        return 0, []
    if rules["aggregate"] == AGGREGATES.index("lowest"):
        made_by = found[:1]
    elif rules["aggregate"] == AGGREGATES.index("mean_of_lowest"):
        made_by = found[: rules["k"]]
    else:
        made_by = found[(len(found) - 1) // 2 : len(found) // 2 + 1]
    mean = Fraction(sum(price for price, _ in made_by), len(made_by))
    return floor(mean + Fraction(1, 2)), [province for _, province in made_by]


some_rules = st.fixed_dictionaries(
    {
        "scope": st.integers(0, 2**PROVINCE_COUNT - 1),
        "everywhere": st.integers(0, 1),
        "kinds": st.integers(0, 15),
        "aggregate": st.integers(0, 2),
        "k": st.one_of(st.integers(1, 5), st.just(10**6)),
        "min_sources": st.integers(0, 5),
    }
)


@given(markets, kinds_of, provinces, some_rules)
def test_reference_price(market: list[int], kinds: list[int], own: int, rules: dict[str, int]) -> None:
    prices, order, used = np.array(market), np.zeros(PROVINCE_COUNT, np.int64), np.zeros(33, np.int64)
    count = sort_provinces(prices, order)
    reference = reference_price(prices, np.array(kinds), order, count, own, rules_row(**rules), used)
    assert (reference, used[: used[32]].tolist()) == slow_reference(market, kinds, own, rules)


@given(markets, kinds_of, provinces, st.integers(0, 15), st.integers(0, 4))
def test_the_commonest_reference(market: list[int], kinds: list[int], own: int, counted: int, min_sources: int) -> None:
    """The lowest of all other provinces comes from the best two prices, without a look at the others."""
    state = new_state()
    sight = state.now[0]
    sight.best_kinds = counted
    for province in range(PROVINCE_COUNT):
        sight.price_e4[province], sight.kind[province] = market[province], kinds[province]
        if market[province] and counted >> kinds[province] & 1:
            see_best(sight, market[province], province)
    rules = {"scope": 0, "everywhere": 1, "kinds": counted, "aggregate": LOWEST, "k": 1, "min_sources": min_sources}
    reference = lowest_elsewhere(state, sight, rules_row(**rules), own)
    assert (reference, state.used[: state.used[32]].tolist()) == slow_reference(market, kinds, own, rules)


@given(prices_e4, prices_e4)
@example(1, DEAREST)
@example(DEAREST, 1)
def test_excess_is_rounded_down(price_e4: int, reference_e4: int) -> None:
    excess_bp = floor(Fraction(price_e4 - reference_e4, reference_e4) * 10_000)
    assert excess_of(price_e4, reference_e4) == excess_bp


@given(prices_e4, prices_e4, basis_points, basis_points, basis_points)
def test_band_of(price_e4: int, reference_e4: int, blue_bp: int, yellow_bp: int, red_bp: int) -> None:
    excess_bp = floor(Fraction(price_e4 - reference_e4, reference_e4) * 10_000)
    reached = [band for band, bp in ((BLUE, blue_bp), (YELLOW, yellow_bp), (RED, red_bp)) if excess_bp >= bp]
    band = max(reached, default=NO_BAND) if price_e4 > reference_e4 else NO_BAND
    assert band_of(price_e4, reference_e4, blue_bp, yellow_bp, red_bp) == band


@given(prices_e4, prices_e4)
@example(11, 10)
@example(DEAREST, DEAREST * 10 // 11)
@example(DEAREST, DEAREST * 10 // 11 + 1)
def test_within_tenth(one_e4: int, other_e4: int) -> None:
    wanted = Fraction(max(one_e4, other_e4), min(one_e4, other_e4)) <= Fraction(11, 10)
    assert within_tenth(one_e4, other_e4) == within_tenth(other_e4, one_e4) == wanted


@st.composite
def unit_prices(draw: st.DrawFn) -> tuple[int, int]:
    """A lowest price, and one near a multiple's edge below it."""
    k = draw(st.one_of(st.integers(1, 12), st.integers(995, 1_005)))
    lowest_e4 = draw(st.integers(1, DEAREST))
    percent = draw(st.sampled_from((98, 99, 100, 101, 102)))
    return max(lowest_e4 * 100 // (k * percent) + draw(st.integers(-1, 1)), 1), lowest_e4


@given(st.one_of(unit_prices(), st.tuples(st.integers(1, 50), st.integers(1, 50)), st.tuples(prices_e4, prices_e4)))
def test_is_unit_mismatch(case: tuple[int, int]) -> None:
    price_e4, lowest_e4 = case
    wanted = any(50 * abs(lowest_e4 - k * price_e4) <= k * price_e4 for k in range(2, 1_001))
    assert is_unit_mismatch(price_e4, lowest_e4) == wanted


@given(*[st.integers(0, 3), st.integers(0, 3)] * 2)
def test_is_newer(at_ms: int, seq: int, last_at_ms: int, last_seq: int) -> None:
    assert is_newer(at_ms, seq, last_at_ms, last_seq) == ((at_ms, seq) > (last_at_ms, last_seq))


# --- timers -----------------------------------------------------------------------------------------------------------


def state_of(names: list[bytes]) -> State:
    """Returns a state with a row for each code."""
    state = new_state()
    state = state.replace(data=np.frombuffer(b"".join(name.ljust(27) for name in names), np.uint8))
    for number in range(len(names)):
        add_code(state, 27 * number, 27, number)
    return state


moves = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 5), st.one_of(st.integers(0, 12), st.just(NEVER_MS))),  # a code's timer is due then
        st.tuples(st.just(-1), st.integers(0, 14)),  # the clock moves
    ),
    max_size=60,
)


def due_code(state: State, until_ms: int) -> int:
    """Returns the code whose timer is due next, its entry taken off the heap; -1 for none."""
    row = int(next_due(state, until_ms))
    if row >= 0:
        take_entry(state)
    return row


@given(moves)
def test_timers_fire_by_due_time_then_by_code(given_moves: list[tuple[int, int]]) -> None:
    names = [b"C3", b"C1", b"T2", b"C2", b"X9", b"C0"]
    state = state_of(names)
    due: dict[int, int] = {}
    clock_ms = 0
    for row, ms in given_moves:
        if row >= 0:
            schedule(state, row, ms)
            due[row] = ms
            continue
        clock_ms = max(clock_ms, ms)
        fired = []
        while (found := due_code(state, clock_ms)) >= 0:
            fired.append((int(state.codes[found].due_ms), names[found]))
            schedule(state, found, NEVER_MS)
        wanted = sorted((at, names[one]) for one, at in due.items() if at <= clock_ms)
        assert fired == wanted
        due = {one: at for one, at in due.items() if at > clock_ms}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=400))
def test_the_heap_keeps_few_entries_whatever_is_rescheduled(given_moves: list[tuple[int, int]]) -> None:
    state = state_of([b"C%d" % number for number in range(6)])
    for row, ms in given_moves:
        state.meta[0].short = short_pool(state)
        if state.meta[0].short != ENOUGH:
            state = grown(state, int(state.meta[0].short))
        schedule(state, row, ms)
    assert state.timers.size <= 512
    last = dict(given_moves)
    fired = []
    while (found := due_code(state, 50)) >= 0:
        fired.append((int(state.codes[found].due_ms), found))
        schedule(state, found, NEVER_MS)
    assert fired == sorted((ms, row) for row, ms in last.items())


def test_blocks_of_listings_grow_to_all_provinces() -> None:
    room, rooms = 0, []
    while room < PROVINCE_COUNT:
        room = int(roomier(room))
        rooms.append(room)
    assert rooms == sorted(set(rooms))
    assert rooms[0] == 1
    assert rooms[-1] == PROVINCE_COUNT


# --- the rolling lowest -----------------------------------------------------------------------------------------------

quotes = st.lists(
    st.tuples(
        st.sampled_from(("32", "37")),
        st.one_of(st.none(), st.integers(1, 6)),  # yuan; withdrawn
        st.sampled_from((0, 1, SECOND, DAY - 1, DAY, DAY + 1, DAY // 2)),
    ),
    max_size=30,
)


@given(quotes)
def test_the_rolling_lowest_is_the_least_of_the_window(given_quotes: list[tuple[str, int | None, int]]) -> None:
    log = Timeline({"window_days": 1, "guard_bp": 0})
    own: dict[str, int | None] = {}
    past: list[tuple[int, int]] = []  # lowest, when it ended
    at = 0
    for number, (province, price, wait_ms) in enumerate(given_quotes):
        at += wait_ms
        before = min(filter(None, own.values()), default=None)
        own[province] = price
        status = "active" if price else "withdrawn"
        log.quote(province, price, status=status, at=at, seq=number)
        lowest = min(filter(None, own.values()), default=None)
        if lowest == before:
            assert log.changes == []
            continue
        if before:
            past.append((before, at))
        window = [one for one, ended in past if ended + DAY > at] + ([lowest] if lowest else [])
        rolling = min(window, default=None)
        ((shown, previous, _, shown_rolling),) = log.changes
        assert [shown, previous, shown_rolling] == [
            f"{yuan}.0000" if yuan else None for yuan in (lowest, before, rolling)
        ]
