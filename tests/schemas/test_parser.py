"""Every dead-letter reason that a line alone can have, and which comes first (SPEC §2)."""

import json
from itertools import combinations
from typing import Any

import pytest

from config.provinces import PROVINCE_CODES, PROVINCE_INDEX
from schemas.columns import (
    CONFIRM,
    DELIVERY,
    FILED,
    ITEM_DISABLED,
    REASONS,
    RECORD_TYPES,
    SUSPENDED,
)
from schemas.parser import Record, Reject, parse_line
from schemas.records import NO_TYPE
from tests.schemas.lines import AT, CODE, DRUG, FULL, GOOD, SUPPLIER, line_of


def reason_of(line: bytes) -> str:
    parsed = parse_line(line)
    return "ok" if isinstance(parsed, Record) else REASONS[parsed.reason]


def record(fields: dict[str, Any]) -> Record:
    parsed = parse_line(line_of(fields))
    assert isinstance(parsed, Record), parsed
    return parsed


def reject(fields: dict[str, Any]) -> Reject:
    parsed = parse_line(line_of(fields))
    assert isinstance(parsed, Reject), parsed
    return parsed


def quote(written: str = "", **changes: Any) -> bytes:
    """Returns a quote's line with other values, and with members as they are written."""
    line = line_of({**GOOD["quote"], **changes})
    return line[:-1] + f",{written}}}".encode() if written else line


@pytest.mark.parametrize("fields", [*GOOD.values(), *FULL.values()])
def test_good_lines(fields: dict[str, Any]) -> None:
    assert record(fields).type == RECORD_TYPES.index(fields["type"])


def test_defaults() -> None:
    plain = record(GOOD["quote"])
    assert (plain.pack_size, plain.kind, plain.status, plain.unit, plain.seq, plain.id) == (1, 0, 0, "piece", 0, None)
    assert (plain.price_e4, plain.per_piece_e4, plain.effective_ms, plain.valid_until_ms) == (
        125_000,
        125_000,
        None,
        None,
    )
    assert record(GOOD["contract"]).delivery_hours == 72
    assert record(GOOD["delivery"]).accepted_ms == AT
    assert record(GOOD["order"]).channel == 0
    assert record(GOOD["payment"]).payer == 0
    item = record(GOOD["item"])
    assert (item.status, item.special_drug, item.device_class, item.province) == (0, False, None, None)
    assert record(GOOD["tick"]).code == ""


