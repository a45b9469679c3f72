"""Traded prices against listed ones: the one-shot ``bargain`` alert of an order (SPEC §4)."""

from numba import njit

from config.provinces import NO_PROVINCE
from schemas.columns import NO_BAND, RED
from streams.effects import add_alert, add_evidence, name_province, show_price, show_reference
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
    State,
    offset_of,
    price_of,
)
from streams.linkage import is_silenced
from streams.pools import find_listing


@njit(cache=True)
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
    if own >= 0 and code.flags & MASKED == 0 and s.listings[own].flags & IN_FORCE:
        if price_e4 > price_of(s.listings[own]):
            band = RED
    if band == NO_BAND and code.lowest_province != NO_PROVINCE:
        reason = ABOVE_LOWEST
        against = code.lowest_province
        band = band_of(price_e4, code.lowest_e4, rules.blue_bp, rules.yellow_bp, rules.red_bp)
    if band == NO_BAND:
        return
    listing = s.listings[find_listing(s, row, against)]
    s.orders[order].bargains += 1
    alert = add_alert(s, row, placed)
    alert.kind = BARGAIN
    alert.change = OBSERVED
    alert.reason = reason
    alert.band = band
    alert.opening = s.orders[order].bargains
    alert.revision = 1
    alert.shows |= HAS_INSTITUTION
    alert.rule = RULE_LISTING if reason == ABOVE_LISTING else LOWEST
    show_price(s, alert, price_e4)
    show_reference(alert, price_of(listing))
    name_province(s, alert, against)
    add_evidence(s, alert, offset_of(listing), listing.line)
