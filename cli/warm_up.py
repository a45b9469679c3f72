"""`pricelink warm-up`: compiles every kernel into the cache by running a small log through a machine."""

import time
from typing import Final

import orjson

from cli.log_file import Message, batch_of
from config import jit
from schemas.packets import Sender, check_lines
from schemas.policy import Policy, load_policy
from streams.machine import Machine

_CODE: Final = "C09100100000000211790000049"
_SUPPLIER: Final = "91320000MA1XXXXX1A"
_START_MS: Final = 1_767_225_600_000


def warm_up() -> str:
    """Compiles what is not compiled yet; returns a sentence that says how long it took."""
    began_s = time.perf_counter()
    policy = load_policy(b"{}")
    assert isinstance(policy, Policy)
    machine = Machine(0, 1, policy)
    for offset, lines in enumerate(_messages()):
        value = b"\n".join(orjson.dumps(line) for line in lines)
        machine.apply(batch_of([Message(0, offset, _START_MS + 1000 * offset + 500, value)]))
    Machine(0, 1, policy).restore([machine.checkpoint(len(_messages()))])
    check_lines(
        b"\n".join(orjson.dumps(line) for lines in _messages() for line in lines), 1, Sender(0, -1), _START_MS, 1
    )
    jit.mark_warm()
    return f"Kernels are compiled ({time.perf_counter() - began_s:.1f} s)."


def _messages() -> list[list[dict[str, object]]]:
    """Returns records of every type that come to alerts, price changes, timers, a policy step and a dead letter."""
    quote: dict[str, object] = {"type": "quote", "code": _CODE, "supplier": _SUPPLIER}
    order = {
        "type": "order",
        "code": _CODE,
        "supplier": _SUPPLIER,
        "institution": "H1",
        "quantity": 10,
        "price": "1300",
    }
    messages: list[list[dict[str, object]]] = [
        [{"type": "item", "code": _CODE, "name": "支架", "device_class": 3, "special_drug": True}],
        [
            quote | {"province": "320000", "price": "1200", "id": "a"},
            quote | {"province": "330000", "price": "1100", "pack_size": 3},
            quote | {"province": "310000", "price": "1000", "valid_until": _START_MS + 5_500},
        ],
        [quote | {"province": "440000", "price": "20"}, quote | {"province": "450000", "price": "19.8"}],
        [{"type": "ceiling", "code": _CODE, "province": "320000", "price": "1100"}],
        [
            {"type": "contract", "code": _CODE, "province": "320000", "contract_id": "c", "supplier": _SUPPLIER,
             "agreed_quantity": 100, "price": "1200", "starts_at": _START_MS, "ends_at": _START_MS + 10**9},
            order | {"province": "320000", "order_id": "o", "contract_id": "c"},
            {"type": "delivery", "code": _CODE, "province": "320000", "order_id": "o", "delivery_id": "d", "quantity": 5},
            {"type": "payment", "code": _CODE, "province": "320000", "order_id": "o", "paid_total": "10"},
            {"type": "decision", "code": _CODE, "province": "320000", "action": "confirm", "alert_id": "x", "actor": "y"},
        ],
        [{"type": "tick"}, {"type": "unknown"}],
        [{"type": "policy", "policy": {"default": {"aggregate": "median", "lookback": "rolling"}}}],
        [{"type": "tick"}],
    ]  # fmt: skip
    for offset, lines in enumerate(messages):
        for line in lines:
            line["at"] = _START_MS + 1000 * offset
    return messages
