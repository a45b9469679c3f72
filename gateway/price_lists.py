"""``POST /v1/feeds/{province}/price-lists``: CSV or XLSX by the province's mapping profile, tried first or sent at once."""

import asyncio
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from gateway.access import Caller, require, require_province
from gateway.bodies import Inflater, inflater_of
from gateway.feed_log import Receipt
from gateway.feeds import (
    RESPONSES,
    Body,
    Item,
    OnceKey,
    Written,
    answer_once,
    encoding_of,
    media_type,
    origin_of,
    outcome,
    refuse_large,
    settled,
    too_large,
)  # fmt: skip
from gateway.ingest import Intake, Tally, sender_of
from gateway.key_ring import now_ms
from gateway.keys import FEEDS_WRITE
from gateway.pricelists import PriceList, Row, open_list
from gateway.problems import Problem
from gateway.profiles import MappingFault, Profile, load_profile
from gateway.sources import sources_of
from gateway.tables import csv_line, is_workbook, refuse_bomb
from gateway.traces import followed
from gateway.workbooks import SheetRows
from schemas.packets import Checked, Rejected, Sender, check_records

ROWS_SHOWN: Final = 200
"""Rows that a dry run shows as the records they become."""
_ROUTE: Final = "/v1/feeds/{province}/price-lists"
_GROUP_ROWS: Final = 1_000
_IN_MEMORY_BYTES: Final = 1 << 20
_REJECTS_BYTES: Final = 16 << 20
_UNPACKED_FOLD: Final = 8
"""A workbook may unpack to so many times the bound of a list."""
_WORKBOOK: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_TYPES: Final = frozenset({"text/csv", "text/tab-separated-values", _WORKBOOK})

router = APIRouter(prefix="/v1/feeds", tags=["feeds"])


class Shown(BaseModel):
    """A row of a dry run, and the record that would be sent."""

    line: int
    record: dict[str, Any]


class Tried(Written):
    """What became, or would become, of a price list. ``rows``: of a dry run, the first 200 good ones."""

    dry_run: bool
    rows: list[Shown]
    items: list[Item]


_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "The file as it is; Content-Encoding gzip, zstd or none.",
        "content": {each: {"schema": {"type": "string", "format": "binary"}} for each in sorted(_TYPES)},
    }
}
_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": Tried,
        "description": "What became of the list; with `Accept: text/csv` the rejected rows",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    },
    400: RESPONSES[400] | {"content": {"text/csv": {"schema": {"type": "string"}}}},
    404: RESPONSES[404] | {"description": "No such province, or no mapping profile of this name"},
}


@router.post("/{province}/price-lists", response_model=None, responses=RESPONSES | _CSV, openapi_extra=_BODY)
async def price_lists(
    request: Request,
    province: str,
    key: Caller,
    dry_run: Annotated[bool, Query(description="Send nothing; show what would be sent, and what is wrong")] = False,
    profile: Annotated[str, Query(pattern="^[a-z0-9-]{0,40}$", description="Of several mapping profiles, which")] = "",
    once: OnceKey = None,
) -> Response:
    """Takes a price list: its rows become records by the province's mapping profile, which then go the way of records.

    ``Accept: text/csv`` gets the rejected rows as CSV, with what is wrong in front, in place of JSON; no cell of it is
    a formula. Corrected, it can be sent again.
    """
    where = request.url.path
    require(key, FEEDS_WRITE, where)
    index = require_province(key, province, where)
    if (media := media_type(request)) not in _TYPES:
        raise Problem(
            415,
            "bad_type",
            f"{media[:80] or 'no Content-Type'} is not taken here",
            where,
            f"Send {', '.join(sorted(_TYPES))}.",
        )
    parts = sources_of(request)
    encoding = encoding_of(request, where)
    most = parts.settings.feeds_list_bytes
    refuse_large(request, most, where)
    body = Body(request, most)
    mapping = await asyncio.to_thread(_profile_of, parts.settings.profiles_folder, province, profile)
    wants_csv = "text/csv" in request.headers.get("accept", "")
    run = _Run(parts.intake, sender_of(key, index), origin_of("price-lists", province, key), dry_run=dry_run)

    async def write(body: Body) -> tuple[int, dict[str, Any]]:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
            async with settled(where, parts.intake, run.receipt, run.tally):
                await _spool(body, encoding, file, most, parts.intake)
                async with parts.intake.place_to_read(where):
                    await run.read(partial(_open, file, mapping, province, most, parts.intake.workbooks.rows), where)
        return run.outcome()

    with parts.intake.admit(key, where), followed(parts.tracer, request, _ROUTE, province) as trace:
        run.receipt.trace = trace
        if not wants_csv:
            return await answer_once(request, key, once, body, write)
        status, _ = await write(body)
    name = f"rejected-{province}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Accepted": str(run.accepted)}
    headers["X-Rejected"] = str(run.tally.rejected)
    return Response("\ufeff" + "".join(run.rejects), status, headers, "text/csv; charset=utf-8")


