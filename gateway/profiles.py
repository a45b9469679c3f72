"""Mapping profiles of price lists: which column is which field of a record.

A profile is TOML or YAML::

type = "quote"                    # default
encoding = "auto"                 # utf-8 (a byte order mark is fine), utf-16, gb18030; auto tells them apart
delimiter = ","                   # or "auto"
header_line = 1                   # lines before it are titles
decimals = "exact"                # or "round": amounts with more than 4 decimals are rounded half up
money_unit = "元"                 # of amounts that name none: 元, 万元, 分
time_offset = "+08:00"            # of times that name none
time_formats = ["%Y-%m-%d"]       # tried in order; also "epoch_s", "epoch_ms" and "excel"; has a default
skip_if = ["合计", "小计"]         # rows whose first filled cell starts so are left out

[constants]                       # fields that every row shares
province = "320000"

[columns]                         # field = column, or columns of which the first filled one counts
code = ["医保编码", "国家编码"]
price = "挂网价"

[migration]                       # columns that only `pricelink migration check` reads
registration = "注册证号"          # with price and account: what makes two rows of a code the same listing
account = "企业账号"              # by default the supplier
volume = "采购量"                  # of several rows of a code the larger volume stays,
listed_at = "挂网时间"             # then the earlier time,
product = "产品编号"               # then the smaller code

[words.kind]                      # a platform's words for ours, by field
"中选" = "selected"
"""

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml

from schemas.columns import RECORD_TYPES

MONEY_FIELDS: Final = frozenset({"price", "paid_total"})
TIME_FIELDS: Final = frozenset({"at", "effective_at", "valid_until", "accepted_at", "starts_at", "ends_at"})
INTEGER_FIELDS: Final = frozenset(
    {"seq", "pack_size", "quantity", "agreed_quantity", "delivery_hours", "device_class"},
)
_TEXT_FIELDS: Final = frozenset(
    {
        "type", "province", "code", "id", "unit", "kind", "status", "supplier", "name", "category", "moved_to",
        "special_drug", "order_id", "institution", "channel", "contract_id", "bargained_by", "delivery_id", "payer",
        "action", "alert_id", "actor", "note",
    }
)  # fmt: skip
FIELDS: Final = MONEY_FIELDS | TIME_FIELDS | INTEGER_FIELDS | _TEXT_FIELDS

MIGRATION_COLUMNS: Final = ("registration", "account", "volume", "listed_at", "product")

MONEY_UNITS: Final = {
    "万元": Decimal(10_000),
    "亿元": Decimal(100_000_000),
    "元": Decimal(1),
    "圆": Decimal(1),
    "角": Decimal("0.1"),
    "分": Decimal("0.01"),
}
"""Yuan in one of each; a word that ends in another comes before it."""

TIME_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d",
    "%Y.%m.%d", "%Y年%m月%d日", "%Y%m%d",
)  # fmt: skip


class MappingFault(Exception):
    """A profile that cannot be used; the text says why, and what would do."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A mapping profile; see the module's text for what each part means."""

    columns: Mapping[str, tuple[str, ...]]
    constants: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    placeholders: Mapping[str, frozenset[str]] = field(default_factory=dict)
    migration: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    type: str = "quote"
    encoding: str = "auto"
    delimiter: str = ","
    header_line: int = 1
    decimals: str = "exact"
    money_unit: str = "元"
    time_offset: timezone = timezone(timedelta(hours=8))
    time_formats: tuple[str, ...] = TIME_FORMATS
    skip_if: tuple[str, ...] = ()


