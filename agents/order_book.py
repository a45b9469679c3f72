"""The accepted orders of one partition of ``feeds``, and what was ordered in a window: a function of the log (docs/scorecards.md).

An order is accepted as SPEC §2 says: valid, and newer than its slot's last. Days are dates of Asia/Shanghai; an order
counts on the day of its first accepted record, with the quantity and institution of its last.
"""

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from config.provinces import PROVINCE_CODES
from schemas.batches import Batch
from schemas.codes import unpack_supplier
from schemas.columns import ITEM, OK, ORDER, TICK
from schemas.scanner import Scanned, admit, scan

DAY_MS: Final = 86_400_000
SHANGHAI_MS: Final = 8 * 3_600_000
RECENT_DAYS: Final = 30
BEFORE_DAYS: Final = 90
WINDOW_DAYS: Final = RECENT_DAYS + BEFORE_DAYS
ORDERS_KEPT: Final = 1_000_000
"""Of a partition, of the last WINDOW_DAYS; beyond, the oldest tenth is forgotten, and counted."""
NO_CATEGORY: Final = -1

_ROW: Final = np.dtype(
    [("at_ms", "i8"), ("seq", "i8"), ("slot", "u8"), ("quantity", "i8"), ("day", "i4"), ("institution", "i4"),
     ("code", "i4"), ("province", "i4")]
)  # fmt: skip

_ORDER: Final = (
    "at_ms", "seq", "quantity", "province", "supplier_hi", "supplier_lo", "code_start", "code_length", "key_start",
    "key_length", "institution_start", "institution_length",
)  # fmt: skip

Sums = dict[tuple[str, str, str], tuple[int, int]]
"""By (province, institution, category): pieces ordered in the last RECENT_DAYS, and in the BEFORE_DAYS before."""


def shanghai_day(at_ms: int) -> int:
    """Returns the number of the Shanghai date of an instant."""
    return (at_ms + SHANGHAI_MS) // DAY_MS


class Names:
    """Strings as numbers, in the order in which they came."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.names: list[str] = []

    def number(self, name: str) -> int:
        """Returns a string's number."""
        found = self.index.setdefault(name, len(self.names))
        if found == len(self.names):
            self.names.append(name)
        return found


