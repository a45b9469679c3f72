"""The naive twin: the whole SPEC with objects and dicts, slow and plain; the fast machine is compared with it.

``python -m tests.naive replay LOG --policy FILE --partitions N --out DIR`` replays a log (SPEC §9).
"""

import argparse
import base64
import json
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.naive_alerts import Alert, Step, event_bytes
from tests.naive_policy import Policy, parse_policy
from tests.naive_prices import Prices
from tests.naive_records import FUTURE_MS, Fault, Position, Record, format_e4, format_ms, parse_line, partition_of
from tests.naive_supply import Supply

DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class Message:
    """One Kafka message of topic ``feeds``."""

    partition: int
    offset: int
    broker_ts_ms: int
    value: bytes


class Product:
    """All that is known of one code."""

    def __init__(self, machine: "NaiveMachine", code: str) -> None:
        self.code = code
        self.item: Record | None = None
        self.stamps: dict[tuple[str, ...], tuple[int, int]] = {}
        self.openings: dict[tuple[str, ...], int] = {}
        self.prices = Prices(machine, self)
        self.supply = Supply(machine, self)
        self.next_ms: int | None = None

    @property
    def enabled(self) -> bool:
        """Whether its quotes can be in force: it is neither disabled nor moved."""
        return self.item is None or (self.item["status"] == "active" and not self.item["moved_to"])

    def high_value(self, price: int) -> bool:
        """Whether a price per piece makes it high value (SPEC §3 ``item``)."""
        return self.item is not None and self.item["device_class"] in (2, 3) and price > 2_000 * 10_000

    def open(self, kind: str, *key: str) -> Alert:
        """Returns a new alert of a slot."""
        slot = (kind, self.code, *key)
        self.openings[slot] = self.openings.get(slot, 0) + 1
        return Alert(kind, self.code, key, self.openings[slot])

    def accept(self, slot: tuple[str, ...], record: Record) -> bool:
        """Last writer wins: whether a record is newer than its slot's last accepted one (SPEC §2)."""
        stamp = (record.at, record.seq)
        if slot in self.stamps and stamp <= self.stamps[slot]:
            return False
        self.stamps[slot] = stamp
        return True

    def instants(self) -> Iterator[int]:
        """Yields when something may happen by itself; too many do no harm."""
        yield from self.prices.instants()
        yield from self.supply.instants()


