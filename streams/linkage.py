"""Price linkage: which prices must come down (``price_adjustment``), which are above a ceiling (``ceiling_breach``).

SPEC §3. Both are evaluated for every province of a code after each step, from what the code looked like before the
step (``s.was``) and looks like now (``s.now``).
"""

from typing import Any

from config.kernel import kernel
from schemas.columns import ITEM, NO_BAND, RED
from streams.effects import (
    add_alert,
    add_evidence,
    is_high_value,
    move_reason,
    name_province,
    show_price,
    show_reference,
)
from streams.kernels import band_of, reference_price, sort_provinces
from streams.layout import (
    BREACHED,
    CEILING_BREACH,
    DELISTED,
    EASED,
    ENDED,
    ESCALATED,
    EXPIRED,
    HAS_DUE,
    ITEM_CHANGED,
    KIND_CHANGED,
    LAST_MS,
    LOWEST,
    MASKED,
    NO_REASON,
    NONE,
    OPENED,
    OVERDUE,
    OVERDUE_CHANGE,
    POLICY_CHANGED,
    POLICY_DEADLINE,
    PRICE_ADJUSTMENT,
    REFERENCE_FELL,
    REFERENCE_ROSE,
    RESOLVED,
    REVISED,
    RULE_CEILING,
    RULE_ROLLING,
)
from streams.packed import due_of, set_due, set_target, target_of
from streams.state import State


@kernel
def reference_of(s: State, sight: Any, rules: Any, province: int) -> int:
    """Reference of a province in a sight of the code; 0 for none. ``s.used`` names the provinces behind it."""
    if rules.rolling == 1:
        s.used[32] = 1 if sight.rolling_e4 > 0 else 0
        s.used[0] = sight.rolling_province
        return int(sight.rolling_e4)
    if rules.aggregate == LOWEST and rules.everywhere == 1 and rules.kinds == sight.best_kinds:
        return lowest_elsewhere(s, sight, rules, province)
    if sight.sorted < 0:
        sight.sorted = sort_provinces(sight.price_e4, sight.order)
    return int(reference_price(sight.price_e4, sight.kind, sight.order, sight.sorted, province, rules, s.used))


@kernel
def lowest_elsewhere(s: State, sight: Any, rules: Any, province: int) -> int:
    """The commonest reference, without a loop: the best price, or the second where the best is the province's own."""
    own_e4 = sight.price_e4[province]
    sources = sight.best_count
    if own_e4 > 0 and (sight.best_kinds >> sight.kind[province]) & 1 == 1:
        sources -= 1
    if sources == 0 or sources < rules.min_sources:
        s.used[32] = 0
        return 0
    s.used[32] = 1
    if sight.best_province == province:
        s.used[0] = sight.second_province
        return int(sight.second_e4)
    s.used[0] = sight.best_province
    return int(sight.best_e4)


@kernel
def is_silenced(s: State, row: int, rules: Any, price_e4: int) -> bool:
    """``high_value_only`` and ``exclude_prefixes`` silence ``price_adjustment`` and ``bargain`` (SPEC §3)."""
    code = s.codes[row]
    if rules.high_value_only == 1 and not is_high_value(code.device_class, price_e4):
        return True
    for i in range(rules.prefix_start, rules.prefix_end):
        length = s.prefixes[i, 27]
        matches = length <= code.code_length
        for j in range(length):
            if s.prefixes[i, j] != code.code[j]:
                matches = False
                break
        if matches:
            return True
    return False


@kernel
def why_gone(s: State, row: int, listing: Any) -> int:
    """Why a listing is no longer in force."""
    if s.codes[row].marks & MASKED or listing.marks & ENDED:
        return DELISTED
    return EXPIRED


@kernel
def unmoved_reason(s: State) -> int:
    """The reason where neither price moved."""
    meta = s.meta[0]
    if meta.policy_step == 1:
        return POLICY_CHANGED
    if meta.timer == 0 and s.records[meta.trigger].type == ITEM:
        return ITEM_CHANGED
    return KIND_CHANGED


