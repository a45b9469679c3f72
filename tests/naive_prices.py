"""The twin's prices of one code: quotes, holds, the lowest, linkage, ceilings, bargains (SPEC §3 to §5)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.naive_alerts import Alert, Reference, Step, band_change, excess_bp
from tests.naive_records import LATEST_MS, Position, Record, half_up

if TYPE_CHECKING:
    from tests.naive import NaiveMachine, Product

DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class Quote:
    """An accepted quote, as far as it matters later; ``price`` is per piece."""

    price: int
    active: bool
    kind: str
    supplier: str
    effective_at: int
    valid_until: int | None
    position: Position

    def past(self, clock: int) -> bool:
        """Whether its validity is over."""
        return self.valid_until is not None and self.valid_until <= clock


@dataclass
class Hold:
    """A held quote and its alert."""

    quote: Quote
    alert: Alert


@dataclass
class Slot:
    """A province's quotes of the code."""

    current: Quote | None = None
    waiting: Quote | None = None
    held: Hold | None = None
    last_in_force: Quote | None = None
    adjustment: Alert | None = None
    breach: Alert | None = None
    ceiling: Reference | None = None
    released: bool = False  # a hold of it was confirmed or corroborated in this step
    # as the last step left them:
    own_before: Quote | None = None
    reference_before: int | None = None
    ceiling_before: int | None = None


@dataclass
class Lowest:
    """A national lowest price: ``ended_at`` is None while it stands."""

    price: int
    province: str
    position: Position
    ended_at: int | None = None