def test_values() -> None:
    full = record(FULL["quote"])
    assert full.province == PROVINCE_INDEX["320000"]
    assert (full.id, full.seq, full.unit, full.pack_size) == ("记录-1", 2**63 - 1, "box", 7)
    assert (full.kind, full.status, full.supplier) == (FILED, SUSPENDED, SUPPLIER)
    assert full.per_piece_e4 == 17_857  # 12.50 / 7 = 1.785714…
    assert (full.effective_ms, full.valid_until_ms) == (1_767_600_001_123, 253_402_271_999_999)
    item = record(FULL["item"])
    assert (item.status, item.device_class, item.moved_to, item.special_drug) == (ITEM_DISABLED, 3, DRUG, True)
    assert (item.name, item.category) == ("支架 A", "03")
    decision = record(FULL["decision"])
    assert (decision.action, decision.actor, decision.note) == (CONFIRM, "op-7", "checked")
    assert record(FULL["payment"]).paid_total_e4 == 10**18
    policy = record(FULL["policy"]).policy
    assert policy is not None
    assert policy.guard_bp == 4_000


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"x" * 65_536, "not_json"),
        (b"x" * 65_537, "too_large"),
        (b" " * 65_536 + b"1", "too_large"),
        (b"{not json", "not_json"),
        (b"{}{}", "not_json"),
        (b"{} x", "not_json"),
        (b"\x0b{}", "not_json"),
        (b"\xc2\xa0{}", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b" \xef\xbb\xbf{}", "not_json"),
        (b"\xff", "not_json"),
        (b"{'a':1}", "not_json"),
        (b'{"a":1,}', "not_json"),
        (b'{"a":01}', "not_json"),
        (b'{"a":+1}', "not_json"),
        (b'{"a":.5}', "not_json"),
        (b'{"a":1.}', "not_json"),
        (b'{"a":1e}', "not_json"),
        (b'{"a":0x1}', "not_json"),
        (b'{"a":NaN}', "not_json"),
        (b'{"a":-Infinity}', "not_json"),
        (b'{"a":"\t"}', "not_json"),
        (b'{"a":"\x00"}', "not_json"),
        (b'{"a":"\\x"}', "not_json"),
        (b'{"a":"\\u12"}', "not_json"),
        (b'{"a":"\\u 123"}', "not_json"),
        (b'{"a":"\\u+123"}', "not_json"),
        ('{"a":"\\u\u0661\u0661\u0661\u0661"}'.encode(), "not_json"),
        ('{"a":\u0661}'.encode(), "not_json"),
        (b'{"a":"\\ud800"}', "not_json"),
        (b'{"a":"\\udc00\\ud800"}', "not_json"),
        (b'{"a":"\\ud800\\ud800\\udc00"}', "not_json"),
        (b'{"a":"\\ud800x\\udc00"}', "not_json"),
        (b'{"\\ud800":1}', "not_json"),
        (b'{"a":"\\ud800","a":1}', "not_json"),
        (b'{"a":["\\\\\\udfff"]}', "not_json"),
        (b'{"a":"\xed\xa0\x80"}', "not_json"),
        (b'{"a":"\xc0\xaf"}', "not_json"),
        (b"[" * 33 + b"]" * 33, "not_json"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "not_json"),
        (b"[" * 32 + b"]" * 32, "not_object"),
        (b'{"a":"' + b"[" * 40 + b'"}', "missing_field"),
        (b'{"a":"\\"' + b"[" * 40 + b'"}', "missing_field"),
        (b'{"a":[' + b"[]," * 40 + b"1]}", "missing_field"),
        (b'{"a":' * 32 + b"1" + b"}" * 32, "missing_field"),
        (b"[1,2]", "not_object"),
        (b"null", "not_object"),
        (b'"quote"', "not_object"),
        (b" 1e400 ", "not_object"),
        (b"9" * 10_000, "not_object"),
        (b"{}", "missing_field"),
        (b'{"type":null}', "missing_field"),
        (b'{"type":""}', "missing_field"),
        (b'{"type":5}', "bad_type"),
        (b'{"type":["quote"]}', "bad_type"),
        (b'{"type":false}', "bad_type"),
        (b'{"type":"quotation"}', "unknown_type"),
        (b'{"type":"Quote"}', "unknown_type"),
        (b'{"type":"quote "}', "unknown_type"),
        (b'{"type":"' + b"x" * 300 + b'"}', "unknown_type"),
        (b'{"type":"tick"}', "missing_field"),
        (b'{"type":5,"type":"tick","at":0}', "ok"),
        (b'{"type":"tick","at":0,"type":5}', "bad_type"),
        (b'{"type":"\\u0074ick","at":-0}', "ok"),
        (b'{"type":"tick","at":0,"x":1e400,"y":' + b"9" * 10_000 + b',"z":"\\ud83d\\ude00"}', "ok"),
        (b'{"type":"tick","at":0,"x":"\\\\ud800"}', "ok"),
        (b'{"type":"tick","at":0,"x":"\xef\xbb\xbf"}', "ok"),
        (b'\t {"type" :\r"tick" , "at": 0 } \r', "ok"),
    ],
)
def test_json_and_type(line: bytes, reason: str) -> None:
    assert reason_of(line) == reason


