"""What the demo market knows: products, listings, and what people have planned. Behaviours read and change it."""

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any, Final

from config.provinces import PROVINCE_CODES
from market import records
from market.catalogue import Catalogue, Product, round_price
from market.records import Line, Listing

Action = Callable[[int], list[Line]]
"""Something that happens at a time in epoch milliseconds, and the lines that it writes."""

MAX_PLANNED: Final = 100_000
"""Actions planned at most; what comes beyond is not planned."""
MAX_GROWTH: Final = 4
"""Products at most, as a multiple of those at the start: codes that moved add new ones."""
_PICKS: Final = 40


class Board:
    """The state of the market. A product or a province is its index, a slot is (product, province).

    ``disabled``: products whose code is out of use. ``awarded``: those that were in a volume-based procurement.
    ``wrong``: by (code, province code) of a quote that will be held, whether it is ``wrong`` or ``genuine``.
    """

    def __init__(self, seed: int, products: int) -> None:
        self.rng = random.Random(f"market {seed}")
        self.catalogue = Catalogue(seed)
        self.products: list[Product] = []
        self.index: dict[str, int] = {}
        self.listings: list[dict[int, Listing]] = []
        self.disabled: set[int] = set()
        self.awarded: set[int] = set()
        self.wrong: dict[tuple[str, str], str] = {}
        self.max_products = products * MAX_GROWTH
        self._slots: list[tuple[int, int]] = []
        self._lost: dict[bytes, int] = {}
        self._planned: list[tuple[int, int, Action]] = []
        self._order = itertools.count()
        self._seq = 0

    def due(self, now_ms: int) -> list[Line]:
        """Does what was planned up to now and returns its lines."""
        written: list[Line] = []
        while self._planned and self._planned[0][0] <= now_ms:
            written += heapq.heappop(self._planned)[2](now_ms)
        return written

    def lose_until(self, province: int, back_ms: int) -> None:
        """Has a province's lines lost until then: its feed has stopped."""
        self._lost = {b'"province":"%s"' % PROVINCE_CODES[province].encode(): back_ms}

    def is_lost(self, line: Line, now_ms: int) -> bool:
        """Tells whether a line is of a province whose feed has stopped."""
        return any(now_ms < back_ms and province in line.value for province, back_ms in self._lost.items())

    def seq(self) -> int:
        """Returns the next version number of a source."""
        self._seq += 1
        return self._seq

    def plan(self, due_ms: int, action: Action) -> None:
        """Plans an action; beyond MAX_PLANNED it is dropped."""
        if len(self._planned) < MAX_PLANNED:
            heapq.heappush(self._planned, (due_ms, next(self._order), action))

    def plan_within(self, now_ms: int, low_s: float, high_s: float, action: Action) -> None:
        """Plans an action at a random moment between so many seconds from now."""
        self.plan(now_ms + int(self.rng.uniform(low_s, high_s) * 1000), action)

    def add_product(self, product: Product) -> int:
        """Adds a code and returns its index."""
        self.index[product.code] = len(self.products)
        self.products.append(product)
        self.listings.append({})
        return len(self.products) - 1

    def add_listing(self, product: int, province: int, listing: Listing) -> None:
        """Adds a listing that the next quote will announce."""
        if province not in self.listings[product]:
            self._slots.append((product, province))
        self.listings[product][province] = listing

    def pick(
        self, suits: Callable[[Product, Listing], bool] = lambda _product, _listing: True
    ) -> tuple[int, int] | None:
        """Returns (product, province) of a random listing that suits and that nobody is looking at, or None."""
        for _ in range(_PICKS):
            product, province = self.rng.choice(self._slots)
            listing = self.listings[product][province]
            if product not in self.disabled and not listing.pending and suits(self.products[product], listing):
                return product, province
        return None

    def prices(self, product: int, but: int = -1) -> list[int]:
        """Returns the prices that others look at, in 1/10,000 yuan a piece: active, of a kind that counts."""
        return [
            listing.price_e4
            for province, listing in self.listings[product].items()
            if province != but
            and listing.status == "active"
            and not listing.pending
            and listing.kind in {"listed", "selected"}
        ]

    def quote(self, product: int, province: int, now_ms: int, /, **changes: Any) -> Line:
        """Returns the listing's quote; ``changes`` are put over it, None takes a field out."""
        listing = self.listings[product][province]
        record = records.quote(self.products[product], province, listing, now_ms, self.seq())
        record |= changes
        return Line(
            self.products[product].code,
            records.encode({key: value for key, value in record.items() if value is not None}),
        )

    def set_price(self, product: int, province: int, price_e4: int, now_ms: int) -> list[Line]:
        """Changes a listing's price per piece and returns its quote."""
        self.listings[product][province].price_e4 = round_price(price_e4)
        return [self.quote(product, province, now_ms)]

    def correct(self, product: int, province: int) -> Action:
        """Returns the action of a platform that quotes its true price again after a mistake."""

        def action(now_ms: int) -> list[Line]:
            listing = self.listings[product][province]
            listing.pending = False
            self.wrong.pop((self.products[product].code, PROVINCE_CODES[province]), None)
            return [] if product in self.disabled else [self.quote(product, province, now_ms)]

        return action
