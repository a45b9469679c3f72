"""The rows that scorecards read back at their start: the newest of each, and nothing that is no row."""

from types import SimpleNamespace
from typing import Any

import orjson
from structlog.testing import capture_logs

from agents.score_tables import RowTable, table_key
from agents.scorecards import _are_owners_and_changes
from streams.scorecards import Row

KEY = table_key("320000", "price_hold:C1:320000").encode()
ROW = [*Row(2, 3, 1, 0, 0, 0, 1, 0, 0, 0, 0, 5), ["S1", ""], [["supplier", "S0", 2, 1]]]


def read(*messages: tuple[bytes | None, bytes | None]) -> tuple[dict[str, Any], list[Any]]:
    """What a table of a province's rows has after reading messages, and what was said."""
    table: Any = SimpleNamespace(data=SimpleNamespace(data={}), is_behind=_are_owners_and_changes)
    table._read = lambda key, value: RowTable._read(table, key, value)
    batch = [
        SimpleNamespace(message=SimpleNamespace(key=key, value=value, topic="scorecards.province-rows", partition=1, offset=offset))
        for offset, (key, value) in enumerate(messages)
    ]  # fmt: skip
    with capture_logs() as lines:
        RowTable.apply_changelog_batch(table, batch)
    return table.data.data, [(line["reason"], line["partition"], line["offset"]) for line in lines]


def test_of_a_row_the_newest_stays_and_a_deleted_one_is_gone() -> None:
    newer, older = orjson.dumps(ROW), orjson.dumps([2, 2, *ROW[2:]])
    assert read((KEY, older), (KEY, newer), (b"", b"[]"), (KEY, older)) == ({KEY.decode(): ROW}, [])
    assert read((KEY, newer), (KEY, None)) == ({}, [])


def test_what_is_no_row_is_said_and_passed_over() -> None:
    good = orjson.dumps(ROW)
    bad = [(None, good), (b"\xff", good), (b"no length", good), (KEY, b"{"), (KEY, b"{}"), (KEY, b"[]"), (KEY, b"1")]
    bad += [(KEY, orjson.dumps(each)) for each in (
        ROW[:-2], [*ROW[:-2], 1, 2], [*ROW[:-2], [], []], [*ROW[:-2], ["S1", ""], [["supplier"]]], ["2", *ROW[1:]],
    )]  # fmt: skip
    rows, said = read((KEY, good), *bad)
    assert rows == {KEY.decode(): ROW}
    assert said == [("unreadable", 1, offset) for offset in range(1, len(bad) + 1)]
