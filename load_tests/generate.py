"""Quote logs for load tests: vectorised, seeded, exact in what they ask of the machine.

A market of P products in V provinces. First every province lists every product (V x P records), then refreshes come in
rounds: each round visits every slot once, in random order. Each product has an anchor, its first province, which holds
the national lowest; every other province is at parity or above it, in a band. So how many records give an event is set
by how many change their band, and by how often an anchor falls (one price change, and an event in every other province).

``calm``: 4 % of the records give an event: refreshes, small moves. ``storm``: 25 %. ``mixed``: the calm one, with orders,
deliveries and payments between the quotes; ``orders``: these alone. See ``trades``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from config.provinces import PROVINCE_CODES
from load_tests import trades
from schemas.batches import Batch
from schemas.columns import MESSAGE

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

START_MS: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z: where a log starts unless it is told otherwise."""
_CHUNK_RECORDS: Final = 250_000
_TRADED_CHUNK: Final = 100_000
_STALE_MS: Final = 3_600_000
_BASE36: Final = b"0123456789ABCDEFGHJKLMNPQRTUWXY"  # the 31 characters of a social credit code
_LEVELS: Final = np.array([[1.0, 1.0], [1.005, 1.045], [1.06, 1.18], [1.25, 1.6]])
"""Factors over the lowest price that mean no band, blue, yellow and red under the default policy."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of records. ``spread``: first listings above the lowest; ``moves``: refreshes that change their band;
    ``falls``: refreshes that make a new national lowest; ``small``: of the rest above the lowest, those that move inside
    their band; ``stale``: repeats from an hour before.
    """

    spread: float
    moves: float
    falls: float
    small: float = 0.2
    stale: float = 0.002


MIXES: Final = {
    "calm": Mix(spread=0.009, moves=0.0396, falls=0.0003),
    "storm": Mix(spread=0.22, moves=0.247, falls=0.002),
    "mixed": Mix(spread=0.009, moves=0.0396, falls=0.0003),
    "orders": Mix(spread=0.0, moves=0.0, falls=0.0),
}


@dataclass(frozen=True, slots=True)
class Load:
    """What a log is made of.

    ``records_per_ms``: how fast its own time runs; ``pace_ms``: in its place, the time between two records, so that what
    is ordered falls due (mixed and orders only). ``odd_share``: quotes whose price has an exponent, which the scanner
    leaves to the exact parser.
    """

    products: int = 50_000
    provinces: int = 32
    records: int = 4_000_000
    partitions: int = 4
    market: Literal["calm", "storm", "mixed", "orders"] = "calm"
    seed: int = 1
    lines_per_message: int = 500
    start_ms: int = START_MS
    records_per_ms: int = 100
    odd_share: float = 0.0
    pace_ms: int = 0

    @property
    def last_ms(self) -> int:
        """When its last record happens, or a little later."""
        return self.start_ms + self.records // self.records_per_ms + self.records * self.pace_ms + 1


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines of one partition: line i is ``data[ends[i - 1]:ends[i]]`` with its line feed."""

    partition: int
    data: Bytes
    ends: Ints


def murmur2(rows: Bytes) -> npt.NDArray[np.uint32]:
    """Returns Kafka's murmur2 of each row of an uint8[n, width] array."""
    count, width = rows.shape
    mixer = np.uint32(0x5BD1E995)
    state = np.full(count, 0x9747B28C ^ width, np.uint32)
    words = width // 4
    for word in np.ascontiguousarray(rows[:, : words * 4]).view("<u4").T:
        part = word * mixer
        part ^= part >> np.uint32(24)
        state = (state * mixer) ^ (part * mixer)
    rest = rows[:, words * 4 :]
    if rest.shape[1]:
        for index in range(rest.shape[1] - 1, -1, -1):
            state ^= rest[:, index].astype(np.uint32) << np.uint32(8 * index)
        state *= mixer
    state ^= state >> np.uint32(13)
    state *= mixer
    return state ^ (state >> np.uint32(15))


def product_codes(products: int, seed: int) -> Bytes:
    """Returns uint8[products, 27]: distinct codes, ``C`` and 26 digits, the last seven a serial."""
    rng = np.random.default_rng([seed, 1])
    rows = np.empty((products, 27), np.uint8)
    rows[:, 0] = ord("C")
    _put_digits(rows[:, 1:3], rng.integers(1, 19, products))
    _put_digits(rows[:, 3:20], rng.integers(0, 10**17, products))
    _put_digits(rows[:, 20:27], np.arange(products, dtype=np.int64) % 10**7)
    return rows


