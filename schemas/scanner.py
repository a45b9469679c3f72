"""The fast scanner: a batch's bytes to one RECORD row a line, in one pass (SPEC §2).

The kernel decides alone on plain, valid records: plain numbers, any order of keys, any further fields. Every other line is ODD; the exact parser says what it is, and its record fills the row.
So the two can only differ where the kernel takes a line for valid: ``tests/schemas/test_agreement.py`` looks there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter
from struct import Struct
from typing import Any, Final

import numba
import numpy as np

from config.kernel import kernel
from config.provinces import NO_PROVINCE
from schemas.batches import Batch, Bytes, Rows
from schemas.codes import murmur2_of, pack_supplier, partition_of_hash
from schemas.columns import (
    ABSENT,
    CEILING,
    CONTRACT,
    DECISION,
    DELIVERY,
    FROM_FUTURE,
    ITEM,
    ODD,
    OK,
    ORDER,
    PAYMENT,
    POLICY,
    QUOTE,
    RECORD,
    TICK,
    WRONG_PARTITION,
)
from schemas.octets import PADDING, octet
from schemas.parser import MAX_LINE_BYTES, Record, Reject, parse_line
from schemas.policy import Policy
from schemas.rows import NONE_OF_THEM, put_record
from schemas.tokens import KEYS, scan_object, skip_space

FUTURE_MS: Final = 300_000
"""How far ``at`` may be ahead of the message's broker timestamp."""

_LINE_BYTES_GUESS: Final = 100
_ROOM_SHARE: Final = 8
"""One byte in so many is set aside for strings that are decoded; what finds no room is left to the exact parser."""
_ROOM_BYTES: Final = 1_024
"""So many at least."""

# Where the kernel stands: int64[5].
_MESSAGE, _AT, _LINE, _COUNT, _ODD_COUNT = range(5)

_HEAD: Final = Struct("<qq")  # at_ms, seq
_NUMBERS: Final = Struct("<qqqqqQI")  # from price_e4 to supplier_lo
_STRINGS: Final = Struct("<qqqqqIihhhhBBBBBB")  # from code_start to the end
_NUMBERS_AT: Final = 32
_STRINGS_AT: Final = 104


def _row_of(
    number: str = "pack_size",
    word: str = "kind",
    second_word: str = "status",
    amount: str = "price_e4",
    quantity: str = "quantity",
    since: str = "effective_ms",
    until: str = "valid_until_ms",
    key: str = "order_id",
    second: str = "moved_to",
) -> Callable[[Record], tuple[Any, ...]]:
    """Returns what takes a record of a type to what its row holds, in the order of _pack_record; a field of other types is None."""
    head = ("at_ms", "seq", "supplier", "province", word, second_word, number)
    names = (*head, amount, quantity, "per_piece_e4", since, until, "code", "id", key, second, "institution")
    return itemgetter(*map(Record._fields.index, names))


_AMOUNTS: Final = 6
"""So many numbers come before the strings in _row_of."""
_ROW_OF: Final = {
    ITEM: _row_of("device_class", "special_drug"),
    QUOTE: _row_of(),
    CEILING: _row_of(),
    CONTRACT: _row_of(
        "delivery_hours", quantity="agreed_quantity", since="starts_ms", until="ends_ms", key="contract_id"
    ),
    ORDER: _row_of(word="channel", second_word="bargained_by", second="contract_id"),
    DELIVERY: _row_of(since="accepted_ms", second="delivery_id"),
    PAYMENT: _row_of(word="payer", amount="paid_total_e4"),
    DECISION: _row_of(word="action", key="alert_id", second="actor"),
    POLICY: _row_of(),
    TICK: _row_of(),
}


@dataclass(frozen=True, slots=True)
class Scanned:
    """A batch's lines. ``records``: a RECORD row for each that is not blank, in log order, its strings in ``data``.

    ``data``: the batch's bytes, decoded strings behind them. ``rejects``, ``policies``: by index of the row.
    """

    data: Bytes
    records: Rows
    rejects: dict[int, Reject] = field(default_factory=dict)
    policies: dict[int, Policy] = field(default_factory=dict)


