"""The JSON Schemas say what the parser does, as far as a schema can; ``python -m tests.schemas.test_json_schemas`` writes them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import RECORD_TYPES
from schemas.json_schemas import files, policy_schema, record_schema
from schemas.parser import Record, parse_line
from schemas.policy import Policy, load_policy
from tests.schemas.lines import AT, CODE, DRUG, FULL, GOOD, SUPPLIER, line_of

FOLDER = Path(__file__).parent.parent.parent / "docs" / "schemas"


def validator_of(index: int) -> jsonschema.Draft202012Validator:
    schema = record_schema(index)
    if "policy" in schema["properties"]:
        schema["properties"]["policy"] = {**policy_schema(), "$id": "urn:policy"}
    return jsonschema.Draft202012Validator(schema)


VALIDATORS = {word: validator_of(index) for index, word in enumerate(RECORD_TYPES)}
POLICY = jsonschema.Draft202012Validator(policy_schema())

VALUES: list[Any] = [
    None, "", "x", "x" * 256, "x" * 257, "x" * 64, "x" * 65, 0, 1, 2, 3, 4, -1, 72, 8760, 8761, 10**6, 10**6 + 1, 10**9, 10**9 + 1, AT, AT - 1,
    2**63 - 1, 2**63, 253_402_300_799_999, 253_402_300_800_000, 0.5, 12.5, True, False, [], {}, ["x"], {"a": 1}, CODE, DRUG, CODE[1:], SUPPLIER,
    SUPPLIER[1:], "320000", "990000", "active", "disabled", "suspended", "withdrawn", "listed", "filed", "hospital", "pharmacy", "institution",
    "fund", "consortium", "confirm", "reject", "maybe", "12.50", "12.500000", "12.50001", "0", "0.0000", "-1", "1e3", "12.", ".5", "１", "0012",
    "1234567890", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+08:00", "2026-01-01T00:00:00", "2026-01-01T24:00:00Z", "2026-01-01", 10**14,
    10**8, 10**8 + 1,
]  # fmt: skip


def accepts(line: bytes) -> bool:
    return isinstance(parse_line(line), Record)


@pytest.mark.parametrize("name", RECORD_TYPES)
def test_every_field_with_many_values(name: str) -> None:
    validator = VALIDATORS[name]
    for example in (GOOD[name], FULL[name]):
        fields = {**example, "price": "5000"} if "price" in example else example  # never 0 per piece
        assert validator.is_valid(fields)
        for key in {*FULL[name], "unknown"}:
            for value in VALUES:
                changed = {**fields, key: value}
                if {"ends_at", "accepted_at", "starts_at", "at"} & {key} and name in ("contract", "delivery"):
                    continue  # a schema cannot compare two times
                if key == "paid_total" and value == 10**14:
                    continue
                assert validator.is_valid(changed) == accepts(line_of(changed)), (key, value)
            if key in fields:
                rest = {name: value for name, value in fields.items() if name != key}
                assert validator.is_valid(rest) == accepts(line_of(rest)), key


ANY = st.one_of(st.sampled_from(VALUES), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))


@given(st.sampled_from(RECORD_TYPES), st.data())
def test_valid_records_fit_their_schema(name: str, data: st.DataObject) -> None:
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(FULL[name])), ANY, max_size=3))
    fields = {**FULL[name], **changes, "type": name}
    if accepts(json.dumps(fields).encode()):
        assert VALIDATORS[name].is_valid(fields)


POLICY_VALUES = st.one_of(
    ANY,
    st.lists(st.sampled_from(["listed", "filed", "320000", "110000", "C01", "retail", ""]), max_size=2),
    st.fixed_dictionaries(
        {}, optional={"blue": st.integers(-1, 9), "red": st.integers(0, 9), "green": st.sampled_from([None, 1])}
    ),
)
RULES = st.dictionaries(
    st.sampled_from(
        [
            "scope",
            "kinds",
            "own_kinds",
            "aggregate",
            "k",
            "lookback",
            "min_sources",
            "bands",
            "high_value_only",
            "exclude_prefixes",
            "x",
        ]
    ),
    POLICY_VALUES,
    max_size=3,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "window_days": ANY,
            "guard_bp": ANY,
            "supply": st.one_of(
                ANY, st.dictionaries(st.sampled_from(["window_days", "late_red_hours", "x"]), ANY, max_size=2)
            ),
            "default": st.one_of(ANY, RULES),
            "provinces": st.one_of(ANY, st.dictionaries(st.sampled_from(["320000", "990000"]), RULES, max_size=2)),
            "other": ANY,
        },
    )
)
def test_policies_fit_their_schema_if_they_are_some(given_policy: dict[str, Any]) -> None:
    text = json.dumps(given_policy)
    if any(
        isinstance(each, float) and each == int(each)
        for each in _leaves(given_policy)
        if not isinstance(each, bool) and each not in (float("inf"), float("-inf"))
    ):
        return  # to a schema, 1.0 is an integer
    assert POLICY.is_valid(given_policy) == isinstance(load_policy(text.encode()), Policy)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for member in value.values() for leaf in _leaves(member)]
    if isinstance(value, list):
        return [leaf for member in value for leaf in _leaves(member)]
    return [value]


def test_the_files_are_up_to_date() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")} == files()


def write() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