class Market:
    """Prices of every slot, in cents a piece, as the log moves them. Slot = province x products + product."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.mix = MIXES[load.market]
        self.rng = np.random.default_rng([load.seed, 2])
        count = load.products
        self.codes = product_codes(count, load.seed)
        self.partition = ((murmur2(self.codes) & np.uint32(0x7FFFFFFF)) % np.uint32(load.partitions)).astype(np.int64)
        self.suppliers = _suppliers(count, self.rng)
        self.boxed = self.rng.random(count) < 0.25
        self.lowest = np.exp(self.rng.uniform(np.log(5_000), np.log(2_000_000), count)).astype(np.int64)
        self.price = np.zeros(load.provinces * count, np.int64)

    def chunks(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Yields (slots, prices, at_ms) in log order."""
        load = self.load
        done = 0
        first_round = True
        while done < load.records:
            slots = self._listing_order() if first_round else self.rng.permutation(len(self.price))
            slots = slots[: load.records - done]
            for start in range(0, len(slots), _CHUNK_RECORDS):
                part = slots[start : start + _CHUNK_RECORDS]
                at_ms = load.start_ms + (done + np.arange(len(part), dtype=np.int64)) // load.records_per_ms
                prices = self._list(part) if first_round else self._refresh(part, at_ms)
                yield part, prices, at_ms
                done += len(part)
            first_round = False

    def _listing_order(self) -> Ints:
        count = self.load.products
        return np.concatenate([self.rng.permutation(count) + v * count for v in range(self.load.provinces)])

    def _at_level(self, product: Ints, level: Ints) -> Ints:
        factor = self.rng.uniform(_LEVELS[level, 0], _LEVELS[level, 1])
        return np.where(level > 0, np.rint(self.lowest[product] * factor).astype(np.int64), self.lowest[product])

    def _list(self, slots: Ints) -> Ints:
        product = slots % self.load.products
        above = (self.rng.random(len(slots)) < self.mix.spread) & (slots >= self.load.products)
        level = np.where(above, self.rng.integers(1, 4, len(slots)), 0)
        self.price[slots] = self._at_level(product, level)
        return self.price[slots]

    def _refresh(self, slots: Ints, at_ms: Ints) -> Ints:
        mix = self.mix
        product = slots % self.load.products
        anchor = slots < self.load.products
        now = self.price[slots]
        lowest = self.lowest[product]
        level = (now > lowest) * (1 + (now * 100 >= lowest * 105) + (now * 100 >= lowest * 120))
        dice = self.rng.random(len(slots))
        falls = anchor & (dice < mix.falls * self.load.provinces)
        moves = ~anchor & (dice < mix.moves * self.load.provinces / max(self.load.provinces - 1, 1))
        small = ~anchor & ~moves & (level > 0) & (self.rng.random(len(slots)) < mix.small)
        stale = ~falls & ~moves & ~small & (self.rng.random(len(slots)) < mix.stale)
        self.lowest[product[falls]] = (lowest[falls] * 99) // 100
        new_level = np.where(moves, (level + self.rng.integers(1, 4, len(slots))) % 4, level)
        new = self._at_level(product, new_level)
        now = np.where(falls | moves | small, new, now)
        self.price[slots] = now
        at_ms[stale] -= _STALE_MS
        return now


def lines(load: Load) -> Iterator[Lines]:
    """Yields the log's lines, a run of one partition at a time; within a partition they are in log order."""
    if load.market in trades.SHARES:
        yield from _traded_lines(load)
        return
    market = Market(load)
    width = load.products
    odd_rng = np.random.default_rng([load.seed, 3])
    for chunk_slots, chunk_prices, chunk_at_ms in market.chunks():
        partition = market.partition[chunk_slots % width]
        order = np.argsort(partition, kind="stable")
        slots, prices, at_ms = chunk_slots[order], chunk_prices[order], chunk_at_ms[order]
        bounds = np.searchsorted(partition[order], np.arange(load.partitions + 1))
        odd = odd_rng.random(len(slots)) < load.odd_share
        for index in range(load.partitions):
            span = slice(int(bounds[index]), int(bounds[index + 1]))
            if span.stop > span.start:
                yield Lines(index, *_render(market, slots[span], prices[span], at_ms[span], odd[span]))


