"""``channel_gap``: for a special drug, a hospital or pharmacy channel with an open order and no delivery (SPEC §6).

A code is *tracked* from the step that first makes it a special drug. Each place then has two heaps a channel: its open
orders by their first ``at``, and its orders by their latest delivery. What a code was before does not matter.
"""

from typing import Any, Final

from numba import int64

from config.kernel import kernel
from schemas.columns import NO_BAND, RED, YELLOW
from streams.deliveries import accepted_of, accepted_pieces
from streams.effects import add_alert_in, band_change
from streams.heaps import heap_with, heap_without, take_node
from streams.layout import CHANNEL_GAP, DAY_MS, NEVER_MS, NONE, OPENED, SPECIAL_DRUG, TRACKED
from streams.state import State
from streams.supply import first_at
from streams.supply_layout import KNOWN, PHARMACY
from streams.supply_pools import contract_for, detail_for, gap_for

GAP_MS: Final = 30 * DAY_MS


@kernel
def channel_of(order: Any) -> int:
    """0 hospital, 1 pharmacy."""
    return 1 if order.marks & PHARMACY else 0


@kernel
def place_of(s: State, row: int, province: int) -> int:
    """The place of a code and province, made with its gap if it is not there."""
    at = contract_for(s, row, province, 0, 0)
    gap_for(s, s.contracts[at])
    return int64(at)


@kernel
def unwatch(s: State, at: int) -> None:
    """Takes an order out of its channel's heaps: it may change its channel."""
    order = s.orders[at]
    if order.detail < 0:
        return
    detail = s.details[order.detail]
    if detail.open < 0 and detail.delivered < 0:
        return
    gap = s.gaps[s.contracts[place_of(s, order.code, order.province)].gap]
    channel = channel_of(order)
    if detail.open >= 0:
        gap.open[channel] = heap_without(s, gap.open[channel], detail.open)
        detail.open = NONE
    if detail.delivered >= 0:
        gap.delivered[channel] = heap_without(s, gap.delivered[channel], detail.delivered)
        detail.delivered = NONE


@kernel
def watch(s: State, at: int) -> int:
    """Puts an order of a tracked code into its channel's heaps as it is; returns its place, NONE where none is."""
    order = s.orders[at]
    if s.codes[order.code].marks & TRACKED == 0 or order.marks & KNOWN == 0:
        return NONE
    place = place_of(s, order.code, order.province)
    gap = s.gaps[s.contracts[place].gap]
    channel = channel_of(order)
    detail = s.details[detail_for(s, order)]
    is_open = accepted_pieces(s, order) < int64(order.quantity)
    if is_open and detail.open < 0:
        detail.open = take_node(s, first_at(order))
        gap.open[channel] = heap_with(s, gap.open[channel], detail.open)
    elif not is_open and detail.open >= 0:
        gap.open[channel] = heap_without(s, gap.open[channel], detail.open)
        detail.open = NONE
    latest = int64(s.tallies[order.tally].last) if order.tally >= 0 else int64(NONE)
    key = -accepted_of(s.deliveries[latest]) if latest >= 0 else 1
    if detail.delivered >= 0 and s.nodes[detail.delivered].key != key:
        gap.delivered[channel] = heap_without(s, gap.delivered[channel], detail.delivered)
        detail.delivered = NONE
    if latest >= 0 and detail.delivered < 0:
        detail.delivered = take_node(s, key)
        gap.delivered[channel] = heap_with(s, gap.delivered[channel], detail.delivered)
    return int64(place)


@kernel
def track(s: State, row: int) -> None:
    """Begins to watch the orders of a code."""
    code = s.codes[row]
    code.marks |= TRACKED
    contract = int64(code.contracts)
    while contract >= 0:
        at = int64(s.contracts[contract].orders)
        while at >= 0:
            watch(s, at)
            at = int64(s.orders[at].next)
        contract = int64(s.contracts[contract].next)


@kernel
def gap_from(s: State, gap: Any, channel: int) -> int:
    """When 30 days will have passed since a channel's last delivery and its oldest open order; NEVER_MS: no such."""
    if gap.open[channel] < 0:
        return NEVER_MS
    since_ms = s.nodes[gap.open[channel]].key
    if gap.delivered[channel] >= 0:
        since_ms = max(since_ms, -s.nodes[gap.delivered[channel]].key)
    return int64(since_ms + GAP_MS)


@kernel
def gap_alarm(s: State, place: Any, now_ms: int) -> int:
    """When the next channel of a place will have a gap; NEVER_MS for none."""
    alarm_ms = NEVER_MS
    if s.codes[place.code].marks & SPECIAL_DRUG:
        for channel in range(2):
            from_ms = gap_from(s, s.gaps[place.gap], channel)
            if from_ms > now_ms:
                alarm_ms = min(alarm_ms, from_ms)
    return alarm_ms


@kernel
def evaluate_gap(s: State, at: int) -> bool:
    """Evaluates the channels of a place after a step; tells whether its row changed."""
    place = s.contracts[at]
    gap = s.gaps[place.gap]
    gaps = 0
    if s.codes[place.code].marks & SPECIAL_DRUG:
        for channel in range(2):
            if gap_from(s, gap, channel) <= s.meta[0].clock_ms:
                gaps += 1
    band = (NO_BAND, YELLOW, RED)[gaps]
    previous = int64(gap.band)
    change = band_change(previous, band)
    if change == NONE:
        return False
    if change == OPENED:
        gap.opening += 1
        gap.revision = 0
    gap.revision += 1
    gap.band = band
    alert = add_alert_in(s, place.code, place.province)
    alert.kind = CHANNEL_GAP
    alert.change = change
    alert.band = band
    alert.previous_band = previous
    alert.opening = gap.opening
    alert.revision = gap.revision
    s.open_alerts[CHANNEL_GAP, previous] -= 1
    s.open_alerts[CHANNEL_GAP, band] += 1
    return True
