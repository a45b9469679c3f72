"""Price lists over HTTP: tried without a trace, sent like records, rejected rows to download and send again."""

import asyncio
import csv
import io
import json
import zipfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import xlsxwriter

from gateway.ingest import LISTS_AT_ONCE
from gateway.tables import csv_line
from tests.gateway.fakes import SETTINGS, Parts
from tests.gateway.test_feeds import ask, token_of

PATH = "/v1/feeds/320000/price-lists"
CODE = "C" + "1" * 25
SUPPLIER = "91320000MA1N4XXXX1"
PROFILE = """
[columns]
code = "医保编码"
price = "挂网价"
unit = "单位"
supplier = "企业"
at = "更新时间"
[placeholders]
price = [0.01]
"""
ROWS = [
    (f"{CODE}1", "1,200.50", "10支/盒", "2026-01-02"),
    (f"{CODE}2", "１.５万元", "支", "2026/1/2"),
    (f"{CODE}3", "面议", "支", "2026年1月2日"),
    (f"{CODE}4", "0.01", "支", "2026-01-02"),
    ("C1", "5", "支", "2026-01-02"),
    (f"{CODE}6", "=1+1", "支", "2026-01-02"),
]
CSV = {"Content-Type": "text/csv"}
XLSX = {"Content-Type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}


def listed(rows: Sequence[tuple[str, ...]] = ROWS, encoding: str = "utf-8-sig") -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([("医保编码", "挂网价", "单位", "更新时间", "企业"), *((*row, SUPPLIER) for row in rows)])
    return out.getvalue().encode(encoding)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    made = Parts()
    (tmp_path / "320000.toml").write_text(PROFILE)
    (tmp_path / "320000-odd.toml").write_text("[columns]\nnonsense = 1\n")
    settings = SETTINGS.model_copy(update={"profiles_folder": tmp_path, "feeds_list_bytes": 1 << 20})
    object.__setattr__(made.sources, "settings", settings)
    return made


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_a_dry_run_shows_everything_and_sends_nothing(parts: Parts, encoding: str) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        answer = await client.post(PATH + "?dry_run=1", content=listed(encoding=encoding), headers=CSV)
        assert answer.status_code == 200, answer.text
        shown = answer.json()
        assert (shown["dry_run"], shown["accepted"], shown["rejected"]) == (True, 2, 4)
        assert [row["line"] for row in shown["rows"]] == [2, 3]
        assert shown["rows"][0]["record"] == {
            "type": "quote", "province": "320000", "code": f"{CODE}1", "price": "1200.5", "unit": "10支/盒",
            "supplier": SUPPLIER, "at": "2026-01-02T00:00:00.000+08:00", "pack_size": 10,
        }  # fmt: skip
        assert shown["rows"][1]["record"]["price"] == "15000"
        assert [(item["line"], item["reason"], item["field"]) for item in shown["items"]] == [
            (4, "bad_row", "price"),
            (5, "bad_row", "price"),
            (6, "bad_code", "code"),
            (7, "bad_row", "price"),
        ]
        assert parts.broker.written == {}

    ask(work, parts)


def test_a_list_is_sent_like_records(parts: Parts) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        shown = (await client.post(PATH, content=listed(), headers=CSV | {"Idempotency-Key": "a"})).json()
        assert (shown["dry_run"], shown["accepted"], shown["rejected"], shown["rows"]) == (False, 2, 4, [])
        assert sorted(json.loads(line)["price"] for line in parts.broker.lines()) == ["1200.5", "15000"]
        assert len(parts.broker.values("feeds.dead-letter")) == 4
        again = await client.post(PATH, content=listed(), headers=CSV | {"Idempotency-Key": "a"})
        assert again.json() == shown
        assert len(parts.broker.lines()) == 2

    ask(work, parts)


def test_rejected_rows_can_be_corrected_and_sent_again(parts: Parts) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        answer = await client.post(PATH, content=listed(), headers=CSV | {"Accept": "text/csv"})
        assert answer.status_code == 200
        assert (answer.headers["X-Accepted"], answer.headers["X-Rejected"]) == ("2", "4")
        rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
        assert rows[0][:5] == ["line", "reason", "field", "message", "医保编码"]
        assert rows[4][5] == "'=1+1"
        assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
        corrected = answer.text.replace("面议", "7").encode()
        shown = (await client.post(PATH, content=corrected, headers=CSV)).json()
        assert (shown["accepted"], shown["rejected"]) == (1, 3)

    ask(work, parts)


def workbook(rows: list[tuple[Any, ...]]) -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out)
    sheet = book.add_worksheet()
    dates = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            if isinstance(cell, datetime):
                sheet.write_datetime(number, column, cell.replace(tzinfo=None), dates)
            else:
                sheet.write(number, column, cell)
    book.close()
    return out.getvalue()


def far_workbook() -> bytes:
    """A small one, for whose cells there is no room."""
    book = workbook([("医保编码", "挂网价")])
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as given, zipfile.ZipFile(out, "w") as made:
        for name in given.namelist():
            made.writestr(name, given.read(name).replace(b'r="B1"', b'r="XFD1048576"'))
    return out.getvalue()


