"""Contracts, orders, deliveries and payments for load tests, in the style of ``generate``: vectorised, seeded.

Each product has a contract in two provinces. Orders are numbered through; everything about one follows from its number:
its contract, price, quantity, institution. Most are at 90 % of the first lowest price, 4 % above it. Deliveries follow
their orders some 20,000 orders later, nearly in order, and most bring all of it; payments follow deliveries.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from config.provinces import PROVINCE_CODES

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

QUOTE, CONTRACT, ORDER, DELIVERY, PAYMENT = range(5)
"""What a line is."""
SHARES: Final = {"mixed": (0.70, 0.0, 0.20, 0.08, 0.02), "orders": (0.0, 0.0, 20 / 30, 8 / 30, 2 / 30)}
"""Of the lines behind the contracts', by market."""
CONTRACTS_A_PRODUCT: Final = 2
_DELIVERY_LAG: Final = 20_000
_PAYMENT_LAG: Final = 60_000
_JITTER: Final = 10_000
_TERM_MS: Final = 365 * 86_400_000
_PROVINCE_BYTES: Final = np.frombuffer("".join(PROVINCE_CODES).encode(), np.uint8).reshape(-1, 6)

_HEAD: Final = (
    ("", b'","province":"'), ("province", b"\0" * 6), ("", b'","code":"'), ("code", b"\0" * 27),
    ("", b'","at":'), ("at", b"\0" * 13),
)  # fmt: skip
_PARTS: Final = {
    CONTRACT: (
        ("", b'{"type":"contract'), *_HEAD, ("", b',"contract_id":"K'), ("contract", b"\0" * 8),
        ("", b'","supplier":"'), ("supplier", b"\0" * 18), ("", b'","agreed_quantity":'), ("quantity", b"\0" * 8),
        ("", b',"price":'), ("yuan", b"\0" * 7), ("", b',"starts_at":'), ("starts", b"\0" * 13),
        ("", b',"ends_at":'), ("ends", b"\0" * 13), ("", b"}\n"),
    ),
    ORDER: (
        ("", b'{"type":"order'), *_HEAD, ("", b',"order_id":"D'), ("order", b"\0" * 10), ("", b'","institution":"H'),
        ("institution", b"\0" * 6), ("", b'","supplier":"'), ("supplier", b"\0" * 18), ("", b'","price":'),
        ("yuan", b"\0" * 7), ("", b',"quantity":'), ("quantity", b"\0" * 8), ("", b',"contract_id":"K'),
        ("contract", b"\0" * 8), ("", b'"}\n'),
    ),
    DELIVERY: (
        ("", b'{"type":"delivery'), *_HEAD, ("", b',"order_id":"D'), ("order", b"\0" * 10), ("", b'","delivery_id":"'),
        ("number", b"\0" * 9), ("", b'","quantity":'), ("quantity", b"\0" * 8), ("", b"}\n"),
    ),
    PAYMENT: (
        ("", b'{"type":"payment'), *_HEAD, ("", b',"order_id":"D'), ("order", b"\0" * 10), ("", b'","paid_total":'),
        ("yuan", b"\0" * 9), ("", b"}\n"),
    ),
}  # fmt: skip


class _Template:
    """A line at its widest; zero bytes are left out, so numbers have no leading zeros where they may not."""

    def __init__(self, parts: tuple[tuple[str, bytes], ...]) -> None:
        self.text = np.frombuffer(b"".join(text for _, text in parts), np.uint8)
        self.spans: dict[str, slice] = {}
        at = 0
        for name, text in parts:
            if name:
                self.spans[name] = slice(at, at + len(text))
            at += len(text)


_TEMPLATES: Final = {kind: _Template(parts) for kind, parts in _PARTS.items()}
WIDEST: Final = max(template.text.size for template in _TEMPLATES.values())


