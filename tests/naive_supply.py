"""The twin's supply and settlement of one code (SPEC §6 and §7): all is counted anew in every step."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tests.naive_alerts import Alert, Step, band_change
from tests.naive_records import LATEST_MS, Position, Record, format_e4, format_ms, half_up

if TYPE_CHECKING:
    from tests.naive import NaiveMachine, Product

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
SHANGHAI_MS: Final = 8 * HOUR_MS
GAP_MS: Final = 30 * DAY_MS
MOST_OWED: Final = 2**63 - 1


@dataclass
class Contract:
    """A contract's last accepted record; ``live``: whether midnights still evaluate its purchases."""

    record: Record
    position: Position
    live: bool = False
    supply: Alert | None = None
    purchase: Alert | None = None
    overdue: int = 0  # as the last step left it


@dataclass
class Order:
    """An order's last accepted record, and the ``at`` of its first."""

    first_at: int
    record: Record
    position: Position
    accepted: int = 0  # pieces, of all its deliveries
    debts: list[tuple[int, int]] = field(default_factory=list)  # due dates, and the running amount of all up to each
    arrears: Alert | None = None
    owed: int = 0  # as the last step left it

    @property
    def quantity(self) -> int:
        """Pieces ordered; 0 once cancelled."""
        return int(self.record["quantity"])


Key = tuple[str, str]
"""Province and id."""


