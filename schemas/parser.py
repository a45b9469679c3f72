"""The exact parser: a line to its record, or to the first reason for which it is a dead letter (SPEC §2).

The fast scanner decides on plain lines by itself; whatever it does not fully understand comes here.
"""

from typing import Any, Final

from schemas.columns import (
    BAD_MONEY,
    BAD_TIME,
    BAD_TYPE,
    CEILING,
    CONTRACT,
    DELIVERY,
    MISSING_FIELD,
    NOT_JSON,
    NOT_OBJECT,
    ORDER,
    QUOTE,
    RECORD_TYPES,
    TOO_LARGE,
    UNKNOWN_TYPE,
)
from schemas.fields import DEFAULTS, FIELDS, Fault
from schemas.json_text import Invalid, read_json
from schemas.money import per_piece_e4
from schemas.records import Record, Reject

__all__ = ["MAX_LINE_BYTES", "Record", "Reject", "parse_line"]

MAX_LINE_BYTES: Final = 65_536
"""How long a line may be, its line feed aside."""

_TYPE_INDEX: Final = {word: index for index, word in enumerate(RECORD_TYPES)}
_REQUIRED: Final = tuple(tuple(field.json_name for field in fields if field.required) for fields in FIELDS)

_TOO_LARGE: Final = Reject(TOO_LARGE, None, f"the line is longer than {MAX_LINE_BYTES} bytes")
_NOT_JSON: Final = Reject(NOT_JSON, None, "the line is not one JSON value (RFC 8259, UTF-8, at most 32 deep)")
_NOT_OBJECT: Final = Reject(NOT_OBJECT, None, "the line is not a JSON object")
_TYPE_MISSING: Final = Reject(MISSING_FIELD, "type", "type is missing")
_TYPE_NOT_TEXT: Final = Reject(BAD_TYPE, "type", "type must be a string")
_TYPE_UNKNOWN: Final = Reject(UNKNOWN_TYPE, "type", f"type must be one of {', '.join(RECORD_TYPES)}")
_PRICE_MISSING: Final = Reject(MISSING_FIELD, "price", "price is missing from an active quote")
_NOTHING_PER_PIECE: Final = Reject(BAD_MONEY, "price", "price is 0 per piece")
_ENDS_TOO_SOON: Final = Reject(BAD_TIME, "ends_at", "ends_at must be after starts_at")
_ACCEPTED_TOO_LATE: Final = Reject(BAD_TIME, "accepted_at", "accepted_at must not be after at")

_MISSING: Final[dict[str, Reject]] = {
    name: Reject(MISSING_FIELD, name, f"{name} is missing") for names in _REQUIRED for name in names
}


def parse_line(line: bytes) -> Record | Reject:
    """Returns the record that a line (without its line feed) is, or why it is none.

    Of all reasons that apply, the first in the order of columns.REASONS, up to ``bad_time``: the later ones need more
    than the line. Lines of nothing but space, tab and CR are no lines; they are not to be passed.
    """
    if len(line) > MAX_LINE_BYTES:
        return _TOO_LARGE
    value = read_json(line)
    if type(value) is not dict:
        return _NOT_JSON if isinstance(value, Invalid) else _NOT_OBJECT
    given: dict[str, Any] = value
    word = given.get("type")
    if type(word) is not str:
        return _TYPE_MISSING if word is None else _TYPE_NOT_TEXT
    index = _TYPE_INDEX.get(word)
    if index is None:
        return _TYPE_UNKNOWN if word else _TYPE_MISSING
    for name in _REQUIRED[index]:
        if given.get(name, "") in (None, ""):
            return _MISSING[name]
    if index == QUOTE and given.get("price", "") in (None, "") and given.get("status") in (None, "", "active"):
        return _PRICE_MISSING
    return _read_fields(index, given)


def _read_fields(index: int, given: dict[str, Any]) -> Record | Reject:
    values = DEFAULTS[index].copy()
    values["type"] = index
    worst: Reject | None = None
    for json_name, name, read, _ in FIELDS[index]:
        value = given.get(json_name)
        if value is None or value == "":
            continue
        found = read(value)
        if type(found) is not Fault:
            values[name] = found
        elif worst is None or found.reason < worst.reason:
            worst = Reject(found.reason, json_name, f"{json_name} {found.clause}")
            if found.reason == BAD_TYPE:
                return worst  # nothing that is left to find comes before it
    fault = _complete(index, values)
    if fault is not None and (worst is None or fault.reason < worst.reason):
        worst = fault
    return Record(**values) if worst is None else worst


def _complete(index: int, values: dict[str, Any]) -> Reject | None:
    """Adds what follows from other fields; returns what is wrong between fields that fit alone."""
    if index in (QUOTE, ORDER):
        if (price_e4 := values.get("price_e4")) is not None:
            piece_e4 = values["per_piece_e4"] = per_piece_e4(price_e4, values["pack_size"])
            if piece_e4 == 0:
                return _NOTHING_PER_PIECE
    elif index == CEILING:
        values["per_piece_e4"] = values.get("price_e4")
    elif index == CONTRACT:
        values["per_piece_e4"] = values.get("price_e4")
        starts_ms, ends_ms = values.get("starts_ms"), values.get("ends_ms")
        if starts_ms is not None and ends_ms is not None and ends_ms <= starts_ms:
            return _ENDS_TOO_SOON
    elif index == DELIVERY:
        at_ms = values.get("at_ms")
        if at_ms is not None and values.setdefault("accepted_ms", at_ms) > at_ms:
            return _ACCEPTED_TOO_LATE
    return None