@kernel
def show_adjustment(s: State, alert: Any, listing: Any, own_e4: int, reference_e4: int, rules: Any) -> None:
    """Fills an adjustment's row; ``s.used`` must hold the provinces behind the reference."""
    now = s.now[0]
    province = listing.province
    alert.kind = PRICE_ADJUSTMENT
    alert.band = listing.band
    alert.opening = listing.opening
    alert.revision = listing.revision
    alert.due_ms = due_of(listing)
    alert.shows |= HAS_DUE
    if own_e4 > 0:
        show_price(s, alert, own_e4)
        add_evidence(s, alert, now.offset[province], now.line[province])
    if reference_e4 == 0:
        return
    show_reference(alert, reference_e4)
    alert.rule = RULE_ROLLING if rules.rolling == 1 else rules.aggregate
    for i in range(s.used[32]):
        name_province(s, alert, s.used[i])
        if rules.rolling == 1:
            add_evidence(s, alert, now.rolling_offset, now.rolling_line)
        else:
            add_evidence(s, alert, now.offset[s.used[i]], now.line[s.used[i]])


@kernel
def adjustment_change(listing: Any, band: int, reference_e4: int) -> int:
    """Which change the new band and reference are; NONE for none."""
    if listing.band == NO_BAND:
        return OPENED if band != NO_BAND else NONE
    if band == NO_BAND:
        return RESOLVED
    if band > listing.band:
        return ESCALATED
    if band < listing.band:
        return EASED
    return REVISED if target_of(listing) != reference_e4 else NONE


@kernel
def adjustment_reason(s: State, row: int, listing: Any, change: int, reference_e4: int) -> int:
    """The move that explains the change (SPEC §3)."""
    was = s.was[0]
    province = listing.province
    if change == REVISED:
        return REFERENCE_FELL if reference_e4 < target_of(listing) else REFERENCE_ROSE
    own_e4 = s.now[0].price_e4[province]
    was_rules = s.was_provinces[province] if s.meta[0].policy_step == 1 else s.provinces[province]
    was_reference = reference_of(s, was, was_rules, province)
    released = (s.was[0].released >> province) & 1 == 1
    ended = why_gone(s, row, listing) if own_e4 == 0 else NO_REASON
    up = change in (OPENED, ESCALATED)
    otherwise = unmoved_reason(s)
    return move_reason(up, was.price_e4[province], own_e4, was_reference, reference_e4, released, ended, otherwise)


@kernel
def evaluate_adjustment(s: State, row: int, at: int) -> None:
    """Evaluates the adjustment of one listing after a step."""
    listing = s.listings[at]
    province = listing.province
    rules = s.provinces[province]
    own_e4 = s.now[0].price_e4[province]
    must = own_e4 > 0 and (rules.own_kinds >> s.now[0].kind[province]) & 1 == 1
    if not must and listing.band == NO_BAND:
        return
    reference_e4 = reference_of(s, s.now[0], rules, province)
    band = NO_BAND
    if must and reference_e4 > 0 and not is_silenced(s, row, rules, own_e4):
        band = band_of(own_e4, reference_e4, rules.blue_bp, rules.yellow_bp, rules.red_bp)
    change = adjustment_change(listing, band, reference_e4)
    if change != NONE:
        previous = listing.band
        if change == OPENED:
            listing.opening += 1
            listing.revision = 0
            listing.marks &= ~OVERDUE & 0xFF
            set_due(listing, min(s.meta[0].clock_ms + rules.adjust_ms, LAST_MS))
        reason = adjustment_reason(s, row, listing, change, reference_e4)
        reference_of(s, s.now[0], rules, province)  # names the provinces again
        set_target(listing, reference_e4)
        listing.band = band
        listing.revision += 1
        alert = add_alert(s, row, listing)
        alert.change = change
        alert.reason = reason
        alert.previous_band = previous
        show_adjustment(s, alert, listing, own_e4, reference_e4, rules)
        s.open_alerts[PRICE_ADJUSTMENT, previous] -= 1
        s.open_alerts[PRICE_ADJUSTMENT, band] += 1
    if listing.band != NO_BAND and listing.marks & OVERDUE == 0 and due_of(listing) <= s.meta[0].clock_ms:
        listing.marks |= OVERDUE
        listing.revision += 1
        alert = add_alert(s, row, listing)
        alert.change = OVERDUE_CHANGE
        alert.reason = POLICY_DEADLINE
        alert.previous_band = listing.band
        show_adjustment(s, alert, listing, own_e4, reference_e4, rules)


