"""How the state lies in memory: numpy rows that are written to the state topic as they are.

One CODE row a product. Its listings, one a province that ever quoted it, lie in one block of the listing pool, sorted
by province. What few listings have (a waiting quote, a held one, a ceiling) lies in three pools that share an index,
``extra``. Past national lowests lie in a list of WINDOW nodes. Orders and contracts: ``supply_layout``.

Times and positions take 48 bits and prices 40, in two fields each, so that a listing takes 74 bytes; ``packed`` reads and
writes them. Every count has its bound here.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.columns import EVENT

PROVINCE_COUNT: Final = 32
FOREVER_MS: Final = (1 << 48) - 1
"""A time that never comes, as stored in 48 bits; the last time of the SPEC is 9999-12-31T23:59:59.999Z."""
LAST_MS: Final = 253_402_300_799_999
NEVER_MS: Final = 1 << 62
"""No timer."""
NONE: Final = -1
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
HIGH_VALUE_E4: Final = 20_000_000
"""Above 2,000 yuan a class 2 or 3 consumable is high value (SPEC §3)."""

# marks of a CODE
DISABLED: Final = 1
MOVED: Final = 2
SPECIAL_DRUG: Final = 4
MASKED: Final = DISABLED | MOVED
HOLDING: Final = 8  # some listing may have a held quote
TRACKED: Final = 16  # was a special drug: its channels are watched (derived, not saved)

# marks of a LISTING
IN_FORCE: Final = 1  # its quote is active and not past its end; whether the code is masked is the code's affair
ENDED: Final = 2  # the quote last in force was ended by a suspension or withdrawal, not by its own end
QUOTED: Final = 4  # some quote was accepted: at and seq count
OVERDUE: Final = 8  # the open adjustment has been reported overdue

# marks of an EXTRA
WAITS: Final = 1
HOLDS: Final = 2
CAPPED: Final = 4  # a ceiling record was accepted: its at and seq count
BREACHED: Final = 8

CODE: Final = np.dtype(
    [
        ("code", "u1", (27,)),
        ("code_length", "u1"),
        ("hash", "u4"),
        ("listings", "i4"),  # where its block starts in the listing pool; NONE
        ("listing_count", "u1"),
        ("listing_room", "u1"),
        ("device_class", "u1"),  # 0: unknown
        ("marks", "u1"),
        ("item_at_ms", "i8"),  # ABSENT: no item record yet
        ("item_seq", "i8"),
        ("lowest_e4", "i8"),  # national lowest; 0: none
        ("change_count", "u4"),  # of price.lowest.changed
        ("moved", "i4"),  # in the pool of new codes; NONE
        ("oldest", "i4"),  # ends of the list of past lowests; NONE
        ("newest", "i4"),
        ("contracts", "i4"),  # first of its contracts and places; NONE
        ("clock_ms", "i8"),  # at its last step
        ("due_ms", "i8"),  # earliest timer of its prices
        ("queued_ms", "i8"),  # its earliest entry in the timer heap
        ("applied_offset", "i8"),  # position up to which the row is applied
        ("applied_line", "i4"),
        ("dirty", "u1"),  # changed since the last checkpoint
        ("saved", "u1"),  # an earlier checkpoint has it
        ("lowest_province", "u1"),
    ]
)

LISTING: Final = np.dtype(
    [
        ("price_lo", "u4"),  # per piece, of the quote in force or last in force
        ("at_lo", "u4"),  # of the last accepted quote
        ("seq", "i8"),
        ("valid_lo", "u4"),  # end of the quote in force
        ("offset_lo", "u4"),  # position of the quote in force
        ("line", "i4"),
        ("supplier_lo", "u4"),
        ("supplier_hi", "u8"),
        ("target_lo", "u4"),  # reference of the open adjustment
        ("due_lo", "u4"),  # deadline of the open adjustment
        ("opening", "u4"),  # openings of the adjustment so far
        ("revision", "u4"),  # of the open adjustment
        ("extra", "i4"),  # in the pools of EXTRA; NONE
        ("at_hi", "u2"),
        ("valid_hi", "u2"),
        ("offset_hi", "u2"),
        ("due_hi", "u2"),
        ("price_hi", "u1"),
        ("target_hi", "u1"),
        ("province", "u1"),
        ("kind", "u1"),
        ("marks", "u1"),
        ("band", "u1"),  # of the open adjustment; NO_BAND: none is open
    ]
)

QUOTE: Final = np.dtype(
    [
        ("price_e4", "i8"),
        ("effective_ms", "i8"),
        ("valid_until_ms", "i8"),  # FOREVER_MS: for good
        ("offset", "i8"),
        ("supplier_hi", "u8"),
        ("supplier_lo", "u4"),
        ("line", "i4"),
        ("kind", "u1"),
        ("status", "u1"),
    ]
)

EXTRA: Final = np.dtype(
    [
        ("ceiling_at_ms", "i8"),
        ("ceiling_seq", "i8"),
        ("ceiling_e4", "i8"),  # 0: none
        ("ceiling_offset", "i8"),
        ("breach_target_e4", "i8"),
        ("ceiling_line", "i4"),
        ("breach_opening", "u4"),
        ("breach_revision", "u4"),
        ("hold_opening", "u4"),
        ("hold_revision", "u4"),
        ("marks", "u1"),
    ]
)

WINDOW: Final = np.dtype(
    [
        ("price_e4", "i8"),
        ("ended_ms", "i8"),
        ("offset", "i8"),  # position of the quote that made it
        ("line", "i4"),
        ("older", "i4"),
        ("newer", "i4"),  # also links the free nodes
        ("province", "u1"),
    ]
)

NEW_CODE: Final = np.dtype([("code", "u1", (27,)), ("code_length", "u1")])

TIMER: Final = np.dtype([("due_ms", "i8"), ("code", "i4"), ("ref", "i4")])
"""``ref``: NONE for the code's prices; else a row and what it is a row of, see ``timers``."""

