"""Writing down what a step caused: alert rows, their evidence, price changes. Rendering them is another matter."""

from typing import Any, Final

from config.kernel import kernel
from schemas.columns import NO_BAND
from streams.layout import (
    EASED,
    ESCALATED,
    HAS_EXCESS,
    HAS_PRICE,
    HAS_REFERENCE,
    HAS_SOURCE,
    HAS_SUPPLIER,
    HAS_TARGET,
    HIGH_VALUE_E4,
    HOLD_RELEASED,
    NEW_LISTING,
    NO_REASON,
    NONE,
    OPENED,
    OWN_PRICE_FELL,
    OWN_PRICE_ROSE,
    PRICE_HOLD,
    REFERENCE_FELL,
    REFERENCE_ROSE,
    RESOLVED,
)
from streams.state import State

APPLIED: Final = 0
"""What became of a record: columns of ``outcomes``."""
STALE: Final = 1
DEAD: Final = 2


@kernel
def excess_of(price_e4: int, reference_e4: int) -> int:
    """floor((price - reference) × 10,000 / reference), in basis points (SPEC §3)."""
    return (price_e4 - reference_e4) * 10_000 // reference_e4


@kernel
def is_high_value(device_class: int, price_e4: int) -> bool:
    """Class 2 or 3 and above 2,000 yuan (SPEC §3 ``item``)."""
    return device_class >= 2 and price_e4 > HIGH_VALUE_E4


@kernel
def band_change(previous: int, band: int) -> int:
    """Which change the move from one band to another is; NONE for none."""
    if previous == band:
        return NONE
    if previous == NO_BAND:
        return OPENED
    if band == NO_BAND:
        return RESOLVED
    return ESCALATED if band > previous else EASED


@kernel
def add_alert(s: State, row: int, listing: Any) -> Any:
    """Starts an alert row of the step: of the listing's province and supplier, first evidence the trigger.

    The caller sets kind, change, reason, bands and revision.
    """
    alert = add_alert_in(s, row, listing.province)
    alert.supplier_hi = listing.supplier_hi
    alert.supplier_lo = listing.supplier_lo
    alert.shows |= HAS_SUPPLIER
    return alert


@kernel
def add_alert_in(s: State, row: int, province: int) -> Any:
    """Starts an alert row of the step in a province, whose supplier is not set."""
    meta = s.meta[0]
    alert = s.alerts[meta.alerts]
    meta.alerts += 1
    alert.province = province
    alert.code = row
    alert.record = meta.trigger
    alert.policy = meta.policy
    alert.at_ms = meta.clock_ms
    alert.shows = 0 if meta.timer == 1 else HAS_SOURCE
    alert.kind = 0
    alert.change = 0
    alert.reason = NO_REASON
    alert.band = NO_BAND
    alert.previous_band = NO_BAND
    alert.rule = 0
    alert.high_value = 0
    alert.opening = 0
    alert.revision = 0
    alert.price_e4 = 0
    alert.reference_e4 = 0
    alert.excess_bp = 0
    alert.due_ms = 0
    alert.evidence = meta.evidence
    alert.evidence_count = 0
    alert.named = meta.named
    alert.named_count = 0
    alert.owner = NONE
    alert.institution = NONE
    trigger = s.records[meta.trigger]
    add_evidence(s, alert, trigger.offset, trigger.line)
    return alert


@kernel
def add_evidence(s: State, alert: Any, offset: int, line: int) -> None:
    """Adds a position to the latest alert row, if it is not there yet."""
    for i in range(alert.evidence_count):
        there = s.evidence[alert.evidence + i]
        if there.offset == offset and there.line == line:
            return
    added = s.evidence[s.meta[0].evidence]
    added.offset = offset
    added.line = line
    s.meta[0].evidence += 1
    alert.evidence_count += 1


@kernel
def name_province(s: State, alert: Any, province: int) -> None:
    """Adds a province to those whose prices make the reference of the latest alert row."""
    s.named[s.meta[0].named] = province
    s.meta[0].named += 1
    alert.named_count += 1


@kernel
def show_price(s: State, alert: Any, price_e4: int) -> None:
    """Shows the price and whether it is high value."""
    alert.shows |= HAS_PRICE
    alert.price_e4 = price_e4
    alert.high_value = 1 if is_high_value(s.codes[alert.code].device_class, price_e4) else 0


@kernel
def show_reference(alert: Any, reference_e4: int) -> None:
    """Shows the reference, and the excess where a price is shown. All kinds but ``price_hold`` have a target."""
    alert.shows |= HAS_REFERENCE
    alert.reference_e4 = reference_e4
    if alert.kind != PRICE_HOLD:
        alert.shows |= HAS_TARGET
    if alert.shows & HAS_PRICE:
        alert.shows |= HAS_EXCESS
        alert.excess_bp = excess_of(alert.price_e4, reference_e4)


@kernel
def move_reason(
    up: bool, was_own: int, own: int, was_reference: int, reference: int, released: bool, ended: int, otherwise: int
) -> int:
    """The move that explains a change of a price alert, the own price's first (SPEC §3); 0 stands for no price.

    ``ended``: the reason why the own price went, NO_REASON while there is one. ``otherwise``: where nothing moved.
    """
    if up:
        if was_own == 0:
            return HOLD_RELEASED if released else NEW_LISTING
        if own > was_own:
            return OWN_PRICE_ROSE
        if reference > 0 and (was_reference == 0 or reference < was_reference):
            return REFERENCE_FELL
        return otherwise
    if own == 0:
        return ended
    if was_own > 0 and own < was_own:
        return OWN_PRICE_FELL
    if was_reference > 0 and (reference == 0 or reference > was_reference):
        return REFERENCE_ROSE
    return otherwise
