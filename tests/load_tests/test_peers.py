"""The peers' task: a timeline worked out by hand, the quick logic against the slow, and a comparison that can fail."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import pytest

from config.provinces import PROVINCE_CODES
from load_tests.expected import outputs_of
from load_tests.generate import Load
from load_tests.peers.linkage import PROVINCES, Product, parse, render
from load_tests.peers.log import Log, key_of
from load_tests.peers.measure import _batches
from load_tests.peers.task import Answers, per_piece_e4, reference_answers

OUT = "peer-out"
SMALL = Load(products=40, provinces=8, records=3_000, partitions=2)


def quote(province: str, at: int | str, price: float, **more: Any) -> tuple[int, bytes]:
    return 0, json.dumps(
        {"type": "quote", "province": province, "code": "C1", "at": at, "price": price, **more}
    ).encode()


def hand_loop(log: list[tuple[int, bytes]]) -> Answers:
    products: dict[str, Product] = {}
    found = Answers()
    for _, value in log:
        code, province, at, seq, price_e4 = parse(value)
        product = products.setdefault(code, Product())
        for change in product.apply(province, at, seq, price_e4):
            found.add_event(OUT, render(code, at, change, product.lowest_e4))
    return found


TIMELINE: list[tuple[tuple[int, bytes], list[tuple[str, str | int]]]] = [
    (quote("120000", 1_000, 105.0), [("lowest", 1_050_000)]),
    (quote("110000", 1_000, 1_000.0, pack_size=10), [("lowest", 1_000_000), ("120000", "yellow")]),
    (quote("130000", "1970-01-01T08:00:01.000+08:00", 100.01), [("130000", "blue")]),
    (quote("130000", 1_000, 1.0), []),  # the same time and number: what came first stands
    (quote("130000", 999, 1.0, seq=9), []),  # older
    (quote("130000", 1_000, 120.0, seq=1), [("130000", "red")]),
    (quote("130000", 1_000, 119.99, seq=2), [("130000", "yellow")]),
    (quote("110000", 2_000, 126.0), [("lowest", 1_050_000), ("110000", "red"), ("120000", "none")]),
    (
        quote("120000", 3_000, 126.0),
        [("lowest", 1_199_900), ("110000", "yellow"), ("120000", "yellow"), ("130000", "none")],
    ),
]


def test_the_reference_gives_the_timeline_worked_out_by_hand() -> None:
    log = [value for value, _ in TIMELINE]
    expected = [answer for _, answers in TIMELINE for answer in answers]
    assert reference_answers(log).by_code["C1"] == expected
    assert hand_loop(log).by_code["C1"] == expected


def test_a_piece_is_rounded_half_up() -> None:
    assert per_piece_e4(Decimal("0.0001"), 2) == 1
    assert per_piece_e4(Decimal("0.0001"), 3) == 0
    assert per_piece_e4(Decimal("123.45"), 10) == 123_450


@pytest.mark.parametrize("market", ["calm", "storm"])
def test_the_hand_loop_and_pricelink_answer_as_the_reference(market: Literal["calm", "storm"]) -> None:
    log = list(Log.of(replace(SMALL, market=market)).measured())
    expected = reference_answers(log)
    assert expected.events > 40
    assert expected.difference(hand_loop(log)) is None
    ours = outputs_of(_batches(log, SMALL.partitions), SMALL.partitions)
    assert ours.dead_letters == 0
    assert ours.price_changes.events == sum(
        kind == "lowest" for answers in expected.by_code.values() for kind, _ in answers
    )


def test_late_copies_would_change_the_answers_if_they_were_taken() -> None:
    log = list(Log.of(SMALL).measured())
    ignorant = Answers()
    products: dict[str, Product] = {}
    for now, (_, value) in enumerate(log):
        code, province, _, seq, price_e4 = parse(value)
        product = products.setdefault(code, Product())
        for change in product.apply(province, now, seq, price_e4):
            ignorant.add_event(OUT, render(code, now, change, product.lowest_e4))
    assert reference_answers(log).difference(ignorant) is not None


def test_repeats_are_counted_and_everything_else_is_a_difference() -> None:
    log = list(Log.of(SMALL).measured())
    expected, found = reference_answers(log), hand_loop(log)
    found.add_event(OUT, render("C1", 1, (-1, 0, 5), 5))
    assert "1 codes" in str(expected.difference(found))
    found = hand_loop(log)
    code, province, at, seq, price_e4 = parse(log[0][1])
    found.add_event(OUT, render(code, at, Product().apply(province, at, seq, price_e4)[0], price_e4))
    assert found.repeats == 1
    assert expected.difference(found) is None
    found.by_code[code].reverse()
    found.by_code[code].append(("110000", "red"))
    assert "part at" in str(expected.difference(found))
    found.add_event(OUT, b"{")
    assert "cannot be read" in str(expected.difference(found))


def test_provinces_and_keys_are_the_projects() -> None:
    assert tuple(PROVINCE_CODES) == PROVINCES
    for _, value in Log.of(SMALL).warm_up():
        assert key_of(value).decode() == json.loads(value)["code"]