META: Final = np.dtype(
    [
        ("clock_ms", "i8"),
        ("policy_at_ms", "i8"),  # ABSENT: the file's policy still holds
        ("policy_seq", "i8"),
        ("codes", "i8"),
        ("listings", "i8"),
        ("extras", "i8"),
        ("window", "i8"),
        ("moved", "i8"),
        ("orders", "i8"),
        ("tallies", "i8"),
        ("details", "i8"),
        ("deliveries", "i8"),
        ("contracts", "i8"),
        ("gaps", "i8"),
        ("nodes", "i8"),
        ("texts", "i8"),
        ("arena", "i8"),
        ("timers", "i8"),
        ("free_node", "i8"),
        ("spare_nodes", "i8"),  # how many are free
        ("free_window", "i8"),
        ("free_extra", "i8"),
        ("free_listings", "i4", (PROVINCE_COUNT + 1,)),  # by room of the block
        ("free_rows", "i8"),  # of listings, in all free blocks
        ("dirty", "i8"),
        ("dirty_orders", "i8"),
        ("dirty_deliveries", "i8"),
        ("dirty_contracts", "i8"),
        ("touched", "i8"),  # contracts, places and orders to evaluate in this step
        ("evaluated", "i8"),  # how many of them, in both passes, are done
        ("firing", "i8"),  # code whose timers' step is under way; NONE
        ("ringing", "i8"),  # 1 until all timers due before a record are through
        ("prices_due", "i8"),  # 1: the step under way is one of its prices, too
        ("unfinished", "i8"),  # 1: a record's step is under way
        ("need", "i8"),  # how much room the pool ``short`` must get
        ("alerts", "i8"),  # effects of the batch so far
        ("evidence", "i8"),
        ("named", "i8"),
        ("changes", "i8"),
        ("short", "i8"),  # the pool that must grow before the next step, an index of GROWING
        ("policy", "i8"),  # index of the batch's policy versions
        ("trigger", "i8"),  # record that triggers the step; of a timer's, the one that moved the clock
        ("timer", "i8"),  # 1 while the step is a timer's
        ("policy_step", "i8"),  # 1 while the step is a policy record's
        ("rejected", "i8"),  # lines of the batch that are dead letters
        ("reporting", "i8"),  # listing of the trigger's province; NONE
    ]
)