BAD: dict[str, list[tuple[str, Any]]] = {
    "missing_field": [("at", None), ("at", ""), ("code", None), ("province", ""), ("supplier", None), ("price", None), ("price", "")],
    "bad_type": [
        ("at", 1.5), ("at", 1e3), ("at", True), ("at", []), ("at", "2" * 257),
        ("seq", -1), ("seq", 2**63), ("seq", 1.0), ("seq", "1"), ("seq", False), ("seq", {}),
        ("id", 7), ("id", "x" * 65), ("id", "中" * 22), ("id", []),
        ("code", 5), ("code", "C" * 257), ("code", {}), ("province", 320000), ("province", "3" * 257),
        ("price", True), ("price", []), ("price", "1" * 257), ("unit", 1), ("unit", "x" * 257), ("unit", "中" * 86),
        ("pack_size", 0), ("pack_size", 1_000_001), ("pack_size", 1.0), ("pack_size", "2"), ("pack_size", -1), ("pack_size", 10**4000),
        ("kind", "retail"), ("kind", 1), ("kind", "Listed"), ("status", "disabled"), ("status", []), ("status", {}),
        ("supplier", SUPPLIER[:-1]), ("supplier", SUPPLIER + "0"), ("supplier", SUPPLIER.lower()), ("supplier", 9), ("supplier", SUPPLIER[:-1] + "é"),
        ("effective_at", 1.5), ("valid_until", False),
    ],
    "bad_code": [("code", "C1"), ("code", CODE.lower()), ("code", CODE + "\n"), ("code", "Y" + DRUG[1:]), ("code", DRUG.lower()), ("code", "C" + "１" * 26)],
    "bad_province": [("province", "990000"), ("province", "32"), ("province", "320100"), ("province", "江苏"), ("province", "320000 ")],
    "bad_money": [
        ("price", 0), ("price", "0"), ("price", "0.0000"), ("price", -1), ("price", "-1"), ("price", "+1"), ("price", "1e2"), ("price", "1."),
        ("price", ".5"), ("price", " 1"), ("price", "１"), ("price", "1.00001"), ("price", 0.00001), ("price", 100_000_000.0001),
        ("price", "100000000.0001"), ("price", 10**30), ("price", "9" * 256), ("price", "NaN"), ("price", "1,5"), ("price", "1_0"),
    ],
    "bad_time": [
        ("at", -1), ("at", 253_402_300_800_000), ("at", 10**40), ("at", "2026-01-01"), ("at", "2026-01-01T00:00:00"), ("at", "1767225600000"),
        ("effective_at", "x"), ("valid_until", "2026-02-30T00:00:00Z"), ("valid_until", -5),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "field", "value"), [(reason, *case) for reason, cases in BAD.items() for case in cases]
)
def test_reason_of_each_bad_value(reason: str, field: str, value: Any) -> None:
    found = reject({**GOOD["quote"], field: value})
    assert (REASONS[found.reason], found.field) == (reason, field)
    assert found.message.startswith(field)
    assert RECORD_TYPES[found.record_type] == "quote"