def load_profile(path: Path) -> Profile:
    """Reads a profile from a ``.toml``, ``.yaml`` or ``.yml`` file; raises MappingFault."""
    try:
        text = path.read_text("utf-8-sig")
        given = tomllib.loads(text) if path.suffix.lower() == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise MappingFault(f"cannot read the mapping {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise MappingFault(f"{path} is not {'TOML' if path.suffix.lower() == '.toml' else 'YAML'}: {error}") from error
    try:
        return parse_profile(given)
    except MappingFault as fault:
        raise MappingFault(f"{path}: {fault}") from fault


def parse_profile(given: object) -> Profile:
    """Returns the profile of a parsed TOML or YAML document; raises MappingFault."""
    if not isinstance(given, dict):
        raise MappingFault("a mapping is a table with [columns] in it")
    known = set(Profile.__dataclass_fields__)
    if unknown := sorted(str(key) for key in set(given) - known):
        raise MappingFault(f"unknown setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
    columns = {name: _column_names(name, value) for name, value in _table(given, "columns").items()}
    constants = {name: str(value) for name, value in _table(given, "constants").items()}
    words = {
        name: {plain(str(word)): str(ours) for word, ours in table.items()}
        for name, table in _table(given, "words").items()
        if isinstance(table, dict)
    }
    placeholders = {
        name: frozenset(_as_given(cell) for cell in (value if isinstance(value, list) else [value]))
        for name, value in _table(given, "placeholders").items()
    }
    for name in (*columns, *constants, *words, *placeholders):
        if name not in FIELDS:
            raise MappingFault(f"{name!r} is no field of a record; there are {', '.join(sorted(FIELDS))}")
    migration = {name: _column_names(name, value) for name, value in _table(given, "migration").items()}
    if unfit := set(migration) - set(MIGRATION_COLUMNS):
        raise MappingFault(f"[migration] has no {min(unfit)!r}; there are {', '.join(MIGRATION_COLUMNS)}")
    if not columns:
        raise MappingFault('[columns] is missing; it says which column is which field, such as code = "医保编码"')
    choices = {
        "type": RECORD_TYPES,
        "encoding": ("auto", "utf-8", "utf-16", "gb18030", "gbk"),
        "decimals": ("exact", "round"),
        "money_unit": tuple(MONEY_UNITS),
    }
    texts = {name: str(given[name]) for name in (*choices, "delimiter", "time_offset") if name in given}
    for name, allowed in choices.items():
        if name in texts and texts[name] not in allowed:
            raise MappingFault(f"{name} is {texts[name]!r}; it may be {', '.join(allowed)}")
    header_line = given.get("header_line", 1)
    if type(header_line) is not int or not 1 <= header_line <= 1000:
        raise MappingFault("header_line is the number of the line with the columns' names, from 1")
    if "delimiter" in texts and texts["delimiter"] != "auto" and len(texts["delimiter"]) != 1:
        raise MappingFault('delimiter is one character, or "auto"')
    return Profile(
        columns=columns,
        constants=constants,
        words=words,
        placeholders=placeholders,
        migration=migration,
        type=texts.get("type", "quote"),
        encoding=texts.get("encoding", "auto"),
        delimiter=texts.get("delimiter", ","),
        header_line=header_line,
        decimals=texts.get("decimals", "exact"),
        money_unit=texts.get("money_unit", "元"),
        time_offset=_offset(texts.get("time_offset", "+08:00")),
        time_formats=_texts(given, "time_formats") or TIME_FORMATS,
        skip_if=_texts(given, "skip_if"),
    )


def plain(cell: str) -> str:
    """Returns a cell with full-width characters made ordinary, without the spaces around it."""
    return unicodedata.normalize("NFKC", cell).strip().removeprefix("'")


def _table(given: dict[str, Any], name: str) -> dict[str, Any]:
    table = given.get(name) or {}
    if not isinstance(table, dict):
        raise MappingFault(f"[{name}] is a table")
    return table


def _column_names(name: str, value: object) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    names = tuple(plain(column) for column in given if isinstance(column, str) and column)
    if not names or len(names) != len(given):
        raise MappingFault(f"columns.{name} is a column's name or a list of them")
    return names


def _as_given(cell: object) -> str:
    text = plain(str(cell))
    return text.rstrip("0").rstrip(".") if "." in text else text


def _texts(given: dict[str, Any], name: str) -> tuple[str, ...]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
        raise MappingFault(f"{name} is a list of strings")
    return tuple(value)


def _offset(text: str) -> timezone:
    found = re.fullmatch(r"([+-])(\d\d):(\d\d)", text)
    if not found or int(found[2]) > 23 or int(found[3]) > 59:
        raise MappingFault(f'time_offset is {text!r}; it looks like "+08:00"')
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(offset if found[1] == "+" else -offset)
