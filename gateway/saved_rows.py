"""What a code's saved row says to a reader: prices by province, open adjustments, who lists it (SPEC §3).

A row is read as ``streams.checkpoint`` wrote it; the copy of the state topic that is asked is in Redis (agents.listings).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from config.provinces import PROVINCE_CODES
from schemas.codes import unpack_supplier
from schemas.columns import BANDS, QUOTE_KINDS
from schemas.money import format_e4
from schemas.policy import Policy, load_policy
from streams.checkpoint import (
    CODE_BYTES,
    EXTRA_BYTES,
    LISTING_BYTES,
    NEW_CODE_BYTES,
    QUOTE_BYTES,
    ROW_VERSION,
    WINDOW_BYTES,
)
from streams.growth import new_state
from streams.kernels import reference_price, sort_provinces
from streams.layout import (
    CODE,
    DISABLED,
    EXTRA,
    HOLDS,
    IN_FORCE,
    LISTING,
    MASKED,
    MOVED,
    NEW_CODE,
    PROVINCE_COUNT,
    QUOTE,
    QUOTED,
    WAITS,
    WINDOW,
)
from streams.policies import with_policy
from streams.state import State

_NO_LISTINGS: Final = np.empty(0, LISTING)


@dataclass(frozen=True, slots=True)
class Listing:
    """A province's listing of a code. ``price_e4``: per piece, of the quote in force or last in force; 0: none yet, nor a supplier.

    ``band``: an index in BANDS, of the open adjustment. ``waiting``, ``held``: suppliers of such a quote, if there is one.
    """

    province: int
    price_e4: int
    in_force: bool
    kind: int
    supplier: str
    band: int
    waiting: str | None
    held: str | None

    @property
    def suppliers(self) -> Iterator[str]:
        """Whose it is: of the quote in force or last in force, of one that waits, of one that is held."""
        yield from (each for each in (self.supplier, self.waiting, self.held) if each)


@dataclass(frozen=True, slots=True)
class SavedRow:
    """A code as of a log position: everything up to ``offset``, ``line`` of its partition is in it.

    ``rolling_e4``: least of the past lowests that still count; 0: the current one is the least.
    """

    code: str
    listings: tuple[Listing, ...]
    marks: int
    moved_to: str | None
    rolling_e4: int
    offset: int
    line: int

    @property
    def suppliers(self) -> frozenset[str]:
        """Who lists the code."""
        return frozenset(supplier for listing in self.listings for supplier in listing.suppliers)


def read_row(value: bytes) -> SavedRow:
    """Reads a code's value of the state topic. Raises ValueError for one of another layout."""
    if value[:1] != bytes((ROW_VERSION,)):
        raise ValueError("a row of another layout")
    code = np.frombuffer(value, CODE, 1, 1)[0]
    at = 1 + CODE_BYTES
    count = int(code["listing_count"])
    rows = np.frombuffer(value, LISTING, count, at) if count else _NO_LISTINGS
    at += count * LISTING_BYTES
    listings = []
    for row in rows:
        extra: list[Any] | None = None
        if row["extra"] >= 0:
            marks = int(np.frombuffer(value, EXTRA, 1, at)[0]["marks"])
            quotes = np.frombuffer(value, QUOTE, 2, at + EXTRA_BYTES)
            extra = [marks, *quotes]
            at += EXTRA_BYTES + 2 * QUOTE_BYTES
        if row["marks"] & QUOTED:
            listings.append(_listing(row, extra))
    past = int(code["oldest"])
    rolling_e4 = int(np.frombuffer(value, WINDOW, 1, at)[0]["price_e4"]) if past > 0 else 0
    at += max(past, 0) * WINDOW_BYTES
    moved_to = None
    if code["marks"] & MOVED and len(value) >= at + NEW_CODE_BYTES:
        moved = np.frombuffer(value, NEW_CODE, 1, at)[0]
        moved_to = bytes(moved["code"][: moved["code_length"]]).decode()
    return SavedRow(
        code=bytes(code["code"][: code["code_length"]]).decode(),
        listings=tuple(listings),
        marks=int(code["marks"]),
        moved_to=moved_to,
        rolling_e4=rolling_e4,
        offset=int(code["applied_offset"]),
        line=int(code["applied_line"]),
    )


def _listing(row: Any, extra: list[Any] | None) -> Listing:
    marks = 0 if extra is None else extra[0]
    price_e4 = int(row["price_lo"]) | int(row["price_hi"]) << 32
    return Listing(
        province=int(row["province"]),
        price_e4=price_e4,
        in_force=bool(row["marks"] & IN_FORCE),
        kind=int(row["kind"]),
        supplier=unpack_supplier(int(row["supplier_hi"]), int(row["supplier_lo"])) if price_e4 else "",
        band=int(row["band"]),
        waiting=_supplier(extra[1]) if extra and marks & WAITS else None,
        held=_supplier(extra[2]) if extra and marks & HOLDS else None,
    )


def _supplier(quote: Any) -> str:
    return unpack_supplier(int(quote["supplier_hi"]), int(quote["supplier_lo"]))


def as_json(row: SavedRow, policy: Policy, viewer: str | None) -> dict[str, Any]:
    """Returns what the interface shows of a code. ``viewer``: a supplier, who is told no other supplier's name."""
    masked = bool(row.marks & MASKED)
    in_force = {each.province: each for each in row.listings if each.in_force and not masked}
    cheapest = min(in_force.values(), key=lambda each: (each.price_e4, each.province), default=None)
    lowest_e4 = cheapest.price_e4 if cheapest else 0
    rolling_e4 = row.rolling_e4 or lowest_e4
    references = _references(in_force, rolling_e4, policy)
    return {
        "code": row.code,
        "status": "moved" if row.marks & MOVED else "disabled" if row.marks & DISABLED else "active",
        "moved_to": row.moved_to,
        "lowest": _money(lowest_e4),
        "province": PROVINCE_CODES[cheapest.province] if cheapest else None,
        "rolling_lowest": _money(rolling_e4),
        "provinces": [
            {
                "province": PROVINCE_CODES[each.province],
                "price": _money(each.price_e4),
                "kind": QUOTE_KINDS[each.kind],
                "in_force": each.province in in_force,
                "band": BANDS[each.band],
                "reference": _money(references[each.province]),
                "waits": each.waiting is not None,
                "held": each.held is not None,
                "own": viewer in set(each.suppliers),
                "supplier": (each.supplier or None) if viewer in {None, each.supplier} else None,
            }
            for each in row.listings
        ],
    }


def compile_kernels() -> None:
    """Compiles what references come from, or loads it from the cache."""
    policy = load_policy(b"{}")
    assert isinstance(policy, Policy)
    _references({}, 0, policy)


def _money(e4: int) -> str | None:
    return format_e4(e4) if e4 else None


def _references(in_force: dict[int, Listing], rolling_e4: int, policy: Policy) -> list[int]:
    """Returns each province's reference, by the kernels that alerts come from; 0: none."""
    prices, kinds, order = (np.zeros(PROVINCE_COUNT, np.int64) for _ in range(3))
    for province, listing in in_force.items():
        prices[province], kinds[province] = listing.price_e4, listing.kind
    count = sort_provinces(prices, order)
    state = _rules(policy)
    used = np.zeros_like(state.used)
    return [
        rolling_e4
        if state.provinces[province].rolling == 1
        else int(reference_price(prices, kinds, order, count, province, state.provinces[province], used))
        for province in range(PROVINCE_COUNT)
    ]


@lru_cache(maxsize=8)
def _rules(policy: Policy) -> State:
    return with_policy(new_state(), policy)
