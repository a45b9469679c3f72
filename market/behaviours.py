"""What happens in the demo market beside refreshes, and how often.

Each behaviour is a function of the market and the time that returns the lines of this moment and plans later ones.
Contracts, deliveries and payments are in ``market.supply``.
"""

from collections.abc import Callable
from typing import Any, Final

from config.provinces import PROVINCE_CODES, PROVINCES
from market import records
from market.catalogue import Product, round_price
from market.records import Line, Listing
from market.state import Action, Board
from market.supply import HOSPITALS, PHARMACY

_ALLIANCE_MIN: Final = 4
_FUTURE_MS: Final = 600_000


def _listed(_product: Product, listing: Listing) -> bool:
    return listing.status == "active" and listing.kind == "listed"


def _boxed(product: Product, listing: Listing) -> bool:
    return _listed(product, listing) and product.pack_size >= 3


def rise(market: Board, now_ms: int) -> list[Line]:
    """A platform lists a product 1 to 30 % dearer, at once or announced for the next minute."""
    if not (slot := market.pick(_listed)):
        return []
    listing = market.listings[slot[0]][slot[1]]
    listing.price_e4 = round_price(int(listing.price_e4 * market.rng.choice((1.01, 1.02, 1.03, 1.06, 1.1, 1.3))) + 100)
    if market.rng.random() < 0.8:
        return [market.quote(*slot, now_ms)]
    effective_ms = now_ms + market.rng.randrange(10_000, 60_000)
    return [market.quote(*slot, now_ms, effective_at=records.time_of(effective_ms, slot[1]))]


def fall(market: Board, now_ms: int) -> list[Line]:
    """A platform bargains 0.5 to 4 % off and makes a new national lowest."""
    if not (slot := market.pick(_listed)):
        return []
    lowest_e4 = min(market.prices(slot[0]), default=0)
    if lowest_e4 < market.products[slot[0]].base_e4 * 0.6:
        return []
    return market.set_price(*slot, int(lowest_e4 * market.rng.uniform(0.96, 0.995)), now_ms)


def award(market: Board, now_ms: int) -> list[Line]:
    """A volume-based procurement: an alliance of provinces gets 60 to 90 % off, within a few seconds of each other."""
    slot = market.pick(_listed)
    if not slot or slot[0] in market.awarded or len(market.listings[slot[0]]) < _ALLIANCE_MIN + 2:
        return []
    product = slot[0]
    market.awarded.add(product)
    provinces = sorted(market.listings[product])
    members = market.rng.sample(provinces, market.rng.randrange(_ALLIANCE_MIN, len(provinces)))
    price_e4 = round_price(int(min(market.prices(product)) * market.rng.uniform(0.1, 0.4)))

    def join(province: int) -> Action:
        def action(at_ms: int) -> list[Line]:
            listing = market.listings[product][province]
            listing.price_e4, listing.kind, listing.status, listing.pending = price_e4, "selected", "active", False
            return [market.quote(product, province, at_ms)]

        return action

    for province in members[1:]:
        market.plan_within(now_ms, 0.5, 6, join(province))
    return join(members[0])(now_ms)


def unit_mistake(market: Board, now_ms: int) -> list[Line]:
    """A platform gives the price of a piece for that of a box. It must be held."""
    slot = market.pick(_boxed)
    if not slot or len(market.prices(slot[0], but=slot[1])) < 3:
        return []
    product, listing = market.products[slot[0]], market.listings[slot[0]][slot[1]]
    return _mistake(market, slot, now_ms, price=records.money(listing.price_e4, slot[1]), pack_size=product.pack_size)


def sentinel(market: Board, now_ms: int) -> list[Line]:
    """A platform's default stands where a price should: 0.01 yuan, 99,999,999, or nine nines."""
    slot = market.pick(_listed)
    if not slot or len(market.prices(slot[0], but=slot[1])) < 3:
        return []
    return _mistake(market, slot, now_ms, price=market.rng.choice((0.01, 99_999_999, 999_999_999)))


def _mistake(market: Board, slot: tuple[int, int], now_ms: int, **wrong: Any) -> list[Line]:
    market.listings[slot[0]][slot[1]].pending = True
    market.wrong[market.products[slot[0]].code, PROVINCE_CODES[slot[1]]] = "wrong"
    market.plan_within(now_ms, 60, 150, market.correct(*slot))
    return [market.quote(*slot, now_ms, **wrong)]


