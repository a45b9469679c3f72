"""The demo market's pure core: who quotes what, when, and how people answer alerts. It reads no clock and does no I/O."""

import bisect
import itertools
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from config.provinces import PROVINCE_CODES, PROVINCE_INDEX
from market import records
from market.behaviours import BEHAVIOURS, award, deep_cut, move_ceiling, passing, sentinel, unit_mistake
from market.catalogue import round_price
from market.records import Line, Listing
from market.state import Action, Board
from market.supply import Ledger

_UNLINKED_SHARE: Final = 0.012
"""Listings that start above the national lowest: the alerts with which the page comes alive."""
_CEILING_SHARE: Final = 0.08
_LEAVING_SHARE: Final = 0.05
_FIRST_STOP_MS: Final = 40_000
_SEEN_SOON: Final = (unit_mistake, *(move_ceiling,) * 12, deep_cut, award, passing, sentinel)
"""What happens in the first minutes however few records a second there are."""
_SOON_MS: Final = 7_000
_SILENT_S: Final = (210.0, 260.0)
"""How long a feed stops: longer than ``pricelink run`` allows."""
_PER_MILLION: Final = 1_000_000
_THRESHOLDS: Final = tuple(itertools.accumulate(share for share, _ in BEHAVIOURS))


class Market(Board):
    """32 platforms and their suppliers. The same seed and the same calls give the same lines.

    ``seed``: any integer. ``products``: codes at the start.
    """

    def __init__(self, seed: int, products: int = 2_000) -> None:
        super().__init__(seed, products)
        self._answering: set[tuple[str, str, str]] = set()
        items: list[Action] = []
        quotes: list[Action] = []
        for _ in range(products):
            product = self.add_product(self.catalogue.product())
            items.append(self._announcement(product))
            quotes += self._first_listings(product)
        self.rng.shuffle(quotes)
        self._opening = deque([*items, *quotes])
        self.ledger = Ledger(self, seed)
        self._opened_ms: int | None = None

    @property
    def backlog(self) -> int:
        """How many actions of the opening are left: every platform listing what it sells, as fast as can be."""
        return len(self._opening)

    def lines(self, now_ms: int, count: int) -> list[Line]:
        """Returns about ``count`` lines of this moment: what people planned for it, the opening, then what happens."""
        if self._opened_ms is None and not self._opening:
            self._opened_ms = now_ms
            self.ledger.plan(now_ms)
            self.plan(now_ms + _FIRST_STOP_MS, self._stop_a_feed)
            for number, rare in enumerate(_SEEN_SOON):
                self.plan(now_ms + (number + 1) * _SOON_MS, partial(rare, self))
        written = self.due(now_ms)
        while self._opening and len(written) < count:
            written += self._opening.popleft()(now_ms)
        while len(written) < count:
            written += self._happen(now_ms)
        return [line for line in written if not self.is_lost(line, now_ms)]

    def history(self, opens_ms: int) -> list[Line]:
        """Returns what happened before the market opens; to be written before all else (``market.supply``)."""
        return list(self.ledger.history(opens_ms))

    def _stop_a_feed(self, now_ms: int) -> list[Line]:
        """A platform sends nothing for some minutes; when it is back, another one stops."""
        province = self.ledger.rng.randrange(len(PROVINCE_CODES))
        back_ms = now_ms + int(self.ledger.rng.uniform(*_SILENT_S) * 1000)
        self.lose_until(province, back_ms)
        self.plan(back_ms + 30_000, self._stop_a_feed)
        return []

    def observe(self, event: Mapping[str, Any], now_ms: int) -> None:
        """Lets suppliers and operators read an alert event and plan their answer to it."""
        kind, change = event.get("kind"), event.get("change")
        if change not in {"opened", "escalated"} or event.get("code") not in self.index:
            return
        if kind == "price_hold":
            self._plan_decision(dict(event), now_ms)
        elif kind in {"price_adjustment", "ceiling_breach"}:
            self._plan_adjustment(event, now_ms)

    def _happen(self, now_ms: int) -> list[Line]:
        chosen = bisect.bisect_right(_THRESHOLDS, self.rng.random() * _PER_MILLION)
        if chosen < len(BEHAVIOURS):
            return BEHAVIOURS[chosen][1](self, now_ms)
        slot = self.pick()
        return [self.quote(*slot, now_ms)] if slot else []

    def _announcement(self, product: int) -> Action:
        made = self.products[product]
        return lambda now_ms: [Line(made.code, records.encode(records.item(made, now_ms, self.seq())))]

    def _first_listings(self, product: int) -> list[Action]:
        """A product starts at one price in some provinces, and above it in a few."""
        rng, made = self.rng, self.products[product]
        count = min(4 + int(rng.expovariate(1 / 9)), len(PROVINCE_CODES))
        actions = []
        for place, province in enumerate(rng.sample(range(len(PROVINCE_CODES)), count)):
            unlinked = place > 1 and rng.random() < _UNLINKED_SHARE
            factor = 1 + (rng.choice((0.02, 0.04, 0.08, 0.15, 0.25, 0.6)) if unlinked else 0)
            listing = Listing(round_price(int(made.base_e4 * factor)), made.pack_size > 1 and rng.random() < 0.5)
            actions.append(self._listing_action(product, province, listing))
        return actions

    def _listing_action(self, product: int, province: int, listing: Listing) -> Action:
        def action(now_ms: int) -> list[Line]:
            self.add_listing(product, province, listing)
            lines = [self.quote(product, province, now_ms)]
            if self.rng.random() < _CEILING_SHARE:
                listing.ceiling_e4 = round_price(int(listing.price_e4 * self.rng.uniform(1.1, 1.3)))
                made = self.products[product]
                record = records.ceiling(made, province, listing.ceiling_e4, now_ms, self.seq())
                lines.append(Line(made.code, records.encode(record)))
            return lines

        return action

    def _plan_decision(self, event: dict[str, Any], now_ms: int) -> None:
        """Four in five holds are decided within a minute; the others end when the platform corrects itself."""
        if self.rng.random() > 0.8:
            return
        slot = (str(event["code"]), str(event["province"]))
        alert_id = str(event["alert_id"])

        def decide(at_ms: int) -> list[Line]:
            genuine = self.wrong.pop(slot, "wrong") == "genuine"
            listing = self.listings[self.index[slot[0]]].get(PROVINCE_INDEX[slot[1]])
            if genuine and listing is not None:
                listing.pending = False
            note = "企业确认全国统一降价" if genuine else "价格单位有误，退回平台核对"
            record = records.decision(event, "confirm" if genuine else "reject", at_ms, note)
            return [Line(slot[0], records.encode(record | {"alert_id": alert_id}))]

        self.plan_within(now_ms, 8, 50, decide)

    def _plan_adjustment(self, event: Mapping[str, Any], now_ms: int) -> None:
        """Most suppliers follow within two minutes, the others within ten; a few leave the province instead."""
        kind, code, province = str(event["kind"]), str(event["code"]), str(event["province"])
        if (kind, code, province) in self._answering:
            return
        self._answering.add((kind, code, province))
        product, own = self.index[code], PROVINCE_INDEX[province]

        def adjust(at_ms: int) -> list[Line]:
            self._answering.discard((kind, code, province))
            listing = self.listings[product].get(own)
            if listing is None or listing.pending or listing.status != "active" or product in self.disabled:
                return []
            target_e4 = (
                listing.ceiling_e4 if kind == "ceiling_breach" else min(self.prices(product, but=own), default=0)
            )
            if not 0 < target_e4 < listing.price_e4:
                return []
            if self.rng.random() < _LEAVING_SHARE:
                listing.status = "withdrawn"
                return [self.quote(product, own, at_ms)]
            listing.price_e4 = target_e4  # as it is: rounded, it might still be above
            return [self.quote(product, own, at_ms)]

        low_s, high_s = (15, 120) if self.rng.random() < 0.85 else (180, 600)
        self.plan_within(now_ms, low_s, high_s, adjust)
