"""Tables as platforms export them: CSV in any of their encodings, or the first sheet of a workbook, as rows of text."""

import csv
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import IO, Any, BinaryIO, Final

from gateway.profiles import MappingFault, plain

_LONGEST_CELL: Final = 65_536
_PROBE_BYTES: Final = 1 << 20
_ZIP: Final = b"PK\x03\x04"
_GZIP: Final = b"\x1f\x8b"
_ZIP_FAULTS: Final = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, NotImplementedError,
    RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError,
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
REPLACEMENT: Final = "\ufffd"
"""Stands for bytes that are not of the encoding."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row: the line it starts on, from 1, and its cells as they are, or what is wrong with it."""

    line: int
    cells: Sequence[str]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """The names of the columns, made plain, and the rows below them, empty ones left out."""

    header: list[str]
    rows: Iterator[TableRow]


def open_table(file: BinaryIO, encoding: str = "auto", delimiter: str = ",", header_line: int = 1) -> Table:
    """Opens a table; a workbook is known by its first bytes, and must be seekable. Raises MappingFault."""
    if _begins_with(file, _ZIP):
        rows = _sheet_rows(file)
        header: Sequence[str] = ()
        for row in rows:
            header = row.cells
            if row.line >= header_line:
                break
        return Table([plain(cell) for cell in header], _filled(rows))
    text = _open_text(file, encoding)
    for _ in range(header_line - 1):
        text.readline()
    first = text.readline()
    parted = max(",\t;|", key=first.count) if delimiter == "auto" else delimiter
    csv.field_size_limit(_LONGEST_CELL)
    names = next(csv.reader([first], delimiter=parted), [])
    return Table([plain(cell) for cell in names], _filled(_csv_rows(text, parted, header_line)))


def _filled(rows: Iterator[TableRow]) -> Iterator[TableRow]:
    return (row for row in rows if row.fault or any(map(plain, row.cells)))


def _csv_rows(text: io.TextIOBase, delimiter: str, header_line: int) -> Iterator[TableRow]:
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        line = header_line + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield TableRow(line, (), str(error))
            continue
        yield TableRow(line, cells)


def _sheet_rows(file: BinaryIO) -> Iterator[TableRow]:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        sheet = CalamineWorkbook.from_filelike(file).get_sheet_by_index(0)
    except (CalamineError, OSError, ValueError, IndexError) as error:
        raise _unreadable(error) from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of the reader's own language; no subclass of Exception
            raise _unreadable(error) from error
        raise
    for line, cells in enumerate(sheet.iter_rows(), 1):
        yield TableRow(line, [_text(cell) for cell in cells])


def _unreadable(error: BaseException) -> MappingFault:
    return MappingFault(f"this workbook cannot be read: {error}; save it anew as XLSX, without a password")


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        # A workbook's numbers have 15 digits; the rest is noise of the binary form.
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.15g}"
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S}"
    return cell.isoformat() if isinstance(cell, date) else "" if cell is None else str(cell)


def refuse_bomb(file: BinaryIO, most_bytes: int) -> None:
    """Raises MappingFault for a workbook that unpacks to more than ``most_bytes``, whatever it says itself."""
    left = most_bytes
    try:
        with zipfile.ZipFile(file) as packed:
            for entry in packed.infolist():
                with packed.open(entry) as content:
                    while chunk := content.read(1 << 20):
                        left -= len(chunk)
                        if left < 0:
                            raise MappingFault(
                                f"the workbook unpacks to more than {most_bytes >> 20} MiB; send it as CSV"
                            )
    except _ZIP_FAULTS as error:
        raise _unreadable(error) from error
    finally:
        file.seek(0)


def is_workbook(file: BinaryIO) -> bool:
    """Tells whether a seekable file begins as a workbook does."""
    return _begins_with(file, _ZIP)


def _begins_with(file: BinaryIO, magic: bytes) -> bool:
    if not file.seekable():
        return False
    place = file.tell()
    begins = file.read(len(magic)) == magic
    file.seek(place)
    return begins


def csv_line(cells: Sequence[object]) -> str:
    """Returns a line of CSV, line break included, in which no cell is a formula to a spreadsheet.

    A cell that would be begins with an apostrophe; read back as a price list, the apostrophe is dropped again.
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([_safe(str(cell)) for cell in cells])
    return out.getvalue()


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _open_text(file: BinaryIO, encoding: str) -> io.TextIOBase:
    buffered = io.BufferedReader(_Raw(file), _PROBE_BYTES)
    if buffered.peek(2)[:2] == _GZIP:
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