@kernel
def find_line_end(data: Any, at: int, end: int) -> int:
    """Returns where the line that goes on at ``at`` ends: at its line feed, or at the end of the message."""
    while at < end and octet(data, at) != 0x0A:
        at += 1
    return at


@kernel
def scan_lines(data: Any, messages: Any, rows: Any, tokens: Any, next_keys: Any, room: Any, state: Any) -> bool:
    """Makes rows of the lines of messages (int64[n, 4], as MESSAGE) from where ``state`` stands; False: no row is left."""
    count = state[_COUNT]
    for message in range(state[_MESSAGE], messages.shape[0]):
        end = messages[message, 1]
        at = state[_AT] if state[_AT] >= 0 else messages[message, 0]
        line = state[_LINE]
        state[_AT] = -1
        state[_LINE] = 0
        while at < end:
            start = at
            at = skip_space(data, at)
            if at >= end:
                break
            if octet(data, at) == 0x0A:
                at += 1
                line += 1
                continue
            if count == rows.size:
                state[_MESSAGE] = message
                state[_AT] = start
                state[_LINE] = line
                state[_COUNT] = count
                return False
            row = rows[count]
            close, present = scan_object(data, at, tokens, next_keys, room)
            line_end = end
            valid = False
            if 0 <= close <= end:
                line_end = min(skip_space(data, close), end)
                valid = (
                    (line_end == end or octet(data, line_end) == 0x0A)
                    and line_end - start <= MAX_LINE_BYTES
                    and put_record(data, tokens, present, row)
                )
            if not valid:
                line_end = find_line_end(data, start, end)
                row.reason = ODD
                state[_ODD_COUNT] += 1
            row.offset = messages[message, 2]
            row.broker_ts_ms = messages[message, 3]
            row.line = line
            row.line_start = start
            row.line_end = line_end
            count += 1
            line += 1
            at = line_end + 1
    state[_COUNT] = count
    return True


@kernel
def admit(records: Any, partition: int, partitions: int) -> None:
    """Marks valid records that are from the future, or whose code belongs to another partition (SPEC §2)."""
    for index in range(records.size):
        record = records[index]
        if record.reason != OK:
            continue
        if record.at_ms > record.broker_ts_ms + FUTURE_MS:
            record.reason = FROM_FUTURE
        elif record.code_length > 0 and partition_of_hash(record.hash, partitions) != partition:
            record.reason = WRONG_PARTITION


@kernel
def hash_codes(data: Any, records: Any, which: Any) -> None:
    """Fills the hash of records, those at the indexes ``which``, from their codes; 0 where there is none."""
    for index in which:
        record = records[index]
        length = int(np.int64(record.code_length))
        record.hash = murmur2_of(data, record.code_start, length) if length > 0 else 0


def room_for(size: int) -> int:
    """Returns how long an array must be in which so many bytes are scanned where they are (see ``Batch.room``)."""
    return size + PADDING + size // _ROOM_SHARE + _ROOM_BYTES