def _traded_lines(load: Load) -> Iterator[Lines]:
    market = Market(load)
    trade = trades.Trades(market.codes, market.suppliers, market.lowest.copy(), load.provinces, load.start_ms)
    rng = np.random.default_rng([load.seed, 4])
    quotes = _quotes(market)
    waiting = next(quotes)
    width = max(_Line.template.size, trades.WIDEST)
    done = 0
    for kind in trades.kinds(load.market, trade.contracts, load.records, _TRADED_CHUNK, rng):
        at_ms = load.start_ms + _elapsed_ms(load, done + np.arange(len(kind), dtype=np.int64))
        done += len(kind)
        rows = np.zeros((len(kind), width), np.uint8)
        partition = np.zeros(len(kind), np.int64)
        for one in np.unique(kind).tolist():
            which = np.flatnonzero(kind == one)
            if one == trades.QUOTE:
                while len(waiting[0]) < len(which):
                    more = next(quotes)
                    waiting = np.concatenate([waiting[0], more[0]]), np.concatenate([waiting[1], more[1]])
                slots, prices = waiting[0][: len(which)], waiting[1][: len(which)]
                waiting = waiting[0][len(which) :], waiting[1][len(which) :]
                odd = np.zeros(len(which), np.bool_)
                rows[which, : _Line.template.size] = _quote_rows(market, slots, prices, at_ms[which], odd)
                product = slots % load.products
            else:
                first = trade.told[one] + np.arange(len(which), dtype=np.int64)
                product, numbers = trade.products(one, len(which), rng)
                lines_of = np.zeros((len(which), width), np.uint8)
                trade.render(one, numbers, at_ms[which], first, lines_of)
                rows[which] = lines_of
            partition[which] = market.partition[product]
        for index in range(load.partitions):
            own = rows[partition == index]
            if len(own):
                kept = own != 0
                yield Lines(index, own[kept], np.cumsum(kept.sum(axis=1)))


def _elapsed_ms(load: Load, records: Ints) -> Ints:
    return records * load.pace_ms if load.pace_ms else records // load.records_per_ms


def _quotes(market: Market) -> Iterator[tuple[Ints, Ints]]:
    """Yields slots and prices, without end."""
    while True:
        for slots, prices, _ in market.chunks():
            yield slots, prices


def messages(load: Load) -> Iterator[tuple[int, bytes]]:
    """Yields (partition, value) of each message, ``lines_per_message`` lines in one."""
    for run in lines(load):
        yield from ((run.partition, value) for value in messages_of(run, load.lines_per_message))


def messages_of(run: Lines, per_message: int) -> Iterator[bytes]:
    """Yields a run's lines as messages of up to so many lines."""
    raw = run.data.tobytes()
    starts, ends = _message_bounds(run.ends, per_message)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield raw[start : end - 1]


