"""Compiles every kernel, or loads it from the cache, before the first record comes: the stream must not wait for it."""

from typing import Final

import numpy as np
import orjson

from agents import record_batches
from agents.machines import NewMachine
from agents.outgoing import Events, Part, RecordBatch, dead_letters, state_rows
from config.provinces import PROVINCES
from schemas.batches import Batch, Effects
from schemas.codes import partition_of
from schemas.columns import MESSAGE

_SUPPLIER: Final = "91320000MA1XXXXX1A"
_START_MS: Final = 1_767_225_600_000
_STEP_MS: Final = 1_000
_MANY_CODES: Final = 500
_MANY_PROVINCES: Final = 20
"""More than an empty machine has room for: pools grow and are packed by kernels, too."""

Fields = dict[str, object]


def warm_up(new_machine: NewMachine, partitions: int) -> None:
    """Runs a small log with records of every kind through a machine, saves its rows, and restores them in another.

    What comes of it is written into record batches that nobody sends.
    """
    record_batches.compile_kernels()
    machine = new_machine(0)
    codes = _codes(partitions)
    crowd = [[_quote(code, province.code, "12", 9) for code in codes] for province in PROVINCES[:_MANY_PROVINCES]]
    messages = [*_stories(codes[0]), *crowd, _trades(codes[0])]
    for offset, lines in enumerate(messages):
        _write(*_parts(machine.apply(_batch(offset, b"\n".join([*map(orjson.dumps, lines), b"{"])))))
    rows = machine.checkpoint(len(messages))
    _write(state_rows(rows))
    new_machine(0).restore([rows])


def _codes(partitions: int) -> list[str]:
    candidates = (f"C{number:026d}" for number in range(_MANY_CODES * partitions))
    return [code for code in candidates if partition_of(code, partitions) == 0]


def _batch(offset: int, value: bytes) -> Batch:
    messages = np.zeros(1, MESSAGE)
    messages["end"] = len(value)
    messages["offset"] = offset
    messages["broker_ts_ms"] = _START_MS + _STEP_MS * offset
    return Batch(0, np.frombuffer(value, np.uint8), messages)


def _parts(effects: Effects) -> list[Part]:
    runs = [run for run in (effects.alerts, effects.price_changes) if len(run.table)]
    return [*map(Events, runs), *([dead_letters(effects.dead_letters)] if effects.dead_letters else [])]


def _write(*parts: Part) -> None:
    for part in parts:
        batch = RecordBatch(max(part.size, 1), None, _START_MS)
        part.fill(batch)
        batch._build()  # noqa: SLF001  as aiokafka does


def _quote(code: str, province: str, price: str, step: int, **others: object) -> Fields:
    # Machines that are not the product's, in tests, take "add" for all they know.
    return {"type": "quote", "code": code, "province": province, "price": price, "supplier": _SUPPLIER,
            "at": _START_MS + _STEP_MS * step, "add": 1} | others  # fmt: skip


def _trades(code: str) -> list[Fields]:
    """Returns contracts, orders and deliveries, each of its own name."""
    place: Fields = {"code": code, "province": "320000", "at": _START_MS, "add": 0, "supplier": _SUPPLIER}
    term: Fields = {"agreed_quantity": 1, "starts_at": _START_MS, "ends_at": _START_MS + 10**9}
    lines: list[Fields] = []
    for number in range(_MANY_CODES):
        order: Fields = {"order_id": f"o{number}", "quantity": 9}
        contract: Fields = {"contract_id": f"c{number}", "price": "1"}
        lines.append(place | contract | term | {"type": "contract", "institution": f"h{number}"})
        lines.append(place | contract | order | {"type": "order", "institution": f"i{number}"})
        lines.append(place | order | {"type": "delivery", "delivery_id": "d"})
    return lines


def _stories(code: str) -> list[list[Fields]]:
    """Returns messages, one a step: linkage, a hold and its end, a ceiling, an order, supply, timers, a policy."""

    def record(kind: str, step: int, province: str | None = "320000", **others: object) -> Fields:
        fields: Fields = {"type": kind, "code": code, "at": _START_MS + _STEP_MS * step, "add": 0}
        return fields | ({} if province is None else {"province": province}) | others

    hold = f"price_hold:{code}:440000:1"
    return [
        [record("item", 0, None, name="支架", device_class=3, special_drug=True)],
        [
            _quote(code, "320000", "1200", 1, id="a\\u00e9"),
            _quote(code, "330000", "1100", 1, pack_size=3),
            _quote(code, "310000", "1000", 1, valid_until=_START_MS + 5 * _STEP_MS),
        ],
        [_quote(code, "440000", "20", 2), _quote(code, "510000", "900", 2, effective_at=_START_MS + 4 * _STEP_MS)],
        [record("decision", 3, "440000", action="confirm", alert_id=hold, actor="warm-up")],
        [
            record("ceiling", 4, price="1100"),
            record("contract", 4, contract_id="c", supplier=_SUPPLIER, agreed_quantity=100, price="1200",
                   starts_at=_START_MS, ends_at=_START_MS + 10**9),
            record("order", 4, order_id="o", contract_id="c", institution="H1", supplier=_SUPPLIER, price="1300",
                   quantity=10),
            record("delivery", 4, order_id="o", delivery_id="d", quantity=5),
            record("payment", 4, order_id="o", paid_total="10"),
        ],
        [{"type": "tick", "at": _START_MS + 40 * 86_400_000}],
        [{"type": "policy", "at": _START_MS + 6 * _STEP_MS,
          "policy": {"default": {"aggregate": "median", "lookback": "rolling"}}, "code": code, "add": 0}],
        [_quote(code, "330000", "800", 41 * 86_400, status="withdrawn")],
    ]  # fmt: skip
