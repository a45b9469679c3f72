"""The fast scanner and the exact parser agree on any bytes (SPEC §2)."""

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config as numba_config

from schemas.batches import Batch
from schemas.codes import murmur2
from schemas.columns import MESSAGE, NOT_JSON, OK, POLICY, RECORD_TYPES, TICK
from schemas.parser import parse_line
from schemas.records import Record, Reject
from schemas.scanner import Scanned, scan
from tests.schemas.lines import AT, CODE, DRUG, FULL, GOOD, SUPPLIER, batch_of, kept, line_of, record_of

COMPILED = not numba_config.DISABLE_JIT


def is_blank(line: bytes) -> bool:
    return not line.strip(b" \t\r")


def check(values: list[bytes]) -> Scanned:
    """Scans messages and compares every line with what the exact parser says."""
    scanned = scan(batch_of(values))
    index = 0
    start_of_message = 0
    for offset, value in enumerate(values):
        start = start_of_message
        for number, line in enumerate(value.split(b"\n")):
            if not is_blank(line):
                row = scanned.records[index]
                assert (row.offset, row.line, row.broker_ts_ms) == (offset, number, AT)
                assert (row.line_start, row.line_end) == (start, start + len(line)), line
                compare(scanned, index, line)
                index += 1
            start += len(line) + 1
        start_of_message += len(value)
    assert len(scanned.records) == index
    return scanned


def compare(scanned: Scanned, index: int, line: bytes) -> None:
    exact = parse_line(line)
    row = scanned.records[index]
    if isinstance(exact, Reject):
        assert row.reason == exact.reason, line
        assert row.type == exact.record_type
        assert scanned.rejects[index] == exact
        return
    assert row.reason == OK, line
    assert record_of(scanned, index) == kept(exact), line
    assert row.hash == (0 if exact.type in (POLICY, TICK) else murmur2(exact.code.encode()))


def test_every_type_agrees() -> None:
    check([line_of(fields) for fields in (*GOOD.values(), *FULL.values())])


def test_the_kernel_takes_every_plain_line_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(line: bytes) -> Record | Reject:
        raise AssertionError(line)

    monkeypatch.setattr("schemas.scanner.parse_line", unexpected)
    for fields in (*GOOD.values(), *FULL.values()):
        if fields["type"] != "policy":
            shuffled = list(fields.items())
            random.Random(len(fields)).shuffle(shuffled)
            for written in (
                json.dumps(dict(shuffled), ensure_ascii=False, indent=1).replace("\n", " \t"),
                line_of(fields).decode(),
            ):
                assert scan(batch_of([written.encode() + b"\r\n"])).records["reason"].tolist() == [OK], written


def test_the_kernel_takes_unread_fields_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.scanner.parse_line", lambda line: pytest.fail(repr(line)))
    more = (
        b',"x":"\\u4e2d\\"\\n","y":1e400,"z":-0.5,"\xe4\xb8\xad":true,"a_very_long_key_indeed":null,"":"","unit":"\\/"}'
    )
    assert scan(batch_of([line_of(GOOD["quote"])[:-1] + more])).records["reason"].tolist() == [OK]


def test_strings_that_had_to_be_decoded_are_behind_the_messages() -> None:
    fields = {**FULL["order"], "id": "A\n", "institution": '省立"医院"', "order_id": "\U0001f600", "contract_id": "é"}
    lines = [json.dumps(fields).encode()] * 3 + [line_of(fields)]
    scanned = check([b"\n".join(lines)])
    assert record_of(scanned, 0) == record_of(scanned, 3)
    assert len(scanned.data) >= sum(map(len, lines))


def test_the_kernel_skips_nested_values_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = b"[" * 31 + b"]" * 31, b'{"a" :\t' * 31 + b"{}" + b" }" * 31, b'[{"a":[{"b":1} , 2]},[ ] ,{ }]'
    lines = [
        line_of(GOOD["quote"])[:-1] + b',"x":' + value + b"}"
        for value in (deep[0], deep[1].replace(b"{}", b"1"), deep[2])
    ]
    lines.append(line_of({**GOOD["quote"], **NESTED, "order_id": [], "policy": {}}))
    monkeypatch.setattr("schemas.scanner.parse_line", lambda line: pytest.fail(repr(line)))
    assert scan(batch_of(lines)).records["reason"].tolist() == [OK] * 4


