"""What goes into the machine and what comes out of it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of consecutive messages of one partition of ``feeds``.

    ``data``: uint8, the messages' values end to end. ``messages``: MESSAGE rows, offsets ascending. ``room``: the array
    of which ``data`` is the beginning, if there is one; what is behind it is the scanner's, who then need not copy.
    """

    partition: int
    data: Bytes
    messages: Rows
    room: Bytes | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Rendered events of one topic in sending order. ``table``: EVENT rows over ``data``."""

    data: Bytes
    table: Rows

    def values(self) -> list[bytes]:
        """Returns each event's bytes."""
        raw = self.data.tobytes()
        return [raw[row["start"] : row["end"]] for row in self.table]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A line that is not a valid record (SPEC §2). ``moved_to`` goes with ``disabled_code`` alone."""

    partition: int
    offset: int
    line: int
    reason: str
    original: bytes
    field: str | None = None
    message: str | None = None
    moved_to: str | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """All that a batch caused, in log order. ``outcomes``: int64[10 types, 3]: applied, stale, dead-lettered.

    Dead letters whose type is unknown are counted in no row of ``outcomes``; see their reasons.
    """

    alerts: Run
    price_changes: Run
    outcomes: npt.NDArray[np.int64]
    records: int
    dead_letters: list[DeadLetter] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StateRows:
    """Changed rows for the state topic, in sending order: ``key = data[key_start:key_end]``, ``value = data[key_end:end]``.

    ``spans``: int64[n, 3]: key_start, key_end, end. The last row is always the partition's own (clock, policy, next
    offset), so that whoever reads it has read the rows before it.
    """

    data: Bytes
    spans: npt.NDArray[np.int64]
