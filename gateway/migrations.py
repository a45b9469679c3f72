"""A province's old export against what the machine has of it: what is missing, extra, priced otherwise, retired, double."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.pricelists import PriceList, Row
from gateway.profiles import Profile, plain
from gateway.tables import csv_line
from schemas.columns import ACTIVE, QUOTE, REASONS
from schemas.money import format_e4
from schemas.parser import parse_line
from schemas.records import Reject
from streams.listings import Listed

FINDINGS: Final = (
    "same", "missing", "extra", "different_price", "disabled", "moved", "duplicate", "several_prices", "unreadable",
)  # fmt: skip
HEADER: Final = ("line", "code", "finding", "old_price", "our_price", "detail")


@dataclass(frozen=True, slots=True)
class OldRow:
    """A listing of the export. ``identity``: registration, price and firm; ``rank``: the least is kept of several."""

    line: int
    code: str
    price_e4: int
    identity: tuple[str, int, str]
    rank: tuple[int, str, str, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; prices per piece, in 1/10,000 yuan."""

    line: int | None
    code: str
    what: str
    old_e4: int | None = None
    our_e4: int | None = None
    detail: str = ""

    def csv_line(self) -> str:
        """Returns it as a line of CSV."""
        prices = ["" if price is None else format_e4(price) for price in (self.old_e4, self.our_e4)]
        return csv_line([self.line or "", self.code, self.what, *prices, self.detail])


def read_old(listed: PriceList, profile: Profile) -> Iterator[OldRow | Finding]:
    """Yields the listings of an export, or what is wrong with a row. Rows that are not active quotes are left out."""
    places = {
        name: next((listed.header.index(column) for column in columns if column in listed.header), None)
        for name, columns in profile.migration.items()
    }
    for row in listed.rows:
        if row.record is None:
            yield Finding(row.line, "", "unreadable", detail=f"{row.field or ''} {row.message or ''}".strip())
            continue
        record = parse_line(row.record)
        if isinstance(record, Reject):
            yield Finding(row.line, "", "unreadable", detail=f"{REASONS[record.reason]}: {record.message}")
        elif record.type == QUOTE and record.status == ACTIVE and record.per_piece_e4 is not None:
            yield _old_row(row, record, places)


def _old_row(row: Row, record: Any, places: Mapping[str, int | None]) -> OldRow:
    def cell(name: str) -> str:
        at = places.get(name)
        return plain(row.cells[at]) if at is not None and at < len(row.cells) else ""

    volume = cell("volume").replace(",", "").split(".")[0]
    # The larger purchased volume stays, then the earlier listing, then the smaller product code.
    rank = (-int(volume) if volume.isdigit() else 0, cell("listed_at") or "~", cell("product") or "~", row.line)
    identity = cell("registration"), record.per_piece_e4, cell("account") or record.supplier or ""
    return OldRow(row.line, record.code, record.per_piece_e4, identity, rank)


def compare(
    old: Iterable[OldRow | Finding], ours: Sequence[Listed], retired: Mapping[str, str | None]
) -> Iterator[Finding]:
    """Yields a finding for each row of the export and each listing of ours that it lacks."""
    by_code: dict[str, list[OldRow]] = {}
    for row in old:
        if isinstance(row, Finding):
            yield row
        else:
            by_code.setdefault(row.code, []).append(row)
    here = {listing.code: listing for listing in ours}
    for code, rows in by_code.items():
        rows.sort(key=lambda row: row.rank)
        kept = rows[0]
        for row in rows[1:]:
            what = "duplicate" if row.identity == kept.identity else "several_prices"
            yield Finding(row.line, code, what, row.price_e4, kept.price_e4, f"line {kept.line} is kept")
        yield _compared(kept, here.get(code), retired)
    for listing in ours:
        if listing.in_force and listing.code not in by_code and listing.code not in retired:
            yield Finding(None, listing.code, "extra", None, listing.price_e4, listing.kind)


def _compared(row: OldRow, listing: Listed | None, retired: Mapping[str, str | None]) -> Finding:
    if row.code in retired:
        to = retired[row.code]
        return Finding(row.line, row.code, "moved" if to else "disabled", row.price_e4, None, to or "")
    if listing is None or not listing.in_force:
        return Finding(row.line, row.code, "missing", row.price_e4, None, _why_missing(listing))
    same = listing.price_e4 == row.price_e4
    detail = "a newer quote waits" if listing.waits else "a newer quote is held" if listing.held else ""
    return Finding(row.line, row.code, "same" if same else "different_price", row.price_e4, listing.price_e4, detail)


def _why_missing(listing: Listed | None) -> str:
    if listing is None:
        return "never listed"
    if listing.held:
        return "held until somebody decides"
    return "takes force later" if listing.waits else "suspended, withdrawn or past its end"


def summary_of(counts: Counter[str]) -> str:
    """Returns the counts as lines for a person."""
    return "\n".join(f"{what:16} {counts[what]:>12,}" for what in FINDINGS)
