"""Price lists as platforms export them, turned into records by a mapping profile (``gateway.profiles``).

A row that cannot be a record is reported with its line and reason, and the others go on. What a profile does not know
how to change stays as it is: the record's own parser says what is wrong with it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any, BinaryIO, Final

from gateway.profiles import INTEGER_FIELDS, MONEY_FIELDS, MONEY_UNITS, TIME_FIELDS, MappingFault, Profile, plain
from gateway.tables import REPLACEMENT, Table, TableRow, open_table
from gateway.workbooks import SheetRows, sheet_rows

_MONEY_SIGNS: Final = re.compile(r"^(?:人民币|RMB|CNY|[¥￥])\s*|\s*(?:RMB|CNY)$", re.IGNORECASE)
_GROUPED: Final = re.compile(r"^\d{1,3}(?:,\d{3})+(?:\.\d*)?$")
_PACK: Final = re.compile(r"(\d{1,7})\s*[^\d\W]{1,3}\s*/\s*[^\d\W]{1,3}")  # 10支/盒
_WHOLE_FLOAT: Final = re.compile(r"^\d+\.0+$")
_EXCEL_EPOCH: Final = datetime(1899, 12, 30, tzinfo=UTC)
_EXACT: Final = Context(prec=120)
_NAMES_SHOWN: Final = 300
"""Characters of the columns' names that a fault tells."""
_CELL_TIMES: Final = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
"""How ``gateway.sheet_reader`` writes the dates of a workbook."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a price list: the line it starts on, from 1, and its record as JSON or what is wrong with it."""

    line: int
    record: bytes | None
    field: str | None = None
    message: str | None = None
    cells: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class PriceList:
    """A price list being read: its columns' names, and its rows."""

    header: list[str]
    rows: Iterator[Row]


class _Unfit(Exception):
    """A cell that cannot be the field's value."""


def convert(
    file: BinaryIO, profile: Profile, now_ms: int, province: str | None = None, name: str = "the file"
) -> Iterator[Row]:
    """Yields a price list's rows as records: CSV, gzipped or not, or the first sheet of a workbook.

    Args:
        file: the list's bytes.
        profile: what its columns mean.
        now_ms: ``at`` of rows where the profile has none, in epoch milliseconds.
        province: in place of the profile's constant.
        name: what to call the file in faults.

    Raises:
        MappingFault: the list does not have the columns that the profile names, or is in another encoding.
    """
    yield from open_list(file, profile, now_ms, province, name).rows


def open_list(
    file: BinaryIO,
    profile: Profile,
    now_ms: int,
    province: str | None,
    name: str,
    sheet_rows: SheetRows = sheet_rows,
) -> PriceList:
    """As ``convert``, but the columns' names come with the rows; raises MappingFault at once."""
    table = open_table(file, profile.encoding, profile.delimiter, profile.header_line, sheet_rows)
    places = _places(table.header, profile, name)
    constants = {**profile.constants, **({"province": province} if province else {})}
    return PriceList(table.header, _rows(table, places, constants, profile, now_ms))


def _rows(
    table: Table, places: dict[str, tuple[int, ...]], constants: Mapping[str, str], profile: Profile, now_ms: int
) -> Iterator[Row]:
    for row in table.rows:
        if row.fault is not None:
            yield Row(row.line, None, None, row.fault)
            continue
        filled = next((cell for cell in map(plain, row.cells) if cell), "")
        if not (profile.skip_if and filled.startswith(profile.skip_if)):
            yield _row(row, places, constants, profile, now_ms)