@pytest.mark.parametrize("depth", [30, 31, 32, 33])
def test_depth(depth: int) -> None:
    for opening, inner, closing in (
        (b"[", b"", b"]"),
        (b"[", b"1", b"]"),
        (b'{"a":', b"1", b"}"),
        (b'[{"a":', b"null", b"}]"),
        (b"[[],", b"[]", b"]"),
    ):
        count = depth // 2 if opening.startswith(b"[{") else depth
        value = opening * count + inner + closing * count
        check([line_of(GOOD["quote"])[:-1] + b',"x":' + value + b"}", value])


@pytest.mark.parametrize(
    "value",
    [
        b"[,]",
        b"[1,]",
        b"[1 2]",
        b"{,}",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b"{1:1}",
        b"[}",
        b"{]",
        b"[1}",
        b'{"a":1]',
        b"[",
        b"{",
        b'{"a":[}',
        b"[[]",
        b"[]]",
        b'["\\ud800"]',
        b"[nul]",
        b'{"a" 1}',
        b'{"a"::1}',
        b"[1e]",
        b'{"a":"\x01"}',
    ],
)
def test_broken_nesting(value: bytes) -> None:
    quote = line_of(GOOD["quote"])[:-1]
    check([quote + b',"x":' + value + b"}", quote + b',"x":[' + value + b"]}", quote + b',"x":' + value])


def test_the_kernel_decodes_escapes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {
        **FULL["order"],
        "id": '\x00\b\f\n\r\t\x1f"\\/A é中\U0001f600\uffff',
        "institution": "省立医院",
        "order_id": "\U0010ffff\U00010000",
    }
    written = json.dumps(fields).replace("/", "\\/").encode()
    upper = written.replace(b"\\ud8", b"\\uD8").replace(b"uffff", b"uFFfF").replace(b'"order",', b'"\\u006frder",')
    exact = parse_line(written)
    assert isinstance(exact, Record)
    monkeypatch.setattr("schemas.scanner.parse_line", lambda line: pytest.fail(repr(line)))
    scanned = scan(batch_of([written, upper]))
    assert record_of(scanned, 0) == record_of(scanned, 1) == kept(exact)


def test_more_decoded_text_than_there_is_room_for() -> None:
    fields = {**GOOD["decision"], "actor": "省" * 80, "alert_id": "市" * 85}
    check([json.dumps(fields).encode()] * 200)
    check([b'{"x":1,"x":1,"x":[]}' * 3, *[json.dumps({**fields, "zz": []}).encode()] * 20])


def test_more_lines_than_expected() -> None:
    scanned = check([b"\n".join([b"1"] * 1000), b"[]\n" * 300])
    assert len(scanned.records) == 1300


def test_nothing() -> None:
    empty = Batch(0, np.zeros(0, np.uint8), np.zeros(0, MESSAGE))
    assert len(scan(empty).records) == 0
    check([b"", b"\n", b" \t\r\n\r", b"", line_of(GOOD["tick"]), b"\n\n"])


def test_a_line_ends_with_its_message() -> None:
    line = line_of(GOOD["quote"])
    for cut in range(len(line)):
        check([line[:cut], line[cut:], line])


@pytest.mark.parametrize("extra", [-1, 0, 1, 2])
def test_size_limit(extra: int) -> None:
    line = line_of(GOOD["quote"])
    spaces = 65_536 - len(line) + extra
    check([line + b" " * spaces, b" " * spaces + line + b"\n" + line, line + b" " * (spaces - 1) + b"\r"])


def test_key_look_alikes() -> None:
    quote = line_of(GOOD["quote"])
    for key in (b"id", b"agreed_quantity", b"pack_size", b"price"):
        for tail in (b"\0", b"\0\0", b" ", b"s", b"\\u0000", b"\x7f", b"\\u0020", b"\xff", b"s" * 20):
            check([quote[:-1] + b',"' + key + tail + b'":"x"}', quote[:-1] + b',"' + tail + key + b'":1}'])


