"""Lines of the demo market as the platforms write them: each province has its own habits of time and money."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

from config.provinces import PROVINCE_CODES
from market.catalogue import Product

_SHANGHAI: Final = timezone(timedelta(hours=8))


class Line(NamedTuple):
    """One message for topic ``feeds``: its key is the code, its value one record."""

    code: str
    value: bytes


@dataclass(slots=True)
class Listing:
    """A product in a province as the market knows it. ``per_box``: this platform quotes boxes, not pieces.

    ``pending``: a quote of it is being looked at, so nobody touches it and nobody takes it for a price.
    """

    price_e4: int
    per_box: bool
    kind: str = "listed"
    status: str = "active"
    ceiling_e4: int = 0
    pending: bool = False


def time_of(now_ms: int, province: int) -> int | str:
    """Returns a moment as the province writes it: epoch milliseconds, Shanghai's time, or UTC."""
    if province % 3 == 0:
        return now_ms
    moment = datetime.fromtimestamp(now_ms // 1000, UTC) + timedelta(milliseconds=now_ms % 1000)
    if province % 3 == 1:
        return moment.astimezone(_SHANGHAI).isoformat(timespec="milliseconds")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ms % 1000:03}Z"


def money(price_e4: int, province: int) -> str | float:
    """Returns an amount as the province writes it: a decimal string, or a JSON number."""
    yuan, rest = divmod(price_e4, 10_000)
    text = f"{yuan}.{rest:04}"
    text = text[:-2] + text[-2:].rstrip("0")
    return text if province % 2 == 0 else float(text)


def encode(record: dict[str, Any]) -> bytes:
    """Returns the record as one line of JSON without a line feed."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def quote(product: Product, province: int, listing: Listing, now_ms: int, seq: int) -> dict[str, Any]:
    """Returns the quote record that says what the listing is."""
    pack_size = product.pack_size if listing.per_box else 1
    record: dict[str, Any] = {
        "type": "quote",
        "province": PROVINCE_CODES[province],
        "code": product.code,
        "at": time_of(now_ms, province),
        "seq": seq,
        "id": f"{PROVINCE_CODES[province]}-{seq:08}",
        "price": money(listing.price_e4 * pack_size, province),
    }
    if listing.per_box:
        record |= {"unit": "box", "pack_size": pack_size}
    if listing.kind != "listed":
        record["kind"] = listing.kind
    if listing.status != "active":
        record["status"] = listing.status
    record["supplier"] = product.supplier
    return record


def item(
    product: Product, now_ms: int, seq: int, moved_to: str | None = None, status: str = "active"
) -> dict[str, Any]:
    """Returns the product's item record."""
    record: dict[str, Any] = {"type": "item", "code": product.code, "at": now_ms, "seq": seq, "status": status}
    record |= {"name": product.name, "category": product.category}
    if product.device_class:
        record["device_class"] = product.device_class
    if product.special_drug:
        record["special_drug"] = True
    if moved_to:
        record["moved_to"] = moved_to
    return record


def ceiling(product: Product, province: int, price_e4: int, now_ms: int, seq: int) -> dict[str, Any]:
    """Returns a ceiling record; a price of 0 lifts the ceiling."""
    record: dict[str, Any] = {
        "type": "ceiling",
        "province": PROVINCE_CODES[province],
        "code": product.code,
        "at": time_of(now_ms, province),
        "seq": seq,
    }
    if price_e4:
        record["price"] = money(price_e4, province)
    return record


def decision(alert: dict[str, Any], action: str, now_ms: int, note: str) -> dict[str, Any]:
    """Returns an operator's decision about a held price, the alert given as its event."""
    return {
        "type": "decision",
        "province": alert["province"],
        "code": alert["code"],
        "at": now_ms,
        "action": action,
        "alert_id": alert["alert_id"],
        "actor": f"operator-{alert['province']}",
        "note": note,
    }