class OrderBook:
    """The orders of one partition. ``counts``: accepted records that do not cancel, by (dimension, key)."""

    def __init__(self, partition: int, partitions: int, limit: int = ORDERS_KEPT) -> None:
        self._partition = partition
        self._partitions = partitions
        self._limit = limit
        self._rows: npt.NDArray[Any] = np.zeros(1_024, _ROW)
        self._used = 0
        self._slots: dict[int, int] = {}
        self._institutions, self._codes, self._categories = Names(), Names(), Names()
        self._category_of: dict[int, tuple[int, int, int]] = {}
        self._suppliers: dict[tuple[int, int], str] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.changed: set[tuple[str, str]] = set()
        self.day: int | None = None
        self.forgotten = 0

    def apply(self, batch: Batch) -> Iterator[int]:
        """Takes the partition's next messages; yields each date that begins with a tick, when what precedes it is in."""
        scanned = scan(batch)
        records = scanned.records
        admit(records, self._partition, self._partitions)
        kinds = records["type"]
        wanted = np.flatnonzero((records["reason"] == OK) & ((kinds == ORDER) | (kinds == ITEM) | (kinds == TICK)))
        found = records[wanted]
        raw: Any = memoryview(scanned.data)  # type: ignore[arg-type]
        # Columns as lists: a field of a numpy row costs more than the rest of an order.
        for index, kind, order in zip(
            wanted.tolist(),
            found["type"].tolist(),
            zip(*(found[name].tolist() for name in _ORDER), strict=True),
            strict=True,
        ):
            if kind == ORDER:
                self._take_order(raw, *order)
            elif kind == ITEM:
                self._take_item(scanned, records[index])
            else:
                day = shanghai_day(order[0])
                if self.day is None:
                    self.day = day
                while self.day < day:
                    self.day = max(self.day + 1, day - RECENT_DAYS)
                    self._forget_before(self.day - WINDOW_DAYS)
                    yield self.day

    def _take_order(
        self, raw: Any, at_ms: int, seq: int, quantity: int, province: int, supplier_hi: int, supplier_lo: int,
        code_start: int, code_length: int, key_start: int, key_length: int, name_start: int, name_length: int,
    ) -> None:  # fmt: skip
        day = shanghai_day(at_ms)
        if self.day is not None and day < self.day - WINDOW_DAYS:
            return
        code = bytes(raw[code_start : code_start + code_length])
        slot = _slot(b"%d %b %b" % (province, code, raw[key_start : key_start + key_length]))
        place = self._slots.get(slot)
        if place is None:
            place = self._slots[slot] = self._new_row()
        else:
            was = self._rows[place]
            if (at_ms, seq) <= (int(was["at_ms"]), int(was["seq"])):
                return
            day = int(was["day"])
        institution = str(raw[name_start : name_start + name_length], "utf-8")
        numbers = self._institutions.number(institution), self._codes.number(code.decode())
        self._rows[place] = (at_ms, seq, slot, quantity, day, *numbers, province)
        if quantity > 0:
            supplier = self._suppliers.get((supplier_hi, supplier_lo))
            if supplier is None:
                supplier = self._suppliers[supplier_hi, supplier_lo] = unpack_supplier(supplier_hi, supplier_lo)
            for owner in (("supplier", supplier), ("institution", institution), ("province", PROVINCE_CODES[province])):
                self.counts[owner] += 1
                self.changed.add(owner)

    def _take_item(self, scanned: Scanned, record: Any) -> None:
        line = scanned.data[record["line_start"] : record["line_end"]].tobytes()
        found = orjson.loads(line)
        code = self._codes.number(_text(scanned, record, "code").decode())
        order = int(record["at_ms"]), int(record["seq"])
        if code in self._category_of and order <= self._category_of[code][:2]:
            return
        category = found.get("category")
        number = self._categories.number(category) if category else NO_CATEGORY
        self._category_of[code] = (*order, number)

    def _new_row(self) -> int:
        if self._used >= self._limit:
            days = np.sort(self._rows["day"][: self._used])
            before = self._used
            self._forget_before(int(days[self._used // 10]) + 1)
            self.forgotten += before - self._used
        if self._used == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros(len(self._rows), _ROW)])
        self._used += 1
        self._rows[self._used - 1] = np.zeros((), _ROW)
        return self._used - 1

    def _forget_before(self, day: int) -> None:
        rows = self._rows[: self._used]
        kept = rows[rows["day"] >= day]
        if len(kept) == len(rows):
            return
        self._rows[: len(kept)] = kept
        self._used = len(kept)
        self._slots = {slot: place for place, slot in enumerate(kept["slot"].tolist())}

    def sums(self, day: int) -> Sums:
        """Returns what was ordered in the windows that end where date ``day`` begins; orders without a category are not in it."""
        rows = self._rows[: self._used]
        category_of = np.full(len(self._codes.names), NO_CATEGORY, np.int64)
        for code, (_, _, category) in self._category_of.items():
            category_of[code] = category
        categories = category_of[rows["code"]] if len(rows) else np.zeros(0, np.int64)
        inside = (rows["day"] >= day - WINDOW_DAYS) & (rows["day"] < day) & (categories != NO_CATEGORY)
        rows, categories = rows[inside], categories[inside]
        pairs = np.stack([rows["province"], rows["institution"], categories.astype(np.int32)], axis=1)
        found, where = np.unique(pairs, axis=0, return_inverse=True)
        where = where.ravel()
        recent = rows["day"] >= day - RECENT_DAYS
        sums = np.zeros((len(found), 2), np.int64)
        np.add.at(sums, (where, np.where(recent, 0, 1)), rows["quantity"])
        return {
            (PROVINCE_CODES[province], self._institutions.names[institution], self._categories.names[number]): (
                int(last),
                int(before),
            )
            for (province, institution, number), (last, before) in zip(found.tolist(), sums.tolist(), strict=True)
        }


def _text(scanned: Scanned, record: Any, name: str) -> bytes:
    start, length = int(record[f"{name}_start"]), int(record[f"{name}_length"])
    return scanned.data[start : start + length].tobytes()


def _slot(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest())
