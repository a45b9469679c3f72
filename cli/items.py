"""`pricelink items import`: releases of the national catalogue as ``item`` records in topic ``feeds``."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cli.feed import FeedFault, Report, Summary, groups, progress, rejects_file, send
from config.settings import Settings
from gateway.catalogue import CatalogueRow, read_catalogue
from gateway.profiles import MappingFault
from gateway.tables import open_table
from schemas.packets import Rejected

_SHANGHAI: Final = timedelta(hours=8)


def released_ms(day: str) -> int:
    """Returns the midnight of Shanghai that begins a day, ``2026-03-20``; raises FeedFault."""
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
            raise ValueError(day)
        moment = datetime.fromisoformat(day).replace(tzinfo=UTC) - _SHANGHAI
    except ValueError as error:
        raise FeedFault(f"{day!r} is no day; a release's date looks like 2026-03-20") from error
    return int(moment.timestamp() * 1000)


def import_items(
    settings: Settings, paths: list[Path], released: str, rejects: Path | None, say: Callable[[str], None],
    header_line: int = 1,
) -> int:  # fmt: skip
    """Sends a release's rows; returns the exit code: 0, or 1 where no record was accepted. Raises FeedFault.

    CSV is streamed; a workbook is held whole while it is read, about 100 bytes a cell.
    """
    at_ms = released_ms(released)
    summary, changes = Summary(), Counter[str]()
    began_s = time.monotonic()
    with rejects_file(rejects) as out:
        report = Report(say, out, summary.reasons)
        for path in paths:
            try:
                with path.open("rb") as raw, progress(path) as advance:
                    rows = read_catalogue(open_table(raw, delimiter="auto", header_line=header_line), at_ms)
                    asyncio.run(send(settings, groups(_lines(rows, changes), raw, advance, report), report, summary))
            except MappingFault as fault:
                raise FeedFault(f"{path}: {fault}") from fault
            except (OSError, EOFError) as error:
                raise FeedFault(f"cannot read {path}: {error}") from error
    summary.seconds = time.monotonic() - began_s
    report.end()
    say(", ".join(f"{count:,} {change}" for change, count in changes.most_common()) or "no rows")
    say(summary.text())
    return 0 if summary.accepted else 1


def _lines(rows: Iterator[CatalogueRow], changes: Counter[str]) -> Iterator[tuple[int, bytes | None, Rejected | None]]:
    for row in rows:
        if row.records:
            changes[row.change] += 1
        else:
            yield row.line, None, Rejected(row.line, "bad_row", row.field, row.message or "", b"")
        for record in row.records:
            yield row.line, record, None