def _profile_of(folder: Any, province: str, name: str) -> Profile:
    path = folder / (f"{province}-{name}.toml" if name else f"{province}.toml")
    if not path.is_file():
        remedy = (
            "An operator puts it into the gateways' folder PRICELINK_PROFILES_FOLDER; docs/feeds.md says what it is."
        )
        raise Problem(404, "no_profile", f"there is no mapping profile {path.name}", "profile", remedy)
    try:
        return load_profile(path)
    except MappingFault as fault:
        raise Problem(422, "bad_profile", str(fault), path.name, "An operator must correct this profile.") from fault


async def _spool(body: Body, encoding: str, file: Any, most_bytes: int, intake: Intake) -> None:
    inflater = None
    async for chunk in body.chunks():
        if inflater is None:
            # Files that are gzipped themselves are inflated here, too: here there is a bound.
            named = "gzip" if encoding == "identity" and chunk.startswith(b"\x1f\x8b") else encoding
            inflater = inflater_of(named, most_bytes)
        await intake.work(len(chunk), partial(_inflate, inflater, chunk, file, most_bytes, body.where))
    if inflater is not None and not inflater.ended:
        raise Problem(400, "bad_body", "the compressed body ends amid its data", body.where, "Send it again.")
    file.seek(0)


def _inflate(inflater: Inflater, chunk: bytes, file: Any, most_bytes: int, where: str) -> None:
    for data in inflater.put(chunk):
        file.write(data)
        if file.tell() > most_bytes:
            raise too_large(f"more than {most_bytes:,} bytes", most_bytes, where)


def _open(file: Any, profile: Profile, province: str, most_bytes: int, sheet_rows: SheetRows) -> PriceList:
    if is_workbook(file):
        refuse_bomb(file, most_bytes * _UNPACKED_FOLD)
    return open_list(file, profile, now_ms(), province, "the list", sheet_rows)


class _Run:
    """One price list on its way."""

    def __init__(self, intake: Intake, sender: Sender, origin: list[tuple[str, bytes]], *, dry_run: bool) -> None:
        self.receipt, self.tally = Receipt(), Tally()
        self.accepted = 0
        self.rejects: list[str] = []
        self._rejects_bytes = 0
        self._rows: list[dict[str, Any]] = []
        self._intake, self._sender, self._origin, self._dry_run = intake, sender, origin, dry_run

    async def read(self, opened: Any, where: str) -> None:
        """Checks and sends all rows; raises Problem, BrokerAway."""
        read = self._intake.read
        try:
            table: PriceList = await read(opened)
            self._reject_line([*("line", "reason", "field", "message"), *table.header])
            while group := await read(partial(_next_group, table.rows)):
                checked = await self._intake.work(_IN_MEMORY_BYTES, partial(self._check, group))
                self._note(group, checked)
                if self._dry_run:
                    checked = Checked([], 0, [])
                await self._intake.put(checked, self.receipt, self.tally, self._origin)
        except MappingFault as fault:
            remedy = "The mapping profile and the list must fit each other."
            raise Problem(400, "bad_list", str(fault), where, remedy) from fault

    def _check(self, group: list[Row]) -> Checked:
        good = [row for row in group if row.record is not None]
        partitions = self._intake.log.partitions
        lines = [row.record or b"" for row in good]
        checked = check_records(lines, [row.line for row in good], self._sender, now_ms(), partitions)
        unfit = [
            Rejected(row.line, "bad_row", row.field, row.message or "", csv_line(row.cells).rstrip().encode())
            for row in group
            if row.record is None
        ]
        rejected = sorted([*checked.rejected, *unfit], key=lambda each: each.line)
        return Checked(checked.packets, checked.accepted, rejected)

    def _note(self, group: list[Row], checked: Checked) -> None:
        by_line = {row.line: row for row in group}
        for each in checked.rejected:
            if self._dry_run:
                self.tally.add(each)
            shown = (each.line, each.reason, each.field or "", each.message)
            self._reject_line([*map(str, shown), *by_line[each.line].cells])
        if self._dry_run:
            self.accepted += checked.accepted
            bad = {each.line for each in checked.rejected}
            good = (row for row in group if row.line not in bad and row.record)
            for row in islice(good, ROWS_SHOWN - len(self._rows)):
                self._rows.append({"line": row.line, "record": orjson.loads(row.record or b"")})

    def _reject_line(self, cells: list[str]) -> None:
        line = csv_line(cells)
        if self._rejects_bytes <= _REJECTS_BYTES:
            self._rejects_bytes += len(line)
            self.rejects.append(line)

    def outcome(self) -> tuple[int, dict[str, Any]]:
        """Returns status and body."""
        if not self._dry_run:
            self.accepted = self.receipt.acked_lines
        status, shown = outcome(self.receipt, self.tally)
        if self._dry_run:
            status, shown = 200, shown | {"accepted": self.accepted}
        return status, shown | {"dry_run": self._dry_run, "rows": self._rows}


def _next_group(rows: Iterator[Row]) -> list[Row]:
    return list(islice(rows, _GROUP_ROWS))