class Trades:
    """The trade of a market, as the log tells it."""

    def __init__(self, codes: Bytes, suppliers: Bytes, lowest_cents: Ints, provinces: int, start_ms: int) -> None:
        self.codes = codes
        self.suppliers = suppliers
        self.yuan = np.maximum(lowest_cents * 9 // 1_000, 1)
        self.provinces = provinces
        self.start_ms = start_ms
        self.contracts = CONTRACTS_A_PRODUCT * len(codes)
        self.told = dict.fromkeys(_PARTS, 0)

    def place(self, contracts: Ints) -> tuple[Ints, Ints]:
        """Returns product and province of contracts."""
        product, which = np.divmod(contracts, CONTRACTS_A_PRODUCT)
        return product, (product * 7 + which * 13) % self.provinces

    def products(self, kind: int, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Returns the products of the next lines of a kind, and the contracts or orders that they are about."""
        first = self.told[kind]
        self.told[kind] += count
        numbers = first + np.arange(count, dtype=np.int64)
        if kind == DELIVERY:
            numbers = _behind(numbers * 5 // 2, _DELIVERY_LAG, rng)
        elif kind == PAYMENT:
            numbers = _behind(numbers * 10, _PAYMENT_LAG, rng)
        return self.place(numbers if kind == CONTRACT else self.contract_of(numbers))[0], numbers

    def contract_of(self, orders: Ints) -> Ints:
        """Returns the contracts of orders."""
        return _mixed(orders) % self.contracts

    def render(self, kind: int, numbers: Ints, at_ms: Ints, first: Ints, rows: Bytes) -> None:
        """Writes lines of one kind into ``rows``, uint8[n, at least WIDEST] of zeros.

        ``numbers``: contracts or orders; ``first``: a number of each line's own.
        """
        template = _TEMPLATES[kind]
        width = template.text.size
        line = np.tile(template.text, (len(numbers), 1))
        spans = template.spans
        contracts = numbers if kind == CONTRACT else self.contract_of(numbers)
        product, province = self.place(contracts)
        line[:, spans["province"]] = _PROVINCE_BYTES[province]
        line[:, spans["code"]] = self.codes[product]
        _digits(line[:, spans["at"]], at_ms)
        quantity = 10 + _mixed(numbers + 1) % 90
        dear = _mixed(numbers + 2) % 25 == 0
        yuan = np.where(dear, self.yuan[product] * 3 // 2 + 1, self.yuan[product])
        if kind in (CONTRACT, ORDER):
            _digits(line[:, spans["contract"]], contracts)
            line[:, spans["supplier"]] = self.suppliers[product]
            _number(line[:, spans["yuan"]], yuan)
        if kind == CONTRACT:
            _digits(line[:, spans["starts"]], np.full(len(numbers), self.start_ms))
            _digits(line[:, spans["ends"]], np.full(len(numbers), self.start_ms + _TERM_MS))
            quantity = quantity * 1_000
        else:
            _digits(line[:, spans["order"]], numbers)
        if kind == ORDER:
            _digits(line[:, spans["institution"]], _mixed(numbers + 3) % 2_000)
        if kind == DELIVERY:
            _number(line[:, spans["number"]], first)
            quantity = np.where(_mixed(first) % 10 == 0, quantity // 2, quantity)
        if kind == PAYMENT:
            _number(line[:, spans["yuan"]], yuan * quantity)
        else:
            _number(line[:, spans["quantity"]], quantity)
        rows[:, :width] = line


def kinds(market: str, contracts: int, records: int, chunk: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yields what each line is, a chunk at a time: contracts first."""
    shares = np.cumsum(SHARES[market])
    left = records
    while left > 0:
        count = min(chunk, left)
        told = records - left
        kind = np.searchsorted(shares, rng.random(count) * shares[-1], side="right").astype(np.int64)
        kind[: max(contracts - told, 0)] = CONTRACT
        yield kind
        left -= count


def _behind(numbers: Ints, lag: int, rng: np.random.Generator) -> Ints:
    behind = numbers - lag + rng.integers(0, _JITTER, len(numbers))
    return np.where(numbers >= lag, behind, numbers % _JITTER)


def _mixed(numbers: Ints) -> Ints:
    state = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((state ^ (state >> np.uint64(29))) >> np.uint64(20)).astype(np.int64)


def _digits(target: Bytes, numbers: Ints) -> None:
    rest = numbers.astype(np.int64)
    for column in range(target.shape[1] - 1, -1, -1):
        rest, digit = np.divmod(rest, 10)
        target[:, column] = digit + 48


def _number(target: Bytes, numbers: Ints) -> None:
    _digits(target, numbers)
    powers = 10 ** np.arange(1, 18, dtype=np.int64)
    used = 1 + np.searchsorted(powers, numbers, side="right")
    target[np.arange(target.shape[1]) < (target.shape[1] - used)[:, None]] = 0
