"""JSON Schemas (2020-12) of the records and of the policy, made from the same table of fields that the parser reads by.

Every valid record fits its schema. A schema cannot say all that the parser checks; what it lets pass is in NOT_SAID.
"""

import json
from typing import Any, Final

from config.provinces import PROVINCE_CODES
from schemas.columns import ACTIVE, QUOTE, QUOTE_KINDS, QUOTE_STATUSES, RECORD_TYPES
from schemas.fields import FIELDS, TEMPLATES, Field
from schemas.policy import AGGREGATES, LOOKBACKS, MAX_COUNT, MAX_GUARD_BP, PREFIX_PATTERN

NOT_SAID: Final = (
    "lengths are counted in bytes of UTF-8, not in characters",
    "an integer is written without fraction or exponent: 1.0 and 1e3 are none",
    "a money number has at most 4 decimals, trailing zeros aside; its limits hold for decimal strings, too",
    "a price is over 0 per piece, too, rounded half up to 1/10,000 yuan",
    "a date is one of the calendar, and a time within 1970 to 9999 in UTC",
    "ends_at is after starts_at; accepted_at is not after at",
    "a line has at most 65,536 bytes, nests at most 32 deep, and has no lone surrogate",
)
"""What the schemas do not say."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_LEFT_OUT: Final = {"enum": [None, ""]}
"""null and "" count as absent."""

_DESCRIPTIONS: Final = {
    "type": "What the record is.",
    "province": "The reporting province: GB/T 2260, or 660000 for the Xinjiang Production and Construction Corps.",
    "code": "National code: of a consumable, C and 26 digits, or of a drug.",
    "at": "When it happened at the source: RFC 3339 with an offset, or epoch milliseconds.",
    "seq": "The source's version number; of two records of one slot with the same at, the higher counts.",
    "id": "The source's own record id, echoed in alerts as source_id; at most 64 bytes.",
    "price": "In yuan, with at most 4 decimals, for pack_size pieces.",
    "unit": "The unit that the price is for.",
    "pack_size": "How many pieces that unit holds.",
    "kind": "How the price came about; selected: won in volume-based procurement.",
    "supplier": "Unified social credit code of the supplier.",
    "effective_at": "When the quote takes force; at once if absent.",
    "valid_until": "From when on the quote is out of force.",
    "name": "What the product is called.",
    "device_class": "Class of the medical device; 2 and 3 may be of high value.",
    "moved_to": "The code that replaces this one.",
    "special_drug": "Whether it is a dual-channel drug.",
    "quantity": "In pieces; 0 cancels.",
    "agreed_quantity": "In pieces, over the contract's term.",
    "delivery_hours": "Within how many hours an order must be delivered.",
    "accepted_at": "When the delivery was accepted; at if absent, and never later.",
    "paid_total": "Paid so far for the order, in yuan.",
    "alert_id": "The price_hold alert that the decision is about.",
    "actor": "Who decided.",
    "policy": "The whole policy that holds from now on.",
}


def record_schema(index: int) -> dict[str, Any]:
    """Returns the schema of one record type (its index in RECORD_TYPES)."""
    word = RECORD_TYPES[index]
    properties = {"type": {"const": word, "description": _DESCRIPTIONS["type"]}}
    for field in FIELDS[index]:
        properties[field.json_name] = _property(field, TEMPLATES[index][field.place])
    schema: dict[str, Any] = {
        "$schema": _DIALECT,
        "title": word,
        "type": "object",
        "properties": properties,
        "required": ["type", *(field.json_name for field in FIELDS[index] if field.required)],
    }
    if index == QUOTE:
        price = next(field for field in FIELDS[index] if field.json_name == "price")
        active = {"enum": [QUOTE_STATUSES[ACTIVE], None, ""]}
        schema["if"] = {"properties": {"status": active}}
        schema["then"] = {"properties": {"price": price.shape}, "required": ["price"]}
    return schema


def _property(field: Field, default: Any) -> dict[str, Any]:
    shape = field.shape if field.required else {"anyOf": [_LEFT_OUT, field.shape]}
    described = {"description": text} if (text := _DESCRIPTIONS.get(field.json_name)) else {}
    words = field.shape.get("enum")
    if default is None or field.required:
        return {**shape, **described}
    return {**shape, **described, "default": words[default] if words else default}


def policy_schema() -> dict[str, Any]:
    """Returns the schema of a policy."""
    count = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
    kinds = {"type": "array", "items": {"enum": list(QUOTE_KINDS)}}
    supply = ("window_days", "fill_yellow_bp", "fill_red_bp", "late_yellow_hours", "late_red_hours")
    rules = _closed(
        scope={"type": "array", "items": {"enum": list(PROVINCE_CODES)}},
        kinds=kinds,
        own_kinds=kinds,
        aggregate={"enum": list(AGGREGATES)},
        k={**count, "minimum": 1},
        lookback={"enum": list(LOOKBACKS)},
        min_sources=count,
        bands=_closed(blue=count, yellow=count, red=count),
        adjust_within_days=count,
        high_value_only={"type": "boolean"},
        exclude_prefixes={"type": "array", "items": {"type": "string", "pattern": f"^{PREFIX_PATTERN}$"}},
    )
    reference = {"$ref": "#/$defs/rules"}
    return {
        "$schema": _DIALECT,
        "title": "policy",
        **_closed(
            window_days=count,
            guard_bp={**count, "maximum": MAX_GUARD_BP},
            guard_min_sources=count,
            supply=_closed(**dict.fromkeys(supply, count)),
            default=reference,
            provinces=_closed(**dict.fromkeys(PROVINCE_CODES, reference)),
        ),
        "$defs": {"rules": rules},
    }


def _closed(**properties: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of an object that may leave out anything and has nothing else, but for what is left out."""
    return {
        "type": "object",
        "properties": {name: {"anyOf": [_LEFT_OUT, shape]} for name, shape in properties.items()},
        "additionalProperties": _LEFT_OUT,
    }


def files() -> dict[str, str]:
    """Returns what ``docs/schemas`` holds: file names and their text."""
    schemas = {f"{word}.json": record_schema(index) for index, word in enumerate(RECORD_TYPES)}
    schemas["policy-record.json"] = schemas["policy.json"]
    schemas["policy.json"] = policy_schema()
    return {name: json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for name, schema in schemas.items()}