def scan(batch: Batch) -> Scanned:
    """Returns the lines of a batch; lines of nothing but space, tab and CR are numbered, but are none."""
    size = batch.data.size
    start = size + PADDING
    if batch.room is not None and batch.room.size >= room_for(size):
        data = batch.room
    else:
        data = np.empty(room_for(size), np.uint8)
        data[:size] = batch.data
    data[size:start] = 0
    room = np.array([start, data.size - PADDING])
    messages = np.array(batch.messages).view(np.int64).reshape(-1, 4)
    rows: Rows = np.empty(max(len(messages), size // _LINE_BYTES_GUESS) + 1, RECORD).view(np.recarray)
    tokens = np.zeros((len(KEYS), 4), np.int64)
    next_keys = np.zeros(len(KEYS) + 1, np.int64)
    state = np.zeros(5, np.int64)
    state[_AT] = -1
    # Without JIT the kernel reads a bytearray, whose elements are Python's own integers (see schemas.octets).
    source = bytearray(data) if numba.config.DISABLE_JIT else data
    with np.errstate(over="ignore"):  # the same: the words of eight bytes are meant to wrap
        while not scan_lines(source, messages, rows, tokens, next_keys, room, state):
            rows = _doubled(rows)
    if source is not data:
        data = np.frombuffer(source, np.uint8)
    scanned = Scanned(data, rows[: state[_COUNT]])
    return _with_odd_lines(scanned, int(room[0])) if state[_ODD_COUNT] else scanned


def _doubled(rows: Rows) -> Rows:
    """Returns the rows in an array twice as long. They are copied as bytes: numpy would lay overlapping fields out anew."""
    doubled = np.empty(2 * rows.size, RECORD)
    doubled.view(np.uint8)[: rows.nbytes] = rows.view(np.uint8)
    return doubled.view(np.recarray)


def _with_odd_lines(scanned: Scanned, end: int) -> Scanned:
    """Returns the lines with the odd ones filled by the exact parser; strings go behind ``end``."""
    data, rows = scanned.data, scanned.records
    source, target = data.data, rows.view(np.uint8).data
    odd = np.flatnonzero(rows["reason"] == ODD)
    decoded = bytearray()
    for index, start, stop in zip(
        odd.tolist(), rows["line_start"][odd].tolist(), rows["line_end"][odd].tolist(), strict=True
    ):
        parsed = parse_line(bytes(source[start:stop]))
        at = index * RECORD.itemsize
        if isinstance(parsed, Reject):
            scanned.rejects[index] = parsed
            _pack_reject(target, at, parsed)
        else:
            _pack_record(target, at, parsed, end, decoded)
            if parsed.policy is not None:
                scanned.policies[index] = parsed.policy
    if decoded:
        if end + len(decoded) > data.size:
            data = np.concatenate([data[:end], np.empty(len(decoded), np.uint8)])
        data[end : end + len(decoded)] = np.frombuffer(decoded, np.uint8)
    hash_codes(data, rows, odd)
    return Scanned(data, rows, scanned.rejects, scanned.policies)


def _pack_reject(target: memoryview, at: int, reject: Reject) -> None:
    _HEAD.pack_into(target, at, 0, 0)
    _NUMBERS.pack_into(target, at + _NUMBERS_AT, *(0,) * 7)
    _STRINGS.pack_into(target, at + _STRINGS_AT, *(0,) * 11, 0, reject.record_type, NO_PROVINCE, reject.reason, 0, 0)


def _pack_record(target: memoryview, at: int, record: Record, place: int, decoded: bytearray) -> None:
    """Writes a record into its row; what the kernel has filled already (position, place of the line) stays.

    Its strings are appended to ``decoded``, which begins at ``place`` of the data.
    """
    index = record.type
    at_ms, seq, supplier, province, word, second_word, *rest = _ROW_OF[index](record)
    _HEAD.pack_into(target, at, at_ms, seq)
    number, *amounts = [ABSENT if value is None else value for value in rest[:_AMOUNTS]]
    _NUMBERS.pack_into(target, at + _NUMBERS_AT, *amounts, *(pack_supplier(supplier) if supplier else (0, 0)))
    written = [text.encode() if text else b"" for text in rest[_AMOUNTS:]]
    code_length, id_length, *other_lengths = map(len, written)
    starts = accumulate((code_length, id_length, *other_lengths[:-1]), initial=place + len(decoded))
    decoded += b"".join(written)
    _STRINGS.pack_into(
        target,
        at + _STRINGS_AT,
        *starts,
        0,  # see hash_codes
        0 if index == ITEM and number == ABSENT else number,
        *other_lengths,
        id_length,
        code_length,
        index,
        NO_PROVINCE if province is None else province,
        OK,
        word or 0,
        (NONE_OF_THEM if index == ORDER else 0) if second_word is None else second_word,
    )
