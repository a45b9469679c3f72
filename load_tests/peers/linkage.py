"""The task as somebody who writes Python would write it for speed: what the Python engines here keep of a product.

It leans on one fact: who has the lowest price has no band, and for all others the lowest of the others *is* the lowest.
So a change that leaves the lowest alone concerns one province, and a price that stays concerns none.
"""

from datetime import datetime
from typing import Any, Final

import orjson

PROVINCES: Final = (
    "110000", "120000", "130000", "140000", "150000", "210000", "220000", "230000", "310000", "320000", "330000",
    "340000", "350000", "360000", "370000", "410000", "420000", "430000", "440000", "450000", "460000", "500000",
    "510000", "520000", "530000", "540000", "610000", "620000", "630000", "640000", "650000", "660000",
)  # fmt: skip
INDEX: Final = {province: index for index, province in enumerate(PROVINCES)}
BANDS: Final = ("none", "blue", "yellow", "red")

Quote = tuple[str, int, int, int, int]
"""Code, index of the province, time in epoch milliseconds, sequence number, price a piece in 1/10,000 yuan."""
Change = tuple[int, int, int]
"""Index of the province or -1 for the national lowest, index of the band, price in 1/10,000 yuan."""


def parse(value: bytes) -> Quote:
    """Returns the quote in a message."""
    record = orjson.loads(value)
    at = record["at"]
    if at.__class__ is str:
        at = round(datetime.fromisoformat(at).timestamp() * 1000)
    price_e4 = round(record["price"] * 10_000)  # prices have at most four decimals, so this is exact
    pack_size = record.get("pack_size", 1)
    if pack_size != 1:
        price_e4 = (2 * price_e4 + pack_size) // (2 * pack_size)
    return record["code"], INDEX[record["province"]], at, record.get("seq", 0), price_e4


class Product:
    """Prices of a product in force by province, 0 where there is none, and the bands last told."""

    __slots__ = ("at", "band", "lowest_e4", "price_e4", "seq")

    def __init__(self) -> None:
        self.price_e4 = [0] * len(PROVINCES)
        self.at = [-1] * len(PROVINCES)
        self.seq = [-1] * len(PROVINCES)
        self.band = [0] * len(PROVINCES)
        self.lowest_e4 = 0

    @classmethod
    def of(cls, fields: dict[str, Any] | None) -> "Product":
        """Returns the product that ``fields`` told of, which shares their lists; None: a new one."""
        product = cls()
        for name, value in (fields or {}).items():
            setattr(product, name, value)
        return product

    def fields(self) -> dict[str, Any]:
        """Returns what JSON can hold of it."""
        return {name: getattr(self, name) for name in self.__slots__}

    def apply(self, province: int, at: int, seq: int, price_e4: int) -> list[Change]:
        """Takes a quote; returns what it changes, the lowest first, then bands in order of province."""
        if at < self.at[province] or (at == self.at[province] and seq <= self.seq[province]):
            return []
        self.at[province] = at
        self.seq[province] = seq
        before_e4 = self.price_e4[province]
        if price_e4 == before_e4:
            return []
        self.price_e4[province] = price_e4
        lowest_e4 = self.lowest_e4
        if lowest_e4 == 0 or price_e4 < lowest_e4:
            lowest_e4 = price_e4
        elif before_e4 == lowest_e4:
            lowest_e4 = min(filter(None, self.price_e4))
        if lowest_e4 == self.lowest_e4:
            return self._bands(range(province, province + 1))
        self.lowest_e4 = lowest_e4
        return [(-1, 0, lowest_e4), *self._bands(range(len(PROVINCES)))]

    def _bands(self, provinces: range) -> list[Change]:
        changes = []
        lowest_e4 = self.lowest_e4
        for province in provinces:
            own_e4 = self.price_e4[province]
            band = 0
            if own_e4 > lowest_e4:
                excess_bp = (own_e4 - lowest_e4) * 10_000 // lowest_e4
                band = 3 if excess_bp >= 2000 else 2 if excess_bp >= 500 else 1
            if band != self.band[province]:
                self.band[province] = band
                changes.append((province, band, own_e4))
        return changes


def event_of(code: str, at: int, change: Change, lowest_e4: int) -> dict[str, Any]:
    """Returns the event of a change."""
    province, band, price_e4 = change
    if province < 0:
        return {"code": code, "lowest_e4": price_e4, "at": at}
    return {
        "code": code,
        "province": PROVINCES[province],
        "band": BANDS[band],
        "price_e4": price_e4,
        "lowest_e4": lowest_e4,
        "at": at,
    }


def render(code: str, at: int, change: Change, lowest_e4: int) -> bytes:
    """Returns the event of a change as it goes to Kafka."""
    return orjson.dumps(event_of(code, at, change, lowest_e4))
