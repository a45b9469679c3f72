"""The columns that cross from bytes to machine and back: numpy layouts, and the numbers that stand for words.

A *batch* is a run of consecutive messages of one partition: their values end to end in one byte array, and a MESSAGE
row each. The scanner makes one RECORD row of every line that is not blank. Strings are never copied: a RECORD holds
where they start in the batch's bytes and how long they are. Strings that had to be decoded are appended behind the
messages. Money is in 1/10,000 yuan (``_e4``), time in epoch milliseconds (``_ms``); ABSENT marks what is not there.
"""

from typing import Final

import numpy as np

ABSENT: Final = -1

RECORD_TYPES: Final = (
    "item", "quote", "ceiling", "contract", "order", "delivery", "payment", "decision", "policy", "tick",
)  # fmt: skip
ITEM, QUOTE, CEILING, CONTRACT, ORDER, DELIVERY, PAYMENT, DECISION, POLICY, TICK = range(10)

QUOTE_KINDS: Final = ("listed", "selected", "filed", "emergency")
LISTED, SELECTED, FILED, EMERGENCY = range(4)

QUOTE_STATUSES: Final = ("active", "suspended", "withdrawn")
ACTIVE, SUSPENDED, WITHDRAWN = range(3)

ITEM_STATUSES: Final = ("active", "disabled")
ITEM_ACTIVE, ITEM_DISABLED = range(2)

CHANNELS: Final = ("hospital", "pharmacy")
BARGAINED_BY: Final = ("institution", "consortium")
ACTIONS: Final = ("confirm", "reject")
CONFIRM, REJECT = range(2)
PAYERS: Final = ("institution", "fund")

REASONS: Final = (
    "ok", "too_large", "not_json", "not_object", "unknown_type", "missing_field", "bad_type", "bad_code",
    "bad_province", "bad_money", "bad_time", "from_future", "wrong_partition", "disabled_code",
)  # fmt: skip
"""Why a line is a dead letter, in order of precedence (SPEC §2); 0 is none of them."""
(
    OK, TOO_LARGE, NOT_JSON, NOT_OBJECT, UNKNOWN_TYPE, MISSING_FIELD, BAD_TYPE, BAD_CODE,
    BAD_PROVINCE, BAD_MONEY, BAD_TIME, FROM_FUTURE, WRONG_PARTITION, DISABLED_CODE,
) = range(14)  # fmt: skip
ODD: Final = 255
"""Not a dead letter (yet): a line that the fast scanner leaves to the exact parser."""

KINDS: Final = (
    "price_hold", "price_adjustment", "ceiling_breach", "bargain", "supply_shortfall", "purchase_shortfall",
    "channel_gap", "settlement_arrears", "feed_silence",
)  # fmt: skip
"""Kinds of alerts, in the order in which a step's events come (SPEC §8)."""

CHANGES: Final = ("opened", "escalated", "eased", "revised", "overdue", "resolved", "observed", "closed")

BANDS: Final = ("none", "blue", "yellow", "red")
NO_BAND, BLUE, YELLOW, RED = range(4)

MESSAGE: Final = np.dtype(
    [("start", "i8"), ("end", "i8"), ("offset", "i8"), ("broker_ts_ms", "i8")],
)
"""One message of a batch: its value is ``data[start:end]``."""

_FIELDS: Final[tuple[tuple[str, str, int], ...]] = (
    # name, format, byte offset; fields of different record types share room
    ("at_ms", "i8", 0),
    ("seq", "i8", 8),
    ("offset", "i8", 16),
    ("broker_ts_ms", "i8", 24),
    ("price_e4", "i8", 32),  # quote, ceiling, contract, order: as written; ABSENT: no price
    ("paid_total_e4", "i8", 32),  # payment
    ("moved_to", "27u1", 32),  # a line dead-lettered as disabled_code: the new code
    ("moved_to_length", "u1", 59),
    ("quantity", "i8", 40),  # order, delivery
    ("agreed_quantity", "i8", 40),  # contract
    ("per_piece_e4", "i8", 48),  # quote, order: price / pack_size, half up; ceiling, contract: the price; ABSENT
    ("effective_ms", "i8", 56),  # quote; ABSENT: at once
    ("starts_ms", "i8", 56),  # contract
    ("accepted_ms", "i8", 56),  # delivery; never ABSENT
    ("valid_until_ms", "i8", 64),  # quote; ABSENT: for good
    ("ends_ms", "i8", 64),  # contract
    ("supplier_hi", "u8", 72),  # quote, contract, order: first 12 characters, base 36 (see pack_supplier)
    ("supplier_lo", "u4", 80),  # its last 6 characters
    ("line", "i4", 84),
    ("line_start", "i8", 88),
    ("line_end", "i8", 96),  # without the line feed
    ("code_start", "i8", 104),
    ("id_start", "i8", 112),  # the source's own id
    ("key_start", "i8", 120),  # order, delivery, payment: order_id; contract: contract_id; decision: alert_id
    ("second_start", "i8", 128),  # order: contract_id; delivery: delivery_id; item: moved_to; decision: actor
    ("institution_start", "i8", 136),  # order, contract
    ("hash", "u4", 144),  # murmur2 of the code, as Kafka's partitioner takes it
    ("pack_size", "i4", 148),  # quote, order
    ("delivery_hours", "i4", 148),  # contract
    ("device_class", "i4", 148),  # item; 0: none
    ("key_length", "i2", 152),
    ("second_length", "i2", 154),
    ("institution_length", "i2", 156),
    ("id_length", "i2", 158),
    ("code_length", "u1", 160),  # 27, 23 or 0
    ("type", "u1", 161),
    ("province", "u1", 162),  # index in config.provinces, NO_PROVINCE
    ("reason", "u1", 163),  # OK, ODD or a dead-letter reason
    ("kind", "u1", 164),  # quote
    ("channel", "u1", 164),  # order
    ("action", "u1", 164),  # decision
    ("payer", "u1", 164),  # payment
    ("special_drug", "u1", 164),  # item
    ("status", "u1", 165),  # quote, item
    ("bargained_by", "u1", 165),  # order; 255: absent
)

RECORD: Final = np.dtype(
    {
        "names": [name for name, _, _ in _FIELDS],
        "formats": [form for _, form, _ in _FIELDS],
        "offsets": [at for _, _, at in _FIELDS],
        "itemsize": 168,
    }  # type: ignore[call-overload,unused-ignore]
)
"""One line. Fields that the type does not have are undefined."""

EVENT: Final = np.dtype(
    [
        ("start", "i8"),  # the event's bytes are data[start:end]
        ("end", "i8"),
        ("id_start", "i8"),  # its event_id is data[id_start:id_end] (never escaped: see streams/render.py)
        ("id_end", "i8"),
        ("at_ms", "i8"),
        ("offset", "i8"),  # of the triggering record
        ("broker_ts_ms", "i8"),  # of the triggering record's message
        ("code", "S27"),
        ("kind", "u1"),  # index in KINDS; 255 for a price change
        ("change", "u1"),  # index in CHANGES
        ("band", "u1"),
        ("previous_band", "u1"),
        ("province", "u1"),
    ]
)
"""One rendered event of a run, in the order in which it is to be sent."""
