"""Contracts, orders, deliveries and payments of the demo market: what happened before it opens, and what comes late.

The past is written first, with times in the past, before any other record: then the clock of the log stands days ago,
and midnights pass when the market opens. What it leaves undone is done, late, in the minutes after.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from config.provinces import PROVINCE_CODES, PROVINCES
from market import records
from market.records import Line
from market.state import Action, Board

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
HISTORY_MS: Final = 3 * DAY_MS
"""The past is written as of so long ago."""
HOSPITALS: Final = ("省人民医院", "第一医院", "中心医院", "中医医院", "大学附属医院", "第三医院", "妇幼保健院")
PHARMACY: Final = "大药房"
_EACH: Final = 4
"""So many of each story."""
_ORDER_EVERY_S: Final = (4.0, 12.0)
"""Between two orders under contracts that run by the hour."""
_SURGES: Final = 3
_SURGE_CATEGORIES: Final = ("血管介入治疗类材料", "骨科材料", "注射穿刺类材料")


@dataclass(slots=True)
class Contract:
    """A volume-based contract. Times are relative to the market's opening, in ms; before it they are negative."""

    contract_id: str
    product: int
    province: int
    institution: str
    agreed: int
    starts_ms: int
    ends_ms: int
    hours: int = 72


@dataclass(slots=True)
class Order:
    """An order as its platform reports it. ``deliveries``: (accepted, relative as above; pieces); ``paid_bp``: of what is owed."""

    order_id: str
    product: int
    province: int
    institution: str
    placed_ms: int
    quantity: int
    contract: Contract | None = None
    channel: str = "hospital"
    deliveries: list[tuple[int, int]] = field(default_factory=list)
    paid_bp: int = 10_000

    @property
    def accepted(self) -> int:
        """Returns how many pieces were delivered."""
        return sum(pieces for _, pieces in self.deliveries)


