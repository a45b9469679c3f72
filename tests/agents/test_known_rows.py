"""A worker takes no row of a layout that it does not know."""

from typing import Any

import numpy as np
import pytest

from agents.exits import CONFIG, code_of
from agents.known_rows import KnownRowsMachine, UnknownLayout, check_layout
from agents.log_reader import until
from agents.machines import real_machines
from agents.record_batches import Chunk, batch_of
from config.settings import Settings
from schemas.batches import StateRows
from streams.checkpoint import ROW_VERSION
from streams.partition_row import PARTITION_KEY, PartitionRow

OWN = PartitionRow(7, 1, 0, 0, None).to_bytes()
KNOWN = bytes((ROW_VERSION,)) + b"some row"


def rows_of(*pairs: tuple[bytes, bytes]) -> StateRows:
    ends = np.cumsum([len(part) for pair in pairs for part in pair]).reshape(-1, 2)
    spans = np.zeros((len(pairs), 3), np.int64)
    spans[:, 1:] = ends
    spans[1:, 0] = ends[:-1, 1]
    return StateRows(np.frombuffer(b"".join(part for pair in pairs for part in pair), np.uint8), spans)


def test_rows_of_the_layout_pass_as_they_are() -> None:
    rows = rows_of((b"C1", KNOWN), (b"C1/o1320000/x", KNOWN), (PARTITION_KEY, OWN), (b"C2", b""))
    assert check_layout(rows, 3) is rows


@pytest.mark.parametrize("key", [b"C1", b"C1/o1320000/x"])
@pytest.mark.parametrize("version", [0, ROW_VERSION - 1, ROW_VERSION + 1, 0x7B, 255])
def test_a_row_of_another_layout_is_refused_with_what_to_do(key: bytes, version: int) -> None:
    with pytest.raises(
        UnknownLayout, match=rf"state\[3\] has rows of layout {version}, .*`pricelink state rebuild`"
    ) as fault:
        check_layout(rows_of((b"C0", KNOWN), (key, bytes((version,)) + b"row"), (PARTITION_KEY, OWN)), 3)
    assert code_of(fault.value) == CONFIG


@pytest.mark.parametrize("value", [OWN.replace(b'"version":1', b'"version":2'), b"{", b"[]", b'{"version":1}'])
def test_a_partition_row_of_another_layout_is_refused(value: bytes) -> None:
    with pytest.raises(UnknownLayout, match="`pricelink state rebuild`"):
        check_layout(rows_of((PARTITION_KEY, value)), 0)


def test_the_products_machine_looks_before_it_reads() -> None:
    machine = real_machines(Settings())(0)
    assert isinstance(machine, KnownRowsMachine)
    with pytest.raises(UnknownLayout):
        machine.restore([rows_of((b"C1", b"\x01"))])
    assert not machine.rows()


class Record:
    def __init__(self, offset: int) -> None:
        self.offset, self.timestamp, self.value = offset, 0, b"%d" % offset


def chunk(*offsets: int) -> Chunk:
    return Chunk("feeds", batch_of(1, [Record(offset) for offset in offsets]), offsets[0], offsets[-1] + 1, 99)


@pytest.mark.parametrize(("end", "left"), [(13, [10, 12]), (14, [10, 12]), (12, [10]), (11, [10]), (10, None)])
def test_a_chunk_is_cut_at_an_offset(end: int, left: list[int] | None) -> None:
    cut = until(chunk(10, 12), end)
    found: Any = None if cut is None else cut.batch.messages["offset"].tolist()
    assert found == left
    if cut is not None:
        assert cut.batch.data.tobytes() == b"".join(b"%d" % offset for offset in left or ())
