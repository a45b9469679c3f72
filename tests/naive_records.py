"""The twin's own reading of lines (SPEC §2): json with hooks, digit strings and plain integers, one fault at a time.

It shares no code with ``schemas``: the two are compared.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from tests.naive_policy import POLICY_FAULT, parse_policy, plain

PROVINCES: Final = [
    "110000",
    "120000",
    "130000",
    "140000",
    "150000",
    "210000",
    "220000",
    "230000",
    "310000",
    "320000",
    "330000",
    "340000",
    "350000",
    "360000",
    "370000",
    "410000",
    "420000",
    "430000",
    "440000",
    "450000",
    "460000",
    "500000",
    "510000",
    "520000",
    "530000",
    "540000",
    "610000",
    "620000",
    "630000",
    "640000",
    "650000",
    "660000",
]
REASONS: Final = [
    "too_large",
    "not_json",
    "not_object",
    "unknown_type",
    "missing_field",
    "bad_type",
    "bad_code",
    "bad_province",
    "bad_money",
    "bad_time",
    "from_future",
    "wrong_partition",
    "disabled_code",
]
MAX_LINE: Final = 65_536
MAX_DEPTH: Final = 32
MAX_STRING: Final = 256
LATEST_MS: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
YUAN: Final = 10_000
MAX_PRICE: Final = 100_000_000 * YUAN
MAX_PAID: Final = 10**14 * YUAN
FUTURE_MS: Final = 300_000
CODE: Final = re.compile(r"(C[0-9]{26}|[XZT][A-Z0-9]{22})", re.ASCII)
SUPPLIER: Final = re.compile(r"[0-9A-Z]{18}", re.ASCII)
DECIMAL: Final = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?", re.ASCII)
RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))",
    re.ASCII,
)


@dataclass(frozen=True)
class Number:
    """A JSON number as it was written: it may have 60,000 digits."""

    text: str


@dataclass(frozen=True)
class Position:
    """Where a record stands in the log."""

    partition: int
    offset: int
    line: int

    def json(self) -> dict[str, int]:
        """Returns it as evidence shows it."""
        return {"partition": self.partition, "offset": self.offset, "line": self.line}


@dataclass(frozen=True)
class Record:
    """A valid line: its values by the SPEC's field names; absent fields without a default are None."""

    type: str
    at: int
    seq: int
    id: str | None
    code: str | None
    province: str | None
    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


class Fault(Exception):
    """Why a line, or one of its fields, is not valid: one of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# --- JSON -------------------------------------------------------------------------------------------------------------


def _refuse(_: str) -> object:
    raise ValueError


def _lone_surrogate(value: object) -> bool:
    return isinstance(value, str) and any(0xD800 <= ord(char) <= 0xDFFF for char in value)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for key, value in pairs:
        _check_strings(key)
        _check_strings(value)
    return dict(pairs)


def _check_strings(value: object) -> None:
    if _lone_surrogate(value):
        raise ValueError
    if isinstance(value, list):
        for element in value:
            _check_strings(element)


def _too_deep(text: str) -> bool:
    depth = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif char in "]}":
            depth -= 1
    return False


def read_json(line: bytes) -> object:
    """Returns the one JSON value of a line, its numbers as Number; raises Fault not_json."""
    try:
        text = line.decode("utf-8", "strict")
        if text.startswith("\ufeff") or ((text.count("[") + text.count("{")) > MAX_DEPTH and _too_deep(text)):
            raise ValueError
        value = json.loads(
            text, parse_int=Number, parse_float=Number, parse_constant=_refuse, object_pairs_hook=_object
        )
        _check_strings(value)
    except ValueError:
        raise Fault("not_json") from None
    return value


# --- values -----------------------------------------------------------------------------------------------------------


def decimal_e4(text: str, least: int, most: int) -> int:
    """Returns the count of 1/10,000 that a JSON number or decimal string writes; raises Fault bad_money."""
    match = NUMBER.fullmatch(text)
    assert match
    sign, whole, fraction, exponent_sign, exponent_digits = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    if not stripped:
        value = 0
    else:
        magnitude = exponent_digits.lstrip("0")
        if len(magnitude) > 9:
            raise Fault("bad_money")
        exponent = int((exponent_sign if exponent_sign == "-" else "") + (magnitude or "0"))
        exponent += len(digits) - len(stripped) - len(fraction)
        if exponent < -4 or len(stripped) + exponent > 20:
            raise Fault("bad_money")
        value = int(stripped) * 10 ** (exponent + 4) * (-1 if sign else 1)
    if not least <= value <= most:
        raise Fault("bad_money")
    return value


def half_up(numerator: int, denominator: int) -> int:
    """Returns the quotient, neither negative, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def rfc3339_ms(text: str) -> int:
    """Returns epoch milliseconds; raises Fault bad_time."""
    match = RFC3339.fullmatch(text)
    if not match:
        raise Fault("bad_time")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    offset_hour, offset_minute = int(match[9] or 0), int(match[10] or 0)
    if hour > 23 or minute > 59 or second > 59 or offset_hour > 23 or offset_minute > 59:
        raise Fault("bad_time")
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        raise Fault("bad_time") from None
    offset = (offset_hour * 60 + offset_minute) * (-1 if match[8] == "-" else 1)
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset * 60
    return _in_range(seconds * 1_000 + int(((match[7] or "") + "000")[:3]))


