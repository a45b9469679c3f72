"""Orders counted from the log, and the inspection list: against a plain recount, however the log is cut."""

import json
import random
from collections import Counter, defaultdict
from types import SimpleNamespace
from typing import Any

import pytest

from agents.order_book import DAY_MS, OrderBook, shanghai_day
from agents.overuse_list import Lists, added, inspection_rows, unfinished
from agents.record_batches import batch_of
from schemas.score_rules import OveruseRules

MIDNIGHT = 1_767_196_800_000  # 2026-01-01 in Shanghai
DAY = shanghai_day(MIDNIGHT)
SUPPLIER = "91320000MA1XXXXX1A"


def order(
    at: int, number: int, quantity: int, *, seq: int = 0, code: int = 1, hospital: str = "甲", **more: Any
) -> dict[str, Any]:
    return {
        "type": "order", "province": "320000", "code": f"C{code:026d}", "at": at, "seq": seq, "order_id": f"o{number}",
        "institution": hospital, "supplier": SUPPLIER, "price": "1", "quantity": quantity,
    } | more  # fmt: skip


def item(at: int, code: int, category: str | None) -> dict[str, Any]:
    return {"type": "item", "code": f"C{code:026d}", "at": at, "category": category}


def tick(at: int) -> dict[str, Any]:
    return {"type": "tick", "at": at}


