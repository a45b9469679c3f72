"""Lines laid out as messages of ``feeds``: judged, grouped by partition, end to end, without an object for a line."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from config.kernel import kernel
from config.provinces import NO_PROVINCE
from schemas.batches import Batch
from schemas.codes import partition_of_hash
from schemas.columns import FROM_FUTURE, MESSAGE, OK, REASONS, RECORD_TYPES
from schemas.parser import MAX_LINE_BYTES
from schemas.scanner import FUTURE_MS, Scanned, scan

MESSAGE_LINES: Final = 500
MESSAGE_BYTES: Final = 256 * 1024
"""A message is closed before it passes either."""

OTHER_PROVINCE: Final = 200
TYPE_NOT_ALLOWED: Final = 201
_OWN_REASONS: Final = {OTHER_PROVINCE: "other_province", TYPE_NOT_ALLOWED: "type_not_allowed"}

PACKET: Final = np.dtype(
    [("partition", "i8"), ("start", "i8"), ("end", "i8"), ("lines", "i8"), ("code_start", "i8"), ("code_length", "i8")]
)
"""Lines of one partition: ``out[start:end]``, parted by line feeds; the first one's code is at ``code_start`` of the batch's bytes."""

Verdicts = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: the province whose records it may write (an index; NO_PROVINCE: any), and the record types, a bit each."""

    province: int
    types: int


def types_mask(*types: int) -> int:
    """Returns the bits of record types."""
    return sum(1 << index for index in types)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is not written: its number, the word and the words for why, its bytes."""

    line: int
    reason: str
    field: str | None
    message: str
    original: bytes

    def shown(self) -> dict[str, int | str | None]:
        """Returns it as the interface shows it."""
        return {"line": self.line, "reason": self.reason, "field": self.field, "message": self.message}


@dataclass(frozen=True, slots=True)
class Packet:
    """Lines that go into one message of a partition, under the code of the first (None: of every partition)."""

    partition: int
    key: bytes | None
    value: bytes
    lines: int


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of some lines. ``packets``: the good ones, in order within each partition."""

    packets: list[Packet]
    accepted: int
    rejected: list[Rejected]


@kernel
def judge(rows: Any, verdicts: Any, latest_ms: int, province: int, types: int) -> int:
    """Writes the reason of each row's rejection, OK for none, into ``verdicts`` (uint8); returns how many are OK."""
    good = 0
    for index in range(rows.size):
        row = rows[index]
        verdict = int(row.reason)
        if verdict == OK:
            if np.int64(row.at_ms) > latest_ms:
                verdict = FROM_FUTURE
            elif types >> np.int64(row.type) & 1 == 0:
                verdict = TYPE_NOT_ALLOWED
            elif province != NO_PROVINCE and row.province not in (NO_PROVINCE, province):
                verdict = OTHER_PROVINCE
            else:
                good += 1
        verdicts[index] = verdict
    return good


@kernel
def lay_out(data: Any, rows: Any, verdicts: Any, places: Any, open_packets: Any, out: Any, packets: Any) -> int:
    """Copies OK lines that have a code into ``out`` (uint8), partition by partition; returns how many PACKET rows it filled.

    ``places`` (int64[partitions + 1]) are zeros and ``open_packets`` (int64[partitions]) -1 before; both are used up.
    """
    partitions = open_packets.size
    for index in range(rows.size):
        if verdicts[index] == OK and rows[index].code_length > 0:
            line_size = rows[index].line_end - rows[index].line_start + 1
            places[partition_of_hash(rows[index].hash, partitions) + 1] += line_size
    for partition in range(partitions):
        places[partition + 1] += places[partition]
    count = 0
    for index in range(rows.size):
        row = rows[index]
        if verdicts[index] != OK or row.code_length == 0:
            continue
        partition = partition_of_hash(row.hash, partitions)
        at = places[partition]
        size = row.line_end - row.line_start
        number = open_packets[partition]
        if number < 0 or packets[number].lines == MESSAGE_LINES or at + size - packets[number].start > MESSAGE_BYTES:
            number = count
            open_packets[partition] = count
            count += 1
            packets[number].partition = partition
            packets[number].start = at
            packets[number].lines = 0
            packets[number].code_start = row.code_start
            packets[number].code_length = row.code_length
        start = row.line_start
        for byte in range(size):
            out[at + byte] = data[start + byte]
        out[at + size] = 0x0A
        packets[number].end = at + size
        packets[number].lines += 1
        places[partition] = at + size + 1
    return count


