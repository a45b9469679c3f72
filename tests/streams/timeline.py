"""A log written one record at a time, with what each record causes in short words.

An alert event is ``kind change reason province band``, its province by the first two digits and ``-`` for no band:
``price_adjustment opened new_listing 37 blue``. Times are milliseconds from START_MS; a record without ``at`` happens a
second after the one before it. Every record goes through the twin, too, whose bytes must be the same.
"""

import json
from typing import Any, Final

from schemas.columns import BANDS, KINDS
from streams.machine import Machine
from tests.naive import Message, NaiveMachine
from tests.streams.logs import Outputs, policy_of, run, twin_outputs

CODE: Final = "C09100100000000211790000049"
OTHER_CODE: Final = "C14020500000000017480000123"
DRUG: Final = "XC07ABA084A001010204402"
SUPPLIER: Final = "91320000MA1XXXXX1A"
START_MS: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
SECOND: Final = 1_000
MINUTE: Final = 60_000
HOUR: Final = 3_600_000
DAY: Final = 86_400_000

RELATIVE: Final = ("at", "effective_at", "valid_until", "starts_at", "ends_at", "accepted_at")
Record = dict[str, Any]


class Timeline:
    """One partition. Writing methods return the alert events of the records written, in short words."""

    def __init__(self, policy: dict[str, Any] | None = None, *, partition: int = 0, partitions: int = 1) -> None:
        given = policy or {}
        self.machine = Machine(partition, partitions, policy_of(given))
        self.now = 0
        """When the latest record happened."""
        self.alerts: list[dict[str, Any]] = []
        """Of the records written last."""
        self.changes: list[tuple[str | None, str | None, str | None, str | None]] = []
        """Of the records written last: lowest, previous, its province's two digits, rolling lowest."""
        self.change_events: list[dict[str, Any]] = []
        """The same, whole."""
        self.dead: list[str] = []
        """Of the records written last: reasons, with the new code if there is one."""
        self.stale = 0
        """How many of the records written last were stale."""
        self.position: tuple[int, int] = (-1, 0)
        """Offset and line of the latest record."""
        self.messages: list[Message] = []
        self._twin = NaiveMachine(partition, partitions, given)
        self._told = Outputs()

    def write(self, *records: Record, broker_ts: int | None = None) -> list[str]:
        """Writes one message with a line for each record."""
        lines = []
        for record in records:
            self.now = record["at"] if "at" in record else self.now + SECOND
            lines.append(encoded({"at": self.now, **record}))
        broker_ts_ms = START_MS + (self.now if broker_ts is None else broker_ts)
        return self.raw(b"\n".join(lines), broker_ts_ms)

    def raw(self, value: bytes, broker_ts_ms: int) -> list[str]:
        """Writes a message as it is."""
        self.position = (self.position[0] + 1, value.count(b"\n"))
        message = Message(self.machine.partition, self.position[0], broker_ts_ms, value)
        self.messages.append(message)
        got = run(self.machine, [message])
        self._twin.apply(message)
        wanted = self._told + got
        self._told = twin_outputs(self._twin)
        assert wanted == self._told
        self.alerts = [json.loads(alert) for alert in got.alerts]
        self.change_events = [json.loads(event) for event in got.price_changes]
        self.changes = [
            (event["lowest"], event["previous"], event["province"] and event["province"][:2], event["rolling_lowest"])
            for event in self.change_events
        ]
        self.stale = got.stale
        self.dead = [" ".join(filter(None, (one["reason"], one.get("moved_to")))) for one in got.dead_letters]
        return [short(alert) for alert in self.alerts]

    def quote(self, province: str, /, price: int | str | None = None, **fields: Any) -> list[str]:
        """Writes a quote."""
        return self.write(quote(province, price, **fields))

    def quotes(self, **prices: int | str) -> list[str]:
        """Writes a quote for each province, ``p32=1000`` for Jiangsu: the market that a timeline begins with."""
        return [event for name, price in prices.items() for event in self.quote(name[1:], price)]

    def ceiling(self, province: str, price: int | str | None = None, **fields: Any) -> list[str]:
        """Writes a ceiling; without a price it is lifted."""
        return self.write({"type": "ceiling", "code": CODE, "province": province, "price": price, **fields})

    def item(self, **fields: Any) -> list[str]:
        """Writes an item."""
        return self.write({"type": "item", "code": CODE, **fields})

    def order(self, province: str, price: int | str, order_id: str = "o", **fields: Any) -> list[str]:
        """Writes an order."""
        order = {"type": "order", "code": CODE, "province": province, "order_id": order_id, "price": price}
        return self.write(order | {"institution": "H1", "supplier": SUPPLIER, "quantity": 10} | fields)

    def contract(self, province: str, contract_id: str = "k", **fields: Any) -> list[str]:
        """Writes a contract of 1,000 pieces over a year, to be delivered in 72 hours."""
        contract = {"type": "contract", "code": CODE, "province": province, "contract_id": contract_id, "price": 1}
        term = {"starts_at": 0, "ends_at": 365 * DAY, "agreed_quantity": 1_000}
        return self.write(contract | {"supplier": SUPPLIER} | term | fields)

    def place(self, quantity: int, order_id: str = "o", **fields: Any) -> list[str]:
        """Writes an order of Jiangsu under contract k, at one yuan a piece."""
        under: dict[str, Any] = {"price": 1, "quantity": quantity, "contract_id": "k"}
        return self.order("32", order_id=order_id, **under | fields)

    def deliver(self, quantity: int, order_id: str = "o", delivery_id: str = "d", **fields: Any) -> list[str]:
        """Writes a delivery in Jiangsu."""
        delivery = {"type": "delivery", "code": CODE, "province": "32", "order_id": order_id}
        return self.write(delivery | {"delivery_id": delivery_id, "quantity": quantity} | fields)

    def pay(self, paid_total: int | str, order_id: str = "o", **fields: Any) -> list[str]:
        """Writes a payment in Jiangsu."""
        payment = {"type": "payment", "code": CODE, "province": "32", "order_id": order_id, "paid_total": paid_total}
        return self.write(payment | fields)

    def decide(self, province: str, action: str, /, opening: int = 1, **fields: Any) -> list[str]:
        """Writes a decision on a province's hold."""
        alert_id = f"price_hold:{CODE}:{province}0000:{opening}"
        decision = {"type": "decision", "code": CODE, "province": province, "action": action, "alert_id": alert_id}
        return self.write(decision | {"actor": "op-7"} | fields)

    def policy(self, policy: dict[str, Any], **fields: Any) -> list[str]:
        """Writes a policy."""
        return self.write({"type": "policy", "policy": policy, **fields})

    def tick(self, at: int) -> list[str]:
        """Moves the clock."""
        return self.write({"type": "tick", "at": at})

    @property
    def last(self) -> dict[str, Any]:
        """The latest alert event of the records written last."""
        return self.alerts[-1]

    @property
    def open_alerts(self) -> dict[str, int]:
        """How many alerts are open, by ``kind band``."""
        counts = self.machine.open_alerts()
        return {
            f"{kind} {band}": int(counts[i, j])
            for i, kind in enumerate(KINDS)
            for j, band in enumerate(BANDS)
            if counts[i, j]
        }


def quote(province: str, price: int | str | None = None, **fields: Any) -> Record:
    """Returns a quote's record, its times relative."""
    return {"type": "quote", "code": CODE, "province": province, "price": price, "supplier": SUPPLIER, **fields}


def absolute(record: Record) -> Record:
    """Returns a record with whole province codes and absolute times; what is None is left out."""
    shown = {name: value for name, value in record.items() if value is not None}
    for name in RELATIVE:
        if isinstance(shown.get(name), int):
            shown[name] += START_MS
    if len(str(shown.get("province", ""))) == 2:
        shown["province"] += "0000"
    return shown


def encoded(record: Record) -> bytes:
    """Returns a record's line, as `absolute` has it."""
    return json.dumps(absolute(record)).encode()


def short(alert: dict[str, Any]) -> str:
    """Returns an alert event in short words."""
    return " ".join(
        (
            alert["kind"],
            alert["change"],
            *filter(None, [alert.get("reason")]),
            alert["province"][:2],
            alert["band"] or "-",
        ),
    )


def evidence(alert: dict[str, Any]) -> list[tuple[int, int]]:
    """Returns an alert's evidence as (offset, line)."""
    return [(position["offset"], position["line"]) for position in alert["evidence"]]
