"""Blocks of rows read from the state topic: which kind each row is, and some of the rows."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from config.kernel import kernel
from schemas.batches import StateRows
from schemas.octets import copy_octets
from streams.partition_row import PARTITION_KEY
from streams.supply_rows import SLASH

OF_CODE, OF_SUPPLY, OF_PARTITION = range(3)
_OWN: Final = np.frombuffer(PARTITION_KEY, np.uint8)


@kernel
def find_kinds(data: Any, spans: Any, kinds: Any) -> None:
    """Fills in the kind of each row by its key: a code's has no slash in it."""
    for i in range(spans.shape[0]):
        start = spans[i, 0]
        end = spans[i, 1]
        own = end - start == _OWN.size
        for at in range(start, end):
            if own and data[at] != _OWN[at - start]:
                own = False
            if data[at] == SLASH:
                kinds[i] = OF_SUPPLY
        if own:
            kinds[i] = OF_PARTITION


@kernel
def copy_rows(data: Any, spans: Any, out: Any, places: Any) -> None:
    """Copies rows to ``out``, one behind the other; ``places``: their spans there."""
    at = 0
    for i in range(spans.shape[0]):
        size = spans[i, 2] - spans[i, 0]
        copy_octets(out, at, data, spans[i, 0], size)
        places[i, 0] = at
        places[i, 1] = at + spans[i, 1] - spans[i, 0]
        at += size
        places[i, 2] = at


def kinds_of(rows: StateRows) -> npt.NDArray[np.uint8]:
    """Returns for each row OF_CODE, OF_SUPPLY or OF_PARTITION."""
    kinds = np.zeros(len(rows.spans), np.uint8)
    find_kinds(rows.data, rows.spans, kinds)
    return kinds


def some_of(rows: StateRows, which: npt.NDArray[np.bool_]) -> StateRows:
    """Returns the rows at whose places, counted from the first, ``which`` is true, over the same bytes."""
    return StateRows(rows.data, rows.spans[: which.size][which])


def copied(rows: StateRows) -> StateRows:
    """Returns the rows in bytes of their own, for a few rows that are kept longer than the many around them."""
    data = np.zeros(int((rows.spans[:, 2] - rows.spans[:, 0]).sum()), np.uint8)
    spans = np.zeros_like(rows.spans)
    copy_rows(rows.data, rows.spans, data, spans)
    return StateRows(data, spans)
