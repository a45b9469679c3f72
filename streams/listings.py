"""What the state says of one province's listings, and of the codes that the catalogue has retired: for comparisons."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.codes import unpack_supplier
from schemas.columns import QUOTE_KINDS
from streams.layout import HOLDS, IN_FORCE, MASKED, MOVED, NONE, QUOTED, WAITS, Rows
from streams.packed import price_of
from streams.state import State


@dataclass(frozen=True, slots=True)
class Listed:
    """A province's listing of a code. ``price_e4``: per piece, of the quote in force or last in force; 0: none yet.

    ``waits``, ``held``: a newer quote waits for its time, or for a decision.
    """

    code: str
    price_e4: int
    in_force: bool
    kind: str
    supplier: str
    waits: bool
    held: bool


def listings_of(s: State, province: int) -> list[Listed]:
    """Returns the listings of a province (an index), by row of their code."""
    codes = s.codes[: s.meta[0].codes]
    counts = np.where(codes["listings"] == NONE, 0, codes["listing_count"]).astype(np.int64)
    rows = np.repeat(np.arange(codes.size), counts)
    firsts = np.repeat(codes["listings"].astype(np.int64) - (np.cumsum(counts) - counts), counts)
    places = firsts + np.arange(rows.size)
    found = s.listings[places]
    own = (found["province"] == province) & (found["marks"] & QUOTED != 0)
    return [_listed(s, int(row), int(place)) for row, place in zip(rows[own], places[own], strict=True)]


def _listed(s: State, row: int, place: int) -> Listed:
    listing = s.listings[place]
    extra = int(s.extras[listing.extra].marks) if listing.extra != NONE else 0
    return Listed(
        code=_text(s.codes[row].code, int(s.codes[row].code_length)),
        price_e4=int(price_of(listing)),
        in_force=bool(listing.marks & IN_FORCE),
        kind=QUOTE_KINDS[int(listing.kind)],
        supplier=unpack_supplier(int(listing.supplier_hi), int(listing.supplier_lo)),
        waits=bool(extra & WAITS),
        held=bool(extra & HOLDS),
    )


def retired_of(s: State) -> dict[str, str | None]:
    """Returns the codes that are disabled or moved, and where they moved, if anywhere."""
    codes = s.codes[: s.meta[0].codes]
    found = {}
    for row in np.flatnonzero(codes["marks"] & MASKED):
        code = codes[int(row)]
        moved = s.moved[code.moved] if code.marks & MOVED else None
        to = None if moved is None else _text(moved.code, int(moved.code_length))
        found[_text(code.code, int(code.code_length))] = to
    return found


def _text(octets: npt.NDArray[np.uint8] | Rows, length: int) -> str:
    return bytes(octets[:length]).decode()
