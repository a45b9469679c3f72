"""Price lists as platforms export them become records; what cannot is reported with its line."""

import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.pricelists import Row, convert
from gateway.profiles import MappingFault, Profile, load_profile, parse_profile

NOW_MS = 1_767_225_600_000
CODE = "C" + "1" * 26
PROFILE = {
    "columns": {"code": ["医保编码", "国家编码"], "price": "挂网价", "unit": "单位", "kind": "类别", "at": "更新时间"},
    "constants": {"province": "320000"},
    "words": {"kind": {"挂网": "listed", "中选": "selected"}},
    "skip_if": ["合计"],
}


def rows(text: str | bytes, profile: Mapping[str, object] | None = None, **changes: object) -> list[Row]:
    raw = text.encode() if isinstance(text, str) else text
    made = parse_profile({**(profile or PROFILE), **changes})
    return list(convert(io.BytesIO(raw), made, NOW_MS))


def records(
    text: str | bytes, profile: Mapping[str, object] | None = None, **changes: object
) -> list[dict[str, object]]:
    found = rows(text, profile, **changes)
    assert all(row.record for row in found), found
    return [json.loads(row.record or b"") for row in found]


def price(cell: str, **changes: str) -> object:
    text = f'医保编码,挂网价\n{CODE},"{cell}"\n'
    return records(text, None, **changes)[0]["price"]


def test_a_row_becomes_a_record() -> None:
    text = f"医保编码,国家编码,挂网价,单位,类别,更新时间\n,{CODE},12.50,支,中选,2026-01-02 08:30\n"
    assert records(text) == [
        {
            "type": "quote",
            "province": "320000",
            "code": CODE,
            "price": "12.5",
            "unit": "支",
            "kind": "selected",
            "at": "2026-01-02T08:30:00.000+08:00",
        }
    ]


@pytest.mark.parametrize(
    ("cell", "yuan"),
    [
        ("1200", "1200"),
        ("1,234,567.50", "1234567.5"),
        ("１２３．４５", "123.45"),
        ("￥1,200.00元", "1200"),
        ("1.25万元", "12500"),
        ("0.00001万元", "0.1"),
        ("3元", "3"),
        ("1.2E+3", "1200"),
        ("-5", "-5"),
        ("12.34567", "12.34567"),
    ],
)
def test_amounts(cell: str, yuan: str) -> None:
    assert price(cell) == yuan


def test_amounts_are_rounded_only_where_the_profile_says_so() -> None:
    assert price("12.34565", decimals="round") == "12.3457"
    assert price("1.5", money_unit="万元") == "15000"
    assert price("1.5元", money_unit="万元") == "1.5"


@pytest.mark.parametrize("cell", ["面议", "1,2,3", "12,34", "NaN", "Infinity", "1_000", "1e99999", "--", "9" * 70])
def test_what_is_no_amount_is_reported_with_its_line(cell: str) -> None:
    text = f'医保编码,挂网价\n{CODE},1\n{CODE},"{cell}"\n{CODE},2\n'
    found = rows(text)
    assert [row.record is not None for row in found] == [True, False, True]
    assert (found[1].line, found[1].field) == (3, "price")
    assert found[1].message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings_are_told_apart(encoding: str) -> None:
    text = "标题,,\n医保编码,挂网价,单位\n" + f"{CODE},1,盒\n" * 3
    found = records(text.encode(encoding), header_line=2)
    assert [record["unit"] for record in found] == ["盒"] * 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("shift", range(4))
def test_encodings_are_told_apart_where_the_probe_cuts_a_character(encoding: str, shift: int) -> None:
    text = f"医保编码,挂网价,单位\n{CODE},1,{'x' * shift}{'盒' * 600_000}\n{CODE},2,盒\n"
    [row] = [json.loads(row.record) for row in rows(text.encode(encoding)) if row.record]
    assert (row["price"], row["unit"]) == ("2", "盒")


def test_gzip_is_recognised() -> None:
    assert len(records(gzip.compress(f"医保编码,挂网价\n{CODE},1\n".encode()))) == 1


def test_bytes_of_another_encoding_are_reported_not_guessed() -> None:
    raw = "医保编码,挂网价,单位\n".encode() + f"{CODE},1,".encode() + b"\xff\xfe\n" + f"{CODE},2,支\n".encode()
    found = rows(raw, encoding="utf-8")
    assert [row.record is not None for row in found] == [False, True]
    assert "encoding" in (found[0].message or "")