@dataclass
class Prices:
    """All provinces' prices of a code."""

    machine: "NaiveMachine"
    product: "Product"
    slots: dict[str, Slot] = field(default_factory=dict)
    lowest: Lowest | None = None
    ended: list[Lowest] = field(default_factory=list)
    in_force_before: dict[str, Quote] = field(default_factory=dict)
    changes: int = 0

    # --- what happens by itself -------------------------------------------------------------------------------------

    def instants(self) -> Iterator[int]:
        """Yields when something may happen by itself."""
        for slot in self.slots.values():
            if slot.waiting:
                yield slot.waiting.effective_at
            for quote in (slot.current, slot.held.quote if slot.held else None):
                if quote and quote.valid_until is not None:
                    yield quote.valid_until
            if slot.adjustment and slot.adjustment.due_ms is not None:
                yield slot.adjustment.due_ms
        window_ms = self.machine.policy.rules["window_days"] * DAY_MS
        for lowest in self.ended:
            if lowest.ended_at is not None:
                yield lowest.ended_at + window_ms

    # --- the change -------------------------------------------------------------------------------------------------

    def in_force(self) -> dict[str, Quote]:
        """Returns each province's in-force quote."""
        if not self.product.enabled:
            return {}
        clock = self.machine.clock
        return {
            province: slot.current
            for province, slot in sorted(self.slots.items())
            if slot.current and slot.current.active and not slot.current.past(clock)
        }

    def change(self, step: Step) -> None:
        """Applies the step's record, or the timers of its millisecond, and what follows for holds."""
        record = step.record
        if record is None:
            self._timers(step)
        elif record.type == "item":
            self.product.item = record
        elif record.type == "quote":
            self._quote(step, record)
        elif record.type == "decision":
            self._decide(step, record)
        elif record.type == "ceiling":
            self._set_ceiling(step, record)
        self._corroborate(step)

    def _timers(self, step: Step) -> None:
        for slot in (self.slots[province] for province in sorted(self.slots)):
            if slot.held and slot.held.quote.past(step.clock):
                self._end_hold(step, slot, "expired")
        for province in sorted(self.slots):
            slot = self.slots[province]
            if slot.waiting and slot.waiting.effective_at <= step.clock:
                quote, slot.waiting = slot.waiting, None
                self._take_force(step, province, quote)

    def _quote(self, step: Step, record: Record) -> None:
        assert record.province
        slot = self.slots.setdefault(record.province, Slot())
        quote = Quote(
            record["per_piece"] or 0,
            record["status"] == "active",
            record["kind"],
            record["supplier"],
            record["effective_at"] or 0,
            record["valid_until"],
            step.position,
        )
        waits = quote.effective_at > step.clock
        slot.waiting = None
        if slot.held and not waits and same_offer(slot.held.quote, quote):
            slot.held.quote = quote
            return
        if slot.held:
            self._end_hold(step, slot, "superseded")
        if waits:
            slot.waiting = quote
        else:
            self._take_force(step, record.province, quote)

    def _take_force(self, step: Step, province: str, quote: Quote) -> None:
        slot = self.slots[province]
        if self._must_be_held(province, quote):
            assert self.lowest
            slot.held = Hold(quote, self.product.open("price_hold", province))
            k_fits = any(50 * abs(self.lowest.price - k * quote.price) <= k * quote.price for k in range(2, 1_001))
            reference = Reference(self.lowest.price, "lowest", (self.lowest.province,), (self.lowest.position,))
            self._emit_hold(step, slot.held, "opened", "unit_mismatch" if k_fits else "outlier_low", reference)
        else:
            slot.current = quote

    def _must_be_held(self, province: str, quote: Quote) -> bool:
        """Whether it would cut the national lowest too far, on its own (SPEC §5)."""
        rules = self.machine.policy.rules
        if not quote.active or quote.kind == "selected" or quote.past(self.machine.clock):
            return False
        if not self.product.enabled or not self.lowest:
            return False
        if quote.price * 10_000 >= rules["guard_bp"] * self.lowest.price:
            return False
        if len(self.in_force_before.keys() - {province}) < rules["guard_min_sources"]:
            return False
        others = [other.price for name, other in self.in_force().items() if name != province]
        others += [slot.held.quote.price for name, slot in self.slots.items() if slot.held and name != province]
        return not any(near(quote.price, other) for other in others)

    def _decide(self, step: Step, record: Record) -> None:
        slot = self.slots.get(record.province or "")
        if not slot or not slot.held or slot.held.alert.id != record["alert_id"]:
            return
        if record["action"] == "confirm":
            self._release(step, slot, "confirmed")
        else:
            self._end_hold(step, slot, "rejected")

    def _corroborate(self, step: Step) -> None:
        """Releases holds, smallest province first, while one is near another province's in-force price."""
        while True:
            in_force = self.in_force()
            for province in sorted(self.slots):
                slot = self.slots[province]
                if slot.held and any(
                    near(slot.held.quote.price, other.price) for name, other in in_force.items() if name != province
                ):
                    self._release(step, slot, "corroborated")
                    break
            else:
                return

    def _release(self, step: Step, slot: Slot, reason: str) -> None:
        assert slot.held
        slot.current, slot.released = slot.held.quote, True
        self._end_hold(step, slot, reason)

    def _end_hold(self, step: Step, slot: Slot, reason: str) -> None:
        assert slot.held
        self._emit_hold(step, slot.held, "resolved", reason, None)
        slot.held = None

    def _emit_hold(self, step: Step, hold: Hold, change: str, reason: str, reference: Reference | None) -> None:
        quote = hold.quote
        self.machine.emit(
            hold.alert,
            step,
            change=change,
            reason=reason,
            supplier=quote.supplier,
            band="red" if change == "opened" else None,
            price=quote.price,
            reference=reference,
            excess_bp=excess_bp(quote.price, reference.price) if reference else None,
            high_value=self.product.high_value(quote.price),
            own_evidence=[quote.position],
        )

    def _set_ceiling(self, step: Step, record: Record) -> None:
        assert record.province
        slot = self.slots.setdefault(record.province, Slot())
        price = record["price"]
        slot.ceiling = None if price is None else Reference(price, "ceiling", (record.province,), (step.position,))

    # --- the evaluation ---------------------------------------------------------------------------------------------

    def evaluate(self, step: Step) -> None:
        """Evaluates the code once after a step."""
        in_force = self.in_force()
        self._evaluate_lowest(step, in_force)
        for province, quote in in_force.items():
            self.slots[province].last_in_force = quote
        for province in step.first(self.slots):
            self._evaluate_adjustment(step, province, in_force)
        for province in step.first(self.slots):
            self._evaluate_breach(step, province, in_force.get(province))
        if step.is_record("order"):
            self._score_order(step, in_force)
        for province, slot in self.slots.items():
            slot.own_before = in_force.get(province)
            slot.released = False
        self.in_force_before = in_force

    def _evaluate_lowest(self, step: Step, in_force: dict[str, Quote]) -> None:
        before = self.lowest
        province = min(in_force, key=lambda name: (in_force[name].price, name), default=None)
        if province is None:
            self.lowest = None
        else:
            self.lowest = Lowest(in_force[province].price, province, in_force[province].position)
        if before and (not self.lowest or before.price != self.lowest.price):
            before.ended_at = step.clock
            self.ended.append(before)
        window_ms = self.machine.policy.rules["window_days"] * DAY_MS
        self.ended = [one for one in self.ended if one.ended_at is not None and one.ended_at + window_ms > step.clock]
        price_before, price = before.price if before else None, self.lowest.price if self.lowest else None
        if price_before == price:
            return
        self.changes += 1
        rolling = self.rolling_lowest()
        self.machine.emit_price_change(
            step,
            self.product.code,
            self.changes,
            {
                "lowest": price,
                "previous": price_before,
                "province": province,
                "rolling_lowest": rolling.price if rolling else None,
            },
        )

    def rolling_lowest(self) -> Lowest | None:
        """Returns the least national lowest of the window; of equals the latest."""
        latest_first = ([self.lowest] if self.lowest else []) + self.ended[::-1]
        return min(latest_first, key=lambda one: one.price, default=None)

    def reference(self, province: str, in_force: dict[str, Quote]) -> Reference | None:
        """Returns a province's reference price by its policy."""
        policy = self.machine.policy.province(province)
        if policy["lookback"] == "rolling":
            rolling = self.rolling_lowest()
            if not rolling:
                return None
            return Reference(rolling.price, "rolling_lowest", (rolling.province,), (rolling.position,))
        found = sorted(
            (quote.price, name)
            for name, quote in in_force.items()
            if name != province
            and (policy["scope"] is None or name in policy["scope"])
            and quote.kind in policy["kinds"]
        )
        if not found or len(found) < policy["min_sources"]:
            return None
        if policy["aggregate"] == "lowest":
            made_by = found[:1]
        elif policy["aggregate"] == "mean_of_lowest":
            made_by = found[: policy["k"]]
        else:
            made_by = found[(len(found) - 1) // 2 : len(found) // 2 + 1]
        return Reference(
            half_up(sum(price for price, _ in made_by), len(made_by)),
            policy["aggregate"],
            tuple(name for _, name in made_by),
            tuple(in_force[name].position for _, name in made_by),
        )

    def _band(self, province: str, price: int, reference: int) -> str | None:
        """Returns the band by a province's thresholds, None too where its policy silences the code."""
        policy = self.machine.policy.province(province)
        if policy["high_value_only"] and not self.product.high_value(price):
            return None
        if any(self.product.code.startswith(prefix) for prefix in policy["exclude_prefixes"]):
            return None
        if price <= reference:
            return None
        excess = excess_bp(price, reference)
        return next((band for band in ("red", "yellow", "blue") if excess >= policy["bands"][band]), None)

    def _evaluate_adjustment(self, step: Step, province: str, in_force: dict[str, Quote]) -> None:
        slot, own = self.slots[province], in_force.get(province)
        policy = self.machine.policy.province(province)
        reference = self.reference(province, in_force)
        reference_before = slot.reference_before
        slot.reference_before = reference.price if reference else None
        band = None
        if own and reference and own.kind in policy["own_kinds"]:
            band = self._band(province, own.price, reference.price)
        alert = slot.adjustment
        change = band_change(alert.band if alert else None, band)
        if alert and not change and reference_before != slot.reference_before:
            change = "revised"
        if change == "opened":
            alert = slot.adjustment = self.product.open("price_adjustment", province)
            alert.due_ms = min(step.clock + policy["adjust_within_days"] * DAY_MS, LATEST_MS)
        if not alert:
            return
        fields = self._linkage_fields(slot, own, reference)
        fields["due_at"] = alert.due_ms
        if change:
            reason = self._reason(step, slot, own, change, reference_before, slot.reference_before)
            self.machine.emit(alert, step, change=change, reason=reason, band=band, **fields)
        if band is None:
            slot.adjustment = None
        elif not alert.overdue and alert.due_ms is not None and alert.due_ms <= step.clock:
            alert.overdue = True
            fields = self._linkage_fields(slot, own, reference)
            fields["due_at"] = alert.due_ms
            self.machine.emit(alert, step, change="overdue", reason="policy_deadline", band=band, **fields)

    def _evaluate_breach(self, step: Step, province: str, own: Quote | None) -> None:
        slot = self.slots[province]
        ceiling, ceiling_before = slot.ceiling.price if slot.ceiling else None, slot.ceiling_before
        slot.ceiling_before = ceiling
        band = "red" if own and ceiling is not None and own.price > ceiling else None
        alert = slot.breach
        change = band_change(alert.band if alert else None, band)
        if alert and not change and ceiling_before != ceiling:
            change = "revised"
        if change == "opened":
            alert = slot.breach = self.product.open("ceiling_breach", province)
        if alert and change:
            reason = self._reason(step, slot, own, change, ceiling_before, ceiling)
            fields = self._linkage_fields(slot, own, slot.ceiling)
            self.machine.emit(alert, step, change=change, reason=reason, band=band, **fields)
        if band is None:
            slot.breach = None

    def _linkage_fields(self, slot: Slot, own: Quote | None, reference: Reference | None) -> dict[str, Any]:
        supplied = own or slot.last_in_force
        return {
            "supplier": supplied.supplier if supplied else None,
            "price": own.price if own else None,
            "reference": reference,
            "target_price": reference.price if reference else None,
            "excess_bp": excess_bp(own.price, reference.price) if own and reference else None,
            "high_value": self.product.high_value(own.price) if own else None,
            "own_evidence": [own.position] if own else [],
        }

    def _reason(
        self, step: Step, slot: Slot, own: Quote | None, change: str, before: int | None, after: int | None
    ) -> str:
        """Returns the move that explains a change; ``before`` and ``after``: the reference's price."""
        own_before = slot.own_before
        fell = after is not None and (before is None or after < before)
        rose = before is not None and (after is None or after > before)
        if change in ("opened", "escalated"):
            if own and not own_before:
                return "hold_released" if slot.released else "new_listing"
            if own and own_before and own.price > own_before.price:
                return "own_price_rose"
            if fell:
                return "reference_fell"
        elif change == "revised":
            return "reference_fell" if fell else "reference_rose"
        else:
            if own and own_before and own.price < own_before.price:
                return "own_price_fell"
            if not own:
                active = slot.current is not None and slot.current.active
                return "expired" if active and self.product.enabled else "delisted"
            if rose:
                return "reference_rose"
        if step.is_record("item"):
            return "item_changed"
        return "policy_changed" if step.is_record("policy") else "kind_changed"

    def _score_order(self, step: Step, in_force: dict[str, Quote]) -> None:
        """Scores an accepted order against the listing and the national lowest (SPEC §4)."""
        order = step.record
        assert order
        assert order.province
        if order["quantity"] == 0:
            return
        policy, price = self.machine.policy.province(order.province), order["per_piece"]
        if policy["high_value_only"] and not self.product.high_value(price):
            return
        if any(self.product.code.startswith(prefix) for prefix in policy["exclude_prefixes"]):
            return
        listing = in_force.get(order.province)
        band: str | None
        if listing and price > listing.price:
            reference = Reference(listing.price, "listing", (order.province,), (listing.position,))
            band, reason = "red", "above_listing"
        elif self.lowest:
            reference = Reference(self.lowest.price, "lowest", (self.lowest.province,), (self.lowest.position,))
            band, reason = self._band(order.province, price, self.lowest.price), "above_lowest"
        else:
            return
        if not band:
            return
        self.machine.emit(
            self.product.open("bargain", order.province, order["order_id"]),
            step,
            change="observed",
            reason=reason,
            supplier=order["supplier"],
            institution=order["institution"],
            band=band,
            price=price,
            reference=reference,
            target_price=reference.price,
            excess_bp=excess_bp(price, reference.price),
            high_value=self.product.high_value(price),
            own_evidence=[],
        )


def near(price: int, other: int) -> bool:
    """Whether two prices are within 10 % of each other."""
    return 10 * max(price, other) <= 11 * min(price, other)


def same_offer(held: Quote, quote: Quote) -> bool:
    """Whether a newer quote takes a held one's place (SPEC §5 ``superseded``)."""
    return (held.price, held.kind, held.active, held.valid_until) == (
        quote.price,
        quote.kind,
        quote.active,
        quote.valid_until,
    )