def _in_range(ms: int) -> int:
    if not 0 <= ms <= LATEST_MS:
        raise Fault("bad_time")
    return ms


def format_ms(ms: int) -> str:
    """Returns RFC 3339 in UTC with milliseconds; beyond 9999 it is cut."""
    ms = min(ms, LATEST_MS)
    return f"{datetime.fromtimestamp(ms // 1_000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03d}Z"


def format_e4(value: int) -> str:
    """Returns a decimal string with 4 decimals."""
    return f"{value // YUAN}.{value % YUAN:04d}"


Reader = Callable[[object], Any]


def text(limit: int = MAX_STRING) -> Reader:
    """Returns a reader of strings of at most ``limit`` UTF-8 bytes."""

    def read(value: object) -> str:
        if not isinstance(value, str) or len(value.encode()) > limit:
            raise Fault("bad_type")
        return value

    return read


def word(words: str) -> Reader:
    """Returns a reader of one of some words."""
    known = words.split()

    def read(value: object) -> str:
        if value not in known:
            raise Fault("bad_type")
        return str(value)

    return read


def matching(pattern: re.Pattern[str], reason: str) -> Reader:
    """Returns a reader of strings of a pattern."""

    def read(value: object) -> str:
        string: str = text()(value)
        if not pattern.fullmatch(string):
            raise Fault(reason)
        return string

    return read


def integer(least: int, most: int, reason: str = "bad_type") -> Reader:
    """Returns a reader of integers without fraction or exponent."""

    def read(value: object) -> int:
        if not isinstance(value, Number) or any(char in value.text for char in ".eE"):
            raise Fault("bad_type")
        if len(value.text) > 20:
            raise Fault(reason)
        if not least <= int(value.text) <= most:
            raise Fault(reason)
        return int(value.text)

    return read


def money(least: int, most: int) -> Reader:
    """Returns a reader of money, in 1/10,000 yuan."""

    def read(value: object) -> int:
        if isinstance(value, Number):
            return decimal_e4(value.text, least, most)
        string: str = text()(value)
        if not DECIMAL.fullmatch(string):
            raise Fault("bad_money")
        return decimal_e4(string, least, most)

    return read


def _time(value: object) -> int:
    if isinstance(value, Number):
        return int(integer(0, LATEST_MS, "bad_time")(value))
    return rfc3339_ms(text()(value))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Fault("bad_type")
    return value


def _province(value: object) -> str:
    string: str = text()(value)
    if string not in PROVINCES:
        raise Fault("bad_province")
    return string


def _policy(value: object) -> object:
    try:
        return parse_policy(plain(value))
    except POLICY_FAULT:
        raise Fault("bad_type") from None


