"""A release of the national catalogue as ``item`` records: which codes hold, which are retired, and what replaces them.

A row says what became of a code: 新增 new, 保留 kept, 变更 changed, 映射 mapped. The new code becomes an active item; an
old one that is another and no longer holds (停用) becomes a disabled item that says where it moved, if anywhere.

All records of a release have its date as ``at``. Where rows disagree about a code, ``seq`` decides, whatever their
order: moved (2) over disabled (1) over active (0). So a release can be read again, or in parts, at any time.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.profiles import MappingFault, plain
from gateway.tables import Table
from schemas.fields import MAX_STRING_BYTES

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "code": ("27位码", "27位编码", "27位医保编码", "医保编码"),
    "old_code": ("原27位码", "原27位编码"),
    "old_status": ("原码状态",),
    "change": ("类型", "变更类型"),
    "level_1": ("一级分类",),
    "level_2": ("二级分类",),
    "level_3": ("三级分类",),
    "registration": ("注册备案号", "注册证号", "注册备案证号"),
    "name": ("单件产品名称", "产品名称"),
    "generic": ("医保通用名",),
}
"""Ours, and what releases call them; the first that is there counts."""
CHANGES: Final = {"新增": "new", "保留": "kept", "变更": "changed", "映射": "mapped", "停用": "disabled"}
_ENDED: Final = "停用"
_KEPT: Final = "保留"
_ACTIVE, _DISABLED, _MOVED = range(3)
_CLASS: Final = re.compile(r"注[准进许](?:字)?\d{4}([123])|第([123])\d{6}号")
_FILED: Final = "械备"


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """A row's records as JSON, none where something is wrong with it. ``change``: new, kept, changed, mapped, disabled."""

    line: int
    change: str
    records: tuple[bytes, ...] = ()
    field: str | None = None
    message: str | None = None


def read_catalogue(table: Table, released_ms: int) -> Iterator[CatalogueRow]:
    """Yields what the rows of a release say, as of ``released_ms``; raises MappingFault where it has no codes."""
    places = {
        field: table.header.index(found)
        for field, names in COLUMNS.items()
        if (found := next((name for name in names if name in table.header), None)) is not None
    }
    if "code" not in places and "old_code" not in places:
        found = ", ".join(table.header)[:300] or "nothing"
        raise MappingFault(f"the release has no column 27位码 or 原27位码; it has {found}")
    for row in table.rows:
        if row.fault is not None:
            yield CatalogueRow(row.line, "", message=row.fault)
        else:
            yield _row(row.line, row.cells, places, released_ms)


def _row(line: int, cells: Sequence[str], places: dict[str, int], released_ms: int) -> CatalogueRow:
    def cell(field: str) -> str:
        at = places.get(field)
        return plain(cells[at]) if at is not None and at < len(cells) else ""

    code, old_code, word, old_status = cell("code"), cell("old_code"), cell("change"), cell("old_status")
    change = CHANGES.get(word) if word else ("disabled" if old_status == _ENDED and not code else "kept")
    if change is None:
        return CatalogueRow(line, "", field="类型", message=f"{word[:40]!r} is none of {'、'.join(CHANGES)}")
    if not code and not old_code:
        return CatalogueRow(line, "", field="27位码", message="neither a code nor an old one")
    if change == "disabled" and code and not old_code:
        code, old_code = "", code
    records = []
    if code:
        records.append(_active(code, cell, released_ms))
    if old_code and old_code != code and (not code or _has_ended(change, old_status)):
        retired = {"type": "item", "code": old_code, "at": released_ms, "status": "disabled"}
        retired |= {"moved_to": code, "seq": _MOVED} if code else {"seq": _DISABLED}
        records.append(retired)
    return CatalogueRow(line, change, tuple(orjson.dumps(record) for record in records))


def _has_ended(change: str, old_status: str) -> bool:
    return old_status == _ENDED or (old_status != _KEPT and change in {"changed", "mapped", "disabled"})


def _active(code: str, cell: Any, released_ms: int) -> dict[str, Any]:
    record: dict[str, Any] = {"type": "item", "code": code, "at": released_ms, "seq": _ACTIVE}
    if name := _cut(cell("name") or cell("generic")):
        record["name"] = name
    if category := _cut("/".join(filter(None, map(cell, ("level_1", "level_2", "level_3"))))):
        record["category"] = category
    if device_class := class_of(cell("registration")):
        record["device_class"] = device_class
    return record


def class_of(registration: str) -> int | None:
    """Returns the class of a device, 1 to 3, which its registration's number says; None where it does not.

    ``国械注准2017 3 77 0123``: the digit behind the year. ``国食药监械(准)字2013第 3 770123号``: the first of seven. What is
    only filed (械备) is of class 1.
    """
    bare = registration.replace(" ", "")
    if found := _CLASS.search(bare):
        return int(found[1] or found[2])
    return 1 if _FILED in bare else None


def _cut(text: str) -> str:
    """Returns a text of at most 256 bytes."""
    raw = text.encode()
    return text if len(raw) <= MAX_STRING_BYTES else raw[:MAX_STRING_BYTES].decode(errors="ignore")
