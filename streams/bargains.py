"""Orders: traded prices against listed ones, the one-shot ``bargain`` alert (SPEC §4)."""

from config.kernel import kernel
from config.provinces import NO_PROVINCE
from schemas.columns import NO_BAND, RED
from streams.effects import APPLIED, STALE, add_alert, add_evidence, name_province, show_price, show_reference
from streams.kernels import band_of
from streams.layout import (
    ABOVE_LISTING,
    ABOVE_LOWEST,
    BARGAIN,
    HAS_INSTITUTION,
    IN_FORCE,
    LOWEST,
    MASKED,
    OBSERVED,
    RULE_LISTING,
)
from streams.linkage import is_silenced
from streams.packed import offset_of, price_of
from streams.pools import find_listing
from streams.state import State
from streams.supply_pools import detail_for
from streams.supply_steps import accept_order


@kernel
def score_order(s: State, row: int, order: int) -> None:
    """Scores the price per piece of an accepted order that does not cancel against listing and national lowest."""
    placed = s.records[s.meta[0].trigger]
    code = s.codes[row]
    rules = s.provinces[placed.province]
    price_e4 = placed.per_piece_e4
    if is_silenced(s, row, rules, price_e4):
        return
    band = NO_BAND
    reason = ABOVE_LISTING
    against = placed.province
    own = find_listing(s, row, placed.province)
    in_force = own >= 0 and code.marks & MASKED == 0 and s.listings[own].marks & IN_FORCE != 0
    if in_force and price_e4 > price_of(s.listings[own]):
        band = RED
    if band == NO_BAND and code.lowest_province != NO_PROVINCE:
        reason = ABOVE_LOWEST
        against = code.lowest_province
        band = band_of(price_e4, code.lowest_e4, rules.blue_bp, rules.yellow_bp, rules.red_bp)
    if band == NO_BAND:
        return
    listing = s.listings[find_listing(s, row, against)]
    detail = s.details[detail_for(s, s.orders[order])]
    detail.bargains += 1
    alert = add_alert(s, row, placed)
    alert.kind = BARGAIN
    alert.change = OBSERVED
    alert.reason = reason
    alert.band = band
    alert.opening = detail.bargains
    alert.revision = 1
    alert.shows |= HAS_INSTITUTION
    alert.rule = RULE_LISTING if reason == ABOVE_LISTING else LOWEST
    show_price(s, alert, price_e4)
    show_reference(alert, price_of(listing))
    name_province(s, alert, against)
    add_evidence(s, alert, offset_of(listing), listing.line)


@kernel
def apply_order(s: State, row: int) -> int:
    """Applies an order."""
    order = accept_order(s, row)
    if order < 0:
        return STALE
    if s.orders[order].quantity > 0:
        score_order(s, row, order)
    return APPLIED