def test_a_workbook_is_a_list_too(parts: Parts) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        rows = [
            ("医保编码", "挂网价", "单位", "更新时间", "企业"),
            (f"{CODE}1", 0.1 + 0.2, "支", datetime(2026, 1, 2, 8, 30, tzinfo=UTC), SUPPLIER),
            (None, None, None, None, None),
            (f"{CODE}2", 12, "支", "2026.1.2", SUPPLIER),
            (f"{CODE}3", "面议", "支", "2026.1.2", SUPPLIER),
        ]
        shown = (await client.post(PATH + "?dry_run=true", content=workbook(rows), headers=XLSX)).json()
        assert [(row["line"], row["record"]["price"], row["record"]["at"]) for row in shown["rows"]] == [
            (2, "0.3", "2026-01-02T08:30:00.000+08:00"),
            (4, "12", "2026-01-02T00:00:00.000+08:00"),
        ]
        assert [item["line"] for item in shown["items"]] == [5]

    ask(work, parts)


def test_what_is_not_a_list_is_told(parts: Parts) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        async def code(content: bytes, path: str = PATH, **headers: str) -> tuple[int, str]:
            named = CSV | {name.replace("_", "-"): value for name, value in headers.items()}
            answer = await client.post(path, content=content, headers=named)
            return answer.status_code, answer.json().get("error", {}).get("code", "")

        assert await code(listed(), Content_Type="application/x-ndjson") == (415, "bad_type")
        assert await code(b"a,b\n1,2\n") == (400, "bad_list")
        assert await code(b"") == (400, "bad_list")
        assert await code(b"PK\x03\x04 no workbook") == (400, "bad_list")
        assert await code(b"\xd0\xcf\x11\xe0 an old one") == (400, "bad_list")
        assert await code(listed(), PATH + "?profile=none") == (404, "no_profile")
        assert await code(listed(), PATH + "?profile=odd") == (422, "bad_profile")
        assert await code(listed(), PATH + "?profile=../x") == (422, "bad_parameter")
        assert await code(listed([("x" * 100, "1", "", "")] * 11_000)) == (413, "too_large")
        assert await code(listed([("面", "1", "", "")] * 10_500)) == (400, "too_many_rejected")
        assert (await client.post(PATH, content=listed(), headers=CSV | {"Authorization": ""})).status_code == 401

    ask(work, parts)


def test_a_workbook_that_unpacks_to_too_much_is_refused(parts: Parts) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("xl/workbook.xml", b"\0" * (20 << 20))
        answer = await client.post(PATH, content=out.getvalue(), headers=XLSX)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_list")
        assert "unpacks" in answer.json()["error"]["what"]

    ask(work, parts)


def test_rows_of_any_length_are_told_and_their_letters_are_bounded(parts: Parts) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        long = [(f"{CODE}2", "面议", "x" * 60_000, "y" * 60_000), (f"{CODE}3", *["1"] * 2_000)]
        over = [(f"{CODE}4", *["z" * 60_000] * 18)]
        answer = await client.post(PATH, content=listed([ROWS[0], *long, *over, ROWS[1]]), headers=CSV)
        shown = answer.json()
        assert (answer.status_code, shown["accepted"], shown["rejected"]) == (200, 2, 3), answer.text
        assert [(item["line"], item["message"]) for item in shown["items"][1:]] == [
            (4, "the row has more than 1,000 cells"),
            (5, "the row has more than 1,048,576 characters"),
        ]
        assert max(map(len, parts.broker.values("feeds.dead-letter"))) == 65_536
        answer = await client.post(PATH, content=b"a," * 400 + b"\n", headers=CSV)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_list")
        assert len(answer.content) < 1_000
        for header in (b"a," * 1_001, b"a" * 2_000_000):
            answer = await client.post(PATH, content=header + b"\n1", headers=CSV)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_list")

    object.__setattr__(
        parts.sources, "settings", parts.sources.settings.model_copy(update={"feeds_list_bytes": 4 << 20})
    )
    ask(work, parts)


def test_a_workbook_that_ends_its_reader_is_refused_and_the_next_one_is_read(parts: Parts) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        good = workbook([("医保编码", "挂网价", "企业", "更新时间"), (f"{CODE}1", 1, SUPPLIER, "2026.1.2")])
        for content, status in ((good, 200), (far_workbook(), 400), (good, 200)):
            answer = await client.post(PATH, content=content, headers=XLSX)
            assert answer.status_code == status, answer.text
            if status == 400:
                assert "too much" in answer.json()["error"]["what"]
        parts.intake.close()

    ask(work, parts)


def test_lists_that_find_no_place_to_be_read_are_429(parts: Parts) -> None:
    parts.intake._settings = SETTINGS.model_copy(update={"feeds_answer_s": 0.05})

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(LISTS_AT_ONCE):
                await stack.enter_async_context(parts.intake.place_to_read("here"))
            answer = await client.post(PATH, content=listed(), headers=CSV)
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
        assert (await client.post(PATH, content=listed(), headers=CSV)).status_code == 200

    ask(work, parts)


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert next(csv.reader(io.StringIO(csv_line([cell])))) == [f"'{cell}"]


def test_other_keys_and_provinces(parts: Parts) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        assert (await client.post(PATH.replace("32", "33"), content=listed(), headers=CSV)).status_code == 403
        foreign = b"\xe5\x8c\xbb\xe4\xbf\x9d\xe7\xbc\x96\xe7\xa0\x81,x\n"
        assert (await client.post(PATH, content=foreign, headers=CSV | token_of(parts))).status_code == 400
        await asyncio.sleep(0)

    ask(work, parts)
