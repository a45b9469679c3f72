"""What the scanner adds to the parser: admission by broker time and partition, and rows of a fixed layout (SPEC §2)."""

import numpy as np
import pytest

from schemas.codes import partition_of
from schemas.columns import FROM_FUTURE, NOT_JSON, OK, RECORD, WRONG_PARTITION
from schemas.scanner import admit, scan
from tests.schemas.lines import AT, CODE, DRUG, GOOD, batch_of, line_of


def reasons(lines: list[bytes], broker_ts_ms: int, partition: int = 0, partitions: int = 1) -> list[int]:
    records = scan(batch_of(lines, broker_ts_ms)).records
    admit(records, partition, partitions)
    return [int(reason) for reason in records["reason"]]


@pytest.mark.parametrize("name", ["quote", "tick", "policy"])
def test_from_the_future(name: str) -> None:
    lines = [line_of(GOOD[name])]
    assert reasons(lines, AT - 300_000) == [OK]
    assert reasons(lines, AT - 300_001) == [FROM_FUTURE]


def test_wrong_partition() -> None:
    lines = [line_of({**GOOD["quote"], "code": code}) for code in (CODE, DRUG)] + [
        line_of(GOOD["tick"]),
        line_of(GOOD["policy"]),
        b"x",
    ]
    for partition in range(4):
        expected = [OK if partition_of(code, 4) == partition else WRONG_PARTITION for code in (CODE, DRUG)]
        assert reasons(lines, AT, partition, 4) == [*expected, OK, OK, NOT_JSON]


def test_the_future_comes_before_the_partition() -> None:
    other = 1 - partition_of(CODE, 2)
    assert reasons([line_of(GOOD["quote"])], 0, other, 2) == [FROM_FUTURE]


def test_policies_come_with_their_row() -> None:
    scanned = scan(batch_of([line_of(GOOD["tick"]) + b"\n" + line_of(GOOD["policy"]), b"{}"]))
    assert list(scanned.policies) == [1]
    assert list(scanned.rejects) == [2]
    assert scanned.policies[1].canonical == b"{}"


def test_the_data_begins_with_the_batchs() -> None:
    batch = batch_of([line_of(GOOD["quote"]), b"\xff"])
    scanned = scan(batch)
    assert np.array_equal(scanned.data[: len(batch.data)], batch.data)
    assert scanned.data.flags.writeable
    assert scanned.records.dtype.itemsize == RECORD.itemsize == 168


def test_messages_may_lie_anywhere_in_the_bytes() -> None:
    line = line_of(GOOD["quote"])
    batch = batch_of([b'{"junk":', line, b"more junk\n", line + b"\n" + line, b"\x80"])
    batch = type(batch)(0, batch.data, batch.messages[[1, 3]])
    records = scan(batch).records
    assert records["reason"].tolist() == [OK] * 3
    assert records["offset"].tolist() == [1, 3, 3]