@dataclass
class Supply:
    """All contracts, orders, deliveries and payments of a code."""

    machine: "NaiveMachine"
    product: "Product"
    contracts: dict[Key, Contract] = field(default_factory=dict)
    orders: dict[Key, Order] = field(default_factory=dict)
    under: defaultdict[Key, set[Key]] = field(default_factory=lambda: defaultdict(set))  # a contract's orders
    deliveries: dict[Key, dict[str, Record]] = field(default_factory=dict)  # of an order, by delivery_id
    paid: dict[Key, int] = field(default_factory=dict)
    gaps: dict[str, Alert] = field(default_factory=dict)

    def change(self, step: Step) -> None:
        """Applies the step's record."""
        record = step.record
        if record is None or record.province is None:
            return
        if record.type == "contract":
            self._set_contract(step, record, (record.province, record["contract_id"]))
        elif record.type == "order":
            key = (record.province, record["order_id"])
            if key in self.orders:
                self.under[record.province, self.orders[key].record["contract_id"]].discard(key)
                self.orders[key].record, self.orders[key].position = record, step.position
            else:
                self.orders[key] = Order(record.at, record, step.position)
            self.under[record.province, record["contract_id"]].add(key)
            self._count(key)
        elif record.type == "delivery":
            key = (record.province, record["order_id"])
            self.deliveries.setdefault(key, {})[record["delivery_id"]] = record
            self._count(key)
        elif record.type == "payment":
            self.paid[record.province, record["order_id"]] = record["paid_total"]

    def _set_contract(self, step: Step, record: Record, key: Key) -> None:
        contract = self.contracts.setdefault(key, Contract(record, step.position))
        contract.record, contract.position = record, step.position
        # where its last midnight is gone, an open alert still gets one more
        contract.live = midnight_from(record["ends_at"]) > step.clock or contract.purchase is not None

    def instants(self) -> Iterator[int]:
        """Yields when something may happen by itself."""
        rules = self.machine.policy.supply
        for key, contract in self.contracts.items():
            for due_ms, _ in self._dues(key, contract):
                yield due_ms
                yield due_ms + rules["late_yellow_hours"] * HOUR_MS
                yield due_ms + rules["late_red_hours"] * HOUR_MS
                yield due_ms + rules["window_days"] * DAY_MS
            if contract.live:
                yield midnight_from(self.machine.clock + 1)
        for province in {province for province, _ in self.orders} if self._special() else ():
            for since in self._gap_starts(province):
                yield since + GAP_MS
        for order in self.orders.values():
            for due_ms in {due_ms for due_ms, _ in order.debts}:
                yield due_ms - 7 * DAY_MS
                yield due_ms
                yield due_ms + 90 * DAY_MS

    def evaluate(self, step: Step) -> None:
        """Evaluates everything once after a step."""
        for key in self._sorted(step, self.contracts):
            self._evaluate_supply(step, key, self.contracts[key])
        if step.record is None and (step.clock + SHANGHAI_MS) % DAY_MS == 0:
            for key in self._sorted(step, self.contracts):
                if self.contracts[key].live:
                    self._evaluate_purchase(step, key, self.contracts[key])
        for province in step.first({province for province, _ in self.orders}):
            self._evaluate_gap(step, province)
        for key in self._sorted(step, self.orders):
            self._evaluate_arrears(step, key, self.orders[key])

    def _sorted(self, step: Step, keys: dict[Key, Any]) -> list[Key]:
        return sorted(keys, key=lambda key: (key[0] != step.province, key[0], key[1].encode()))

    def _special(self) -> bool:
        return self.product.item is not None and self.product.item["special_drug"]

    def _accepted_by(self, key: Key, until: int) -> int:
        return sum(one["quantity"] for one in self.deliveries.get(key, {}).values() if one["accepted_at"] <= until)

    # --- supply_shortfall -------------------------------------------------------------------------------------------

    def _dues(self, key: Key, contract: Contract) -> list[tuple[int, Key]]:
        """Returns when the contract's orders fall due, the oldest first."""
        hours: int = contract.record["delivery_hours"]
        return sorted(
            (min(self.orders[order].first_at + hours * HOUR_MS, LATEST_MS), order) for order in self.under[key]
        )

    def _evaluate_supply(self, step: Step, key: Key, contract: Contract) -> None:
        rules = self.machine.policy.supply
        due = filled = overdue = 0
        oldest: int | None = None
        for due_ms, order_key in self._dues(key, contract):
            if due_ms > step.clock:
                continue
            order = self.orders[order_key]
            ordered = order.quantity
            if due_ms > step.clock - rules["window_days"] * DAY_MS:
                due += ordered
                filled += min(ordered, self._accepted_by(order_key, due_ms))
            missing = ordered - order.accepted
            if missing > 0:
                overdue += missing
                oldest = due_ms if oldest is None else oldest

        def late(hours: int) -> bool:
            return oldest is not None and step.clock - oldest >= hours * HOUR_MS

        band = None
        if filled * 10_000 < rules["fill_red_bp"] * due or late(rules["late_red_hours"]):
            band = "red"
        elif filled * 10_000 < rules["fill_yellow_bp"] * due or late(rules["late_yellow_hours"]):
            band = "yellow"
        elif overdue:
            band = "blue"
        alert = contract.supply
        change = band_change(alert.band if alert else None, band)
        if alert and not change and overdue != contract.overdue:
            change = "revised"
        contract.overdue = overdue
        if change == "opened":
            alert = contract.supply = self.product.open("supply_shortfall", *key)
        if alert and change:
            quantity = counted(due, filled, overdue)
            self._emit_contract(step, alert, contract, change=change, band=band, quantity=quantity, due_at=oldest)
        if band is None:
            contract.supply = None

    def _emit_contract(self, step: Step, alert: Alert, contract: Contract, **fields: Any) -> None:
        record = contract.record
        self.machine.emit(
            alert,
            step,
            supplier=record["supplier"],
            institution=record["institution"],
            own_evidence=[contract.position],
            **fields,
        )

    # --- purchase_shortfall -----------------------------------------------------------------------------------------

    def _evaluate_purchase(self, step: Step, key: Key, contract: Contract) -> None:
        """Evaluates a contract at a midnight of Asia/Shanghai."""
        record = contract.record
        ordered = sum(self.orders[order].quantity for order in self.under[key])
        term = shanghai_day(record["ends_at"]) - shanghai_day(record["starts_at"])
        elapsed = max(shanghai_day(step.clock) - shanghai_day(record["starts_at"]), 0)
        is_last = step.clock >= record["ends_at"]
        share = (1, 1) if is_last else (elapsed, term) if term else (0, 1)
        agreed = record["agreed_quantity"] * share[0] // share[1]
        band = None
        if share[0] * 10 >= share[1]:
            if ordered * 10 < agreed * 7:
                band = "red"
            elif ordered * 10 < agreed * 9:
                band = "yellow"
        alert = contract.purchase
        change = band_change(alert.band if alert else None, band)
        fields = {"quantity": counted(agreed, ordered, max(agreed - ordered, 0)), "due_at": record["ends_at"]}
        if change == "opened":
            alert = contract.purchase = self.product.open("purchase_shortfall", *key)
        if alert and change and not (is_last and change in ("escalated", "eased")):
            self._emit_contract(step, alert, contract, change=change, band=band, **fields)
        if alert and is_last and band:
            fields["reason"] = "contract_ended"
            self._emit_contract(step, alert, contract, change="closed", band=alert.band, **fields)
        if band is None or is_last:
            contract.purchase = None
        if is_last:
            contract.live = False

    # --- channel_gap ------------------------------------------------------------------------------------------------

    def _gap_starts(self, province: str) -> list[int]:
        """Returns since when each channel of a province with an open order has had no delivery."""
        starts = []
        for channel in ("hospital", "pharmacy"):
            of_channel = {
                key: order
                for key, order in self.orders.items()
                if key[0] == province and order.record["channel"] == channel
            }
            open_since = [order.first_at for order in of_channel.values() if order.accepted < order.quantity]
            accepted = [
                one["accepted_at"]
                for key in of_channel
                for one in self.deliveries.get(key, {}).values()
                if one["quantity"] > 0
            ]
            if open_since:
                starts.append(max([min(open_since), *accepted]))
        return starts

    def _evaluate_gap(self, step: Step, province: str) -> None:
        gaps = 0
        if self._special():
            gaps = sum(1 for since in self._gap_starts(province) if step.clock >= since + GAP_MS)
        band = (None, "yellow", "red")[gaps]
        alert = self.gaps.get(province)
        change = band_change(alert.band if alert else None, band)
        if change == "opened":
            alert = self.gaps[province] = self.product.open("channel_gap", province)
        if alert and change:
            self.machine.emit(alert, step, change=change, band=band, own_evidence=[])
        if band is None:
            self.gaps.pop(province, None)

    # --- settlement_arrears -----------------------------------------------------------------------------------------

    def _count(self, key: Key) -> None:
        """Counts what an order's deliveries bring, and what they owe by when, oldest acceptance first."""
        if key not in self.orders:
            return
        order, running = self.orders[key], 0
        order.debts = []
        deliveries = self.deliveries.get(key, {}).values()
        for delivery in sorted(deliveries, key=lambda delivery: int(delivery["accepted_at"])):
            running += delivery["quantity"]
            amount = half_up(running * order.record["price"], order.record["pack_size"])
            order.accepted = running
            order.debts.append((settlement_due(delivery["accepted_at"]), min(amount, MOST_OWED)))

    def _evaluate_arrears(self, step: Step, key: Key, order: Order) -> None:
        paid = self.paid.get(key, 0)
        debts = order.debts
        owed = max(debts[-1][1] - paid, 0) if debts else 0
        due_ms = next((due for due, running in debts if running > paid), None)
        band = None
        if due_ms is not None:
            for name, from_ms in (("blue", due_ms - 7 * DAY_MS), ("yellow", due_ms), ("red", due_ms + 90 * DAY_MS)):
                band = name if step.clock >= from_ms else band
        alert = order.arrears
        change = band_change(alert.band if alert else None, band)
        if alert and not change and owed != order.owed:
            change = "revised"
        order.owed = owed
        if change == "opened":
            alert = order.arrears = self.product.open("settlement_arrears", *key)
        if alert and change:
            amount = {"owed": format_e4(owed)} | ({} if due_ms is None else {"due_at": format_ms(due_ms)})
            self.machine.emit(
                alert,
                step,
                change=change,
                supplier=order.record["supplier"],
                institution=order.record["institution"],
                band=band,
                amount=amount,
                own_evidence=[order.position],
            )
        if band is None:
            order.arrears = None


