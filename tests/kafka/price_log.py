"""A seeded log of every record type over many products: what flows while workers, brokers and Redis come and go.

Its clock runs a minute a record or so, so that waiting quotes, holds and deadlines fall due all the time. A fifth of
the records lists each product once; the rest goes mostly to few products, so that alerts go up and down and end.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.naive_records import PROVINCES, partition_of

START_MS: Final = 1_735_689_600_000
"""2025-01-01T00:00:00Z: never in the future of the broker that stamps the records."""
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
_SUPPLIERS: Final = [f"913100000000{number:06d}" for number in range(40)]
_LEVELS: Final = (1.0, 1.0, 1.0, 0.98, 1.01, 1.04, 1.07, 1.15, 1.25, 1.5)
_RECENT: Final = 200

Line = tuple[int, bytes | None, bytes, int | None]
"""Partition, key, value, time: what ``tests.integration.cluster.produce`` takes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the log is. ``lines``: records in one message."""

    records: int = 100_000
    products: int = 20_000
    partitions: int = 8
    lines: int = 1


class _Market:
    def __init__(self, rng: random.Random, shape: Shape) -> None:
        self.rng = rng
        self.shape = shape
        self.at_ms = START_MS
        self.codes = [
            f"C{rng.randrange(10**19):019d}{number:07d}"
            if number % 10
            else f"X{rng.randrange(10**15):015d}{number:07d}"
            for number in range(shape.products)
        ]
        self.partition = [partition_of(code, shape.partitions) for code in self.codes]
        self.base_cents = [int(10 ** rng.uniform(3, 6)) for _ in self.codes]
        self.outliers: list[tuple[int, str, dict[str, Any]]] = []
        self.orders: list[tuple[int, str, str, str]] = []
        self.contracts: list[tuple[int, str, str]] = []

    def province(self, product: int) -> str:
        """One of the few provinces in which the product is sold."""
        return PROVINCES[(product * 7 + self.rng.randrange(4) ** 2) % len(PROVINCES)]

    def fields(self, kind: str, product: int) -> dict[str, Any]:
        late = self.rng.random() < 0.03
        at_ms = self.at_ms - (self.rng.randrange(_DAY_MS) if late else 0)
        return {"type": kind, "province": self.province(product), "code": self.codes[product], "at": at_ms}

    def quote(self, product: int) -> dict[str, Any]:
        rng, fields = self.rng, self.fields("quote", product)
        cents = self.base_cents[product] * rng.choice(_LEVELS)
        dice = rng.random()
        if dice < 0.02:
            cents = cents / rng.choice((2.5, 10, 20, 100))  # held, where two other provinces are known
            self.outliers.append((product, fields["province"], fields))
            del self.outliers[:-_RECENT]
        elif dice < 0.03:
            self.base_cents[product] = max(int(self.base_cents[product] * rng.uniform(0.7, 1.1)), 100)
        pack = 10 if rng.random() < 0.2 else 1
        fields |= {"price": f"{max(cents, 1) * pack / 100:.2f}", "pack_size": pack, "supplier": rng.choice(_SUPPLIERS)}
        fields["kind"] = rng.choices(("listed", "selected", "filed", "emergency"), (80, 8, 8, 4))[0]
        if rng.random() < 0.05:
            fields["status"] = rng.choice(("suspended", "withdrawn"))
        if rng.random() < 0.05:
            fields["effective_at"] = fields["at"] + rng.randrange(5 * _DAY_MS)
        if rng.random() < 0.08:
            fields["valid_until"] = fields["at"] + rng.randrange(1, 20 * _DAY_MS)
        if rng.random() < 0.3:
            fields |= {"id": f"q-{rng.randrange(10**9)}", "seq": rng.randrange(4)}
        return fields

    def item(self, product: int) -> dict[str, Any]:
        rng, fields = self.rng, self.fields("item", product)
        del fields["province"]
        fields |= {"device_class": rng.randint(1, 3), "name": "导管", "special_drug": rng.random() < 0.3}
        if rng.random() < 0.1:
            fields["status"] = "disabled"
        return fields

    def ceiling(self, product: int) -> dict[str, Any]:
        fields = self.fields("ceiling", product)
        if self.rng.random() < 0.9:
            fields["price"] = round(self.base_cents[product] * self.rng.uniform(0.9, 1.2)) / 100
        return fields

    def order(self, product: int) -> dict[str, Any]:
        rng, fields = self.rng, self.fields("order", product)
        fields |= {"order_id": f"o{rng.randrange(10**9)}", "institution": f"H{rng.randrange(50)}", "quantity": 100,
                   "supplier": rng.choice(_SUPPLIERS), "bargained_by": rng.choice(("institution", "consortium")),
                   "price": round(self.base_cents[product] * rng.choice(_LEVELS)) / 100}  # fmt: skip
        mine = [contract for contract in self.contracts if contract[0] == product]
        if mine:
            fields |= {"contract_id": mine[-1][2], "province": mine[-1][1]}
        self.orders.append((product, fields["province"], fields["order_id"], fields["code"]))
        del self.orders[:-_RECENT]
        return fields

    def contract(self, product: int) -> dict[str, Any]:
        rng, fields = self.rng, self.fields("contract", product)
        starts_ms = fields["at"] - rng.randrange(30 * _DAY_MS)
        fields |= {"contract_id": f"k{rng.randrange(10**9)}", "supplier": rng.choice(_SUPPLIERS), "price": 12.5,
                   "agreed_quantity": 10_000, "starts_at": starts_ms,
                   "ends_at": starts_ms + rng.randrange(60, 400) * _DAY_MS}  # fmt: skip
        self.contracts.append((product, fields["province"], fields["contract_id"]))
        del self.contracts[:-_RECENT]
        return fields

    def of_an_order(self, product: int) -> dict[str, Any]:
        rng = self.rng
        if not self.orders:
            return self.quote(product)
        product, province, order_id, _ = rng.choice(self.orders)
        fields = self.fields("delivery", product) | {"province": province, "order_id": order_id}
        if rng.random() < 0.5:
            return fields | {"delivery_id": f"d{rng.randrange(1000)}", "quantity": rng.randrange(120)}
        return fields | {"type": "payment", "paid_total": rng.randrange(100_000)}

    def decision(self, product: int) -> dict[str, Any]:
        rng = self.rng
        if not self.outliers:
            return self.quote(product)
        product, province, outlier = rng.choice(self.outliers[-30:])
        if rng.random() < 0.3:  # another province bears it out
            return outlier | {"province": self.province(product), "at": self.at_ms, "kind": "listed"}
        fields = self.fields("decision", product) | {"province": province, "actor": "a@b"}
        alert_id = f"price_hold:{fields['code']}:{province}:{rng.choice((1, 1, 1, 2))}"
        return fields | {"action": rng.choice(("confirm", "reject")), "alert_id": alert_id}

    def spoiled(self, product: int) -> bytes:
        fields = self.quote(product)
        spoil = self.rng.randrange(5)
        if spoil == 0:
            return json.dumps(fields)[:-9].encode()
        wrong: dict[str, Any] = (
            {},
            {"code": "C1"},
            {"price": "1.23456"},
            {"at": "2999-01-01T00:00:00Z"},
            {"type": "quota"},
        )[spoil]
        return json.dumps(fields | wrong).encode()

    def policy(self) -> dict[str, Any]:
        rng = self.rng
        rules: dict[str, Any] = {"bands": {"yellow": rng.choice((300, 500, 700))}}
        provinces: dict[str, Any] = {
            PROVINCES[rng.randrange(32)]: {"lookback": "rolling"},
            PROVINCES[rng.randrange(32)]: {"aggregate": "mean_of_lowest", "k": 2, "adjust_within_days": 3},
            PROVINCES[rng.randrange(32)]: {"aggregate": "median"},
        }
        policy = {"default": rules, "provinces": provinces, "window_days": rng.choice((7, 365))}
        return {"type": "policy", "at": self.at_ms, "policy": policy}


_KINDS: Final = {"quote": 74, "item": 3, "ceiling": 6, "order": 8, "decision": 3, "contract": 0.5, "of_an_order": 3, "spoiled": 0.5}  # fmt: skip


def records(seed: int, shape: Shape) -> Iterator[tuple[int, bytes | None, bytes]]:
    """Yields (partition, key, record)."""
    rng = random.Random(f"price log {seed}")
    market = _Market(rng, shape)
    first = list(range(shape.products))
    rng.shuffle(first)
    kinds = rng.choices(list(_KINDS), list(_KINDS.values()), k=shape.records)
    policies = {rng.randrange(shape.records // 4, shape.records) for _ in range(3)}
    count = 0
    for kind in kinds:
        market.at_ms += rng.randrange(2 * _MINUTE_MS)
        if count in policies or count % 500 == 499:
            alike = market.policy() if count in policies else {"type": "tick", "at": market.at_ms}
            line = json.dumps(alike).encode()
            yield from ((partition, None, line) for partition in range(shape.partitions))
            count += shape.partitions
        elif first and rng.random() < 0.4:
            product = first.pop()
            yield market.partition[product], market.codes[product].encode(), json.dumps(market.quote(product)).encode()
            count += 1
        else:
            product = int(shape.products * rng.random() ** 4)
            made = getattr(market, kind)(product)
            code = market.codes[product] if isinstance(made, bytes) else made["code"]
            line = made if isinstance(made, bytes) else json.dumps(made, ensure_ascii=False).encode()
            yield partition_of(code, shape.partitions), code.encode(), line
            count += 1
        if count >= shape.records:
            return


def price_log(seed: int, shape: Shape) -> Iterator[Line]:
    """Yields the log's messages in log order, ``shape.lines`` records of a partition in one."""
    if shape.lines == 1:
        for partition, key, record in records(seed, shape):
            yield partition, key, record, None
        return
    waiting: dict[int, list[bytes]] = {}
    for partition, _, record in records(seed, shape):
        lines = waiting.setdefault(partition, [])
        lines.append(record)
        if len(lines) == shape.lines:
            yield partition, None, b"\n".join(waiting.pop(partition)), None
    for partition, lines in waiting.items():
        yield partition, None, b"\n".join(lines), None


def in_more(lines: Iterable[Line], old: int, new: int) -> Iterator[Line]:
    """Yields a log of single records as a producer sends it to more partitions; ticks and policies go to all of them."""
    for partition, key, value, at_ms in lines:
        places = range(partition, new, old) if key is None else [partition_of(key.decode(), new)]
        yield from ((place, key, value, at_ms) for place in places)
