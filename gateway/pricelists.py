"""Price lists as platforms export them, turned into records by a mapping profile (``gateway.profiles``).

A row that cannot be a record is reported with its line and reason, and the others go on. What a profile does not know
how to change stays as it is: the record's own parser says what is wrong with it.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import IO, Any, BinaryIO, Final

from gateway.profiles import INTEGER_FIELDS, MONEY_FIELDS, MONEY_UNITS, TIME_FIELDS, MappingFault, Profile, plain

_MONEY_SIGNS: Final = re.compile(r"^(?:人民币|RMB|CNY|[¥￥])\s*|\s*(?:RMB|CNY)$", re.IGNORECASE)
_GROUPED: Final = re.compile(r"^\d{1,3}(?:,\d{3})+(?:\.\d*)?$")
_PACK: Final = re.compile(r"(\d{1,7})\s*[^\d\W]{1,3}\s*/\s*[^\d\W]{1,3}")  # 10支/盒
_WHOLE_FLOAT: Final = re.compile(r"^\d+\.0+$")
_EXCEL_EPOCH: Final = datetime(1899, 12, 30, tzinfo=UTC)
_EXACT: Final = Context(prec=120)
_LONGEST_CELL: Final = 65_536
_PROBE_BYTES: Final = 1 << 20
_REPLACEMENT: Final = "\ufffd"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a price list: the line it starts on, from 1, and its record as JSON or what is wrong with it."""

    line: int
    record: bytes | None
    field: str | None = None
    message: str | None = None


class _Unfit(Exception):
    """A cell that cannot be the field's value."""


def convert(
    file: BinaryIO, profile: Profile, now_ms: int, province: str | None = None, name: str = "the file"
) -> Iterator[Row]:
    """Yields a price list's rows as records.

    Args:
        file: the list's bytes; gzip is recognised.
        profile: what its columns mean.
        now_ms: ``at`` of rows where the profile has none, in epoch milliseconds.
        province: in place of the profile's constant.
        name: what to call the file in faults.

    Raises:
        MappingFault: the list does not have the columns that the profile names, or is in another encoding.
    """
    text = _open_text(file, profile.encoding)
    for _ in range(profile.header_line - 1):
        text.readline()
    first = text.readline()
    delimiter = _sniff(first) if profile.delimiter == "auto" else profile.delimiter
    header = [plain(cell) for cell in next(csv.reader([first], delimiter=delimiter), [])]
    places = _places(header, profile, name)
    constants = {**profile.constants, **({"province": province} if province else {})}
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        line = profile.header_line + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(line, None, None, str(error))
            continue
        filled = next((cell for cell in map(plain, cells) if cell), "")
        if not filled or (profile.skip_if and filled.startswith(profile.skip_if)):
            continue
        yield _row(line, cells, places, constants, profile, now_ms)


def _row(
    line: int,
    cells: list[str],
    places: dict[str, tuple[int, ...]],
    constants: Mapping[str, str],
    profile: Profile,
    now_ms: int,
) -> Row:
    if any(_REPLACEMENT in cell for cell in cells):
        return Row(line, None, None, "bytes that are not text in this encoding; set encoding in the mapping")
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
            return Row(line, None, name, str(unfit))
        if str(record[name]) in profile.placeholders.get(name, ()):
            return Row(line, None, name, f"{_shown(text)} is a placeholder of this list, not a value")
    record.setdefault("at", now_ms)
    if "unit" in given and "pack_size" not in record and (pack := _PACK.search(given["unit"])):
        record["pack_size"] = int(pack[1])
    return Row(line, json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode())


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
    for form in profile.time_formats:
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
        found = ", ".join(header) or "nothing"
        raise MappingFault(
            f"{name} has no column {wanted} on line {profile.header_line}; it has {found}. "
            f"Another header_line, delimiter or encoding in the mapping?"
        )
    return {field_name: columns for field_name, columns in places.items() if columns}


def _open_text(file: BinaryIO, encoding: str) -> io.TextIOBase:
    buffered = io.BufferedReader(_Raw(file), _PROBE_BYTES)
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        buffered = io.BufferedReader(_Raw(gzip.GzipFile(fileobj=buffered)), _PROBE_BYTES)
    probe = buffered.peek(_PROBE_BYTES)
    return io.TextIOWrapper(buffered, encoding=_codec(probe, encoding), errors="replace", newline="")


class _Raw(io.RawIOBase):
    """A plain binary file as the raw file that a buffered reader wants."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _codec(probe: bytes, encoding: str) -> str:
    if encoding == "utf-8":
        return "utf-8-sig"
    if encoding != "auto":
        return encoding
    if probe.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        probe.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(probe) - error.start > 3:  # not merely a character that the probe's end cut
            return "gb18030"
    return "utf-8-sig"


def _sniff(header: str) -> str:
    return max(",\t;|", key=header.count)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