NUMBERS = [
    "0", "-0", "1", "9", "10", "007", "1.", ".5", "1.0", "1.00000", "1.00001", "-1", "+1", "1e0", "1E+2", "1e-4", "12.5e", "1e+",
    "25000000e-4", "99999999999999", "999999999999999", "100000000", "100000000.0000", "100000000.0001", "100000001",
    "0.0001", "0.00010", "0.00001", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1" * 18, "1" * 19, "1" * 20,
    "12345678", "123456789", "1234567890123456", "12345678901234567", "12345678901234.5", "123456789012345.5", "253402300799999",
    "253402300800000", "1000000000", "1000000001", "1000000", "1000001", "8760", "8761", "4", "3", "100000000000000",
    "100000000000000.0001", "1844674407370956", "1844674407370956.0", "922337203685478", "3689348814741911", "18446744073709552", "-1844674407370955", "1000000000000000000", "922337203685477.5807", "0e999999999", "0.0", "00", "-", "--1", "1-1", "0x1", "1_0", "1 2",
    "\u0661", "NaN", "Infinity", "-Infinity", "true", "false", "null", "nul", "tru", "True", '""', '"', "{}", "[]", "[1]", '{"a":1}',
]  # fmt: skip
TIMES = [
    "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.0Z", "2026-01-01T00:00:00.1239+08:00", "2026-01-01T00:00:00", "2026-01-01T00:00:00z",
    "2026-01-01t00:00:00Z", "2026-01-01 00:00:00Z", "2026-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2100-02-29T00:00:00Z",
    "2000-02-29T23:59:59.999-23:59", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-32T00:00:00Z",
    "2026-04-31T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T23:60:00Z", "2026-01-01T23:59:60Z", "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00+23:60", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+0800", "2026-01-01T00:00:00+08", "2026-01-01T00:00Z",
    "1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00+00:01", "1969-12-31T23:59:00-00:01", "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59.999-00:01", "10000-01-01T00:00:00Z", "+2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00." + "1" * 230 + "Z", "2026-01-01T00:00:00." + "1" * 235 + "Z", "2026-01-01T00:00:00." + "1" * 236 + "Z",
    "2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00Z ", " 2026-01-01T00:00:00Z", "２026-01-01T00:00:00Z", "x", "2026-1-1T00:00:00Z",
]  # fmt: skip
DECIMALS = [
    "0", "12", "12.5", "12.", ".5", "", ".", "1.2.3", "+1", "-1", "1e2", " 1", "1 ", "１２", "0012.50", "1.23450000", "1.23451", "0.0000",
    "0.0001", "100000000", "100000000.0001", "100000000000000", "100000000000000.1", "0" * 14 + "1", "0" * 255 + "1", "0" * 256 + "1", "1" * 20,
    "99999999999999.9999", "1,5", "NaN", "\\u0031",
]  # fmt: skip
TEXTS = [
    "",
    "x",
    "é",
    "中" * 85,
    "中" * 86,
    "x" * 64,
    "x" * 65,
    "x" * 256,
    "x" * 257,
    "\x7f\u2028\ufeff",
    "\0",
    CODE,
    "\U0001f600" * 64,
]
CODES = [
    CODE, DRUG, CODE[:-1], CODE + "0", CODE.lower(), "C0910010000000021179000004A", "X" + "A" * 22, "T" + "0" * 22, "Y" + "A" * 22,
    "Za" + "A" * 21, "C" + "０" * 26, "X" + "A" * 26, "C" + "0" * 22,
]  # fmt: skip
PROVINCES = ["320000", "660000", "990000", "32000", "3200000", "320001", "820000", "３20000", " 320000", "00000"]
WORDS = [
    "active", "disabled", "suspended", "withdrawn", "listed", "selected", "filed", "emergency", "hospital", "pharmacy", "institution",
    "consortium", "confirm", "reject", "fund", "Active", "activ", "active ", "retail", *RECORD_TYPES,
]  # fmt: skip


def written_values() -> list[str]:
    texts = [
        *TIMES,
        *DECIMALS,
        *TEXTS,
        *CODES,
        *PROVINCES,
        *WORDS,
        SUPPLIER,
        SUPPLIER[:-1],
        SUPPLIER.lower(),
        SUPPLIER + "A",
    ]
    return [
        *NUMBERS,
        *(json.dumps(text, ensure_ascii=False) for text in texts),
        *(json.dumps(text) for text in texts),
        '"\\ud800"',
    ]


def with_value(fields: dict[str, Any], key: str, written: str) -> bytes:
    rest = {name: value for name, value in fields.items() if name != key}
    return line_of(rest)[:-1] + b',"' + key.encode() + b'":' + written.encode() + b"}"


