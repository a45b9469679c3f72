"""What follows from the saved rows and is not saved: sums, heaps, timers, counts of open alerts, made anew."""

from typing import Final

from config.kernel import kernel
from schemas.columns import NO_BAND, RED
from streams.alarms import now_of, set_all_alarms
from streams.channels import track
from streams.deliveries import settle_anew
from streams.layout import (
    BREACHED,
    CEILING_BREACH,
    CHANNEL_GAP,
    HOLDS,
    NONE,
    PRICE_ADJUSTMENT,
    PRICE_HOLD,
    PROVINCE_COUNT,
    PURCHASE_SHORTFALL,
    SETTLEMENT_ARREARS,
    SPECIAL_DRUG,
    SUPPLY_SHORTFALL,
    TRACKED,
)
from streams.purchases import set_purchase
from streams.state import State
from streams.supply import count_all

PLACES_OF_A_CODE: Final = PROVINCE_COUNT


@kernel
def special_drugs(s: State) -> int:
    """How many codes are special drugs."""
    found = 0
    for row in range(s.meta[0].codes):
        if s.codes[row].marks & SPECIAL_DRUG:
            found += 1
    return found


@kernel
def rebuild(s: State) -> None:
    """Makes the sums of contracts, what is unpaid, the heaps and the timers anew.

    Needs room: a timer for each code, contract, place and order; a detail and three nodes for each order; a place for
    each province of each special drug.
    """
    meta = s.meta[0]
    meta.nodes = 0
    meta.free_node = NONE
    meta.spare_nodes = 0
    for at in range(meta.details):
        s.details[at].late = NONE
        s.details[at].open = NONE
        s.details[at].delivered = NONE
    for at in range(meta.gaps):
        for channel in range(2):
            s.gaps[at].open[channel] = NONE
            s.gaps[at].delivered[channel] = NONE
    for at in range(meta.contracts):
        contract = s.contracts[at]
        contract.late = NONE
        count_all(s, at, now_of(s, contract.code))
        contract.was_overdue = contract.overdue
        set_purchase(contract, now_of(s, contract.code))
    for at in range(meta.orders):
        settle_anew(s, s.orders[at])
    for row in range(meta.codes):
        s.codes[row].marks &= ~TRACKED & 0xFF
        if s.codes[row].marks & SPECIAL_DRUG:
            track(s, row)
    set_all_alarms(s)


@kernel
def count_open(s: State) -> None:
    """Counts the open alerts by kind and band."""
    s.open_alerts[:, :] = 0
    for row in range(s.meta[0].codes):
        code = s.codes[row]
        for i in range(code.listing_count):
            listing = s.listings[code.listings + i]
            if listing.band != NO_BAND:
                s.open_alerts[PRICE_ADJUSTMENT, listing.band] += 1
            if listing.extra >= 0:
                flags = s.extras[listing.extra].marks
                if flags & HOLDS:
                    s.open_alerts[PRICE_HOLD, RED] += 1
                if flags & BREACHED:
                    s.open_alerts[CEILING_BREACH, RED] += 1
    for at in range(s.meta[0].contracts):
        contract = s.contracts[at]
        s.open_alerts[SUPPLY_SHORTFALL, contract.band] += 1
        s.open_alerts[PURCHASE_SHORTFALL, contract.purchase_band] += 1
        if contract.gap >= 0:
            s.open_alerts[CHANNEL_GAP, s.gaps[contract.gap].band] += 1
    for at in range(s.meta[0].details):
        s.open_alerts[SETTLEMENT_ARREARS, s.details[at].band] += 1
