"""The fields of each record type, and how each one's JSON value is read (SPEC §2 to §7).

A reader takes a JSON value that is neither null nor "" and returns what the record holds, or a ``Fault``. Beside it
stands the shape of what it takes, in words of JSON Schema, which cannot say all of it (see ``schemas.json_schemas``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from config.provinces import PROVINCE_CODES, PROVINCE_INDEX
from schemas import columns
from schemas.codes import is_code, is_supplier
from schemas.columns import BAD_CODE, BAD_MONEY, BAD_PROVINCE, BAD_TIME, BAD_TYPE
from schemas.json_text import Integer, Real
from schemas.money import MAX_PAID_E4, MAX_PRICE_E4, YUAN_E4, parse_money, parse_money_number
from schemas.policy import parse_policy
from schemas.records import Record, Reject
from schemas.times import LATEST_MS, RFC3339_PATTERN, parse_rfc3339

MAX_STRING_BYTES: Final = 256
MAX_ID_BYTES: Final = 64
MAX_SEQ: Final = 2**63 - 1
MAX_QUANTITY: Final = 10**9
MAX_PACK_SIZE: Final = 10**6
MAX_DELIVERY_HOURS: Final = 8_760
DEFAULT_DELIVERY_HOURS: Final = 72
_MAX_INTEGER_CHARACTERS: Final = 20
"""JSON allows no leading zeros, so an integer of more characters is out of every range."""

Value = Any
Reader = Callable[[Value], Any]
Shape = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value: its reason, and a clause that goes behind the field's name."""

    reason: int
    clause: str


class Field(NamedTuple):
    """One field: its name in JSON, its place in ``Record``, its reader, whether it must be there, and its shape."""

    json_name: str
    place: int
    read: Reader
    required: bool
    shape: Shape


class _Kind(NamedTuple):
    read: Reader
    shape: Shape


def _field(json_name: str, name: str, kind: _Kind, *, required: bool = False) -> Field:
    return Field(json_name, Record._fields.index(name), kind.read, required, kind.shape)


_NOT_A_STRING: Final = Fault(BAD_TYPE, "must be a string")
_NOT_AN_INTEGER: Final = Fault(BAD_TYPE, "must be an integer, without fraction or exponent")
_NOT_A_FLAG: Final = Fault(BAD_TYPE, "must be true or false")
_NOT_A_TIME_TYPE: Final = Fault(BAD_TYPE, "must be RFC 3339 text or integer epoch milliseconds")
_NOT_MONEY_TYPE: Final = Fault(BAD_TYPE, "must be a number or a decimal string")
_TOO_LONG: Final = Fault(BAD_TYPE, f"is longer than {MAX_STRING_BYTES} bytes of UTF-8")
_ID_TOO_LONG: Final = Fault(BAD_TYPE, f"is longer than {MAX_ID_BYTES} bytes of UTF-8")
_NOT_A_SUPPLIER: Final = Fault(BAD_TYPE, "must be a social credit code: 18 of 0-9 and A-Z")
_NOT_A_CODE: Final = Fault(BAD_CODE, "must be C and 26 digits, or X, Z or T and 22 of A-Z and 0-9")
_NOT_A_PROVINCE: Final = Fault(BAD_PROVINCE, "must be one of the 32 provinces' six-digit codes")
_NOT_MONEY: Final = Fault(BAD_MONEY, "must be a decimal with at most 4 decimals")
_NOT_A_TIME: Final = Fault(
    BAD_TIME, "must be RFC 3339 with T and Z or an offset, or epoch milliseconds, within 1970 to 9999 in UTC"
)


def _is_longer(text: str, limit: int) -> bool:
    return len(text) > limit or (len(text) * 4 > limit and len(text.encode()) > limit)


def _read_text(value: Value) -> str | Fault:
    if type(value) is not str:
        return _NOT_A_STRING
    return _TOO_LONG if _is_longer(value, MAX_STRING_BYTES) else value


def _read_id(value: Value) -> str | Fault:
    if type(value) is not str:
        return _NOT_A_STRING
    return _ID_TOO_LONG if _is_longer(value, MAX_ID_BYTES) else value


def _read_code(value: Value) -> str | Fault:
    if type(value) is str and is_code(value):
        return value
    text = _read_text(value)
    return text if isinstance(text, Fault) else _NOT_A_CODE


def _read_supplier(value: Value) -> str | Fault:
    return value if type(value) is str and is_supplier(value) else _NOT_A_SUPPLIER