def counted(due: int, filled: int, missing: int) -> dict[str, int]:
    """Returns ``quantity`` of a shortfall."""
    rate = {"fill_rate_bp": filled * 10_000 // due} if due else {}
    return {"due": due, "filled": filled, "overdue": missing} | rate


def shanghai_day(ms: int) -> int:
    """Returns the number of the Shanghai date."""
    return (ms + SHANGHAI_MS) // DAY_MS


def midnight_from(ms: int) -> int:
    """Returns the first midnight of Asia/Shanghai at or after a moment."""
    return -(-(ms + SHANGHAI_MS) // DAY_MS) * DAY_MS - SHANGHAI_MS


def settlement_due(accepted_ms: int) -> int:
    """Returns the midnight that ends the calendar month after the month of acceptance, in Asia/Shanghai."""
    day = (
        datetime.fromtimestamp((accepted_ms + SHANGHAI_MS) // 1_000, UTC) if accepted_ms < LATEST_MS - DAY_MS else None
    )
    if day is None or (day.year, day.month) == (9999, 12):
        return LATEST_MS
    if (day.year, day.month) == (9999, 11):  # the year ends in Shanghai before it ends in UTC
        return LATEST_MS + 1 - SHANGHAI_MS
    months = day.year * 12 + day.month - 1 + 2
    end = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    return int(end.timestamp()) * 1_000 - SHANGHAI_MS
