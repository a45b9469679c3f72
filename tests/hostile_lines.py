"""Hostile ways to write records down: the same value in many spellings, and lines that are no records at all."""

import json
import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from tests.naive_records import LATEST_MS, PROVINCES

Fields = dict[str, str]
"""A record's fields as raw JSON, in writing order."""

NASTY: Final = ("合同:3", "K😀", "K:", "k", "K\ue000", '\x01\x1f&<\x7f\u2028"\\\t/', "K" * 64, "é")
ZONES: Final = (None, 0, 480, -300, 345, -1439, 1439)
BAD_MONEY: Final = [
    '"-5"',
    "-5",
    "0",
    '"0"',
    '"0.0000"',
    '"1."',
    '".5"',
    '"+1"',
    '"1e2"',
    '"1.00001"',
    "1.00001",
    "1e-5",
    "100000000.0001",
    '"100000001"',
    "1e9",
    "0e999999999",
    "1e999999999",
    "1e-999999999",
    '"１"',
    '"',
    '1"',
    '"1',
    '"',
    '"1,5"',
    '"0x1"',
    '""',
    '"NaN"',
    "-0",
    "-0.0",
]
ODD_MONEY: Final = [
    "100000000",
    '"100000000.0000"',
    "0.0001",
    '"0.00010000"',
    "1e-4",
    "10000e-4",
    "1E+2",
    '"007"',
    '"1.50000000"',
    "1.0e0",
    "100e6",
]
BAD_TIMES: Final = [
    '"x"',
    "-1",
    "253402300800000",
    '"2026-01-05T08:00:00"',
    '"2026-01-05',
    '08:00:00Z"',
    '"2026-01-05t08:00:00Z"',
    '"2026-01-05T08:00:00z"',
    '"2026-01-05T24:00:00Z"',
    '"2026-01-05T23:59:60Z"',
    '"2026-02-29T00:00:00Z"',
    '"2026-01-05T08:00:00.Z"',
    '"2026-01-05T08:00:00+0800"',
    '"2026-01-05T08:00:00+24:00"',
    '"1969-12-31T23:59:59.999Z"',
    '"9999-12-31T23:59:59-00:01"',
    '"26-01-05T08:00:00Z"',
    "1e12",
    "1767600000000.0",
    "true",
    '"0000-01-01T00:00:00Z"',
    '"2026-01-05T08:00:00+08:60"',
    "99999999999999999999999",
    '"2026-01-05T08:60:00Z"',
]
BAD_INTEGERS: Final = [
    "1.0",
    "1e2",
    '"1"',
    "-1",
    "9223372036854775808",
    "99999999999999999999999",
    "true",
    "[]",
    "1000001",
    "1000000001",
]
WRONG: Final = ("5", "true", "[]", "{}", '"x"', '"' + "x" * 257 + '"', '"' + "é" * 128 + '"', "1.5", '"0"', "-0")
ABSENT: Final = ("null", '""')
UNKNOWN: Final = (
    '{"a": [1e400, null, "\u2028\\"\\\\\\n"]}',
    "[" * 31 + "]" * 31,
    '"' + "x" * 300 + '"',
    '"\\ud83d\\ude00 \\u0000"',
    "-0.0e-0",
    '"2026-13-01"',
    '"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{{{{"',
)
BAD_UNKNOWN: Final = (
    '"\\ud800"',
    "[" * 32 + "]" * 32,
    "NaN",
    "-Infinity",
    "01",
    "1.",
    "'x'",
    '"\t"',
    '"\\x"',
    '{"\\udc00": 1}',
    "tru",
    '[{"a": ["\\udfff"]}]',
    "1 2",
)
NO_RECORDS: Final = (
    b"[1]",
    b"[]",
    b"1",
    b'"quote"',
    b"null",
    b"{}",
    b"{not json",
    b'{"type": "quote",',
    b'{"type":"tick"}',
    b'{"type":null,"at":1}',
    b'{"type":"","at":1}',
    b'{"type":[],"at":1}',
    b'{"type":"Tick","at":1}',
    b'{"type":"tick","at":1}{"type":"tick","at":1}',
    b'\xef\xbb\xbf{"type":"tick","at":1}',
    b'{"type":"tick","at":1,"x":"\xff"}',
    b'{"type":"tick","at":1,"x":"\xed\xa0\x80"}',
    b'{"type":"tick","at":1,}',
    b'{"type":"tick","at":1,"x":1' + b"0" * 60_000 + b"}",
    b'{"type":"tick","at":1' + b"0" * 60_000 + b"}",
    b"\x00",
    b"\x0b",
    b"[" * 60_000,
)


def json_text(rng: random.Random, text: str) -> str:
    """Returns a JSON string in one of its spellings."""
    way = rng.random()
    if way < 0.9:
        return json.dumps(text, ensure_ascii=False)
    if way < 0.95:
        return json.dumps(text)
    return '"' + "".join(f"\\u{ord(char):04X}" if ord(char) < 0x10000 else char for char in text) + '"'


