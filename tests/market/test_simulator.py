"""The demo market: the same every time, valid records but for the bad lines it means to write, every kind of happening."""

import json
from collections import Counter
from typing import Any

import pytest

from market.behaviours import BEHAVIOURS
from market.catalogue import Catalogue, credit_code
from market.records import Line
from market.run import packed
from market.simulator import _SEEN_SOON, Market
from schemas.codes import is_code, partition_of
from schemas.parser import parse_line
from schemas.records import Reject
from tests.naive import Message, NaiveMachine

START_MS = 1_767_225_600_000
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def opening(market: Market, now_ms: int = START_MS) -> list[Line]:
    written = []
    while market.backlog:
        written += market.lines(now_ms, 500)
    return written


def run(seed: int, products: int, seconds: int, rate: int) -> list[Line]:
    market = Market(seed, products)
    written = opening(market)
    for second in range(seconds):
        written += market.lines(START_MS + second * 1000, rate)
    return written


def test_the_same_seed_writes_the_same_bytes() -> None:
    assert run(7, 60, 30, 100) == run(7, 60, 30, 100)
    assert run(7, 60, 3, 100) != run(8, 60, 3, 100)


def test_codes_and_suppliers_have_the_right_form() -> None:
    catalogue = Catalogue(3)
    products = [catalogue.product() for _ in range(500)]
    assert len({product.code for product in products}) == 500
    for product in products:
        assert is_code(product.code)
        assert product.code[0] != "C" or 1 <= int(product.code[1:3]) <= 18
        assert product.base_e4 > 0
        total = sum(_ALPHABET.index(char) * pow(3, place, 31) for place, char in enumerate(product.supplier[:17]))
        assert _ALPHABET[(31 - total % 31) % 31] == product.supplier[17]
    assert sum(product.base_e4 > 20_000_000 for product in products) > 50
    assert len(credit_code(Market(1, 1).rng)) == 18


def test_records_are_valid_but_for_the_lines_that_are_meant_to_be_bad() -> None:
    written = run(1, 200, 100, 100)
    rejects = ahead = 0
    for line in written:
        record = parse_line(line.value)
        if isinstance(record, Reject):
            rejects += 1
        else:
            assert record.code == line.code
            ahead += record.at_ms > START_MS + 100_000
    assert 0 < rejects < len(written) * 0.005
    assert ahead < 20  # the ones that are meant to come from the future


def test_most_records_repeat_a_price_and_every_behaviour_happens() -> None:
    market = Market(5, 120)
    opening(market)
    for _, behaviour in BEHAVIOURS:
        written = [line for attempt in range(60) for line in behaviour(market, START_MS + attempt)]
        assert written, behaviour.__name__
    assert sum(share for share, _ in BEHAVIOURS) < 100_000  # of a million


def test_it_comes_alive_at_once_and_alerts_stay_few() -> None:
    machine, changes = _live(products=100, seconds=240, rate=20)
    kinds = Counter((event["kind"], event["change"]) for event in changes)
    assert kinds["price_adjustment", "opened"] > 5
    assert kinds["price_adjustment", "resolved"] > 5
    assert len(changes) < 240 * 20 * 0.05 + 5 * len(_SEEN_SOON)
    assert machine.applied > 240 * 20


def test_unit_mistakes_are_held_and_decided() -> None:
    from market.behaviours import deep_cut, unit_mistake

    market = Market(2, 150)
    machine, events, send = _fed(market)
    send(opening(market), START_MS)
    for number in range(30):
        send(unit_mistake(market, START_MS + number) + deep_cut(market, START_MS + number), START_MS + number)
    for second in range(200):
        send(market.due(START_MS + second * 1000), START_MS + second * 1000)
    holds = [event for event in events if event["kind"] == "price_hold"]
    reasons = Counter(event["reason"] for event in holds)
    assert reasons["unit_mismatch"] > 3
    assert reasons["rejected"] > 3
    assert reasons["confirmed"] + reasons["corroborated"] > 0
    assert not machine.dead_letters


def _fed(market: Market) -> Any:
    machine = NaiveMachine(0, 1, {})
    events: list[dict[str, Any]] = []

    def send(lines: list[Line], now_ms: int) -> None:
        for line in lines:
            machine.apply(Message(0, machine.applied + machine.stale, now_ms, line.value))
        for raw in machine.alerts[len(events) :]:
            event = json.loads(raw)
            events.append(event)
            market.observe(event, now_ms)

    return machine, events, send


def _live(products: int, seconds: int, rate: int) -> tuple[NaiveMachine, list[dict[str, Any]]]:
    market = Market(1, products)
    machine, events, send = _fed(market)
    send(opening(market), START_MS)
    for second in range(seconds):
        now_ms = START_MS + second * 1000
        send(market.lines(now_ms, rate), now_ms)
    return machine, events


def test_growth_is_bounded() -> None:
    from market.behaviours import move_code

    market = Market(4, 20)
    opening(market)
    for number in range(500):
        move_code(market, START_MS + number)
        market.due(START_MS + number * 100)
    assert len(market.products) <= market.max_products


@pytest.mark.parametrize("event", [{}, {"kind": "price_hold", "change": "opened", "code": "C1"}, {"kind": "bargain"}])
def test_events_of_others_are_ignored(event: dict[str, Any]) -> None:
    market = Market(4, 5)
    market.observe(event, START_MS)
    assert market.due(START_MS + 10**9) == []


def test_lines_are_packed_by_partition_in_their_order() -> None:
    written = run(1, 60, 20, 200)
    by_partition: dict[int, list[bytes]] = {}
    for to, value in packed(written, 4):
        assert value.count(b"\n") < 500
        by_partition.setdefault(to, []).extend(value.split(b"\n"))
    assert sorted(by_partition) == [0, 1, 2, 3]
    for to, values in by_partition.items():
        assert values == [line.value for line in written if partition_of(line.code, 4) == to]