@pytest.mark.parametrize(
    ("cell", "at"),
    [
        ("2026-01-02", "2026-01-02T00:00:00.000+08:00"),
        ("2026/1/2 3:04:05", "2026-01-02T03:04:05.000+08:00"),
        ("2026年1月2日", "2026-01-02T00:00:00.000+08:00"),
        ("20260102", "2026-01-02T00:00:00.000+08:00"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("soon", "soon"),
    ],
)
def test_dates(cell: str, at: str) -> None:
    assert records(f"医保编码,挂网价,更新时间\n{CODE},1,{cell}\n")[0]["at"] == at


def test_dates_as_excel_and_epochs() -> None:
    text = f"医保编码,挂网价,更新时间\n{CODE},1,46142.5\n"
    assert records(text, time_formats=["excel"])[0]["at"] == "2026-04-30T12:00:00.000+08:00"
    text = f"医保编码,挂网价,更新时间\n{CODE},1,1767225600\n"
    assert records(text, time_formats=["epoch_s"])[0]["at"] == NOW_MS
    assert records(text, time_formats=["epoch_ms"])[0]["at"] == NOW_MS // 1000


def test_a_unit_that_says_how_many_sets_the_pack_size() -> None:
    text = f"医保编码,挂网价,单位\n{CODE},100,10支/盒\n{CODE},1,支\n"
    assert [record.get("pack_size") for record in records(text)] == [10, None]
    columns = {"code": "医保编码", "price": "挂网价", "pack_size": "转换比"}
    found = records(f'医保编码,挂网价,转换比\n{CODE},1,"1,000"\n{CODE},1,５.0\n', {"columns": columns})
    assert [record["pack_size"] for record in found] == [1000, 5]


def test_time_is_now_and_the_province_is_given_where_the_list_has_none() -> None:
    profile = parse_profile({"columns": {"code": "c", "price": "p"}})
    [row] = convert(io.BytesIO(f"c,p\n{CODE},1\n".encode()), profile, NOW_MS, province="110000")
    assert json.loads(row.record or b"") == {
        "type": "quote",
        "province": "110000",
        "code": CODE,
        "price": "1",
        "at": NOW_MS,
    }


def test_lines_are_counted_over_quoted_breaks_totals_and_blank_rows() -> None:
    text = f'医保编码,挂网价,单位\n{CODE},1,"大\n盒"\n\n合计,99,\n{CODE},x,支\n'
    found = rows(text)
    assert [(row.line, row.record is not None) for row in found] == [(2, True), (6, False)]


def test_short_rows_and_empty_cells_leave_fields_out() -> None:
    assert records(f"医保编码,挂网价,单位\n{CODE}\n") == [
        {"type": "quote", "province": "320000", "code": CODE, "at": NOW_MS}
    ]


def test_placeholders_are_no_values() -> None:
    text = f'医保编码,挂网价\n{CODE},0.01\n{CODE},0.02\n{CODE},"999,999,999.00"\n'
    found = rows(text, placeholders={"price": ["0.010", 999999999]})
    assert [(row.line, row.record is not None) for row in found] == [(2, False), (3, True), (4, False)]
    assert found[0].field == "price"


def test_delimiters_are_found() -> None:
    assert len(records(f"医保编码;挂网价\n{CODE};1\n", delimiter="auto")) == 1
    assert len(records(f"医保编码\t挂网价\n{CODE}\t1\n", delimiter="auto")) == 1


def test_a_list_without_the_code_column_says_what_it_has() -> None:
    with pytest.raises(MappingFault, match="名称"):
        rows("名称,价格\na,1\n")


@pytest.mark.parametrize(
    "given",
    [
        None,
        {"columns": {}},
        {"columns": {"cod": "x"}},
        {"columns": {"code": 3}},
        {"columns": {"code": "x"}, "colums": {}},
        {"columns": {"code": "x"}, "encoding": "latin1"},
        {"columns": {"code": "x"}, "header_line": 0},
        {"columns": {"code": "x"}, "time_offset": "8"},
        {"columns": {"code": "x"}, "type": "listing"},
        {"columns": {"code": "x"}, "delimiter": ",,"},
        {"columns": {"code": "x"}, "skip_if": "合计"},
    ],
)
def test_unfit_profiles(given: object) -> None:
    with pytest.raises(MappingFault):
        parse_profile(given)


def test_profiles_are_read_from_toml_and_yaml(tmp_path: Path) -> None:
    toml = tmp_path / "a.toml"
    toml.write_text('type = "order"\n[columns]\ncode = "编码"\n[words.kind]\n"中选" = "selected"\n')
    yaml = tmp_path / "a.yaml"
    yaml.write_text("type: order\ncolumns:\n  code: 编码\nwords:\n  kind:\n    中选: selected\n")
    assert load_profile(toml) == load_profile(yaml)
    assert isinstance(load_profile(toml), Profile)
    toml.write_text("type = ")
    with pytest.raises(MappingFault, match=r"a\.toml"):
        load_profile(toml)
    with pytest.raises(MappingFault):
        load_profile(tmp_path / "none.toml")
