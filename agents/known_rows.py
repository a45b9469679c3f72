"""The product's machine as workers use it: it takes no row of a layout that it does not know.

Rows are copies of memory, so a row of another layout would be read as something else, and nothing would complain. Every
row's value begins with the version of its layout; the partition's own row has one in its JSON.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from agents.exits import ConfigFault
from schemas.batches import StateRows
from streams.checkpoint import ROW_VERSION
from streams.machine import Machine
from streams.partition_row import PARTITION_KEY, PartitionRow
from streams.saved_rows import OF_PARTITION, kinds_of

_REMEDY: Final = (
    "stop all workers, then `pricelink state rebuild` makes the rows anew from feeds, without sending an event twice; "
    "or run the version that wrote them (docs/life-cycle.md)"
)


class UnknownLayout(ConfigFault):
    """Rows of the state topic have a layout that this version does not read; the message says what to do."""


def check_layout(rows: StateRows, partition: int) -> StateRows:
    """Returns rows read from the state topic; raises ``UnknownLayout`` if one is of a layout that is not known."""
    own = kinds_of(rows) == OF_PARTITION
    held = rows.spans[:, 2] > rows.spans[:, 1]
    versions = rows.data[rows.spans[held & ~own, 1]]
    unknown = np.unique(versions[versions != ROW_VERSION])
    if unknown.size:
        named = ", ".join(map(str, unknown.tolist()))
        raise UnknownLayout(
            f"pricelink.state[{partition}] has rows of layout {named}, this version reads {ROW_VERSION}: {_REMEDY}"
        )
    for start, end in rows.spans[own & held, 1:].tolist():
        try:
            PartitionRow.from_bytes(rows.data[start:end].tobytes())
        except (ValueError, KeyError, AttributeError) as fault:
            raise UnknownLayout(
                f"pricelink.state[{partition}] has a {PARTITION_KEY.decode()} row that this version does not read "
                f"({fault}): {_REMEDY}"
            ) from fault
    return rows


class KnownRowsMachine(Machine):
    """A ``Machine`` that looks at the layout of what it restores."""

    def restore(self, blocks: Iterable[StateRows]) -> int | None:
        """Takes the rows of the partition's state topic, see ``Machine``; raises ``UnknownLayout``."""
        return super().restore(check_layout(block, self.partition) for block in blocks)