@pytest.mark.parametrize("name", RECORD_TYPES)
def test_every_field_with_every_kind_of_value(name: str) -> None:
    fields = FULL[name]
    values = written_values()
    values = values if COMPILED else values[:: max(1, len(values) // 20)]
    keys = {*fields, "price", "accepted_at"}
    lines = [with_value(fields, key, written) for key in sorted(keys) for written in values]
    check([b"\n".join(lines)])


NESTED = {"x": {"a": [0.5e300, None, [], {}, [[-0.5]], {"b": {"": "\n"}}], "c": [True, False]}, "y": [], "z": {}}
LINES = st.sampled_from(
    [
        line_of(fields)
        for fields in (*GOOD.values(), *FULL.values(), {**GOOD["quote"], **NESTED}, {**GOOD["tick"], **NESTED})
    ]
)
PIECES = st.sampled_from(
    [
        b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b" ", b"\t", b"\r", b"\n", b"0", b"1", b"-", b".", b"e", b"null", b"true", b"\0",
        b"\x80", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98\x80", b"\xe4\xb8\xad", b'\\u0022',
        b"\\ud800", b"\\ud83d\\ude00", b"\\udc00", b"\\u4e2D", b"\\n", b"\\u0000", b"\\u00e9", b'"at":null,', b'"price":"",', b'"seq":1,', b',"id":"x"', b'"type":"tick",', b"\x1f", b"\x7f",
    ]
)  # fmt: skip


@st.composite
def mutated_lines(draw: st.DrawFn) -> bytes:
    line = bytearray(draw(LINES))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(line)))
        match draw(st.integers(0, 4)):
            case 0:
                line[at:at] = draw(PIECES)
            case 1:
                del line[at : at + draw(st.integers(1, 6))]
            case 2:
                line[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 3:
                del line[at:]
            case _:
                start = draw(st.integers(0, len(line)))
                line[at:at] = line[start : start + draw(st.integers(1, 40))]
    return bytes(line)


@given(lines=st.lists(st.one_of(mutated_lines(), st.binary(max_size=60)), max_size=12), packed=st.booleans())
def test_mutated_lines_agree(lines: list[bytes], packed: bool) -> None:
    check([b"\n".join(lines)] if packed else lines)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS_OF_ALL = sorted({key for fields in FULL.values() for key in fields} | {"x", "中"})


@given(
    st.lists(
        st.tuples(st.sampled_from(list(FULL)), st.dictionaries(st.sampled_from(KEYS_OF_ALL), JSON_VALUES, max_size=4)),
        max_size=6,
    )
)
def test_any_values_agree(changes: list[tuple[str, dict[str, Any]]]) -> None:
    check(
        [
            json.dumps({**FULL[name], **change}, ensure_ascii=bool(len(name) % 2)).encode(errors="surrogatepass")
            for name, change in changes
        ]
    )


@given(st.lists(st.tuples(st.sampled_from(list(FULL)), st.text(max_size=12), st.text(max_size=12)), max_size=6))
def test_any_text_agrees(texts: list[tuple[str, str, str]]) -> None:
    lines = []
    for name, first, second in texts:
        fields = {**FULL[name], "id": first, first: second, "institution": second, "order_id": first or "x"}
        lines.append(line_of(fields) if len(first) % 2 else json.dumps(fields).encode())
    check(lines)


def test_a_hundred_thousand_hostile_lines() -> None:
    count = 100_000 if COMPILED else 300
    chance = random.Random(7)
    good = [line_of(fields) for fields in FULL.values()]
    lines = []
    for _ in range(count):
        line = bytearray(chance.choice(good))
        for _ in range(chance.randrange(3)):
            line[chance.randrange(len(line))] = chance.randrange(256)
        lines.append(bytes(line).replace(b"\n", b" "))
    scanned = scan(batch_of([b"\n".join(lines[start : start + 500]) for start in range(0, count, 500)]))
    assert len(scanned.records) == count
    for index in range(0, count, 97):
        compare(scanned, index, lines[index])


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 65_536,
        b'{"a":' * 10_000,
        b'"' + b"\\" * 65_535,
        b'"\\"' * 20_000,
        b'{"type":"quote","price":' + b"9" * 65_000 + b"}",
        b'{"type":"tick","at":' + b"1" * 65_000 + b"}",
        b'{"type":"tick","at":1,"x":"' + b"\\ud83d\\ude00" * 5_000 + b'"}',
        b'{"type":"tick","at":1,"x":"' + b"\\ud83d" * 10_000 + b'"}',
        b"\xf0" * 65_536,
        b'{"a":1,' * 9_000,
        b'{"' + b"\xe4\xb8\xad" * 20_000 + b'":1}',
    ],
)
def test_hostile_lines_cost_no_more_than_their_length(line: bytes) -> None:
    scanned = check([line, line[:-1]])
    assert len(scanned.records) == 2


def test_not_json_wherever_it_stands() -> None:
    for value in ('"\\ud800"', "NaN", "[" * 32 + "]" * 32, '{"a":"\\udfff\\ud800"}', '"\x01"'):
        line = line_of(GOOD["quote"])[:-1] + f',"x":{value},"x":1}}'.encode()
        assert check([line]).records["reason"].tolist() == [NOT_JSON]