def _row(
    row: TableRow,
    places: dict[str, tuple[int, ...]],
    constants: Mapping[str, str],
    profile: Profile,
    now_ms: int,
) -> Row:
    line, cells = row.line, row.cells
    if any(REPLACEMENT in cell for cell in cells):
        return Row(line, None, None, "bytes that are not text in this encoding; set encoding in the mapping", cells)
    given = dict(constants)
    for name, columns in places.items():
        found = next((cell for index in columns if index < len(cells) and (cell := plain(cells[index]))), "")
        if found:
            given[name] = found
    record: dict[str, Any] = {"type": profile.type}
    for name, text in given.items():
        try:
            record[name] = _value(name, text, profile)
        except _Unfit as unfit:
            return Row(line, None, name, str(unfit), cells)
        if str(record[name]) in profile.placeholders.get(name, ()):
            return Row(line, None, name, f"{_shown(text)} is a placeholder of this list, not a value", cells)
    record.setdefault("at", now_ms)
    if "unit" in given and "pack_size" not in record and (pack := _PACK.search(given["unit"])):
        record["pack_size"] = int(pack[1])
    return Row(line, json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(), cells=cells)


def _value(name: str, text: str, profile: Profile) -> str | int | bool:
    if name in profile.words:
        text = profile.words[name].get(text, text)
    if name in MONEY_FIELDS:
        return _money(text, profile)
    if name in TIME_FIELDS:
        return _time(text, profile)
    if name in INTEGER_FIELDS:
        digits = text.replace(",", "")
        digits = digits.split(".")[0] if _WHOLE_FLOAT.match(digits) else digits
        if not digits.isascii() or not digits.isdigit():
            raise _Unfit(f"{_shown(text)} is no whole number")
        return int(digits)
    if name == "special_drug":
        return {"true": True, "false": False, "是": True, "否": False}.get(text.lower(), text)
    return text


def _money(text: str, profile: Profile) -> str:
    """Returns an amount in yuan as a decimal string."""
    bare = _MONEY_SIGNS.sub("", text)
    unit = next((unit for unit in MONEY_UNITS if bare.endswith(unit)), None)
    digits = bare.removesuffix(unit or "").strip()
    if "," in digits:
        if not _GROUPED.match(digits):
            raise _Unfit(f"{_shown(text)}: its commas do not part thousands")
        digits = digits.replace(",", "")
    if len(digits) > 64 or "_" in digits:
        raise _Unfit(f"{_shown(text)} is no amount")
    try:
        amount = _EXACT.multiply(Decimal(digits), MONEY_UNITS[unit or profile.money_unit])
    except InvalidOperation as error:
        raise _Unfit(f"{_shown(text)} is no amount") from error
    if not amount.is_finite() or abs(amount.adjusted()) > 40:
        raise _Unfit(f"{_shown(text)} is no amount")
    if profile.decimals == "round":
        amount = amount.quantize(Decimal("0.0001"), ROUND_HALF_UP, _EXACT)
    decimal = f"{amount:f}"
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal


def _time(text: str, profile: Profile) -> str | int:
    """Returns RFC 3339; what no format fits goes on as it is, for it may be RFC 3339 already."""
    for form in (*profile.time_formats, *_CELL_TIMES):
        if form in {"epoch_ms", "epoch_s"}:
            if text.isascii() and text.isdigit():
                return int(text) * (1000 if form == "epoch_s" else 1)
            continue
        if form == "excel":
            if re.fullmatch(r"\d{5}(\.\d+)?", text):
                moment = _EXCEL_EPOCH + timedelta(days=float(text))
                return moment.replace(tzinfo=profile.time_offset).isoformat(timespec="milliseconds")
            continue
        try:
            moment = datetime.strptime(text, form)  # noqa: DTZ007  the offset follows
        except ValueError:
            continue
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=profile.time_offset)
        return moment.isoformat(timespec="milliseconds")
    return text


def _places(header: list[str], profile: Profile, name: str) -> dict[str, tuple[int, ...]]:
    places = {
        field_name: tuple(header.index(column) for column in columns if column in header)
        for field_name, columns in profile.columns.items()
    }
    if not places.get("code") and "code" in profile.columns:
        wanted = " or ".join(profile.columns["code"])
        found = ", ".join(header)[:_NAMES_SHOWN] or "nothing"
        raise MappingFault(
            f"{name} has no column {wanted} on line {profile.header_line}; it has {found}. "
            f"Another header_line, delimiter or encoding in the mapping?"
        )
    return {field_name: columns for field_name, columns in places.items() if columns}


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