def batches(load: Load, records_per_batch: int = 20_000) -> Iterator[Batch]:
    """Yields the log as the batch transport would hand it over: offsets from 0, broker time = the log's own."""
    next_offset = [0] * load.partitions
    per_batch = max(records_per_batch // load.lines_per_message, 1)
    for run in lines(load):
        starts, ends = _message_bounds(run.ends, load.lines_per_message)
        for first in range(0, len(starts), per_batch):
            part = slice(first, first + per_batch)
            count = len(starts[part])
            base = int(starts[first])
            table = np.empty(count, MESSAGE)
            table["start"] = starts[part] - base
            table["end"] = ends[part] - 1 - base
            table["offset"] = next_offset[run.partition] + np.arange(count)
            table["broker_ts_ms"] = load.last_ms
            next_offset[run.partition] += count
            yield Batch(run.partition, run.data[base : int(ends[part][-1])], table)


def _message_bounds(line_ends: Ints, per_message: int) -> tuple[Ints, Ints]:
    last = np.minimum(np.arange(per_message, len(line_ends) + per_message, per_message), len(line_ends)) - 1
    ends = line_ends[last]
    return np.concatenate([np.zeros(1, np.int64), ends[:-1]]), ends


def _put_digits(target: Bytes, numbers: Ints) -> None:
    """Writes numbers right-aligned with leading zeros into uint8[n, width]."""
    rest = numbers.astype(np.int64)
    for column in range(target.shape[1] - 1, -1, -1):
        rest, digit = np.divmod(rest, 10)
        target[:, column] = digit + 48


def _suppliers(products: int, rng: np.random.Generator) -> Bytes:
    count = max(products // 50, 1)
    alphabet = np.frombuffer(_BASE36, np.uint8)
    rows = alphabet[rng.integers(0, len(alphabet), (count, 18))]
    rows[:, :2] = np.frombuffer(b"91", np.uint8)
    _put_digits(rows[:, 2:8], rng.integers(110_000, 660_000, count))
    return rows[rng.integers(0, count, products)]


class _Line:
    """The widest line there is; a zero byte is left out, so lines vary in length without a loop over them."""

    parts: Final = (
        ("", b'{"type":"quote","province":"'), ("province", b"\0" * 6),
        ("", b'","code":"'), ("code", b"\0" * 27),
        ("", b'","at":'), ("epoch", b"\0" * 13), ("rfc", b'"0000-00-00T00:00:00.000+08:00"'),
        ("", b',"price":'), ("yuan", b"\0" * 9), ("point", b"."), ("cents", b"\0" * 2), ("exponent", b"e-2"),
        ("boxed", b',"unit":"box","pack_size":10'),
        ("", b',"kind":"listed","supplier":"'), ("supplier", b"\0" * 18),
        ("", b'"}\n'),
    )  # fmt: skip
    template: Final = np.frombuffer(b"".join(text for _, text in parts), np.uint8)
    spans: Final[dict[str, slice]] = {}


_position = 0
for _name, _text in _Line.parts:
    if _name:
        _Line.spans[_name] = slice(_position, _position + len(_text))
    _position += len(_text)

_PROVINCE_BYTES: Final = np.frombuffer("".join(PROVINCE_CODES).encode(), np.uint8).reshape(-1, 6)


def _render(market: Market, slots: Ints, prices: Ints, at_ms: Ints, odd: npt.NDArray[np.bool_]) -> tuple[Bytes, Ints]:
    rows = _quote_rows(market, slots, prices, at_ms, odd)
    kept = rows != 0
    return rows[kept], np.cumsum(kept.sum(axis=1))


def _quote_rows(market: Market, slots: Ints, prices: Ints, at_ms: Ints, odd: npt.NDArray[np.bool_]) -> Bytes:
    province, product = np.divmod(slots, market.load.products)
    spans = _Line.spans
    rows = np.tile(_Line.template, (len(slots), 1))
    rows[:, spans["province"]] = _PROVINCE_BYTES[province]
    rows[:, spans["code"]] = market.codes[product]
    _put_times(rows, at_ms, province % 2 == 1)
    boxed = market.boxed[product]
    _put_price(rows, np.where(boxed, prices * 10, prices), odd)
    rows[~boxed, spans["boxed"]] = 0
    rows[:, spans["supplier"]] = market.suppliers[product]
    return rows


def _put_times(rows: Bytes, at_ms: Ints, as_text: npt.NDArray[np.bool_]) -> None:
    """Half of the platforms write epoch milliseconds, the others RFC 3339 with Shanghai's offset."""
    spans = _Line.spans
    _put_digits(rows[:, spans["epoch"]], at_ms)
    rows[as_text, spans["epoch"]] = 0
    rows[~as_text, spans["rfc"]] = 0
    moments, index = np.unique(at_ms[as_text], return_inverse=True)
    texts = np.datetime_as_string((moments + 8 * 3_600_000).astype("M8[ms]")).astype("S23")
    start = spans["rfc"].start + 1
    rows[as_text, start : start + 23] = texts.view(np.uint8).reshape(-1, 23)[index]


def _put_price(rows: Bytes, cents: Ints, odd: npt.NDArray[np.bool_]) -> None:
    """Writes a JSON number: no leading zeros, no point where there are no cents; an odd one as ``1250000e-2``."""
    spans = _Line.spans
    yuan, rest = np.divmod(cents, 100)
    field = rows[:, spans["yuan"]]
    _put_digits(field, yuan)
    field[np.arange(field.shape[1]) < (field.shape[1] - _digits(yuan))[:, None]] = 0
    _put_digits(rows[:, spans["cents"]], rest)
    rows[(rest == 0) & ~odd, spans["point"].start : spans["cents"].stop] = 0
    rows[odd, spans["point"]] = 0
    rows[~odd, spans["exponent"]] = 0


def _digits(numbers: Ints) -> Ints:
    powers = 10 ** np.arange(1, 18, dtype=np.int64)
    return 1 + np.searchsorted(powers, numbers, side="right")