RULES: Final = np.dtype(
    [
        ("window_ms", "i8"),
        ("guard_bp", "i8"),
        ("guard_min_sources", "i8"),
        ("rolling", "i8"),  # 1: some province links to the rolling lowest
        ("kinds", "i8"),  # the quote kinds that count in most provinces, a bit each
        ("most_sources", "i8"),  # with more prices than this every province has a reference, its own left out
        ("uniform", "i8"),  # 1: every province links to the current lowest everywhere of these kinds
        ("supply_window_ms", "i8"),
        ("fill_yellow_bp", "i8"),
        ("fill_red_bp", "i8"),
        ("late_yellow_ms", "i8"),
        ("late_red_ms", "i8"),
    ]
)

PROVINCE_RULES: Final = np.dtype(
    [
        ("scope", "i8"),  # bit per province looked at
        ("adjust_ms", "i8"),
        ("blue_bp", "i8"),
        ("yellow_bp", "i8"),
        ("red_bp", "i8"),
        ("k", "i8"),
        ("min_sources", "i8"),
        ("prefix_start", "i8"),
        ("prefix_end", "i8"),
        ("kinds", "u1"),  # bit per quote kind that counts for the reference
        ("own_kinds", "u1"),  # bit per quote kind that must be adjusted
        ("aggregate", "u1"),
        ("rolling", "u1"),
        ("high_value_only", "u1"),
        ("everywhere", "u1"),  # 1: the scope is all others
    ]
)

AGGREGATES: Final = ("lowest", "mean_of_lowest", "median")
LOWEST, MEAN_OF_LOWEST, MEDIAN = range(3)
RULE_WORDS: Final = ("lowest", "mean_of_lowest", "median", "rolling_lowest", "ceiling", "listing")
RULE_ROLLING, RULE_CEILING, RULE_LISTING = 3, 4, 5

ALERT_REASONS: Final = (
    "", "new_listing", "hold_released", "own_price_rose", "reference_fell", "own_price_fell", "expired", "delisted",
    "reference_rose", "item_changed", "policy_changed", "kind_changed", "policy_deadline", "unit_mismatch",
    "outlier_low", "confirmed", "rejected", "corroborated", "superseded", "above_lowest", "above_listing",
    "contract_ended",
)  # fmt: skip
(
    NO_REASON, NEW_LISTING, HOLD_RELEASED, OWN_PRICE_ROSE, REFERENCE_FELL, OWN_PRICE_FELL, EXPIRED, DELISTED,
    REFERENCE_ROSE, ITEM_CHANGED, POLICY_CHANGED, KIND_CHANGED, POLICY_DEADLINE, UNIT_MISMATCH,
    OUTLIER_LOW, CONFIRMED, REJECTED, CORROBORATED, SUPERSEDED, ABOVE_LOWEST, ABOVE_LISTING,
    CONTRACT_ENDED,
) = range(22)  # fmt: skip

OPENED, ESCALATED, EASED, REVISED, OVERDUE_CHANGE, RESOLVED, OBSERVED, CLOSED = range(8)
(
    PRICE_HOLD, PRICE_ADJUSTMENT, CEILING_BREACH, BARGAIN, SUPPLY_SHORTFALL, PURCHASE_SHORTFALL, CHANNEL_GAP,
    SETTLEMENT_ARREARS,
) = range(8)  # fmt: skip

ABSENT_KIND: Final = 255
"""In an EVENT: a price change, which is no alert."""