def money(rng: random.Random, price_e4: int) -> str:
    """Returns a price in one of its spellings."""
    way = rng.randrange(8)
    plain = f"{price_e4 // 10_000}.{price_e4 % 10_000:04d}"
    if way == 0:
        return f"{price_e4}e-4"
    if way == 1:
        return f'"{plain}00"'
    if way == 2:
        return plain
    if way == 3:
        short = plain.rstrip("0").rstrip(".")
        return rng.choice((short, f'"{short}"'))
    if way == 4:
        return f"{price_e4 * 10}E-05"
    return f'"{plain}"'


def time(rng: random.Random, ms: int) -> str:
    """Returns a time in one of its spellings; digits past milliseconds are to be dropped."""
    zone = rng.choice(ZONES)
    local = ms + (zone or 0) * 60_000
    if rng.random() < 0.6 or not 0 <= ms <= LATEST_MS or not 0 <= local <= LATEST_MS:
        return str(ms)
    tz = timezone(timedelta(minutes=zone or 0))
    moment = datetime.fromtimestamp(ms // 1_000, UTC).astimezone(tz)
    fraction = f".{ms % 1_000:03d}" + rng.choice(("", "000", "9", "999999999999"))
    if ms % 1_000 == 0 and rng.random() < 0.5:
        fraction = rng.choice(("", ".0", ".0009"))
    offset = moment.strftime("%z")
    suffix = rng.choice(("Z", "+00:00", "-00:00")) if not zone else f"{offset[:3]}:{offset[3:]}"
    return f'"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{suffix}"'


def write(rng: random.Random, fields: Fields) -> bytes:
    """Returns a record's line: any order of fields behind the type's, other spaces, unknown and doubled keys."""
    pairs = list(fields.items())
    if rng.random() < 0.2:
        rng.shuffle(pairs)
    if rng.random() < 0.06:
        pairs.append((rng.choice(("x", "zz", "x_unknown", "Price", "note2")), rng.choice(UNKNOWN)))
    if rng.random() < 0.03:
        name, _ = rng.choice(pairs)
        pairs.insert(0, (name, rng.choice(WRONG + ABSENT)))  # the last of equal keys counts
    if rng.random() < 0.02:
        pairs.append((rng.choice(("accepted_at", "delivery_hours", "category", "payer", "moved_to")), '"1.00000"'))
    colon, comma = rng.choice(((": ", ", "), (":", ","), (": ", ", "), (" :\t", " , ")))
    return ("{" + comma.join(f'"{name}"{colon}{raw}' for name, raw in pairs) + "}").encode()


def spoil(rng: random.Random, fields: Fields, line: bytes) -> bytes:
    """Returns a line that is (nearly always) a dead letter, made of a record."""
    fields = dict(fields)
    way = rng.randrange(15)
    names = [name for name in fields if name != "type"]
    if way == 0:
        return rng.choice(NO_RECORDS)
    if way == 1:
        return line[: rng.randrange(1, max(len(line), 2))]
    if way == 2:
        fields["x"] = rng.choice(BAD_UNKNOWN)
    elif way == 3:
        del fields[rng.choice(list(fields))]
    elif way == 4:
        fields[rng.choice(names)] = rng.choice(ABSENT)
    elif way == 5:
        fields[rng.choice(names)] = rng.choice(WRONG)
    elif way == 6:
        fields["type"] = rng.choice(
            ('"bid"', "5", "false", "null", '""', '"Quote"', "[]", '"policy"', '"order"', '"' + "t" * 257 + '"')
        )
    elif way == 7:
        fields[rng.choice(("price", "paid_total"))] = rng.choice(BAD_MONEY)
    elif way == 8:
        fields[rng.choice(("at", "at", "effective_at", "valid_until", "ends_at", "accepted_at"))] = rng.choice(
            BAD_TIMES
        )
    elif way == 9:
        fields[rng.choice(("seq", "pack_size", "quantity", "delivery_hours", "device_class"))] = rng.choice(
            BAD_INTEGERS
        )
    elif way == 10:
        fields["code"] = rng.choice(
            ('"C1"', '"c0123"', '"C0910010000000021179000004A"', '"X1234567890123456789012a"', '"C' + "٣" * 26 + '"')
        )
    elif way == 11:
        fields["province"] = rng.choice(('"710000"', '"11"', "110000", '"990000"', '"110000 "'))
    elif way == 12:
        fields.pop("price", None)
        fields["status"] = rng.choice(('"Active"', "5", "null", '""', '"suspended"', '"x"'))
    elif way == 13:
        size = rng.choice((65_536, 65_537))
        return line[:-1] + b',"zz":"' + b"x" * (size - len(line) - 8) + b'"}'
    else:
        for name in rng.sample(sorted(fields), min(3, len(fields))):
            fields[name] = rng.choice((*WRONG, *ABSENT, *BAD_MONEY, *BAD_TIMES))
    return write(rng, fields)


KINDS: Final = ("listed", "selected", "filed", "emergency")


def policy(rng: random.Random, codes: list[str]) -> dict[str, Any]:
    """Returns a valid policy as an object."""
    given: dict[str, Any] = {}
    for name, values in {
        "window_days": (0, 1, 2, 30, 365, 1_000_000, None),
        "guard_bp": (0, 4_000, 5_000, 9_500, 10_000, ""),
        "guard_min_sources": (0, 1, 2, 3, None),
    }.items():
        if rng.random() < 0.3:
            given[name] = rng.choice(values)
    if rng.random() < 0.4:
        given["supply"] = {
            name: rng.choice(values)
            for name, values in {
                "window_days": (0, 1, 7, 30, None),
                "fill_yellow_bp": (0, 9_000, 10_000, 1_000_000),
                "fill_red_bp": (0, 5_000, 8_000, 10_000),
                "late_yellow_hours": (0, 1, 12, 48, ""),
                "late_red_hours": (0, 1, 24, 72),
            }.items()
            if rng.random() < 0.5
        }
    if rng.random() < 0.5:
        given["default"] = _province_rules(rng, codes, 0.25)
        if rng.random() < 0.3:
            given["default"]["bands"] = {"blue": 1, "yellow": rng.choice((2, 300)), "red": rng.choice((3, 400))}
    if rng.random() < 0.7:
        provinces = rng.sample(PROVINCES, rng.choice((0, 1, 4, 12, 32)))
        given["provinces"] = {
            code: None if rng.random() < 0.02 else _province_rules(rng, codes, 0.3) for code in provinces
        }
    if rng.random() < 0.03:
        given[rng.choice(("x", "guard", "window_days"))] = rng.choice((None, ""))  # left out, and known or not
    return given


def _province_rules(rng: random.Random, codes: list[str], share: float) -> dict[str, object]:
    some_kinds = rng.sample(KINDS, rng.randrange(5))
    choices: dict[str, object] = {
        "scope": rng.choice((None, "", rng.sample(PROVINCES, rng.choice((0, 1, 5, 20))) * rng.choice((1, 2)))),
        "kinds": some_kinds * rng.choice((1, 2)),
        "own_kinds": rng.choice((rng.sample(KINDS, rng.randrange(5)), list(KINDS), None)),
        "aggregate": rng.choice(("lowest", "mean_of_lowest", "median", None)),
        "k": rng.choice((1, 2, 3, 5, 32, None)),
        "lookback": rng.choice(("current", "rolling", "rolling", "")),
        "min_sources": rng.choice((0, 1, 2, 3, None)),
        "bands": rng.choice(
            (
                {"blue": 100},
                {"yellow": 1_000, "red": 1_500},
                {"blue": 0, "yellow": 1, "red": 2},
                {"blue": 500, "yellow": 300, "red": 100},
                {"red": 0},
                {"yellow": 0},
                {"blue": 1_000_000, "yellow": None},
                {},
                None,
            )
        ),
        "adjust_within_days": rng.choice((0, 0, 1, 5, 10, 30, 1_000_000, None)),
        "high_value_only": rng.choice((True, False, None)),
        "exclude_prefixes": rng.choice(([], ["C"], [rng.choice(codes)[:2]], [rng.choice(codes), "Z"], None)),
    }
    if rng.random() < 0.2:  # fewer prices make it than it asks for
        return {"aggregate": rng.choice(("mean_of_lowest", "median")), "k": 1, "min_sources": 2, "kinds": list(KINDS)}
    return {name: value for name, value in choices.items() if rng.random() < share}


def bad_policy(rng: random.Random, given: dict[str, object]) -> object:
    """Returns something that is no policy."""
    return rng.choice(
        (
            [],
            "x",
            5,
            True,
            {**given, "guard_bp": 10_001},
            {**given, "window_days": -1},
            {**given, "window_days": 1_000_001},
            {**given, "window_days": True},
            {**given, "window_days": "30"},
            {**given, "default": {"exlude_prefixes": []}},
            {**given, "default": {"k": 0}},
            {**given, "default": {"exclude_prefixes": [""]}},
            {**given, "default": {"exclude_prefixes": ["c"]}},
            {**given, "default": {"kinds": ["retail"]}},
            {**given, "default": {"bands": {"green": 1}}},
            {**given, "default": {"high_value_only": 1}},
            {**given, "default": []},
            {**given, "provinces": {"710000": {}}},
            {**given, "provinces": {"110000": {"scope": ["710000"]}}},
            {**given, "provinces": []},
            {**given, "supply": {"late_red_hours": 1.5}},
            {**given, "guard": 1},
        )
    )
