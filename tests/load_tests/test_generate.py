"""Generated logs: valid, the same every time, cut the same way for a broker and offline, as eventful as they say."""

import json
from collections import Counter
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from load_tests.generate import Load, batches, lines, messages, murmur2, product_codes
from load_tests.latency import SplitLog
from load_tests.real_data import convert, product_code
from schemas import codes as exact
from schemas import scanner
from schemas.parser import parse_line
from schemas.records import Record, Reject

SMALL = Load(products=40, provinces=8, records=1_500, lines_per_message=7)


def test_hashes_are_kafkas() -> None:
    rng = np.random.default_rng(1)
    for width in (1, 2, 3, 4, 23, 26, 27):
        rows = rng.integers(0, 256, (50, width), dtype=np.uint8)
        assert murmur2(rows).tolist() == [exact.murmur2(row.tobytes()) for row in rows]


def test_codes_are_codes_and_distinct() -> None:
    found = [row.tobytes().decode() for row in product_codes(3_000, seed=5)]
    assert len(set(found)) == 3_000
    assert all(exact.is_code(code) for code in found)


@pytest.mark.parametrize("market", ["calm", "storm"])
def test_every_line_is_a_valid_record_of_its_partition(market: Literal["calm", "storm"]) -> None:
    load = replace(SMALL, market=market, odd_share=0.1)
    count = 0
    for partition, value in messages(load):
        parts = value.split(b"\n")
        assert 1 <= len(parts) <= load.lines_per_message
        for line in parts:
            record = parse_line(line)
            assert not isinstance(record, Reject), line
            assert exact.partition_of(record.code, load.partitions) == partition
            count += 1
    assert count == load.records


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_odd_lines_are_left_to_the_exact_parser(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def noting(line: bytes) -> Record | Reject:
        asked.append(line)
        return parse_line(line)

    monkeypatch.setattr(scanner, "parse_line", noting)
    plain, odd = (
        [
            int(price)
            for batch in batches(replace(SMALL, odd_share=of))
            for price in scanner.scan(batch).records["price_e4"]
        ]
        for of in (0.0, share)
    )
    assert plain == odd
    assert share * 0.5 * SMALL.records <= len(asked) <= share * 2 * SMALL.records
    assert all(b"e-2," in line for line in asked)


def test_batches_are_the_messages_with_offsets_from_zero() -> None:
    sent: dict[int, list[bytes]] = {}
    for partition, value in messages(SMALL):
        sent.setdefault(partition, []).append(value)
    seen: dict[int, list[bytes]] = {}
    for batch in batches(SMALL, records_per_batch=50):
        raw = batch.data.tobytes()
        mine = seen.setdefault(batch.partition, [])
        for row in batch.messages:
            assert row["offset"] == len(mine)
            mine.append(raw[row["start"] : row["end"]])
    assert seen == sent


def test_the_same_seed_gives_the_same_log() -> None:
    assert list(messages(SMALL)) == list(messages(SMALL))
    assert list(messages(SMALL)) != list(messages(replace(SMALL, seed=2)))


def test_a_slot_is_listed_once_and_then_refreshed() -> None:
    load = replace(SMALL, records=40 * 8 * 3)
    slots: Counter[tuple[str, str]] = Counter()
    for run in lines(load):
        for line in run.data.tobytes().splitlines():
            record = json.loads(line)
            slots[record["province"], record["code"]] += 1
    assert set(slots.values()) == {3}
    assert len(slots) == 40 * 8


def test_a_split_log_is_listings_then_single_refreshes_in_turn() -> None:
    log = SplitLog(replace(SMALL, lines_per_message=500), refreshes=100)
    assert sum(value.count(b"\n") + 1 for _, value in log.head()) == 40 * 8
    tail = log.tail()
    assert len(tail) == 100
    assert len({partition for partition, _ in tail[:10]}) > 1


def test_hospitals_become_a_feed() -> None:
    rows = [
        {"observed_at": day, "state": state, "hospital_ccn": hospital, "hcpcs": "C1713", "price_type": kind, "price_usd": usd}
        for day, state, hospital, kind, usd in (
            ("2026-01-20", "AK", "1", "gross", "120.5"),
            ("2026-01-20", "AK", "2", "gross", "99.0"),
            ("2026-01-20", "AK", "2", "cash", "1.0"),
            ("2026-01-20", "AL", "3", "gross", "200"),
            ("2026-01-28", "AK", "4", "gross", "300"),
            ("2026-01-28", "AL", "5", "gross", "150"),
        )
    ]  # fmt: skip
    found = list(convert(iter(rows)))
    assert Counter(record["type"] for record in found) == {"item": 1, "quote": 3, "order": 5}
    assert [record["price"] for record in found if record["type"] == "quote"] == ["99.0", "200", "150"]
    assert product_code("C1713") == "C" + "031713".rjust(26, "0")
    assert not any(isinstance(parse_line(json.dumps(record).encode()), Reject) for record in found)