@dataclass
class NaiveMachine:
    """One partition: the log in, alerts, price changes and dead letters out, in log order."""

    partition: int
    partitions: int
    given_policy: dict[str, Any]
    alerts: list[bytes] = field(default_factory=list)
    price_changes: list[bytes] = field(default_factory=list)
    dead_letters: list[dict[str, Any]] = field(default_factory=list)
    applied: int = 0
    stale: int = 0

    def __post_init__(self) -> None:
        self.policy: Policy = parse_policy(self.given_policy)
        self.policy_stamp = (-1, -1)
        self.clock = -1
        self.products: dict[str, Product] = {}

    def apply(self, message: Message) -> None:
        """Applies each line of a message."""
        for number, line in enumerate(message.value.split(b"\n")):
            if not line.strip(b" \t\r"):
                continue
            position = Position(message.partition, message.offset, number)
            try:
                record = parse_line(line)
                self._check(record, message)
            except Fault as fault:
                letter = {**position.json(), "reason": fault.reason}
                if fault.reason == "disabled_code" and (moved_to := self._moved_to(record)):
                    letter["moved_to"] = moved_to
                self.dead_letters.append(letter)
            else:
                self._advance(record, position)
                self._apply(record, position)

    def _check(self, record: Record, message: Message) -> None:
        if record.at > message.broker_ts_ms + FUTURE_MS:
            raise Fault("from_future")
        if record.code is None:
            return
        if partition_of(record.code, self.partitions) != self.partition:
            raise Fault("wrong_partition")
        product = self.products.get(record.code)
        if product and not product.enabled and record.type in ("quote", "ceiling", "contract"):
            raise Fault("disabled_code")

    def _moved_to(self, record: Record) -> str | None:
        item = self.products[record.code or ""].item
        return item["moved_to"] if item else None

    def _advance(self, record: Record, position: Position) -> None:
        """Moves the clock to a record, stopping at every timer that falls due on the way."""
        while True:
            due = [product.next_ms for product in self.products.values() if product.next_ms is not None]
            at = min(due, default=record.at + 1)
            if at > record.at:
                break
            self.clock = at
            for code in sorted(self.products):
                product = self.products[code]
                if product.next_ms == at:
                    self._step(product, Step(position, self.clock, None, None))
        self.clock = max(self.clock, record.at)

    def _apply(self, record: Record, position: Position) -> None:
        self.applied += 1
        step = Step(position, self.clock, record, record.province)
        if record.type == "tick":
            return
        if record.code is None:
            if (record.at, record.seq) <= self.policy_stamp:
                self.stale += 1
                return
            self.policy_stamp = (record.at, record.seq)
            self.policy = record["policy"]
            for code in sorted(self.products):
                self._step(self.products[code], step)
            return
        product = self.products.setdefault(record.code, Product(self, record.code))
        slot = slot_of(record)
        if slot is not None and not product.accept(slot, record):
            self.stale += 1
            return
        self._step(product, step)

    def _step(self, product: Product, step: Step) -> None:
        """One step of a code: the change, then one evaluation of everything (SPEC §2)."""
        product.prices.change(step)
        product.supply.change(step)
        product.prices.evaluate(step)
        product.supply.evaluate(step)
        product.next_ms = min((at for at in product.instants() if at > self.clock), default=None)

    def emit(self, alert: Alert, step: Step, **fields: Any) -> None:
        """Sends the alert's next event."""
        self.alerts.append(event_bytes(alert, step, self.policy.version, fields))

    def emit_price_change(self, step: Step, code: str, n: int, fields: dict[str, Any]) -> None:
        """Sends a ``price.lowest.changed`` event; prices as integers or None."""
        data = {
            "event_id": f"price.lowest.changed:{code}:{n}",
            "code": code,
            **{name: format_e4(value) if isinstance(value, int) else value for name, value in fields.items()},
            "at": format_ms(self.clock),
            "position": step.position.json(),
        }
        self.price_changes.append(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


SLOT_IDS: Final = {
    "item": (),
    "quote": (),
    "ceiling": (),
    "contract": ("contract_id",),
    "order": ("order_id",),
    "delivery": ("order_id", "delivery_id"),
    "payment": ("order_id",),
}


def slot_of(record: Record) -> tuple[str, ...] | None:
    """Returns the slot in which the last writer wins; a decision has none."""
    if record.type not in SLOT_IDS:
        return None
    return (record.type, record.province or "", *(record[name] for name in SLOT_IDS[record.type]))


def read_log(path: pathlib.Path) -> Iterator[Message]:
    """Yields the messages of a log file (SPEC §9)."""
    with path.open("rb") as file:
        for line in file:
            row = json.loads(line)
            value = base64.b64decode(row["value_b64"]) if "value_b64" in row else row["value"].encode()
            yield Message(row["partition"], row["offset"], row["broker_ts"], value)


def replay(messages: Iterator[Message] | list[Message], policy: dict[str, Any], partitions: int) -> list[NaiveMachine]:
    """Returns one machine a partition, after all messages."""
    machines = [NaiveMachine(partition, partitions, policy) for partition in range(partitions)]
    for message in messages:
        machines[message.partition].apply(message)
    return machines


def write_outputs(machines: list[NaiveMachine], out: pathlib.Path) -> None:
    """Writes alerts, price changes and dead letters, each by partition, then in log order (SPEC §9)."""
    out.mkdir(parents=True, exist_ok=True)
    for name, events in {
        "alerts": [event for machine in machines for event in machine.alerts],
        "price-changes": [event for machine in machines for event in machine.price_changes],
        "dead-letters": [
            json.dumps(letter, separators=(",", ":")).encode()
            for machine in machines
            for letter in machine.dead_letters
        ],
    }.items():
        (out / f"{name}.ndjson").write_bytes(b"".join(event + b"\n" for event in events))


def main() -> None:
    """Replays a log, and writes what comes out as the product's replay does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["replay"])
    parser.add_argument("log", type=pathlib.Path)
    parser.add_argument("--policy", type=pathlib.Path, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    machines = replay(read_log(options.log), json.loads(options.policy.read_bytes()), options.partitions)
    write_outputs(machines, options.out)


if __name__ == "__main__":
    main()
