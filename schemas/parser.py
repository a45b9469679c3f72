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
from schemas.fields import FIELDS, TEMPLATES, Fault
from schemas.json_text import Invalid, read_json
from schemas.money import per_piece_e4
from schemas.records import Record, Reject

__all__ = ["MAX_LINE_BYTES", "Record", "Reject", "parse_line"]

MAX_LINE_BYTES: Final = 65_536
"""How long a line may be, its line feed aside."""

_TYPE_INDEX: Final = {word: index for index, word in enumerate(RECORD_TYPES)}
_REQUIRED: Final = tuple(tuple(field.json_name for field in fields if field.required) for fields in FIELDS)

_READERS: Final = tuple({field.json_name: (field.place, field.read) for field in fields} for fields in FIELDS)
"""Place and reader of each field, by its name in JSON."""

_AT, _PRICE, _PACK_SIZE, _PER_PIECE, _STARTS, _ENDS, _ACCEPTED = map(
    Record._fields.index,
    ("at_ms", "price_e4", "pack_size", "per_piece_e4", "starts_ms", "ends_ms", "accepted_ms"),
)

_TOO_LARGE: Final = Reject(TOO_LARGE, None, f"the line is longer than {MAX_LINE_BYTES} bytes")
_NOT_JSON: Final = Reject(NOT_JSON, None, "the line is not one JSON value (RFC 8259, UTF-8, at most 32 deep)")
_NOT_OBJECT: Final = Reject(NOT_OBJECT, None, "the line is not a JSON object")
_TYPE_MISSING: Final = Reject(MISSING_FIELD, "type", "type is missing")
_TYPE_NOT_TEXT: Final = Reject(BAD_TYPE, "type", "type must be a string")
_TYPE_UNKNOWN: Final = Reject(UNKNOWN_TYPE, "type", f"type must be one of {', '.join(RECORD_TYPES)}")
_PRICE_MISSING: Final = Reject(MISSING_FIELD, "price", "price is missing from an active quote", QUOTE)
_NOTHING_PER_PIECE: Final = {
    index: Reject(BAD_MONEY, "price", "price is 0 per piece", index) for index in (QUOTE, ORDER)
}
_ENDS_TOO_SOON: Final = Reject(BAD_TIME, "ends_at", "ends_at must be after starts_at", CONTRACT)
_ACCEPTED_TOO_LATE: Final = Reject(BAD_TIME, "accepted_at", "accepted_at must not be after at", DELIVERY)


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
        value = given.get(name)
        if value is None or value == "":
            return Reject(MISSING_FIELD, name, f"{name} is missing", index)
    if index == QUOTE and given.get("price", "") in (None, "") and given.get("status") in (None, "", "active"):
        return _PRICE_MISSING
    return _read_fields(index, given)


def _read_fields(index: int, given: dict[str, Any]) -> Record | Reject:
    """Reads the fields as they come; those of a line with a fault again, in the order of which the first one counts."""
    values = list(TEMPLATES[index])
    readers = _READERS[index]
    for json_name, value in given.items():
        field = readers.get(json_name)
        if field is not None and value is not None and value != "":
            place, read = field
            values[place] = found = read(value)
            if type(found) is Fault:
                return _first_fault(index, given)
    return _complete(index, values) or Record._make(values)


def _first_fault(index: int, given: dict[str, Any]) -> Reject:
    values = list(TEMPLATES[index])
    worst: Reject | None = None
    for json_name, place, read, _, _ in FIELDS[index]:
        value = given.get(json_name)
        if value is None or value == "":
            continue
        found = read(value)
        if type(found) is not Fault:
            values[place] = found
        elif worst is None or found.reason < worst.reason:
            worst = Reject(found.reason, json_name, f"{json_name} {found.clause}", index)
            if found.reason == BAD_TYPE:
                return worst  # nothing that is left to find comes before it
    fault = _complete(index, values)
    if fault is not None and (worst is None or fault.reason < worst.reason):
        worst = fault
    assert worst is not None, "a field was at fault"
    return worst


def _complete(index: int, values: list[Any]) -> Reject | None:
    """Adds what follows from other fields; returns what is wrong between fields that fit alone."""
    if index in (QUOTE, ORDER):
        if (price_e4 := values[_PRICE]) is not None:
            piece_e4 = values[_PER_PIECE] = per_piece_e4(price_e4, values[_PACK_SIZE])
            if piece_e4 == 0:
                return _NOTHING_PER_PIECE[index]
    elif index == CEILING:
        values[_PER_PIECE] = values[_PRICE]
    elif index == CONTRACT:
        values[_PER_PIECE] = values[_PRICE]
        starts_ms, ends_ms = values[_STARTS], values[_ENDS]
        if starts_ms is not None and ends_ms is not None and ends_ms <= starts_ms:
            return _ENDS_TOO_SOON
    elif index == DELIVERY:
        if values[_ACCEPTED] is None:
            values[_ACCEPTED] = values[_AT]
        elif values[_ACCEPTED] > values[_AT]:
            return _ACCEPTED_TOO_LATE
    return None