# what an alert row shows
HAS_PRICE: Final = 1
HAS_REFERENCE: Final = 2
HAS_TARGET: Final = 4
HAS_EXCESS: Final = 8
HAS_DUE: Final = 16
HAS_SOURCE: Final = 32  # the trigger is a record, not a timer
HAS_INSTITUTION: Final = 64
HAS_QUANTITY: Final = 128
HAS_AMOUNT: Final = 256
HAS_SUPPLIER: Final = 512

ALERT: Final = np.dtype(
    [
        ("price_e4", "i8"),
        ("reference_e4", "i8"),
        ("excess_bp", "i8"),
        ("due_ms", "i8"),
        ("at_ms", "i8"),
        ("quantity_due", "i8"),
        ("quantity_filled", "i8"),
        ("quantity_overdue", "i8"),
        ("owed_e4", "i8"),
        ("supplier_hi", "u8"),
        ("supplier_lo", "u4"),
        ("code", "i4"),
        ("owner", "i4"),  # contract or order that the alert is about, from supply_shortfall on
        ("institution", "i4"),  # in texts; NONE: the record's
        ("record", "i4"),  # triggering record in the batch; for a timer, the one that moved the clock
        ("evidence", "i4"),  # first of its positions
        ("named", "i4"),  # first of the reference's provinces
        ("opening", "u4"),
        ("revision", "u4"),
        ("policy", "i4"),  # index of the batch's policy versions
        ("evidence_count", "u1"),
        ("named_count", "u1"),
        ("shows", "u2"),
        ("kind", "u1"),
        ("change", "u1"),
        ("reason", "u1"),
        ("province", "u1"),
        ("band", "u1"),
        ("previous_band", "u1"),
        ("rule", "u1"),
        ("high_value", "u1"),
    ]
)

EVENT_BYTES: Final = np.dtype(
    [(name, "u1", (27,)) if name == "code" else (name, EVENT[name]) for name in EVENT.names or ()]
)
"""EVENT with the code as bytes, which kernels can write."""

POSITION: Final = np.dtype([("offset", "i8"), ("line", "i4")])

CHANGE: Final = np.dtype(
    [
        ("lowest_e4", "i8"),  # 0: none
        ("previous_e4", "i8"),
        ("rolling_e4", "i8"),
        ("at_ms", "i8"),
        ("code", "i4"),
        ("record", "i4"),
        ("number", "u4"),
        ("province", "u1"),
    ]
)

Rows = npt.NDArray[Any]
Numbers = npt.NDArray[np.int64]
SIGHT: Final = np.dtype(
    [
        ("price_e4", "i8", (PROVINCE_COUNT,)),  # in force; 0: none
        ("ceiling_e4", "i8", (PROVINCE_COUNT,)),  # 0: none
        ("offset", "i8", (PROVINCE_COUNT,)),
        ("line", "i4", (PROVINCE_COUNT,)),
        ("kind", "i8", (PROVINCE_COUNT,)),
        ("rolling_e4", "i8"),  # 0: none
        ("rolling_offset", "i8"),
        ("rolling_line", "i4"),
        ("rolling_province", "u1"),
        ("lowest_e4", "i8"),
        ("lowest_province", "u1"),
        ("sources", "i8"),  # provinces in force
        ("released", "i8"),  # bit per province whose hold ended well in the step
        ("best_e4", "i8"),  # least price of the kinds in best_kinds, ties by province; 0: none
        ("second_e4", "i8"),  # least but that of best_province; 0: none
        ("best_kinds", "i8"),
        ("best_count", "i8"),  # provinces with a price of these kinds
        ("best_province", "u1"),
        ("second_province", "u1"),
        ("sorted", "i8"),  # how many of ``order`` are valid; NONE: not sorted yet
        ("order", "i8", (PROVINCE_COUNT,)),  # provinces by price
    ]
)
"""One row: the prices of a code as the rules see them, by province; scratch."""