def deep_cut(market: Board, now_ms: int) -> list[Line]:
    """A true cut of 55 to 70 %: held, then confirmed by an operator, or corroborated by a second province."""
    slot = market.pick(_listed)
    if not slot or len(market.prices(slot[0], but=slot[1])) < 3:
        return []
    product, province = slot
    listing = market.listings[product][province]
    price_e4 = round_price(int(min(market.prices(product)) * market.rng.uniform(0.3, 0.45)))
    listing.price_e4, listing.pending = price_e4, True
    market.wrong[market.products[product].code, PROVINCE_CODES[province]] = "genuine"
    market.plan_within(now_ms, 90, 150, market.correct(product, province))
    others = [other for other, there in market.listings[product].items() if other != province and _plain(there)]
    if others and market.rng.random() < 0.4:
        second = market.rng.choice(others)
        market.plan_within(now_ms, 4, 12, lambda at_ms: market.set_price(product, second, int(price_e4 * 1.03), at_ms))
    return [market.quote(product, province, now_ms)]


def _plain(listing: Listing) -> bool:
    return listing.status == "active" and listing.kind == "listed" and not listing.pending


def suspend(market: Board, now_ms: int) -> list[Line]:
    """A platform suspends or withdraws a product; most come back within minutes."""
    if not (slot := market.pick(_listed)):
        return []
    listing = market.listings[slot[0]][slot[1]]
    listing.status = market.rng.choice(("suspended", "withdrawn"))

    def come_back(at_ms: int) -> list[Line]:
        listing.status = "active"
        return [] if slot[0] in market.disabled else [market.quote(*slot, at_ms)]

    market.plan_within(now_ms, 30, 240, come_back)
    return [market.quote(*slot, now_ms)]


def enter(market: Board, now_ms: int) -> list[Line]:
    """A product is listed in one more province, mostly at the national lowest."""
    slot = market.pick(_listed)
    if not slot or len(market.listings[slot[0]]) >= len(PROVINCES):
        return []
    product = slot[0]
    province = market.rng.choice([p for p in range(len(PROVINCES)) if p not in market.listings[product]])
    factor = market.rng.choice((1, 1, 1, 1.05, 1.25))
    price_e4 = min(market.prices(product), default=market.products[product].base_e4)
    if factor > 1:
        price_e4 = round_price(int(price_e4 * factor))
    market.add_listing(product, province, Listing(price_e4, per_box=False))
    return [market.quote(product, province, now_ms)]


