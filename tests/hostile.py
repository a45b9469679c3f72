"""A seeded generator of hostile logs: everything collides, nothing is tidy, and the next timer is always near.

It runs the twin beside, to aim at what is open, held, near a threshold or about to fall due.
``python -m tests.hostile SEED DIR --kinds everything`` writes a log with the twin's outputs, as in tests/golden.
"""

import argparse
import base64
import json
import pathlib
import random
from collections.abc import Callable
from typing import Any, Final

from tests import hostile_lines as lines
from tests.hostile_lines import Fields
from tests.naive import Message, NaiveMachine, Product, write_outputs
from tests.naive_prices import Slot
from tests.naive_records import LATEST_MS, MAX_PRICE, PROVINCES, partition_of

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
STARTS: Final = (1_767_600_000_000,) * 20 + (1_772_279_999_000, 253_402_300_799_999 - 70 * DAY_MS, 40 * DAY_MS)
SUPPLIERS: Final = ("91310000MA1FL00001", "91320000MA1FL00002", "91440000MA1FL00003")
DECADES: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 20_000_000, 333_333, 10_000_000_000)


class Hostile:
    """One log in the making."""

    def __init__(self, seed: int, kinds: str, partitions: int) -> None:
        self.rng = random.Random(f"{seed} {kinds} {partitions}")
        self.everything = kinds == "everything"
        self.partitions = partitions
        rng = self.rng
        self.now = rng.choice(STARTS)
        self.codes = [self._code() for _ in range(rng.choice((1, 2, 3, 4)))]
        self.base_e4 = {code: rng.choice(DECADES) for code in self.codes}
        self.provinces = sorted(rng.sample(PROVINCES, rng.choice((2, 3, 4, 5, 8, 32))))
        self.policy: dict[str, Any] = lines.policy(rng, self.codes) if rng.random() < 0.8 else {}
        if rng.random() < 0.15:  # where the class decides
            self.policy["default"] = {**self.policy.get("default", {}), "high_value_only": True}
            self.base_e4 = dict.fromkeys(self.codes, 20_000_000)
        self.machines = [NaiveMachine(partition, partitions, self.policy) for partition in range(partitions)]
        self.messages: list[Message] = []
        self.offsets = [rng.randrange(10) for _ in range(partitions)]
        self.pending: list[list[bytes]] = [[] for _ in range(partitions)]
        self.written: list[tuple[int, Fields, bytes]] = []  # what may come again
        self.appointments: list[int] = []
        self.count = 0
        # some logs are calm in one respect, stormy in another
        self.lateness = rng.choice((0.0, 0.1, 0.3))
        self.garbage = rng.choice((0.0, 0.03, 0.15))
        self.patience = rng.choice((1, 3, 12))

    def _code(self) -> str:
        rng = self.rng
        if rng.random() < 0.6:
            return "C" + "".join(rng.choices("0123456789", k=26))
        return rng.choice("XZT") + "".join(rng.choices("0123456789ABL", k=22))

    # --- where things stand -----------------------------------------------------------------------------------------

    def product(self, code: str) -> Product | None:
        """Returns what the twin knows of a code."""
        return self.machines[partition_of(code, self.partitions)].products.get(code)

    def slots(self, code: str) -> dict[str, Slot]:
        """Returns the twin's quotes of a code."""
        product = self.product(code)
        return product.prices.slots if product else {}

    def price(self, code: str, province: str) -> int:
        """Returns a price per piece that means trouble."""
        rng, product = self.rng, self.product(code)
        known = [slot.current.price for slot in self.slots(code).values() if slot.current]
        known += [slot.held.quote.price for slot in self.slots(code).values() if slot.held] * 2
        known += [slot.ceiling.price for slot in self.slots(code).values() if slot.ceiling]
        base = rng.choice(known) if known and rng.random() < 0.7 else self.base_e4[code]
        lowest = product.prices.lowest if product else None
        way = rng.randrange(11)
        if way == 0 and lowest:
            guard: int = self.machines[0].policy.rules["guard_bp"]
            price = lowest.price * guard // 10_000 + rng.choice((-1, 0, 1, 2))
        elif way == 1 and lowest:
            k = rng.choice((2, 3, 10, 10, 100, 999, 1_000, 1_001))
            price = lowest.price * 100 // (k * rng.choice((98, 98, 100, 102, 102))) + rng.choice((-1, 0, 0, 1))
        elif way == 2:
            price = rng.choice((base * 11 // 10, base * 10 // 11)) + rng.choice((-1, 0, 1))
        elif way == 3:
            bands = self.machines[0].policy.province(province)["bands"]
            price = base * (10_000 + rng.choice(list(bands.values()))) // 10_000 + rng.choice((-1, 0, 1))
        elif way == 4:
            price = 20_000_000 + rng.choice((-1, 0, 1))
        elif way == 5:
            price = rng.choice((1, 2, 3, MAX_PRICE))
        elif way in (6, 7):
            price = base
        else:
            tenths = rng.choice((1, 3, 4, 5, 6, 9, 9.5, 10.5, 11, 12, 20, 30, 100))
            price = int(base * tenths) // 10 + rng.choice((-1, 0, 0, 1))
        return min(max(price, 1), MAX_PRICE)

    def moment(self) -> int:
        """Returns an instant near now, often one that something else waits for, too."""
        rng = self.rng
        if self.appointments and rng.random() < 0.4:
            return rng.choice(self.appointments[-8:])
        near = (-DAY_MS, -1, 0, 0, 1, 2, SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS, 5 * DAY_MS, 40 * DAY_MS)
        ms = self.now + rng.choice(near)
        if rng.random() < 0.3:
            ms = (self.now + 8 * HOUR_MS) // DAY_MS * DAY_MS - 8 * HOUR_MS + rng.choice((0, 1, 1, 2, 30)) * DAY_MS
        if rng.random() < 0.02:
            ms = rng.choice((LATEST_MS, 253_402_271_999_999, 0))
        ms = min(max(ms, 0), LATEST_MS)
        self.appointments.append(ms)
        return ms

    # --- time -------------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Moves now: not at all, a little, to the next timer, or far."""
        rng = self.rng
        self.flush()
        way = rng.randrange(12)
        if way < 5:
            step = rng.choice((0, 0, 1, 1, 2, SECOND_MS, 10 * SECOND_MS, MINUTE_MS, HOUR_MS))
            self.now += step
        elif way < 9:
            due = [
                product.next_ms
                for machine in self.machines
                for product in machine.products.values()
                if product.next_ms is not None and product.next_ms < self.now + 120 * DAY_MS
            ]
            due += [ms for ms in self.appointments if ms > self.now]
            if due:
                target = rng.choice((min(due), rng.choice(due))) + rng.choice((-1, 0, 0, 0, 1))
                self.now = min(max(self.now, target), self.now + 400 * DAY_MS)
        elif way < 11:
            self.now += rng.choice((1, 2, 6, 23, 24)) * HOUR_MS
        else:
            self.now += rng.choice((1, 3, 10, 29, 30, 31, 90)) * DAY_MS + rng.choice((-1, 0, 1, HOUR_MS))
        self.now = min(self.now, LATEST_MS)
        gone = [code for code in self.codes if (product := self.product(code)) and not product.enabled]
        if gone and rng.random() < 0.25:
            self.record("item", rng.choice(gone), None, device_class=rng.choice("123"), at=str(self.now))
        if rng.random() < 0.4:
            partition = rng.randrange(self.partitions)
            self.put(partition, {"type": '"tick"', "at": lines.time(rng, self.now)})

    # --- writing ----------------------------------------------------------------------------------------------------

    def put(self, partition: int, fields: Fields) -> None:
        """Writes a record, or what is left of it."""
        rng = self.rng
        line = lines.write(rng, fields)
        if rng.random() < self.garbage * 0.5:
            line = lines.spoil(rng, fields, line)
        self.written.append((partition, fields, line))
        self.put_line(partition, line)

    def put_line(self, partition: int, line: bytes) -> None:
        """Adds a line to the partition's message, among blank ones."""
        rng = self.rng
        self.count += 1
        if rng.random() < 0.05:
            self.pending[partition].append(rng.choice((b"", b"  ", b"\t", b"\r", b" \r")))
        self.pending[partition].append(line + (b"\r" if rng.random() < 0.1 else b""))
        if rng.random() < 0.6:
            self.flush()

    def flush(self) -> None:
        """Ends the messages under way, and lets the twin have them."""
        rng = self.rng
        for partition, written in enumerate(self.pending):
            if not written:
                continue
            value = b"\n".join(written) + rng.choice((b"", b"\n", b"\n\n"))
            broker_ts_ms = min(self.now, LATEST_MS)
            if rng.random() < 0.01:
                broker_ts_ms -= rng.choice((300_000, 300_001, HOUR_MS))
            message = Message(partition, self.offsets[partition], broker_ts_ms, value)
            self.offsets[partition] += rng.choice((1, 1, 1, 2))
            self.messages.append(message)
            self.machines[partition].apply(message)
            written.clear()

    def record(self, kind: str, code: str, province: str | None, /, **fields: str) -> None:
        """Writes a record of a code; ``fields`` as raw JSON."""
        rng = self.rng
        at = fields.pop("at", None) or lines.time(rng, self._at())
        common: Fields = {"type": f'"{kind}"', "code": f'"{code}"'}
        if province:
            common["province"] = f'"{province}"'
        common["at"] = at
        if rng.random() < 0.35:
            common["seq"] = rng.choice(("0", "1", "2", "3", str(2**63 - 1)))
        if rng.random() < 0.3:
            common["id"] = lines.json_text(rng, rng.choice((f"记录-{rng.randrange(99)}", "😀", *lines.NASTY)))
        partition = partition_of(code, self.partitions)
        if rng.random() < 0.005:
            partition = rng.randrange(self.partitions)
        self.put(partition, common | fields)

    def _at(self) -> int:
        rng = self.rng
        if rng.random() < self.lateness:
            late = rng.choice((1, 1, SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS, 40 * DAY_MS))
            return max(self.now - late, 0)
        if rng.random() < 0.02:
            return min(self.now + rng.choice((1, MINUTE_MS, 300_000, 300_001)), LATEST_MS)
        return self.now

    # --- what happens -----------------------------------------------------------------------------------------------

    def somewhere(self) -> tuple[str, str]:
        """Returns a code and a province."""
        return self.rng.choice(self.codes), self.rng.choice(self.provinces)

    def quote(self, code: str, province: str, price_e4: int | None = None, /, **fields: str) -> None:
        """Writes a quote."""
        rng = self.rng
        price = self.price(code, province) if price_e4 is None else price_e4
        pack = rng.choice((1, 1, 1, 1, 3, 7, 10, 1_000, 1_000_000))
        if price * pack > MAX_PRICE:
            pack = 1
        quote: Fields = {"supplier": f'"{rng.choice(SUPPLIERS)}"'}
        status = (
            fields["status"].strip('"')
            if "status" in fields
            else rng.choice(("active",) * 12 + ("suspended", "withdrawn"))
        )
        if status == "active" or rng.random() < 0.7:
            jitter = rng.choice((0, 0, 0, -(pack // 2), (pack - 1) // 2))  # rounds to the same
            quote["price"] = lines.money(rng, max(price * pack + jitter, 1))
        if pack > 1 or rng.random() < 0.3:
            quote |= {"pack_size": str(pack), "unit": rng.choice(('"box"', "null", '"盒"'))}
        if status != "active" or rng.random() < 0.4:
            quote["status"] = f'"{status}"'
        if rng.random() < 0.4:
            quote["kind"] = f'"{rng.choice(("listed", "listed", *lines.KINDS))}"'
        if rng.random() < 0.3:
            quote["effective_at"] = lines.time(rng, self.moment())
        if rng.random() < 0.3:
            quote["valid_until"] = lines.time(rng, self.moment())
        self.record("quote", code, province, **(quote | fields))

    def one_quote(self) -> None:
        """One province moves."""
        self.quote(*self.somewhere())

    def storm(self) -> None:
        """Many provinces move to nearly one price, some at one later instant, packed closely."""
        rng = self.rng
        code = rng.choice(self.codes)
        price = self.price(code, self.provinces[0])
        shared: Fields = {}
        if rng.random() < 0.5:
            shared["effective_at"] = str(self.moment())
        if rng.random() < 0.3:
            shared["valid_until"] = str(self.moment())
        if rng.random() < 0.5:
            shared["kind"] = f'"{rng.choice(lines.KINDS)}"'
        for province in rng.sample(self.provinces, rng.randrange(1, len(self.provinces) + 1)):
            factor = rng.choice((10, 10, 10, 11, 9, 1, 5, 100))
            self.quote(code, province, min(max(price * factor // 10, 1), MAX_PRICE), **shared)

    def settle_market(self) -> None:
        """Some provinces quote plainly, so that there is a market to guard."""
        rng = self.rng
        code = rng.choice(self.codes)
        for province in rng.sample(self.provinces, min(4, len(self.provinces))):
            price = self.base_e4[code] * rng.choice((98, 100, 102, 105, 110, 120)) // 100
            self.quote(code, province, price, status='"active"', effective_at="null", valid_until="null")

    def low_quote(self) -> None:
        """A quote that wants to be held, and what may follow it."""
        rng, (code, province) = self.rng, self.somewhere()
        product = self.product(code)
        lowest = product.prices.lowest if product else None
        price = max((lowest.price if lowest else self.base_e4[code]) // rng.choice((3, 10, 10, 7, 100)), 1)
        plain: Fields = {"status": '"active"', "kind": rng.choice(('"listed"', '"filed"'))}
        if rng.random() < 0.5:
            plain["valid_until"] = rng.choice(("null", str(self.moment())))
        for _ in range(rng.randrange(1, 5)):
            self.quote(code, province, price, **plain, **self._maybe_waits())
            if rng.random() < 0.4:
                price = max(price + rng.choice((-1, 0, 1, price // 10, price)), 1)
            if rng.random() < 0.4:
                province = rng.choice(self.provinces)
            if rng.random() < 0.3:
                self.advance()

    def siege(self) -> None:
        """Two holds too far from each other, and a price in the middle that frees both."""
        rng, code = self.rng, self.rng.choice(self.codes)
        product = self.product(code)
        lowest = product.prices.lowest if product else None
        price = (lowest.price if lowest else self.base_e4[code]) // rng.choice((5, 10))
        at_once: Fields = {"effective_at": str(self.moment())} if rng.random() < 0.4 else {"effective_at": "null"}
        until = rng.choice(("null", str(self.now + rng.choice((2, SECOND_MS, HOUR_MS)))))
        provinces = rng.sample(self.provinces, min(3, len(self.provinces)))
        for province, percent in zip(provinces, (95, 105, rng.choice((100, 100, 50))), strict=False):
            plain: Fields = {"status": '"active"', "kind": '"listed"', "valid_until": until}
            self.quote(code, province, max(price * percent // 100, 1), **plain, **at_once)

    def behind_the_mask(self) -> None:
        """While the code is gone, what waits takes force, and holds expire or find company when it comes back."""
        rng, code = self.rng, self.rng.choice(self.codes)
        held = [(name, slot.held.quote) for name, slot in self.slots(code).items() if slot.held]
        soon = self.now + rng.choice((2, 3, SECOND_MS))
        for name, quote in held[:2]:
            province = rng.choice([other for other in self.provinces if other != name])
            price = quote.price * rng.choice((100, 105, 110, 111)) // 100
            plain: Fields = {"status": '"active"', "kind": '"listed"', "valid_until": "null"}
            self.quote(code, province, max(price, 1), **plain, effective_at=str(soon), at=str(self.now))
        self.now += 1
        self.record("item", code, None, status='"disabled"', at=str(self.now))
        self.now = soon + rng.choice((0, 1))
        if held and rng.random() < 0.3:
            self.decide()
        self.record("item", code, None, device_class=rng.choice("123"), at=str(self.now))

    def _maybe_waits(self) -> Fields:
        return {"effective_at": str(self.moment())} if self.rng.random() < 0.3 else {"effective_at": "null"}

    def decide(self) -> None:
        """A decision on an open hold, an old one, or none."""
        rng, (code, province) = self.rng, self.somewhere()
        held = {name: slot.held.alert.id for name, slot in self.slots(code).items() if slot.held}
        alert_id = f"price_hold:{code}:{province}:{rng.randrange(1, 5)}"
        if held and rng.random() < 0.8:
            province, alert_id = rng.choice(sorted(held.items()))
            if rng.random() < 0.1:
                province = rng.choice(self.provinces)
        action = rng.choice(('"confirm"', '"reject"'))
        if rng.random() < 0.3:  # decisions have no slot: an older one still counts
            self.record("decision", code, province, action=action, alert_id='"price_hold:0"', actor='"a"', seq="9")
        self.record("decision", code, province, action=action, alert_id=f'"{alert_id}"', actor='"op-7"')

    def ceiling(self) -> None:
        """A ceiling is set, moved or lifted."""
        code, province = self.somewhere()
        fields = {} if self.rng.random() < 0.2 else {"price": lines.money(self.rng, self.price(code, province))}
        self.record("ceiling", code, province, **fields)

    def item(self) -> None:
        """The item changes its class, goes, or comes back."""
        rng, code = self.rng, self.rng.choice(self.codes)
        fields: Fields = {}
        product = self.product(code)
        gone = product is not None and not product.enabled
        if rng.random() < (0.1 if gone else 0.2):
            fields["status"] = '"disabled"'
        elif rng.random() < (0.02 if gone else 0.1):
            fields["moved_to"] = f'"{rng.choice(self.codes)}"'
            fields["status"] = rng.choice(('"active"', '"disabled"', "null"))
        elif rng.random() < 0.3:
            fields |= {"status": rng.choice(('"active"', "null")), "moved_to": rng.choice(("null", '""'))}
        if rng.random() < 0.7:
            fields["device_class"] = rng.choice(("1", "2", "3", "3", "null"))
        if rng.random() < 0.6:
            fields["special_drug"] = rng.choice(("true", "true", "false")) if self.everything else "false"
        if rng.random() < 0.5:
            fields["name"] = rng.choice(('"支架 \\"A\\""', '""', '"吻合器"'))
        self.record("item", code, None, **fields)

    def flicker(self) -> None:
        """The item goes and comes back, with something behind the mask."""
        rng, code = self.rng, self.rng.choice(self.codes)
        self.record("item", code, None, status='"disabled"', device_class="3", at=str(self.now))
        if rng.random() < 0.7:
            self.advance()
        if rng.random() < 0.4:
            self.decide()
        self.now += 1
        self.record("item", code, None, device_class=rng.choice(("1", "3")), at=str(self.now))

    def order(self) -> None:
        """An order, perhaps for the second time."""
        rng, (code, province) = self.rng, self.somewhere()
        contract = rng.choice(("K1", "K2", "K9", *lines.NASTY))
        fields = {
            "order_id": lines.json_text(rng, rng.choice(("O1", "O2", "O3", "O1:1", *lines.NASTY[:6]))),
            "institution": lines.json_text(rng, rng.choice(("H1", "省立医院", *lines.NASTY))),
            "supplier": f'"{rng.choice(SUPPLIERS)}"',
            "price": lines.money(rng, self._order_price(code, province)),
            "quantity": rng.choice(("0", "1", "5", "7", "10", "10", "100", "1000000000")),
        }
        if rng.random() < 0.3:
            fields["pack_size"] = rng.choice(("1", "3", "7", "1000000"))
        if rng.random() < 0.5:
            fields["channel"] = rng.choice(('"hospital"', '"pharmacy"'))
        product = self.product(code)
        contracts = list(product.supply.contracts) if product else []
        if contracts and rng.random() < 0.7:
            province, contract = rng.choice(contracts)
        if rng.random() < 0.85:
            fields["contract_id"] = lines.json_text(rng, contract)
        if rng.random() < 0.2:
            fields["bargained_by"] = '"consortium"'
        self.record("order", code, province, **fields)

    def _order_price(self, code: str, province: str) -> int:
        """Returns a price around the province's own listing, or any."""
        current = self.slots(code)[province].current if province in self.slots(code) else None
        if current and current.price and self.rng.random() < 0.6:
            price = current.price * self.rng.choice((99, 100, 101, 106, 125)) // 100 + self.rng.choice((-1, 0, 1))
            return min(max(price, 1), MAX_PRICE)
        return self.price(code, province)

    def contract(self) -> None:
        """A contract, perhaps for the second time, with a term around now."""
        rng, (code, province) = self.rng, self.somewhere()
        starts = max(self.now + rng.choice((-400, -60, -20, -1, 0, 3)) * DAY_MS + rng.choice((0, 0, 1, HOUR_MS)), 0)
        ends = starts + rng.choice((1, HOUR_MS, DAY_MS, 9 * DAY_MS, 20 * DAY_MS, 60 * DAY_MS, 365 * DAY_MS, 10**12))
        if rng.random() < 0.15:
            ends = self.moment()
        fields = {
            "contract_id": lines.json_text(rng, rng.choice(("K1", "K2", *lines.NASTY[:6]))),
            "supplier": f'"{rng.choice(SUPPLIERS)}"',
            "agreed_quantity": rng.choice(("1", "10", "100", "200", "1000", "1000000000")),
            "price": lines.money(rng, self.price(code, province)),
            "starts_at": lines.time(rng, min(starts, LATEST_MS)),
            "ends_at": lines.time(rng, min(ends, LATEST_MS)),
        }
        if rng.random() < 0.7:
            fields["delivery_hours"] = rng.choice(("1", "24", "48", "72", "8760"))
        if rng.random() < 0.5:
            fields["institution"] = '"H1"'
        self.record("contract", code, province, **fields)

    def _some_order(self) -> tuple[str, str, str]:
        """Returns code, province and id of an order, mostly of one that is there."""
        rng, (code, province) = self.rng, self.somewhere()
        product = self.product(code)
        known = list(product.supply.orders) if product else []
        if known and rng.random() < 0.85:
            province, order_id = rng.choice(known)
            return code, province, order_id
        return code, province, rng.choice(("O1", "O2", "O9"))

    def delivery(self) -> None:
        """A delivery, one corrected or one cancelled."""
        rng, (code, province, order_id) = self.rng, self._some_order()
        fields = {
            "order_id": lines.json_text(rng, order_id),
            "delivery_id": lines.json_text(rng, rng.choice(("D1", "D1", "D2", "D3", *lines.NASTY[:3]))),
            "quantity": rng.choice(("0", "1", "3", "5", "7", "10", "10", "100", "1000000000")),
        }
        if rng.random() < 0.5:
            at = self._at()
            ago = rng.choice((0, 1, HOUR_MS, DAY_MS, 40 * DAY_MS))
            accepted = rng.choice((at - ago, self.moment(), self._due_ms(code, province, order_id)))
            fields |= {"at": lines.time(rng, at), "accepted_at": lines.time(rng, max(accepted, 0))}
        self.record("delivery", code, province, **fields)

    def _due_ms(self, code: str, province: str, order_id: str) -> int:
        """Returns about when an order falls due, or now."""
        product = self.product(code)
        order = product.supply.orders.get((province, order_id)) if product else None
        contract = product.supply.contracts.get((province, order.record["contract_id"])) if product and order else None
        if not order or not contract:
            return self.now
        due_ms: int = order.first_at + contract.record["delivery_hours"] * HOUR_MS
        return min(due_ms + self.rng.choice((-1, 0, 0, 1)), self.now)

    def payment(self) -> None:
        """A payment, often of just what is owed."""
        rng, (code, province, order_id) = self.rng, self._some_order()
        product = self.product(code)
        order = product.supply.orders.get((province, order_id)) if product else None
        paid = rng.choice((0, 1, 10_000, 10**18))
        if order and order.debts and rng.random() < 0.8:
            paid = max(rng.choice(order.debts)[1] + rng.choice((-1, 0, 0, 1)), 0)
        fields = {"order_id": lines.json_text(rng, order_id), "paid_total": lines.money(rng, min(paid, 10**18))}
        if rng.random() < 0.5:
            fields["payer"] = rng.choice(('"institution"', '"fund"'))
        self.record("payment", code, province, **fields)

    def trade(self) -> None:
        """A contract's days: orders and deliveries, one after the other."""
        rng, (code, province) = self.rng, self.somewhere()
        product = self.product(code)
        contracts = list(product.supply.contracts) if product else []
        contract = rng.choice(("K1", "K2"))
        if contracts and rng.random() < 0.9:
            province, contract = rng.choice(contracts)
        for number in range(rng.randrange(1, 8)):
            order_id = f"P-{self.now}-{number}"
            fields = {"institution": '"H1"', "supplier": f'"{SUPPLIERS[0]}"', "price": '"10"', "quantity": "10"}
            fields |= {"order_id": f'"{order_id}"', "contract_id": lines.json_text(rng, contract), "at": str(self.now)}
            self.record("order", code, province, **fields)
            if rng.random() < 0.7:
                quantity = rng.choice(("10", "10", "9", "8", "5", "11"))
                delivered = {"order_id": f'"{order_id}"', "delivery_id": '"D1"', "quantity": quantity}
                self.record("delivery", code, province, **delivered)
            self.now = min(self.now + rng.choice((1, 1, HOUR_MS, DAY_MS)), LATEST_MS)

    def term(self) -> None:
        """A contract's whole term in midnights: bought too little or just enough, its end moved on the way."""
        rng, (code, province) = self.rng, self.somewhere()
        contract, days = f"T{self.now}", rng.choice((1, 2, 5, 10, 12))
        agreed = rng.choice((10, 100, 100, 1_000))
        fields = {"contract_id": f'"{contract}"', "supplier": f'"{SUPPLIERS[1]}"', "price": '"10"'}
        fields |= {"agreed_quantity": str(agreed), "delivery_hours": rng.choice(("1", "24", "8760"))}
        fields |= {"starts_at": str(self.now), "ends_at": str(min(self.now + days * DAY_MS, LATEST_MS))}
        starts_at, pace = self.now, rng.choice((60, 69, 70, 89, 90, 95, 110))
        self.record("contract", code, province, **fields, at=str(self.now))
        for number in range(days + 1):
            self.now = min(self.now + rng.choice((1, DAY_MS, DAY_MS, DAY_MS)), LATEST_MS)
            pace = rng.choice((pace, pace, 0, 50, 80, 91, 100, 200))
            share = agreed * pace // (100 * days)
            placed = {"order_id": f'"{contract}-{number}"', "institution": '"H1"', "supplier": f'"{SUPPLIERS[1]}"'}
            placed |= {"price": '"10"', "quantity": str(share), "contract_id": f'"{contract}"'}
            self.record("order", code, province, **placed, at=str(self.now))
            if rng.random() < 0.2:
                ends_at = rng.choice((self.now, self.now - DAY_MS, self.now + 1, self.now + 3 * DAY_MS))
                fields["ends_at"] = str(min(max(ends_at, starts_at + 1), LATEST_MS))
                self.record("contract", code, province, **fields, at=str(self.now))

    def new_policy(self) -> None:
        """A policy for every partition, in its own time."""
        rng = self.rng
        given: Any = lines.policy(rng, self.codes)
        if rng.random() < 0.15:
            given = lines.bad_policy(rng, given)
        fields = {"type": '"policy"', "at": lines.time(rng, self._at()), "policy": json.dumps(given)}
        if rng.random() < 0.4:
            fields["seq"] = rng.choice(("0", "1", "3"))
        if rng.random() < 0.4:
            fields["id"] = '"政策-18"'
        for partition in range(self.partitions):
            if rng.random() < 0.9:
                self.put(partition, fields)

    def again(self) -> None:
        """Something that was written comes again, or its like with a later number."""
        rng = self.rng
        if not self.written:
            return
        partition, fields, line = rng.choice(self.written[-rng.choice((3, 30, 300)) :])
        if rng.random() < 0.5:
            self.put_line(partition, line)
        else:
            at = rng.choice((fields.get("at", str(self.now)), str(self.now)))
            self.put(partition, fields | {"at": at, "seq": rng.choice(("0", "1", "2", "5"))})

    def spoiled(self) -> None:
        """A line that is no record."""
        rng = self.rng
        if self.written:
            partition, fields, line = rng.choice(self.written)
            self.put_line(partition, lines.spoil(rng, fields, line).replace(b"\n", b" "))

    def run(self, records: int) -> None:
        """Writes about so many records."""
        happenings: list[tuple[Callable[[], None], float]] = [
            (self.one_quote, 30),
            (self.storm, 1.5),
            (self.settle_market, 3),
            (self.low_quote, 6),
            (self.siege, 1),
            (self.behind_the_mask, 1.5),
            (self.decide, 7),
            (self.ceiling, 5),
            (self.item, 4),
            (self.flicker, 1),
            (self.order, 5),
            (self.new_policy, 1.5),
            (self.again, 6),
            (self.spoiled, 100 * self.garbage),
        ]
        if self.everything:
            supply: list[tuple[Callable[[], None], float]] = [
                (self.order, 14),
                (self.contract, 7),
                (self.delivery, 22),
                (self.payment, 9),
                (self.trade, 2),
                (self.term, 1.5),
            ]
            happenings = [(do, weight / 2) for do, weight in happenings] + supply
        self.settle_market()
        while self.count < records:
            for do, _ in self.rng.choices(happenings, [weight for _, weight in happenings], k=self.patience):
                do()
            self.advance()
        self.flush()


def hostile_case(
    seed: int, records: int = 300, kinds: str = "prices", partitions: int = 2
) -> tuple[list[Message], dict[str, object], list[NaiveMachine]]:
    """Returns a log, its policy, and the twin's machines after it, one a partition."""
    hostile = Hostile(seed, kinds, partitions)
    hostile.run(records)
    return hostile.messages, hostile.policy, hostile.machines


def hostile_log(
    seed: int, records: int = 300, kinds: str = "prices", partitions: int = 2
) -> tuple[list[Message], dict[str, object]]:
    """Returns a log and its policy; ``kinds``: ``prices`` (SPEC §2 to §5) or ``everything``."""
    return hostile_case(seed, records, kinds, partitions)[:2]


def main() -> None:
    """Writes a log as the examples are: log, policy and what must come out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--records", type=int, default=300)
    parser.add_argument("--kinds", choices=["prices", "everything"], default="everything")
    parser.add_argument("--partitions", type=int, default=2)
    options = parser.parse_args()
    messages, policy, machines = hostile_case(options.seed, options.records, options.kinds, options.partitions)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "policy.json").write_text(json.dumps(policy))
    with (options.out / "log.ndjson").open("w") as file:
        for message in messages:
            row = {"partition": message.partition, "offset": message.offset, "broker_ts": message.broker_ts_ms}
            try:
                value = {"value": message.value.decode()}
            except UnicodeDecodeError:
                value = {"value_b64": base64.b64encode(message.value).decode()}
            file.write(json.dumps({**row, **value}, ensure_ascii=False) + "\n")
    write_outputs(machines, options.out)


if __name__ == "__main__":
    main()