REQUIRED: Final = object()
"""Stands in FIELDS for "has no default"; OPTIONAL is the default None."""
OPTIONAL: Final = None
PRICE: Final = money(1, MAX_PRICE)
QUANTITY: Final = integer(0, 10**9)
COMMON: Final[dict[str, tuple[Reader, object]]] = {
    "at": (_time, REQUIRED),
    "seq": (integer(0, 2**63 - 1), 0),
    "id": (text(64), OPTIONAL),
}
FIELDS: Final[dict[str, dict[str, tuple[Reader, object]]]] = {
    "item": {
        "status": (word("active disabled"), "active"),
        "name": (text(), OPTIONAL),
        "device_class": (integer(1, 3), OPTIONAL),
        "category": (text(), OPTIONAL),
        "moved_to": (matching(CODE, "bad_code"), OPTIONAL),
        "special_drug": (_flag, False),
    },
    "quote": {
        "price": (PRICE, OPTIONAL),  # required while active
        "unit": (text(), "piece"),
        "pack_size": (integer(1, 10**6), 1),
        "kind": (word("listed selected filed emergency"), "listed"),
        "status": (word("active suspended withdrawn"), "active"),
        "supplier": (matching(SUPPLIER, "bad_type"), REQUIRED),
        "effective_at": (_time, OPTIONAL),
        "valid_until": (_time, OPTIONAL),
    },
    "ceiling": {"price": (PRICE, OPTIONAL)},
    "contract": {
        "contract_id": (text(), REQUIRED),
        "supplier": (matching(SUPPLIER, "bad_type"), REQUIRED),
        "agreed_quantity": (integer(1, 10**9), REQUIRED),
        "price": (PRICE, REQUIRED),
        "starts_at": (_time, REQUIRED),
        "ends_at": (_time, REQUIRED),
        "delivery_hours": (integer(1, 8_760), 72),
        "institution": (text(), OPTIONAL),
    },
    "order": {
        "order_id": (text(), REQUIRED),
        "institution": (text(), REQUIRED),
        "supplier": (matching(SUPPLIER, "bad_type"), REQUIRED),
        "price": (PRICE, REQUIRED),
        "pack_size": (integer(1, 10**6), 1),
        "quantity": (QUANTITY, REQUIRED),
        "channel": (word("hospital pharmacy"), "hospital"),
        "contract_id": (text(), OPTIONAL),
        "bargained_by": (word("institution consortium"), OPTIONAL),
    },
    "delivery": {
        "order_id": (text(), REQUIRED),
        "delivery_id": (text(), REQUIRED),
        "quantity": (QUANTITY, REQUIRED),
        "accepted_at": (_time, OPTIONAL),
    },
    "payment": {
        "order_id": (text(), REQUIRED),
        "paid_total": (money(0, MAX_PAID), REQUIRED),
        "payer": (word("institution fund"), "institution"),
    },
    "decision": {
        "action": (word("confirm reject"), REQUIRED),
        "alert_id": (text(), REQUIRED),
        "actor": (text(), REQUIRED),
        "note": (text(), OPTIONAL),
    },
    "policy": {"policy": (_policy, REQUIRED)},
    "tick": {},
}
for _type, _fields in FIELDS.items():
    _fields.update(COMMON)
    if _type not in ("policy", "tick"):
        _fields["code"] = (matching(CODE, "bad_code"), REQUIRED)
    if _type not in ("item", "policy", "tick"):
        _fields["province"] = (_province, REQUIRED)


def parse_line(line: bytes) -> Record:
    """Returns a line's record; raises Fault with the first reason that applies, of those up to bad_time."""
    if len(line) > MAX_LINE:
        raise Fault("too_large")
    value = read_json(line)
    if not isinstance(value, dict):
        raise Fault("not_object")
    kind = value.get("type")
    if kind is not None and not isinstance(kind, str):
        raise Fault("bad_type")
    if kind and kind not in FIELDS:
        raise Fault("unknown_type")
    if not kind:
        raise Fault("missing_field")
    given = {name: raw for name, raw in value.items() if name in FIELDS[kind] and raw is not None and raw != ""}
    faults = set()
    values: dict[str, Any] = {}
    for name, (read, default) in FIELDS[kind].items():
        if name in given:
            try:
                values[name] = read(given[name])
            except Fault as fault:
                faults.add(fault.reason)
        elif default is REQUIRED:
            faults.add("missing_field")
        else:
            values[name] = default
    if kind == "quote" and "price" not in given and given.get("status", "active") == "active":
        faults.add("missing_field")
    faults |= _faults_between(kind, values)
    if faults:
        raise Fault(min(faults, key=REASONS.index))
    return Record(kind, values["at"], values["seq"], values["id"], values.get("code"), values.get("province"), values)


def _faults_between(kind: str, values: dict[str, Any]) -> set[str]:
    """Returns the faults of fields that fit alone, but not together; adds what follows from them."""
    faults = set()
    if kind in ("quote", "order") and "price" in values and "pack_size" in values:
        price = values["price"]
        values["per_piece"] = None if price is None else half_up(price, values["pack_size"])
        if values["per_piece"] == 0:
            faults.add("bad_money")
    if kind == "contract" and values.get("ends_at", LATEST_MS + 1) <= values.get("starts_at", -1):
        faults.add("bad_time")
    if kind == "delivery" and "at" in values and "accepted_at" in values:
        if values["accepted_at"] is None:
            values["accepted_at"] = values["at"]
        elif values["accepted_at"] > values["at"]:
            faults.add("bad_time")
    return faults


# --- partitions -------------------------------------------------------------------------------------------------------


def murmur2(key: bytes) -> int:
    """Returns Kafka's murmur2 of a key, unsigned."""
    mask, mix = 0xFFFFFFFF, 0x5BD1E995
    state = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for start in range(0, whole, 4):
        block = int.from_bytes(key[start : start + 4], "little") * mix & mask
        block = (block ^ block >> 24) * mix & mask
        state = state * mix & mask ^ block
    if len(key) > whole:
        state = (state ^ int.from_bytes(key[whole:], "little")) * mix & mask
    state = (state ^ state >> 13) * mix & mask
    return state ^ state >> 15


def partition_of(code: str, partitions: int) -> int:
    """Returns the partition that Kafka's default partitioner gives a code."""
    return (murmur2(code.encode()) & 0x7FFFFFFF) % partitions
