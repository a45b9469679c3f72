"""Tables as platforms export them: CSV in any of their encodings, or the first sheet of a workbook, as rows of text."""

import codecs
import csv
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Final, Self

from gateway.profiles import MappingFault, plain
from gateway.workbooks import MOST_CELLS, MOST_CHARACTERS, SheetRows, sheet_rows, unreadable

_LONGEST_CELL: Final = 65_536
_PROBE_BYTES: Final = 1 << 20
_ZIP: Final = b"PK\x03\x04"
_GZIP: Final = b"\x1f\x8b"
_ZIP_FAULTS: Final = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, NotImplementedError,
    RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError,
)  # fmt: skip
_FORMULA: Final = (*"=+-@＝＋－＠", "\t", "\r", "\n")
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


def open_table(
    file: BinaryIO,
    encoding: str = "auto",
    delimiter: str = ",",
    header_line: int = 1,
    sheet_rows: SheetRows = sheet_rows,
) -> Table:
    """Opens a table; a workbook is known by its first bytes, must be seekable, and is read by ``sheet_rows``.

    Raises MappingFault.
    """
    if _begins_with(file, _ZIP):
        rows = (TableRow(*row) for row in sheet_rows(file))
        header = next((row for row in rows if row.line >= header_line), TableRow(header_line, ()))
        return _table(header, rows)
    lines = _Lines(_open_text(file, encoding))
    try:
        for _ in range(header_line - 1):
            next(lines, "")
        lines.begin_row()
        first = next(lines, "")
        parted = max(",\t;|", key=first.count) if delimiter == "auto" else delimiter
        csv.field_size_limit(_LONGEST_CELL)
        names = next(csv.reader([first], delimiter=parted), [])
    except csv.Error as error:
        raise MappingFault(f"line {header_line} cannot be the columns' names: {error}") from error
    return _table(_bounded(header_line, names), _csv_rows(lines, parted))


def _table(header: TableRow, rows: Iterator[TableRow]) -> Table:
    if header.fault is not None:
        raise MappingFault(f"line {header.line} cannot be the columns' names: {header.fault}")
    filled = (row for row in rows if row.fault or any(map(plain, row.cells)))
    return Table([plain(cell) for cell in header.cells], filled)


class _Lines:
    """The lines of a text, as a reader of CSV asks for them; one that is too long is skipped, and told by csv.Error."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._left = MOST_CHARACTERS
        self.number = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MOST_CHARACTERS + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self._left -= len(line)
        if self._left < 0:
            while len(line) > MOST_CHARACTERS and not line.endswith(("\n", "\r")):
                line = self._text.readline(MOST_CHARACTERS + 1)
            raise csv.Error(f"the row has more than {MOST_CHARACTERS:,} characters")
        return line

    def begin_row(self) -> None:
        """Says that what comes is another row."""
        self._left = MOST_CHARACTERS


def _csv_rows(lines: _Lines, delimiter: str) -> Iterator[TableRow]:
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        line = lines.number + 1
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield TableRow(line, (), str(error))
            continue
        yield _bounded(line, cells)


def _bounded(line: int, cells: list[str]) -> TableRow:
    if len(cells) > MOST_CELLS:
        return TableRow(line, (), f"the row has more than {MOST_CELLS:,} cells")
    return TableRow(line, cells)


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
        raise unreadable(error) from error
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
        codecs.getincrementaldecoder("utf-8")().decode(probe)  # the probe's end may cut a character
    except UnicodeDecodeError:
        return "gb18030"
    return "utf-8-sig"