@pytest.mark.parametrize(("first", "second"), list(combinations(BAD, 2)))
def test_the_first_reason_counts(first: str, second: str) -> None:
    for field, value in BAD[first]:
        for other, other_value in BAD[second]:
            if field != other and (field, other) != ("price", "status"):  # then it need not be there
                fields = {**GOOD["quote"], other: other_value, field: value}
                assert REASONS[reject(fields).reason] == first
                assert REASONS[reject(dict(reversed(fields.items()))).reason] == first


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("item", {"status": "suspended"}, "bad_type"),
        ("item", {"device_class": 4}, "bad_type"),
        ("item", {"device_class": 0}, "bad_type"),
        ("item", {"device_class": "3"}, "bad_type"),
        ("item", {"special_drug": 1}, "bad_type"),
        ("item", {"special_drug": "true"}, "bad_type"),
        ("item", {"moved_to": "C1"}, "bad_code"),
        ("item", {"moved_to": 1}, "bad_type"),
        ("item", {"name": "x" * 257}, "bad_type"),
        ("item", {"category": ["03"]}, "bad_type"),
        ("item", {"province": "990000", "price": [], "supplier": 1}, "ok"),
        ("ceiling", {"price": ""}, "ok"),
        ("ceiling", {"price": 0}, "bad_money"),
        ("quote", {"price": None, "status": "withdrawn"}, "ok"),
        ("quote", {"price": None, "status": ""}, "missing_field"),
        ("quote", {"price": None, "status": "activ"}, "bad_type"),
        ("quote", {"price": "0", "status": "withdrawn"}, "bad_money"),
        ("quote", {"price": "0.0001", "pack_size": 2}, "ok"),
        ("quote", {"price": "0.0001", "pack_size": 3}, "bad_money"),
        ("quote", {"price": "0.0001", "pack_size": 3, "at": "x"}, "bad_money"),
        ("quote", {"price": "0.0001", "pack_size": 0}, "bad_type"),
        ("quote", {"price": 100_000_000}, "ok"),
        ("contract", {"agreed_quantity": 0}, "bad_type"),
        ("contract", {"agreed_quantity": 10**9}, "ok"),
        ("contract", {"agreed_quantity": 10**9 + 1}, "bad_type"),
        ("contract", {"delivery_hours": 0}, "bad_type"),
        ("contract", {"delivery_hours": 8761}, "bad_type"),
        ("contract", {"ends_at": AT}, "bad_time"),
        ("contract", {"ends_at": AT + 1}, "ok"),
        ("contract", {"ends_at": AT, "price": 0}, "bad_money"),
        ("contract", {"starts_at": "x", "ends_at": AT}, "bad_time"),
        ("contract", {"contract_id": ""}, "missing_field"),
        ("order", {"quantity": 0}, "ok"),
        ("order", {"quantity": -1}, "bad_type"),
        ("order", {"quantity": 10**9 + 1}, "bad_type"),
        ("order", {"price": None}, "missing_field"),
        ("order", {"price": "1", "pack_size": 10**6}, "bad_money"),
        ("order", {"channel": "web"}, "bad_type"),
        ("order", {"bargained_by": "hospital"}, "bad_type"),
        ("order", {"institution": None}, "missing_field"),
        ("order", {"order_id": "中" * 86}, "bad_type"),
        ("order", {"order_id": 5}, "bad_type"),
        ("delivery", {"accepted_at": AT}, "ok"),
        ("delivery", {"accepted_at": AT + 1}, "bad_time"),
        ("delivery", {"accepted_at": AT + 1, "at": "x"}, "bad_time"),
        ("delivery", {"quantity": "5"}, "bad_type"),
        ("payment", {"paid_total": 0}, "ok"),
        ("payment", {"paid_total": "100000000000000"}, "ok"),
        ("payment", {"paid_total": "100000000000000.0001"}, "bad_money"),
        ("payment", {"payer": "bank"}, "bad_type"),
        ("decision", {"action": "maybe"}, "bad_type"),
        ("decision", {"actor": None}, "missing_field"),
        ("decision", {"note": 1}, "bad_type"),
        ("decision", {"accepted_at": "0", "price": -1}, "ok"),
        ("policy", {"policy": None}, "missing_field"),
        ("policy", {"policy": []}, "bad_type"),
        ("policy", {"policy": {"k": 1}}, "bad_type"),
        ("policy", {"policy": {"k": 1}, "at": "x"}, "bad_type"),
        ("policy", {"code": 1, "province": 2}, "ok"),
        ("tick", {"seq": -1}, "bad_type"),
        ("tick", {"code": 1, "price": []}, "ok"),
    ],
)
def test_fields_of_each_type(name: str, changes: dict[str, Any], reason: str) -> None:
    assert reason_of(line_of({**GOOD[name], **changes})) == reason