def _read_province(value: Value) -> int | Fault:
    if type(value) is str and value in PROVINCE_INDEX:
        return PROVINCE_INDEX[value]
    text = _read_text(value)
    return text if isinstance(text, Fault) else _NOT_A_PROVINCE


def _word(words: Sequence[str]) -> _Kind:
    indexes = {word: index for index, word in enumerate(words)}
    fault = Fault(BAD_TYPE, f"must be one of {', '.join(words)}")

    def read(value: Value) -> int | Fault:
        return indexes.get(value, fault) if type(value) is str else fault

    return _Kind(read, {"enum": list(words)})


def _integer(least: int, most: int) -> _Kind:
    out_of_range = Fault(BAD_TYPE, f"must be from {least} to {most}")

    def read(value: Value) -> int | Fault:
        if type(value) is not Integer:
            return _NOT_AN_INTEGER
        if len(value) > _MAX_INTEGER_CHARACTERS or not least <= (number := int(value)) <= most:
            return out_of_range
        return number

    return _Kind(read, {"type": "integer", "minimum": least, "maximum": most})


def _read_flag(value: Value) -> bool | Fault:
    return value if type(value) is bool else _NOT_A_FLAG


def _money(least_e4: int, most_e4: int, bounds: str) -> _Kind:
    out_of_range = Fault(BAD_MONEY, f"must be {bounds} yuan")

    def read(value: Value) -> int | Fault:
        if type(value) is str:
            if _is_longer(value, MAX_STRING_BYTES):
                return _TOO_LONG
            amount_e4 = parse_money(value)
        elif type(value) is Integer or type(value) is Real:
            amount_e4 = parse_money_number(value)
        else:
            return _NOT_MONEY_TYPE
        if amount_e4 is None:
            return _NOT_MONEY
        return amount_e4 if least_e4 <= amount_e4 <= most_e4 else out_of_range

    least = {"exclusiveMinimum": 0} if least_e4 else {"minimum": 0}
    number = {"type": "number", **least, "maximum": most_e4 // YUAN_E4}
    pattern = "^(?=.*[1-9])" if least_e4 else "^"
    pattern += f"0*[0-9]{{1,{len(str(most_e4 // YUAN_E4))}}}(\\.[0-9]{{1,4}}0*)?$"
    return _Kind(read, {"anyOf": [number, {"type": "string", "maxLength": MAX_STRING_BYTES, "pattern": pattern}]})


def _read_time(value: Value) -> int | Fault:
    if type(value) is str:
        if _is_longer(value, MAX_STRING_BYTES):
            return _TOO_LONG
        ms = parse_rfc3339(value)
        return _NOT_A_TIME if ms is None else ms
    if type(value) is not Integer:
        return _NOT_A_TIME_TYPE
    if len(value) > _MAX_INTEGER_CHARACTERS or not 0 <= (at_ms := int(value)) <= LATEST_MS:
        return _NOT_A_TIME
    return at_ms


def _read_policy(value: Value) -> Any:
    policy = parse_policy(value)
    if isinstance(policy, Reject):
        return Fault(policy.reason, f"is unfit at {policy.field}: {policy.message}" if policy.field else policy.message)
    return policy


_text: Final = _Kind(_read_text, {"type": "string", "minLength": 1, "maxLength": MAX_STRING_BYTES})
_id: Final = _Kind(_read_id, {"type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES})
_code: Final = _Kind(_read_code, {"type": "string", "pattern": "^(C[0-9]{26}|[XZT][A-Z0-9]{22})$"})
_supplier: Final = _Kind(_read_supplier, {"type": "string", "pattern": "^[0-9A-Z]{18}$"})
_province: Final = _Kind(_read_province, {"enum": list(PROVINCE_CODES)})
_flag: Final = _Kind(_read_flag, {"type": "boolean"})
_time: Final = _Kind(
    _read_time,
    {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": LATEST_MS},
            {"type": "string", "maxLength": MAX_STRING_BYTES, "pattern": f"^{RFC3339_PATTERN}$"},
        ]
    },
)
_policy: Final = _Kind(_read_policy, {"$ref": "policy.json"})
_price: Final = _money(1, MAX_PRICE_E4, "over 0 and at most 100,000,000")
_pack_size: Final = _integer(1, MAX_PACK_SIZE)
_quantity: Final = _integer(0, MAX_QUANTITY)
_AT: Final = _field("at", "at_ms", _time, required=True)
_SEQ: Final = _field("seq", "seq", _integer(0, MAX_SEQ))
_ID: Final = _field("id", "id", _id)
_CODE: Final = _field("code", "code", _code, required=True)
_PROVINCE: Final = _field("province", "province", _province, required=True)
_SUPPLIER: Final = _field("supplier", "supplier", _supplier, required=True)
_PRICE: Final = _field("price", "price_e4", _price, required=True)
_ORDER_ID: Final = _field("order_id", "order_id", _text, required=True)
_OF_CLOCK: Final = (_AT, _SEQ, _ID)
_OF_CODE: Final = (_CODE, *_OF_CLOCK)
_OF_PROVINCE: Final = (_PROVINCE, *_OF_CODE)

FIELDS: Final[tuple[tuple[Field, ...], ...]] = (
    (  # item
        *_OF_CODE,
        _field("status", "status", _word(columns.ITEM_STATUSES)),
        _field("name", "name", _text),
        _field("device_class", "device_class", _integer(1, 3)),
        _field("category", "category", _text),
        _field("moved_to", "moved_to", _code),
        _field("special_drug", "special_drug", _flag),
    ),
    (  # quote
        *_OF_PROVINCE,
        _field("price", "price_e4", _price),  # required while active: see parser
        _field("unit", "unit", _text),
        _field("pack_size", "pack_size", _pack_size),
        _field("kind", "kind", _word(columns.QUOTE_KINDS)),
        _field("status", "status", _word(columns.QUOTE_STATUSES)),
        _SUPPLIER,
        _field("effective_at", "effective_ms", _time),
        _field("valid_until", "valid_until_ms", _time),
    ),
    (*_OF_PROVINCE, _field("price", "price_e4", _price)),  # ceiling
    (  # contract
        *_OF_PROVINCE,
        _field("contract_id", "contract_id", _text, required=True),
        _SUPPLIER,
        _field("agreed_quantity", "agreed_quantity", _integer(1, MAX_QUANTITY), required=True),
        _PRICE,
        _field("starts_at", "starts_ms", _time, required=True),
        _field("ends_at", "ends_ms", _time, required=True),
        _field("delivery_hours", "delivery_hours", _integer(1, MAX_DELIVERY_HOURS)),
        _field("institution", "institution", _text),
    ),
    (  # order
        *_OF_PROVINCE,
        _ORDER_ID,
        _field("institution", "institution", _text, required=True),
        _SUPPLIER,
        _PRICE,
        _field("pack_size", "pack_size", _pack_size),
        _field("quantity", "quantity", _quantity, required=True),
        _field("channel", "channel", _word(columns.CHANNELS)),
        _field("contract_id", "contract_id", _text),
        _field("bargained_by", "bargained_by", _word(columns.BARGAINED_BY)),
    ),
    (  # delivery
        *_OF_PROVINCE,
        _ORDER_ID,
        _field("delivery_id", "delivery_id", _text, required=True),
        _field("quantity", "quantity", _quantity, required=True),
        _field("accepted_at", "accepted_ms", _time),
    ),
    (  # payment
        *_OF_PROVINCE,
        _ORDER_ID,
        _field("paid_total", "paid_total_e4", _money(0, MAX_PAID_E4, "from 0 to 10^14"), required=True),
        _field("payer", "payer", _word(columns.PAYERS)),
    ),
    (  # decision
        *_OF_PROVINCE,
        _field("action", "action", _word(columns.ACTIONS), required=True),
        _field("alert_id", "alert_id", _text, required=True),
        _field("actor", "actor", _text, required=True),
        _field("note", "note", _text),
    ),
    (*_OF_CLOCK, _field("policy", "policy", _policy, required=True)),  # policy
    _OF_CLOCK,  # tick
)
"""The fields of each type, by its index in columns.RECORD_TYPES."""


def _template(index: int, **defaults: Any) -> tuple[Any, ...]:
    return tuple(Record(type=index, at_ms=0, **defaults))


TEMPLATES: Final = (
    _template(columns.ITEM, status=columns.ITEM_ACTIVE, special_drug=False),
    _template(columns.QUOTE, pack_size=1, kind=columns.LISTED, status=columns.ACTIVE, unit="piece"),
    _template(columns.CEILING),
    _template(columns.CONTRACT, delivery_hours=DEFAULT_DELIVERY_HOURS),
    _template(columns.ORDER, pack_size=1, channel=0),
    _template(columns.DELIVERY),
    _template(columns.PAYMENT, payer=0),
    _template(columns.DECISION),
    _template(columns.POLICY),
    _template(columns.TICK),
)
"""A Record's values for each type, with what stands for its absent fields."""