@kernel
def evaluate_ceiling(s: State, row: int, at: int) -> None:
    """Evaluates the ceiling of one listing after a step."""
    listing = s.listings[at]
    if listing.extra < 0:
        return
    extra = s.extras[listing.extra]
    province = listing.province
    own_e4 = s.now[0].price_e4[province]
    ceiling_e4 = s.now[0].ceiling_e4[province]
    above = own_e4 > 0 and ceiling_e4 > 0 and own_e4 > ceiling_e4
    was_open = extra.marks & BREACHED != 0
    if above and not was_open:
        change = OPENED
        extra.breach_opening += 1
        extra.breach_revision = 0
        extra.marks |= BREACHED
    elif was_open and not above:
        change = RESOLVED
        extra.marks &= ~BREACHED & 0xFF
    elif above and ceiling_e4 != extra.breach_target_e4:
        change = REVISED
    else:
        return
    if change == REVISED:
        reason = REFERENCE_FELL if ceiling_e4 < extra.breach_target_e4 else REFERENCE_ROSE
    else:
        was = s.was[0]
        released = (s.was[0].released >> province) & 1 == 1
        ended = why_gone(s, row, listing) if own_e4 == 0 else NO_REASON
        reason = move_reason(
            change == OPENED, was.price_e4[province], own_e4, was.ceiling_e4[province], ceiling_e4, released, ended,
            unmoved_reason(s),
        )  # fmt: skip
    extra.breach_target_e4 = ceiling_e4
    extra.breach_revision += 1
    alert = add_alert(s, row, listing)
    alert.kind = CEILING_BREACH
    alert.change = change
    alert.reason = reason
    alert.band = RED if above else NO_BAND
    alert.previous_band = RED if was_open else NO_BAND
    alert.opening = extra.breach_opening
    alert.revision = extra.breach_revision
    if own_e4 > 0:
        show_price(s, alert, own_e4)
        add_evidence(s, alert, s.now[0].offset[province], s.now[0].line[province])
    if ceiling_e4 > 0:
        show_reference(alert, ceiling_e4)
        alert.rule = RULE_CEILING
        name_province(s, alert, province)
        add_evidence(s, alert, extra.ceiling_offset, extra.ceiling_line)
    s.open_alerts[CEILING_BREACH, alert.previous_band] -= 1
    s.open_alerts[CEILING_BREACH, alert.band] += 1


@kernel
def only_own_moved(s: State) -> bool:
    """Tells whether no province but the reporting one can change: no reference of another moved, no hold ended."""
    was = s.was[0]
    now = s.now[0]
    return (
        s.rules[0].uniform == 1
        and was.released == 0
        and was.best_e4 == now.best_e4
        and was.best_province == now.best_province
        and was.second_e4 == now.second_e4
        and was.second_province == now.second_province
        and (was.best_count == now.best_count or min(was.best_count, now.best_count) > s.rules[0].most_sources)
    )


@kernel
def evaluate_provinces(s: State, row: int) -> None:
    """Evaluates every province of a code: by kind, the reporting province first (SPEC §8)."""
    code = s.codes[row]
    first = int(code.listings)
    reporting = s.meta[0].reporting
    if reporting >= 0 and only_own_moved(s):
        evaluate_adjustment(s, row, reporting)
        evaluate_ceiling(s, row, reporting)
        return
    for kind in (PRICE_ADJUSTMENT, CEILING_BREACH):
        for i in range(-1, code.listing_count):
            at = reporting if i < 0 else first + i
            if at < 0 or (i >= 0 and at == reporting):
                continue
            if kind == PRICE_ADJUSTMENT:
                evaluate_adjustment(s, row, at)
            else:
                evaluate_ceiling(s, row, at)