@pytest.mark.parametrize("name", RECORD_TYPES)
def test_required_fields(name: str) -> None:
    for field in GOOD[name]:
        for rest in ({key: value for key, value in GOOD[name].items() if key != field}, {**GOOD[name], field: None}):
            found = reject(rest)
            assert (REASONS[found.reason], found.field) == ("missing_field", field)
            assert found.record_type == (NO_TYPE if field == "type" else RECORD_TYPES.index(name))


@pytest.mark.parametrize("name", RECORD_TYPES)
def test_null_and_empty_are_absent(name: str) -> None:
    optional = [field for field in FULL[name] if field not in GOOD[name]]
    plain = record(GOOD[name])
    assert record({**FULL[name], **GOOD[name], **dict.fromkeys(optional)}) == plain
    assert record({**FULL[name], **GOOD[name], **dict.fromkeys(optional, "")}) == plain


@pytest.mark.parametrize(
    ("written", "price_e4"),
    [
        ('"price":25000000e-4', 25_000_000),
        ('"price":1.5e3', 15_000_000),
        ('"price":1E+2', 1_000_000),
        ('"price":0.00001e1', 1),
        ('"price":' + "0." + "0" * 4000 + "1e4000", 1_000),
        ('"price":1' + "0" * 60_000 + "e-60000", 10_000),
        ('"price":12.5' + "0" * 60_000, 125_000),
        ('"price":"000012.50000000"', 125_000),
        ('"price":100000000.0000', 10**12),
        ('"price":1,"price":2', 20_000),
        ('"price":{"a":[1e400]},"price":2', 20_000),
        ('"\\u0070rice":3', 30_000),
    ],
)
def test_money_as_written(written: str, price_e4: int) -> None:
    parsed = parse_line(quote(written))
    assert isinstance(parsed, Record)
    assert parsed.price_e4 == price_e4


@pytest.mark.parametrize(
    "written",
    [
        '"price":0e999999999',
        '"price":1e999999999',
        '"price":1e-999999999',
        '"price":1e99999999999999999999',
        '"price":0.0e-99999999999999999999',
        '"price":-0',
        '"price":-1e-9',
        '"price":1' + "0" * 60_000,
        '"price":12.5' + "0" * 60_000 + "1",
    ],
)
def test_money_out_of_range(written: str) -> None:
    assert reason_of(quote(written)) == "bad_money"


def test_nothing_is_an_amount_paid_however_written() -> None:
    for written in ("0", "-0", "0.0000000", "0e999999999", "-0.0e-5", '"0"', '"000.0"'):
        line = line_of(GOOD["payment"])[:-1] + f',"paid_total":{written}}}'.encode()
        parsed = parse_line(line)
        assert isinstance(parsed, Record)
        assert parsed.paid_total_e4 == 0


@pytest.mark.parametrize(
    "written", ['"seq":1e0', '"seq":1.0', '"seq":1E2', '"pack_size":1e0', '"at":1767225600000.0', '"at":1e12']
)
def test_integers_have_no_fraction_or_exponent(written: str) -> None:
    assert reason_of(quote(written)) == "bad_type"


def test_minus_zero_is_an_integer() -> None:
    assert reason_of(quote('"seq":-0,"at":-0')) == "ok"
    assert reason_of(quote('"pack_size":-0')) == "bad_type"


def test_all_provinces() -> None:
    assert [record({**GOOD["ceiling"], "province": code}).province for code in PROVINCE_CODES] == list(range(32))


def test_every_reject_says_what_and_where() -> None:
    assert parse_line(b"[]") == Reject(3, None, "the line is not a JSON object")
    found = reject({**GOOD["delivery"], "accepted_at": AT + 1})
    assert (found.field, found.record_type) == ("accepted_at", DELIVERY)
    assert json.dumps(found.message)
