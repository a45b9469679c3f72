"""A release's rows become items: what holds, what is retired, what replaces it."""

import io
import json
from typing import Any

import pytest

from gateway.catalogue import CatalogueRow, class_of, read_catalogue
from gateway.profiles import MappingFault
from gateway.tables import open_table
from schemas.parser import parse_line
from schemas.records import Record

NOW_MS = 1_767_225_600_000
# The columns of the national release, with rows made up in their form.
HEADER = "GOODS_ID,原27位码,原码状态,27位码,类型,20位码,一级分类,二级分类,三级分类,医保通用名分类,材质,特征,注册备案号,单件产品名称"
A, B, D = ("C" + digit * 26 for digit in "124")


def rows(text: str, header: str = HEADER) -> list[CatalogueRow]:
    return list(read_catalogue(open_table(io.BytesIO(f"{header}\n{text}".encode("utf-8-sig"))), NOW_MS))


def items(text: str) -> list[dict[str, Any]]:
    found = [json.loads(record) for row in rows(text) for record in row.records]
    for record in found:
        assert isinstance(parse_line(json.dumps(record).encode()), Record)
    return found


def test_a_new_code_is_an_item_with_its_classes() -> None:
    line = f"1,,,{A},新增,x,非血管介入,气管支架,覆膜,,,,国械注准20173770123,镍钛气道支架"
    assert items(line) == [
        {"type": "item", "code": A, "at": NOW_MS, "seq": 0, "name": "镍钛气道支架", "category": "非血管介入/气管支架/覆膜",
         "device_class": 3}
    ]  # fmt: skip


@pytest.mark.parametrize("change", ["变更", "映射"])
@pytest.mark.parametrize("status", ["停用", ""])
def test_a_changed_code_moves(change: str, status: str) -> None:
    new, old = items(f"1,{A},{status},{B},{change},x,,,,,,,,")
    assert (new["code"], new.get("status")) == (B, None)
    assert old == {"type": "item", "code": A, "at": NOW_MS, "status": "disabled", "moved_to": B, "seq": 2}


def test_an_old_code_that_holds_stays() -> None:
    assert [item["code"] for item in items(f"1,{A},保留,{B},映射,x,,,,,,,,")] == [B]
    assert [item["code"] for item in items(f"1,{A},保留,{A},保留,x,,,,,,,,")] == [A]
    assert [item["code"] for item in items(f"1,{A},停用,{A},变更,x,,,,,,,,")] == [A]


def test_a_code_without_a_successor_is_disabled() -> None:
    disabled = {"type": "item", "code": A, "at": NOW_MS, "status": "disabled", "seq": 1}
    assert items(f"1,{A},停用,,,x,,,,,,,,") == [disabled]
    assert items(f"1,,,{A},停用,x,,,,,,,,") == [disabled]


def test_rows_that_say_nothing_are_told() -> None:
    found = rows(f"1,,,,新增,x\n2,,,{A},别的,x\n3,,,{D},,x")
    assert [(row.line, row.field, bool(row.records)) for row in found] == [
        (2, "27位码", False),
        (3, "类型", False),
        (4, None, True),
    ]
    with pytest.raises(MappingFault, match="27位码"):
        rows("1", "编号")


@pytest.mark.parametrize(
    ("registration", "device_class"),
    [
        ("国械注准20173770123", 3), ("国械注进 2015 2 123456", 2), ("苏械注准20162400001", 2), ("国械备20140001号", 1),
        ("国食药监械(准)字2013第3770123号", 3), ("沪浦械备20150012", 1), ("", None), ("国药准字H20000001", None),
    ],
)  # fmt: skip
def test_classes_by_registration(registration: str, device_class: int | None) -> None:
    assert class_of(registration) == device_class


def test_long_names_are_cut_between_characters() -> None:
    [item] = items(f"1,,,{A},新增,x,,,,,,,,{'支' * 200}")
    assert item["name"] == "支" * 85
