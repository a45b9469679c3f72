"""Bodies that were made to hurt: small ones that unpack to much, files that ask their reader for all the memory there is."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

import xlsxwriter
import zstandard

Body = tuple[str, str, dict[str, str], bytes]
"""Its kind, where it goes, its headers, its bytes."""

_CODE: Final = "C" + "1" * 26
_ODS: Final = {
    "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
    "META-INF/manifest.xml": '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
    "content.xml": (
        '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
        ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
        ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>'
        '<table:table table:name="a"><table:table-row table:number-rows-repeated="1048576"><table:table-cell'
        ' office:value-type="string" table:number-columns-repeated="16384"><text:p>x</text:p></table:table-cell>'
        "</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
    ),
}
"""Another kind of workbook, whose one cell is repeated over its whole sheet."""


def all_of(ndjson: str, csv: str, workbook: str) -> Iterator[Body]:
    """Yields one of each, with these content types."""
    lines, lists = {"Content-Type": ndjson}, {"Content-Type": csv}
    yield "gzip bomb", "records", lines | {"Content-Encoding": "gzip"}, _gzip_of_zeros(300 << 20)
    yield "zstd bomb", "records", lines | {"Content-Encoding": "zstd"}, zstandard.compress(bytes(64 << 20)) * 5
    yield "empty members", "records", lines | {"Content-Encoding": "gzip"}, gzip.compress(b"") * 20_000
    yield "one long line", "records", lines, b"x" * (2 << 20)
    yield "deep nesting", "records", lines, b"[" * 60_000 + b"\n" + b'{"a":' * 10_000
    yield "long number", "records", lines, b'{"type":"quote","price":' + b"9" * 60_000 + b"e999999999}\n"
    yield "many lines that are none", "records", lines, b"x\n" * 20_000
    yield "gzip bomb of a list", "price-lists", lists | {"Content-Encoding": "gzip"}, _gzip_of_zeros(80 << 20)
    yield "wide header", "price-lists", lists, b"a," * 1_000_000
    yield "wide rows", "price-lists", lists, ("医保编码,挂网价\n" + f"{_CODE},1" + "," * 300_000 + "\n").encode() * 3
    yield "long rows", "price-lists", lists, ("医保编码,挂网价\n" + f"{_CODE},{'x' * 60_000}{',y' * 9}\n" * 20).encode()
    yield "rows of many long cells", "price-lists", lists, _long_cells()
    yield "a quote that does not end", "price-lists", lists, ('医保编码,挂网价\n"' + f"{_CODE},1\n" * 30_000).encode()
    sheet = {"Content-Type": workbook}
    yield "a cell far away", "price-lists", sheet, _book([(0, 0, "医保编码"), (1_048_575, 16_383, "x")])
    yield "a cell not so far away", "price-lists", sheet, _book([(0, 0, "医保编码"), (900_000, 200, "x")])
    yield (
        "one long text, many times",
        "price-lists",
        sheet,
        _book([(0, 0, "医保编码"), *((row, 0, "x" * 32_000) for row in range(1, 40_000))]),
    )
    yield "another kind of workbook", "price-lists", sheet, _zip(_ODS)
    yield "a workbook that unpacks", "price-lists", sheet, _zip({"xl/workbook.xml": "\0" * (100 << 20)})


def _gzip_of_zeros(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()


def _long_cells() -> bytes:
    """Rows that are no quotes, each longer than a dead letter may be."""
    cell = "x" * 65_000
    return ("医保编码,挂网价\n" + f"{_CODE},none{f',{cell}' * 15}\n" * 8).encode()


def _book(cells: list[tuple[int, int, str]]) -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet()
    for row, column, text in cells:
        sheet.write_string(row, column, text)
    book.close()
    return out.getvalue()


def _zip(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return out.getvalue()
