"""What the tests of this package share: batches of lines, good lines of every type, and rows read back as records."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from config.provinces import NO_PROVINCE
from schemas.batches import Batch
from schemas.codes import unpack_supplier
from schemas.columns import (
    ABSENT,
    CEILING,
    CONTRACT,
    DECISION,
    DELIVERY,
    ITEM,
    MESSAGE,
    OK,
    ORDER,
    PAYMENT,
    POLICY,
    QUOTE,
    TICK,
)
from schemas.records import Record
from schemas.scanner import Scanned

CODE = "C09100100000000211790000049"
DRUG = "ZL1929B4771137AB06A6145"
SUPPLIER = "91320000MA1FL00002"
AT = 1_767_225_600_000
COMMON = {"province": "320000", "code": CODE, "at": AT}

GOOD: dict[str, dict[str, Any]] = {
    "item": {"type": "item", "code": CODE, "at": AT},
    "quote": {"type": "quote", **COMMON, "price": "12.50", "supplier": SUPPLIER},
    "ceiling": {"type": "ceiling", **COMMON},
    "contract": {
        "type": "contract",
        **COMMON,
        "contract_id": "K1",
        "supplier": SUPPLIER,
        "agreed_quantity": 1000,
        "price": 9,
        "starts_at": AT,
        "ends_at": "2026-12-31T00:00:00+08:00",
    },
    "order": {
        "type": "order",
        **COMMON,
        "order_id": "O1",
        "institution": "省立医院",
        "supplier": SUPPLIER,
        "price": "8.8",
        "quantity": 10,
    },
    "delivery": {"type": "delivery", **COMMON, "order_id": "O1", "delivery_id": "D1", "quantity": 5},
    "payment": {"type": "payment", **COMMON, "order_id": "O1", "paid_total": "0"},
    "decision": {"type": "decision", **COMMON, "action": "confirm", "alert_id": "price_hold:x:1", "actor": "op-7"},
    "policy": {"type": "policy", "at": AT, "policy": {}},
    "tick": {"type": "tick", "at": AT},
}
"""A line of each type with nothing that it could leave out."""

FULL: dict[str, dict[str, Any]] = {
    "item": {
        **GOOD["item"],
        "id": "记录-1",
        "seq": 3,
        "status": "disabled",
        "name": "支架 A",
        "device_class": 3,
        "category": "03",
        "moved_to": DRUG,
        "special_drug": True,
    },
    "quote": {
        **GOOD["quote"],
        "id": "记录-1",
        "seq": 2**63 - 1,
        "unit": "box",
        "pack_size": 7,
        "kind": "filed",
        "status": "suspended",
        "effective_at": "2026-01-05T16:00:01.1239+08:00",
        "valid_until": 253_402_271_999_999,
    },
    "ceiling": {**GOOD["ceiling"], "id": "x", "seq": 1, "price": 12.5},
    "contract": {**GOOD["contract"], "id": "x", "seq": 1, "delivery_hours": 8760, "institution": "H1"},
    "order": {
        **GOOD["order"],
        "id": "x",
        "seq": 1,
        "pack_size": 3,
        "channel": "pharmacy",
        "contract_id": "K1",
        "bargained_by": "consortium",
    },
    "delivery": {**GOOD["delivery"], "id": "x", "seq": 1, "accepted_at": AT - 1},
    "payment": {**GOOD["payment"], "id": "x", "seq": 1, "payer": "fund", "paid_total": 100_000_000_000_000},
    "decision": {**GOOD["decision"], "id": "x", "seq": 1, "note": "checked"},
    "policy": {**GOOD["policy"], "id": "x", "seq": 1, "policy": {"guard_bp": 4000}},
    "tick": {**GOOD["tick"], "id": "x", "seq": 1},
}
"""A line of each type with all it can have."""


def line_of(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def batch_of(values: Iterable[bytes], broker_ts_ms: int = AT) -> Batch:
    """Returns a batch of messages with these values, offsets from 0."""
    values = list(values)
    messages = np.zeros(len(values), MESSAGE)
    at = 0
    for offset, value in enumerate(values):
        messages[offset] = (at, at + len(value), offset, broker_ts_ms)
        at += len(value)
    return Batch(0, np.frombuffer(b"".join(values), np.uint8), messages)


def kept(record: Record) -> Record:
    """Returns what a row keeps of a record."""
    return record._replace(unit=None, name=None, category=None, note=None)


def record_of(scanned: Scanned, index: int) -> Record:
    """Returns a row (valid) as the record that it keeps."""
    row = scanned.records[index]
    assert row.reason == OK
    data = scanned.data

    def text(name: str) -> str | None:
        start, length = int(row[f"{name}_start"]), int(row[f"{name}_length"])
        return data[start : start + length].tobytes().decode() if length else None

    def number(name: str) -> int | None:
        return None if row[name] == ABSENT else int(row[name])

    kind = int(row.type)
    found: dict[str, Any] = {
        "type": kind,
        "at_ms": int(row.at_ms),
        "seq": int(row.seq),
        "id": text("id"),
        "code": text("code") or "",
        "province": None if row.province == NO_PROVINCE else int(row.province),
    }
    if kind in (QUOTE, ORDER, CEILING, CONTRACT):
        found |= {"price_e4": number("price_e4"), "per_piece_e4": number("per_piece_e4")}
    if kind in (QUOTE, ORDER, CONTRACT):
        found["supplier"] = unpack_supplier(int(row.supplier_hi), int(row.supplier_lo))
    if kind in (QUOTE, ORDER):
        found["pack_size"] = int(row.pack_size)
    if kind in (ORDER, CONTRACT):
        found["institution"] = text("institution")
    if kind in (ORDER, DELIVERY):
        found["quantity"] = int(row.quantity)
    if kind in (ORDER, DELIVERY, PAYMENT):
        found["order_id"] = text("key")
    match kind:
        case _ if kind == QUOTE:
            found |= {"kind": int(row.kind), "status": int(row.status)}
            found |= {"effective_ms": number("effective_ms"), "valid_until_ms": number("valid_until_ms")}
        case _ if kind == ITEM:
            found |= {"status": int(row.status), "special_drug": bool(row.special_drug), "moved_to": text("second")}
            found["device_class"] = int(row.device_class) or None
        case _ if kind == CONTRACT:
            found |= {"contract_id": text("key"), "agreed_quantity": int(row.agreed_quantity)}
            found |= {"starts_ms": int(row.starts_ms), "ends_ms": int(row.ends_ms)}
            found["delivery_hours"] = int(row.delivery_hours)
        case _ if kind == ORDER:
            found |= {"channel": int(row.channel), "contract_id": text("second")}
            found["bargained_by"] = None if row.bargained_by == 255 else int(row.bargained_by)
        case _ if kind == DELIVERY:
            found |= {"delivery_id": text("second"), "accepted_ms": int(row.accepted_ms)}
        case _ if kind == PAYMENT:
            found |= {"paid_total_e4": int(row.paid_total_e4), "payer": int(row.payer)}
        case _ if kind == DECISION:
            found |= {"action": int(row.action), "alert_id": text("key"), "actor": text("second")}
        case _ if kind == POLICY:
            found["policy"] = scanned.policies[index]
        case _:
            assert kind in (TICK, CEILING)
    return Record(**found)