def passing(market: Board, now_ms: int) -> list[Line]:
    """A filed or emergency purchase with an end: it leaves by itself, and the listed price comes back after it."""
    if not (slot := market.pick(_listed)):
        return []
    listing = market.listings[slot[0]][slot[1]]
    listing.pending = True
    lasts_ms = market.rng.randrange(20_000, 90_000)
    market.plan(now_ms + lasts_ms + 5_000, market.correct(*slot))
    return [
        market.quote(
            *slot,
            now_ms,
            kind=market.rng.choice(("filed", "emergency")),
            price=records.money(listing.price_e4 * 6 // 5 // 100 * 100, slot[1]),
            pack_size=None,
            unit=None,
            valid_until=records.time_of(now_ms + lasts_ms, slot[1]),
        )
    ]


def move_ceiling(market: Board, now_ms: int) -> list[Line]:
    """A province sets, moves or lifts a ceiling; sometimes below its own listing."""
    if not (slot := market.pick(_listed)):
        return []
    listing = market.listings[slot[0]][slot[1]]
    factor = market.rng.choice((0, 0.97, 1.05, 1.2, 1.4))
    listing.ceiling_e4 = round_price(int(listing.price_e4 * factor)) if factor else 0
    product = market.products[slot[0]]
    record = records.ceiling(product, slot[1], listing.ceiling_e4, now_ms, market.seq())
    return [Line(product.code, records.encode(record))]


def order(market: Board, now_ms: int) -> list[Line]:
    """A hospital or pharmacy orders, nearly always at the listed price, sometimes above it."""
    if not (slot := market.pick(lambda _product, listing: listing.status == "active")):
        return []
    rng, product, province = market.rng, market.products[slot[0]], slot[1]
    factor = rng.choices((1.0, 0.97, 1.04, 1.25), (940, 30, 20, 10))[0]
    listing = market.listings[slot[0]][province]
    per_piece_e4 = listing.price_e4 if factor == 1 else round_price(int(listing.price_e4 * factor))
    pack_size = product.pack_size if listing.per_box else 1
    pharmacy = product.special_drug and rng.random() < 0.5
    name = PROVINCES[province].name_zh
    seq = market.seq()
    record: dict[str, Any] = {
        "type": "order",
        "province": PROVINCE_CODES[province],
        "code": product.code,
        "at": records.time_of(now_ms, province),
        "id": f"{PROVINCE_CODES[province]}-O{seq:08}",
        "order_id": f"DD{PROVINCE_CODES[province]}{now_ms // 1000}{seq % 100_000:05}",
        "institution": f"{name}{PHARMACY if pharmacy else rng.choice(HOSPITALS)}",
        "supplier": product.supplier,
        "price": records.money(per_piece_e4 * pack_size, province),
        "pack_size": pack_size,
        "quantity": pack_size * rng.randrange(1, 40),
        "channel": "pharmacy" if pharmacy else "hospital",
        "bargained_by": rng.choice(("institution", "consortium")),
    }
    return [Line(product.code, records.encode(record))]


def repeat(market: Board, now_ms: int) -> list[Line]:
    """A platform sends a quote twice, or an old one late."""
    if not (slot := market.pick()):
        return []
    line = market.quote(*slot, now_ms)
    if market.rng.random() < 0.5:
        return [line, line]
    return [line, market.quote(*slot, now_ms - 3_600_000, price=1)]


def move_code(market: Board, now_ms: int) -> list[Line]:
    """A code is disabled and moved to a new one; platforms list the new one, some still quote the old."""
    slot = market.pick(_listed)
    if not slot or len(market.products) >= market.max_products or slot[0] in market.awarded:
        return []
    old, fresh = slot[0], market.catalogue.product()
    made = market.products[old]
    moved = Product(
        fresh.code, made.name, made.category, made.device_class, made.supplier, made.base_e4, made.pack_size,
        made.special_drug,
    )  # fmt: skip
    new = market.add_product(moved)
    market.disabled.add(old)

    def list_new(province: int, listing: Listing) -> Action:
        def action(at_ms: int) -> list[Line]:
            market.add_listing(new, province, Listing(listing.price_e4, listing.per_box))
            return [market.quote(new, province, at_ms)]

        return action

    for province, listing in market.listings[old].items():
        if market.rng.random() < 0.3:
            market.plan_within(now_ms, 1, 60, lambda at_ms, p=province: [market.quote(old, p, at_ms)])  # type: ignore[misc]
        if listing.status == "active" and not listing.pending:
            market.plan_within(now_ms, 2, 40, list_new(province, listing))
    announced = records.item(moved, now_ms, market.seq())
    gone = records.item(made, now_ms, market.seq(), moved_to=moved.code, status="disabled")
    return [Line(moved.code, records.encode(announced)), Line(made.code, records.encode(gone))]


def recall(market: Board, now_ms: int) -> list[Line]:
    """A code is disabled for some minutes and comes back."""
    if not (slot := market.pick(_listed)):
        return []
    product = market.products[slot[0]]
    market.disabled.add(slot[0])

    def restore(at_ms: int) -> list[Line]:
        market.disabled.discard(slot[0])
        return [Line(product.code, records.encode(records.item(product, at_ms, market.seq())))]

    market.plan_within(now_ms, 60, 180, restore)
    return [Line(product.code, records.encode(records.item(product, now_ms, market.seq(), status="disabled")))]


def bad_line(market: Board, now_ms: int) -> list[Line]:
    """A line that is no valid record: it must be dead-lettered, and nothing else may happen."""
    if not (slot := market.pick(_listed)):
        return []
    line = market.quote(*slot, now_ms)
    damages: tuple[Callable[[], bytes], ...] = (
        lambda: line.value[: len(line.value) // 2],
        lambda: "产品名称,挂网价".encode("gb18030"),
        lambda: line.value.replace(b'"price":', b'"price":NaN,"was":'),
        lambda: b"[" + line.value + b"]",
        lambda: line.value.replace(b'"quote"', b'"listing"'),
        lambda: market.quote(*slot, now_ms, price=None).value,
        lambda: market.quote(*slot, now_ms, status="在售").value,
        lambda: market.quote(*slot, now_ms, code=line.code[:20]).value,
        lambda: market.quote(*slot, now_ms, province="710000").value,
        lambda: market.quote(*slot, now_ms, price="面议").value,
        lambda: market.quote(*slot, now_ms, price=-1).value,
        lambda: market.quote(*slot, now_ms, at="2026-02-30 08:00").value,
        lambda: market.quote(*slot, now_ms + _FUTURE_MS).value,
    )
    return [Line(line.code, market.rng.choice(damages)())]


BEHAVIOURS: Final[tuple[tuple[int, Callable[[Board, int], list[Line]]], ...]] = (
    # of a million happenings; the rest are refreshes
    (50_000, order),
    (4_000, repeat),
    (1_800, rise),
    (1_500, bad_line),
    (800, enter),
    (800, move_ceiling),
    (450, suspend),
    (450, unit_mistake),
    (300, passing),
    (160, fall),
    (100, sentinel),
    (45, award),
    (50, deep_cut),
    (25, move_code),
    (8, recall),
)