def pack(scanned: Scanned, verdicts: Verdicts, partitions: int) -> list[Packet]:
    """Returns the OK lines as packets. Those without a code go to every partition, behind the others."""
    rows = scanned.records
    good = rows[verdicts == OK]
    size = int((good["line_end"] - good["line_start"]).sum()) + len(good)
    most = partitions + len(good) // MESSAGE_LINES + size // (MESSAGE_BYTES - MAX_LINE_BYTES) + 1
    out = np.empty(size, np.uint8)
    table = np.zeros(most, PACKET).view(np.recarray)
    places, open_packets = np.zeros(partitions + 1, np.int64), np.full(partitions, -1, np.int64)
    count = lay_out(scanned.data, rows, verdicts, places, open_packets, out, table)
    raw = out.data
    packets = []
    for partition, start, end, lines, code_start, code_length in table[:count].tolist():
        key = scanned.data[code_start : code_start + code_length].tobytes()
        packets.append(Packet(partition, key, bytes(raw[start:end]), lines))
    for start, end in good[good["code_length"] == 0][["line_start", "line_end"]].tolist():
        line = scanned.data[start:end].tobytes()
        packets += [Packet(partition, None, line, 1) for partition in range(partitions)]
    return packets


def check_lines(data: bytes, first_line: int, sender: Sender, now_ms: int, partitions: int) -> Checked:
    """Checks NDJSON lines with the machine's own parser, and packs the good ones.

    Args:
        data: whole lines; the last one's line feed may be missing.
        first_line: the number of the first line.
        sender: what may be written.
        now_ms: the clock in place of the broker's timestamp, which is not known yet.
        partitions: how many ``feeds`` has.
    """
    message = np.zeros(1, MESSAGE)
    message["end"] = len(data)
    message["broker_ts_ms"] = now_ms
    scanned = scan(Batch(0, np.frombuffer(data, np.uint8), message))
    rows = scanned.records
    verdicts = np.empty(len(rows), np.uint8)
    good = judge(rows, verdicts, now_ms + FUTURE_MS, sender.province, sender.types)
    rejected = [
        _rejected(scanned, index, int(verdicts[index]), first_line) for index in np.flatnonzero(verdicts != OK).tolist()
    ]
    return Checked(pack(scanned, verdicts, partitions) if good else [], good, rejected)


def check_records(
    lines: Sequence[bytes], numbers: Sequence[int], sender: Sender, now_ms: int, partitions: int
) -> Checked:
    """As ``check_lines``, for lines that have numbers of their own and no line feeds."""
    checked = check_lines(b"\n".join(lines), 0, sender, now_ms, partitions)
    rejected = [replace(each, line=numbers[each.line]) for each in checked.rejected]
    return Checked(checked.packets, checked.accepted, rejected)


def _rejected(scanned: Scanned, index: int, verdict: int, first_line: int) -> Rejected:
    row = scanned.records[index]
    line = first_line + int(row["line"])
    original = scanned.data[row["line_start"] : row["line_end"]].tobytes()
    found = scanned.rejects.get(index)
    if found is not None:
        return Rejected(line, REASONS[found.reason], found.field, found.message, original)
    if verdict == FROM_FUTURE:
        message = "at is more than five minutes ahead of our clock"
        return Rejected(line, REASONS[FROM_FUTURE], "at", message, original)
    if verdict == TYPE_NOT_ALLOWED:
        message = f"this key may not write records of type {RECORD_TYPES[int(row['type'])]}"
        return Rejected(line, _OWN_REASONS[verdict], "type", message, original)
    message = "the record is of another province than the address it was sent to"
    return Rejected(line, _OWN_REASONS[verdict], "province", message, original)
