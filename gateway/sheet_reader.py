"""Reads the first sheets of workbooks, in a process of its own: ``gateway.workbooks`` starts it and says how it is asked.

It imports nothing of the project, so that it is there in a blink. What a workbook makes of it is its own affair alone: a
file of five kilobytes may name a cell so far away that reading it asks for half a terabyte, which ends any process.
"""

import io
import json
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime
from typing import Any

from python_calamine import CalamineWorkbook


def cells_of(row: list[Any]) -> list[str]:
    """Returns a row's cells as text, without the empty ones at its end."""
    cells = [_text(cell) for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


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


def told(file: io.BytesIO, most_cells: int, most_characters: int) -> Iterator[object]:
    """Yields what is to be said of a workbook: ``[row, cells]``, or ``[row, [], fault]``, then ``{"fault": …}``.

    Rows count from 1; empty ones are left out. A fault of the whole is null where there is none.
    """
    try:
        with file:  # its bytes are let go before the rows are made
            sheet = CalamineWorkbook.from_filelike(file).get_sheet_by_index(0)
        for number, row in enumerate(sheet.iter_rows(), 1):
            cells = cells_of(row)
            if len(cells) > most_cells:
                yield number, [], f"the row has more than {most_cells:,} cells"
            elif sum(map(len, cells)) > most_characters:
                yield number, [], f"the row has more than {most_characters:,} characters"
            elif cells:
                yield number, cells
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  whatever is wrong with it
        yield {"fault": str(error) or type(error).__name__}
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the reader's own language; no subclass of Exception
            raise
        yield {"fault": str(error)}
    else:
        yield {"fault": None}


def main() -> None:
    """Answers one workbook after the other until its asker is gone.

    In: eight bytes that say how many follow, and these. Out: JSON, a line each, as ``told`` says.
    """
    bounds = json.loads(sys.argv[1])
    if bounds["memory_bytes"]:
        with suppress(ValueError, OSError):  # a system that knows no such bound
            resource.setrlimit(resource.RLIMIT_AS, (bounds["memory_bytes"],) * 2)
    while size := int.from_bytes(sys.stdin.buffer.read(8), "big"):
        if bounds["cpu_s"]:
            used = resource.getrusage(resource.RUSAGE_SELF)
            left_s = int(used.ru_utime + used.ru_stime) + bounds["cpu_s"] + 1
            resource.setrlimit(resource.RLIMIT_CPU, (left_s, resource.RLIM_INFINITY))
        for each in told(io.BytesIO(sys.stdin.buffer.read(size)), bounds["most_cells"], bounds["most_characters"]):
            sys.stdout.buffer.write(json.dumps(each, ensure_ascii=False).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