class Ledger:
    """The contracts and orders of a market, made from its seed. ``live``: contracts under which orders come while it runs."""

    def __init__(self, market: Board, seed: int) -> None:
        self._market = market
        self.rng = random.Random(f"ledger {seed}")  # its own, so that prices do not depend on it
        self.contracts: list[Contract] = []
        self.orders: list[Order] = []
        self.live: list[Contract] = []
        self._numbers = 0
        for story in (_late_supply, _slow_purchase, _arrears, _gap, _hourly_contract, _surge):
            story(self, market)

    def contract(self, product: int, province: int, **terms: Any) -> Contract:
        """Adds a contract."""
        self._numbers += 1
        name = f"HT{PROVINCE_CODES[province]}{self._numbers:05}"
        made = Contract(name, product, province, self.hospital(province), **terms)
        self.contracts.append(made)
        return made

    def order(self, product: int, province: int, placed_ms: int, quantity: int, **more: Any) -> Order:
        """Adds an order of the past."""
        institution = more.pop("institution", None) or self.hospital(province)
        made = Order(self.order_id(province), product, province, institution, placed_ms, quantity, **more)
        self.orders.append(made)
        return made

    def order_id(self, province: int) -> str:
        """Returns the next order's id."""
        self._numbers += 1
        return f"CG{PROVINCE_CODES[province]}{self._numbers:06}"

    def hospital(self, province: int) -> str:
        """Returns a hospital of a province."""
        return f"{PROVINCES[province].name_zh}{self.rng.choice(HOSPITALS)}"

    def history(self, opens_ms: int) -> Iterator[Line]:
        """Yields the past's records in order of their times: contracts, and most of the rest, as of HISTORY_MS ago."""
        written_ms = opens_ms - HISTORY_MS
        lines = [(written_ms, self.contract_line(contract, opens_ms, written_ms)) for contract in self.contracts]
        for order in self.orders:
            placed_ms = opens_ms + order.placed_ms
            lines.append((placed_ms, self.order_line(order, placed_ms)))
            for number, (after_ms, pieces) in enumerate(order.deliveries):
                accepted_ms = opens_ms + after_ms
                at_ms = max(accepted_ms, written_ms)
                lines.append((at_ms, self.delivery_line(order, number, pieces, accepted_ms, at_ms)))
            if order.deliveries and order.paid_bp:
                lines.append((written_ms, self.payment_line(order, order.paid_bp, written_ms)))
        for _, line in sorted(lines, key=lambda each: each[0]):
            yield line

    def plan(self, now_ms: int) -> None:
        """Plans what was left undone, for the next minutes: most is delivered and paid, late; some is forgotten."""
        rng = self.rng
        for order in self.orders:
            if order.accepted < order.quantity and rng.random() < 0.75:
                self._plan_within(now_ms, 60, 540, self._deliver(order, order.quantity - order.accepted))
            if order.paid_bp < 10_000 and rng.random() < 0.75:
                for share_bp, low_s in ((7_500, 60), (10_000, 300)):
                    self._plan_within(now_ms, low_s, low_s + 240, self._pay(order, share_bp))

        self._place_next(now_ms)

    def _place_next(self, now_ms: int) -> None:
        def action(at_ms: int) -> list[Line]:
            self._place_next(at_ms)
            return self.place(at_ms)

        self._plan_within(now_ms, *_ORDER_EVERY_S, action)

    def place(self, now_ms: int) -> list[Line]:
        """A hospital's order under a one-hour contract reaches us shortly before it falls due; most come after that."""
        rng = self.rng
        if not self.live:
            return []
        contract = rng.choice(self.live)
        placed_ms = now_ms - HOUR_MS + rng.randrange(20_000, 240_000)
        order = Order(
            self.order_id(contract.province), contract.product, contract.province, contract.institution, placed_ms,
            rng.randrange(50, 500), contract,
        )  # fmt: skip
        due_s = (placed_ms + HOUR_MS - now_ms) / 1000
        first = order.quantity // 3
        self._plan_within(now_ms, 5, due_s, self._deliver(order, first))
        if rng.random() < 0.8:
            self._plan_within(now_ms, due_s + 20, due_s + 240, self._deliver(order, order.quantity - first))
        return [self.order_line(order, placed_ms)]

    def _plan_within(self, now_ms: int, low_s: float, high_s: float, action: Action) -> None:
        self._market.plan(now_ms + int(self.rng.uniform(low_s, high_s) * 1000), action)

    def _deliver(self, order: Order, pieces: int) -> Action:
        def action(at_ms: int) -> list[Line]:
            order.deliveries.append((0, pieces))
            return [self.delivery_line(order, len(order.deliveries) - 1, pieces, at_ms, at_ms)]

        return action

    def _pay(self, order: Order, share_bp: int) -> Action:
        return lambda at_ms: [self.payment_line(order, share_bp, at_ms)]

    def contract_line(self, contract: Contract, opens_ms: int, at_ms: int) -> Line:
        """Returns a contract's record."""
        made = self._market.products[contract.product]
        return self._line(contract.product, contract.province, "contract", at_ms) | {
            "contract_id": contract.contract_id,
            "supplier": made.supplier,
            "institution": contract.institution,
            "agreed_quantity": contract.agreed,
            "price": records.money(made.base_e4, contract.province),
            "starts_at": records.time_of(opens_ms + contract.starts_ms, contract.province),
            "ends_at": records.time_of(opens_ms + contract.ends_ms, contract.province),
            "delivery_hours": contract.hours,
        }

    def order_line(self, order: Order, at_ms: int) -> Line:
        """Returns an order's record."""
        made = self._market.products[order.product]
        return self._line(order.product, order.province, "order", at_ms) | {
            "order_id": order.order_id,
            "institution": order.institution,
            "supplier": made.supplier,
            "price": records.money(made.base_e4, order.province),
            "quantity": order.quantity,
            "channel": order.channel,
            "contract_id": order.contract.contract_id if order.contract else None,
        }

    def delivery_line(self, order: Order, number: int, pieces: int, accepted_ms: int, at_ms: int) -> Line:
        """Returns a delivery's record."""
        return self._line(order.product, order.province, "delivery", at_ms) | {
            "order_id": order.order_id,
            "delivery_id": f"{order.order_id}-{number + 1}",
            "quantity": pieces,
            "accepted_at": records.time_of(accepted_ms, order.province),
        }

    def payment_line(self, order: Order, share_bp: int, at_ms: int) -> Line:
        """Returns the record of so much of what the order's deliveries owe."""
        owed_e4 = order.accepted * self._market.products[order.product].base_e4
        return self._line(order.product, order.province, "payment", at_ms) | {
            "order_id": order.order_id,
            "paid_total": records.money(owed_e4 * share_bp // 10_000, 0),
        }

    def _line(self, product: int, province: int, kind: str, at_ms: int) -> "_Fields":
        seq = self._market.seq()
        return _Fields(
            self._market.products[product].code,
            {
                "type": kind,
                "province": PROVINCE_CODES[province],
                "code": self._market.products[product].code,
                "at": records.time_of(at_ms, province),
                "seq": seq,
                "id": f"{PROVINCE_CODES[province]}-{kind[0].upper()}{seq:07}",
            },
        )


@dataclass(slots=True)
class _Fields:
    code: str
    fields: dict[str, Any]

    def __or__(self, more: dict[str, Any]) -> Line:
        named = {name: value for name, value in (self.fields | more).items() if value is not None}
        return Line(self.code, records.encode(named))


def _anywhere(ledger: Ledger, market: Board) -> tuple[int, int]:
    return ledger.rng.randrange(len(market.products)), ledger.rng.randrange(len(PROVINCES))


def _late_supply(ledger: Ledger, market: Board) -> None:
    """Orders that fell due hours or days ago and of which something is missing."""
    for number in range(3 * _EACH):
        product, province = _anywhere(ledger, market)
        contract = ledger.contract(product, province, agreed=4_000, starts_ms=-20 * DAY_MS, ends_ms=340 * DAY_MS)
        for _ in range(2):  # ordered as agreed, so that nothing but delivery is late
            ledger.order(product, province, -15 * DAY_MS, 110, contract=contract, deliveries=[(-14 * DAY_MS, 110)])
        overdue_ms = (2 * HOUR_MS, 30 * HOUR_MS, 100 * HOUR_MS)[number % 3]
        quantity = ledger.rng.randrange(20, 60)
        ledger.order(
            product, province, -72 * HOUR_MS - overdue_ms, quantity, contract=contract,
            deliveries=[(-overdue_ms - 20 * HOUR_MS, quantity - 1 - number)],
        )  # fmt: skip


def _slow_purchase(ledger: Ledger, market: Board) -> None:
    """Contracts of which too little is ordered; of some the term has just ended."""
    for number in range(2 * _EACH):
        product, province = _anywhere(ledger, market)
        ended = number % 4 == 3
        terms = {"starts_ms": -200 * DAY_MS, "ends_ms": -30 * HOUR_MS if ended else 165 * DAY_MS}
        contract = ledger.contract(product, province, agreed=20_000, **terms)
        quantity = 9_000 if number % 2 else 4_000
        ledger.order(
            product, province, -100 * DAY_MS, quantity, contract=contract, deliveries=[(-98 * DAY_MS, quantity)]
        )


def _arrears(ledger: Ledger, market: Board) -> None:
    """Deliveries accepted months ago and not paid, or not in full."""
    for number in range(3 * _EACH):
        product, province = _anywhere(ledger, market)
        accepted_ms = -(35, 75, 200)[number % 3] * DAY_MS
        quantity = ledger.rng.randrange(50, 800)
        ledger.order(
            product, province, accepted_ms - 2 * DAY_MS, quantity, deliveries=[(accepted_ms, quantity)],
            paid_bp=(0, 3_000)[number % 2],
        )  # fmt: skip


def _gap(ledger: Ledger, market: Board) -> None:
    """Dual-channel drugs that a channel, or both, have been waiting for."""
    drugs = [index for index, made in enumerate(market.products) if made.special_drug]
    for number, product in enumerate(drugs[:_EACH]):
        province = ledger.rng.randrange(len(PROVINCES))
        name = PROVINCES[province].name_zh
        ledger.order(product, province, -40 * DAY_MS, 60)
        if number % 2:
            ledger.order(product, province, -36 * DAY_MS, 40, channel="pharmacy", institution=f"{name}{PHARMACY}")


def _hourly_contract(ledger: Ledger, market: Board) -> None:
    """Contracts under which suppliers must deliver within the hour."""
    for _ in range(2 * _EACH):
        product, province = _anywhere(ledger, market)
        terms = {"starts_ms": -DAY_MS, "ends_ms": 360 * DAY_MS, "hours": 1}
        ledger.live.append(ledger.contract(product, province, agreed=100_000, **terms))


def _surge(ledger: Ledger, market: Board) -> None:
    """Hospitals of a province that order a category as ever, and one that orders several times as much lately."""
    for number in range(_SURGES):
        category = _SURGE_CATEGORIES[number % len(_SURGE_CATEGORIES)]
        of_category = [index for index, made in enumerate(market.products) if made.category == category]
        if not of_category:
            continue
        province = ledger.rng.randrange(len(PROVINCES))
        for place, hospital in enumerate(HOSPITALS):
            institution = f"{PROVINCES[province].name_zh}{hospital}"
            usual = ledger.rng.randrange(100, 160)
            for month in range(4):
                product = ledger.rng.choice(of_category)
                quantity = usual * (4 if place == number and month == 0 else 1)
                placed_ms = -(5 + 30 * month) * DAY_MS
                delivered = [(placed_ms + DAY_MS, quantity)]
                ledger.order(product, province, placed_ms, quantity, institution=institution, deliveries=delivered)