def fed(records: list[dict[str, Any]], *, cuts: int = 1, limit: int = 10_000) -> tuple[OrderBook, dict[int, Any]]:
    """A book after the records, and its sums at each date that began."""
    book = OrderBook(0, 1, limit)
    begun = {}
    size = -(-len(records) // cuts)
    for start in range(0, len(records), size):
        messages = [
            SimpleNamespace(offset=start + n, timestamp=10**13, value=json.dumps(record).encode())
            for n, record in enumerate(records[start : start + size])
        ]
        for day in book.apply(batch_of(0, messages)):
            begun[day] = book.sums(day)
    return book, begun


def test_the_last_version_of_an_order_counts_once() -> None:
    at = MIDNIGHT - DAY_MS
    book, begun = fed([
        tick(at), item(at, 1, "骨科材料"), order(at, 1, 10), order(at, 1, 10), order(at + 1, 1, 25), order(at - 1, 1, 99),
        order(at, 2, 7), order(at, 2, 0, seq=1), order(at, 3, 4, code=2), tick(MIDNIGHT),
    ])  # fmt: skip
    assert begun == {DAY: {("320000", "甲", "骨科材料"): (25, 0)}}
    assert book.counts["institution", "甲"] == 4  # two versions of the first, one of each other; a cancellation is none
    assert book.counts["supplier", SUPPLIER] == book.counts["province", "320000"] == 4


@pytest.mark.parametrize(("days_ago", "sums"), [
    (0, None), (1, (5, 0)), (30, (5, 0)), (31, (0, 5)), (120, (0, 5)), (121, None),
])  # fmt: skip
def test_the_edges_of_the_windows(days_ago: int, sums: tuple[int, int] | None) -> None:
    at = MIDNIGHT - days_ago * DAY_MS
    _, begun = fed([item(1, 1, "c"), order(at, 1, 5), tick(MIDNIGHT - 1), tick(MIDNIGHT)])
    assert begun[DAY].get(("320000", "甲", "c")) == sums


def test_lines_that_are_no_orders_do_not_count() -> None:
    bad = [
        order(MIDNIGHT, 1, -5),
        order(MIDNIGHT, 2, 5, province="710000"),
        order(MIDNIGHT, 3, 5, price="x"),
        {"type": "order"},
    ]
    book, _ = fed(bad)
    assert not book.counts


def plain_sums(records: list[dict[str, Any]], day: int) -> dict[tuple[str, str, str], tuple[int, int]]:
    last: dict[str, dict[str, Any]] = {}
    first: dict[str, int] = {}
    category: dict[str, tuple[int, str | None]] = {}
    for record in records:
        if record["type"] == "tick":
            if shanghai_day(record["at"]) >= day:
                break
        elif record["type"] == "item":
            if record["at"] > category.get(record["code"], (-1, None))[0]:
                category[record["code"]] = record["at"], record["category"]
        else:
            key = record["code"] + record["order_id"]
            was = last.get(key)
            first.setdefault(key, shanghai_day(record["at"]))
            if was is None or (record["at"], record["seq"]) > (was["at"], was["seq"]):
                last[key] = record
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for key, record in last.items():
        name = category.get(record["code"], (0, None))[1]
        if name and day - 120 <= first[key] < day:
            sums[record["province"], record["institution"], name][first[key] < day - 30] += record["quantity"]
    return {pair: (recent, before) for pair, (recent, before) in sums.items()}


def story(seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    records = []
    now = MIDNIGHT - 5 * DAY_MS
    for _ in range(1_500):
        now += rng.randrange(0, DAY_MS // 150)
        kind = rng.random()
        if kind < 0.1:
            records.append(tick(now))
        elif kind < 0.15:
            records.append(item(now - rng.randrange(9), rng.randrange(6), rng.choice(["a", "b", None])))
        else:
            at = now - rng.choice([0, 0, rng.randrange(115 * DAY_MS)])
            records.append(
                order(
                    at,
                    rng.randrange(400),
                    rng.randrange(50),
                    seq=rng.randrange(3),
                    code=rng.randrange(6),
                    hospital=rng.choice("甲乙丙"),
                )
            )
    return records


@pytest.mark.parametrize("seed", range(3))
def test_sums_equal_a_recount_however_the_log_is_cut(seed: int) -> None:
    records = story(seed)
    _, begun = fed(records)
    assert len(begun) > 3
    for day, sums in begun.items():
        assert sums == plain_sums(records, day)
    assert fed(records, cuts=37)[1] == begun


def test_what_is_kept_is_bounded_and_what_is_forgotten_is_counted() -> None:
    records = [order(MIDNIGHT - (number % 100) * DAY_MS, number, 1) for number in range(500)]
    book, _ = fed(records, limit=200)
    assert book._used <= 200
    assert len(book._slots) == book._used
    assert book.forgotten >= 300


def test_a_long_silence_of_ticks_is_not_made_up_day_by_day() -> None:
    _, begun = fed([tick(MIDNIGHT), tick(MIDNIGHT + 1_000 * DAY_MS)])
    assert len(begun) <= 31
    assert max(begun) == DAY + 1_000


RULES = OveruseRules()
PEERS = {("320000", name, "c"): (100, 300) for name in "乙丙丁"}


@pytest.mark.parametrize(
    ("own", "listed"),
    [
        ((150, 300), (15_000, 15_000)),
        ((149, 298), None),  # 14,900 of its peers
        ((200, 401), None),  # 14,962 of its own
        ((400, 300), (40_000, 40_000)),
        ((400, 0), None),  # nothing of its own to compare with
        ((99, 10), None),  # too little
    ],
)
def test_a_row_needs_both_comparisons(own: tuple[int, int], listed: tuple[int, int] | None) -> None:
    rows = inspection_rows(DAY, PEERS | {("320000", "甲", "c"): own}, RULES)
    assert [(row["own_bp"], row["peers_bp"]) for row in rows] == ([listed] if listed else [])


def test_peers_are_those_of_the_province_and_category_and_enough() -> None:
    own = {("320000", "甲", "c"): (900, 300)}
    assert inspection_rows(DAY, own | dict(list(PEERS.items())[:2]), RULES) == []
    assert inspection_rows(DAY, own | {("330000", name, "c"): (1, 1) for name in "乙丙丁"}, RULES) == []
    row = inspection_rows(DAY, own | PEERS, RULES)[0]
    assert (row["peers"], row["peers_median"], row["recent"], row["before"]) == (3, "100.0", 900, 300)
    assert (row["date"], row["recent_from"], row["before_from"]) == ("2026-01-01", "2025-12-02", "2025-09-03")


def test_the_list_is_ranked_bounded_and_always_the_same() -> None:
    rng = random.Random(1)
    pairs = [
        ((f"{p}0000", f"h{n}", "c"), (rng.randrange(100, 2_000), rng.randrange(1, 900)))
        for p in (32, 33)
        for n in range(60)
    ]
    rules = OveruseRules(most_rows=10)
    rows = inspection_rows(DAY, dict(pairs), rules)
    assert [row["rank"] for row in rows] == list(range(1, 11))
    assert {row["of"] for row in rows} == {10}
    smaller = [min(row["own_bp"], row["peers_bp"]) for row in rows]
    assert smaller == sorted(smaller, reverse=True)
    rng.shuffle(pairs)
    assert inspection_rows(DAY, dict(pairs), rules) == rows


def test_a_list_waits_for_all_partitions() -> None:
    lists = Lists(2)
    assert lists.give(0, DAY, PEERS) is None
    assert lists.give(0, DAY + 1, {}) is None
    assert lists.give(1, DAY, PEERS) == added([PEERS, PEERS]) == dict.fromkeys(PEERS, (200, 600))


def test_a_list_cut_short_is_known_as_such() -> None:
    assert unfinished({"a": {1, 2}, "b": {1, 2, 3}}, Counter(a=3, b=3)) == {"a"}
