"""Alert rows and price changes to the bytes of SPEC §3 and §8, in runs.

Every writer takes the output array and where to write, and returns where it stopped. ``alerts_room`` and
``changes_room`` bound what a run can take, so writers never check.
"""

from typing import Any, Final

from numba import int64

from config.kernel import kernel
from schemas.columns import NO_BAND
from streams.json_bytes import (
    COLON,
    COMMA,
    NULL,
    QUOTE_MARK,
    put,
    put_bytes,
    put_escaped,
    put_int,
    put_money,
    put_money_or_null,
    put_supplier,
    put_time,
    put_word,
)
from streams.layout import (
    ABSENT_KIND,
    BARGAIN,
    CHANNEL_GAP,
    HAS_AMOUNT,
    HAS_DUE,
    HAS_EXCESS,
    HAS_INSTITUTION,
    HAS_PRICE,
    HAS_QUANTITY,
    HAS_REFERENCE,
    HAS_SOURCE,
    HAS_SUPPLIER,
    HAS_TARGET,
    SETTLEMENT_ARREARS,
    SUPPLY_SHORTFALL,
)
from streams.quantities import share_bp
from streams.state import State
from streams.words import (
    BAND_WORDS,
    CHANGE_WORDS,
    KIND_WORDS,
    PROVINCE_DIGITS,
    REASON_WORDS,
    RULES_WORDS,
    literal,
)

ESCAPED: Final = 1
RAW: Final = 0
ALERT_ROOM: Final = 1_000  # an alert without evidence, ids and provinces
POSITION_ROOM: Final = 64
PROVINCE_ROOM: Final = 9
CHANGE_ROOM: Final = 420
LONGEST_STRING: Final = 256

K_EVENT_ID: Final = literal('{"event_id":"')
K_ALERT_ID: Final = literal('","alert_id":"')
K_REVISION: Final = literal('","revision":')
K_KIND: Final = literal(',"kind":"')
K_CHANGE: Final = literal('","change":"')
K_REASON: Final = literal('","reason":"')
K_SOURCE_ID: Final = literal('","source_id":"')
K_CODE: Final = literal('","code":"')
K_PROVINCE: Final = literal('","province":"')
K_SUPPLIER: Final = literal('","supplier":"')
K_INSTITUTION: Final = literal('","institution":"')
K_BAND: Final = literal('","band":')
K_PREVIOUS_BAND: Final = literal(',"previous_band":')
K_PRICE: Final = literal(',"price":"')
K_REFERENCE: Final = literal(',"reference":{"price":"')
K_RULE: Final = literal('","rule":"')
K_PROVINCES: Final = literal('","provinces":[')
K_TARGET: Final = literal(',"target_price":"')
K_EXCESS: Final = literal(',"excess_bp":')
K_DUE: Final = literal(',"quantity":{"due":')
K_FILLED: Final = literal(',"filled":')
K_OVERDUE: Final = literal(',"overdue":')
K_RATE: Final = literal(',"fill_rate_bp":')
K_OWED: Final = literal(',"amount":{"owed":"')
K_HIGH_VALUE: Final = literal(',"high_value":')
K_DUE_AT: Final = literal(',"due_at":"')
K_AT: Final = literal(',"at":"')
K_EVIDENCE: Final = literal('","evidence":[')
K_PARTITION: Final = literal('{"partition":')
K_OFFSET: Final = literal(',"offset":')
K_LINE: Final = literal(',"line":')
K_POLICY: Final = literal('],"policy_version":"')
K_CHANGED: Final = literal('{"event_id":"price.lowest.changed:')
K_LOWEST: Final = literal('","lowest":')
K_PREVIOUS: Final = literal(',"previous":')
K_PROVINCE_OR_NULL: Final = literal(',"province":')
K_ROLLING: Final = literal(',"rolling_lowest":')
K_POSITION: Final = literal('","position":')
TRUE: Final = literal("true")
FALSE: Final = literal("false")
CHANGED_ID_PREFIX: Final = 13  # behind '{"event_id":"'


@kernel
def put_position(out: Any, at: int, partition: int, offset: int, line: int) -> int:
    """Writes a log position."""
    at = put(out, at, K_PARTITION)
    at = put_int(out, at, partition)
    at = put(out, at, K_OFFSET)
    at = put_int(out, at, offset)
    at = put(out, at, K_LINE)
    at = put_int(out, at, line)
    out[at] = 125
    return at + 1


@kernel
def put_alert_id(s: State, alert: Any, out: Any, at: int, escaped: int) -> int:
    """Writes ``{kind}:{code}:{province}[:{id}]:{opening}`` (SPEC §8)."""
    code = s.codes[alert.code]
    at = put_word(out, at, KIND_WORDS, alert.kind)
    out[at] = COLON
    at = put_bytes(out, at + 1, code.code, 0, code.code_length)
    out[at] = COLON
    at = put_word(out, at + 1, PROVINCE_DIGITS, alert.province)
    out[at] = COLON
    at += 1
    if alert.kind == BARGAIN:
        record = s.records[alert.record]
        at = put_slot_id(s.data, record.key_start, record.key_length, out, at, escaped)
    elif alert.kind == SETTLEMENT_ARREARS:
        order = s.orders[alert.owner]
        at = put_slot_id(s.arena, order.id_start, order.id_length, out, at, escaped)
    elif alert.kind >= SUPPLY_SHORTFALL and alert.kind != CHANNEL_GAP:
        contract = s.contracts[alert.owner]
        at = put_slot_id(s.arena, contract.id_start, contract.id_length, out, at, escaped)
    return int(put_int(out, at, alert.opening))


@kernel
def put_slot_id(source: Any, start: int, length: int, out: Any, at: int, escaped: int) -> int:
    """Writes the id of an order or contract in an alert_id."""
    if escaped == ESCAPED:
        at = put_escaped(out, at, source, start, length)
    else:
        at = put_bytes(out, at, source, start, length)
    out[at] = COLON
    return at + 1


@kernel
def put_band(out: Any, at: int, band: int) -> int:
    """Writes a band as a JSON string, or null."""
    if band == NO_BAND:
        return put(out, at, NULL)
    out[at] = QUOTE_MARK
    at = put_word(out, at + 1, BAND_WORDS, band)
    out[at] = QUOTE_MARK
    return at + 1


@kernel
def put_prices(s: State, alert: Any, out: Any, at: int) -> int:
    """Writes price, reference, target price, excess, high value and deadline, as far as the alert shows them."""
    if alert.shows & HAS_PRICE:
        at = put(out, at, K_PRICE)
        at = put_money(out, at, alert.price_e4)
        out[at] = QUOTE_MARK
        at += 1
    if alert.shows & HAS_REFERENCE:
        at = put(out, at, K_REFERENCE)
        at = put_money(out, at, alert.reference_e4)
        at = put(out, at, K_RULE)
        at = put_word(out, at, RULES_WORDS, alert.rule)
        at = put(out, at, K_PROVINCES)
        for i in range(alert.named_count):
            if i > 0:
                out[at] = COMMA
                at += 1
            out[at] = QUOTE_MARK
            at = put_word(out, at + 1, PROVINCE_DIGITS, s.named[alert.named + i])
            out[at] = QUOTE_MARK
            at += 1
        out[at] = 93
        out[at + 1] = 125
        at += 2
    if alert.shows & HAS_TARGET:
        at = put(out, at, K_TARGET)
        at = put_money(out, at, alert.reference_e4)
        out[at] = QUOTE_MARK
        at += 1
    if alert.shows & HAS_EXCESS:
        at = put(out, at, K_EXCESS)
        at = put_int(out, at, alert.excess_bp)
    if alert.shows & (HAS_QUANTITY | HAS_AMOUNT):
        at = put_counted(alert, out, at)
    if alert.shows & HAS_PRICE:
        at = put(out, at, K_HIGH_VALUE)
        at = put(out, at, TRUE) if alert.high_value == 1 else put(out, at, FALSE)
    if alert.shows & HAS_DUE and alert.shows & HAS_AMOUNT == 0:
        at = put(out, at, K_DUE_AT)
        at = put_time(out, at, alert.due_ms)
        out[at] = QUOTE_MARK
        at += 1
    return at


@kernel
def put_counted(alert: Any, out: Any, at: int) -> int:
    """Writes the quantity of a shortfall, or the amount of a settlement."""
    if alert.shows & HAS_QUANTITY:
        at = put(out, at, K_DUE)
        at = put_int(out, at, alert.quantity_due)
        at = put(out, at, K_FILLED)
        at = put_int(out, at, alert.quantity_filled)
        at = put(out, at, K_OVERDUE)
        at = put_int(out, at, alert.quantity_overdue)
        if alert.quantity_due > 0:
            at = put(out, at, K_RATE)
            at = put_int(out, at, share_bp(alert.quantity_filled, alert.quantity_due))
        out[at] = 125
        return at + 1
    at = put(out, at, K_OWED)
    at = put_money(out, at, alert.owed_e4)
    out[at] = QUOTE_MARK
    at += 1
    if alert.shows & HAS_DUE:
        at = put(out, at, K_DUE_AT)
        at = put_time(out, at, alert.due_ms)
        out[at] = QUOTE_MARK
        at += 1
    out[at] = 125
    return at + 1


@kernel
def put_who(s: State, alert: Any, out: Any, at: int) -> int:
    """Writes source id, code, province, supplier and institution."""
    record = s.records[alert.record]
    code = s.codes[alert.code]
    if alert.shows & HAS_SOURCE and record.id_length > 0:
        at = put(out, at, K_SOURCE_ID)
        at = put_escaped(out, at, s.data, record.id_start, record.id_length)
    at = put(out, at, K_CODE)
    at = put_bytes(out, at, code.code, 0, code.code_length)
    at = put(out, at, K_PROVINCE)
    at = put_word(out, at, PROVINCE_DIGITS, alert.province)
    if alert.shows & HAS_SUPPLIER:
        at = put(out, at, K_SUPPLIER)
        at = put_supplier(out, at, alert.supplier_hi, alert.supplier_lo)
    if alert.shows & HAS_INSTITUTION:
        at = put(out, at, K_INSTITUTION)
        if alert.kind == BARGAIN:
            at = put_escaped(out, at, s.data, record.institution_start, record.institution_length)
        else:
            text = s.texts[alert.institution]
            at = put_escaped(out, at, s.arena, text.start, text.length)
    return at


@kernel
def put_alert(s: State, alert: Any, partition: int, versions: Any, out: Any, at: int) -> int:
    """Writes one alert event."""
    at = put(out, at, K_EVENT_ID)
    at = put_alert_id(s, alert, out, at, ESCAPED)
    out[at] = 47
    at = put_int(out, at + 1, alert.revision)
    at = put(out, at, K_ALERT_ID)
    at = put_alert_id(s, alert, out, at, ESCAPED)
    at = put(out, at, K_REVISION)
    at = put_int(out, at, alert.revision)
    at = put(out, at, K_KIND)
    at = put_word(out, at, KIND_WORDS, alert.kind)
    at = put(out, at, K_CHANGE)
    at = put_word(out, at, CHANGE_WORDS, alert.change)
    if alert.reason > 0:
        at = put(out, at, K_REASON)
        at = put_word(out, at, REASON_WORDS, alert.reason)
    at = put_who(s, alert, out, at)
    at = put(out, at, K_BAND)
    at = put_band(out, at, alert.band)
    at = put(out, at, K_PREVIOUS_BAND)
    at = put_band(out, at, alert.previous_band)
    at = put_prices(s, alert, out, at)
    at = put(out, at, K_AT)
    at = put_time(out, at, alert.at_ms)
    at = put(out, at, K_EVIDENCE)
    for i in range(alert.evidence_count):
        if i > 0:
            out[at] = COMMA
            at += 1
        there = s.evidence[alert.evidence + i]
        at = put_position(out, at, partition, there.offset, there.line)
    at = put(out, at, K_POLICY)
    at = put_bytes(out, at, versions[alert.policy], 0, 16)
    out[at] = QUOTE_MARK
    out[at + 1] = 125
    return at + 2


@kernel
def put_change(s: State, change: Any, partition: int, out: Any, at: int) -> int:
    """Writes one price.lowest.changed event."""
    code = s.codes[change.code]
    record = s.records[change.record]
    at = put(out, at, K_CHANGED)
    at = put_bytes(out, at, code.code, 0, code.code_length)
    out[at] = COLON
    at = put_int(out, at + 1, change.number)
    at = put(out, at, K_CODE)
    at = put_bytes(out, at, code.code, 0, code.code_length)
    at = put(out, at, K_LOWEST)
    at = put_money_or_null(out, at, change.lowest_e4)
    at = put(out, at, K_PREVIOUS)
    at = put_money_or_null(out, at, change.previous_e4)
    at = put(out, at, K_PROVINCE_OR_NULL)
    if change.lowest_e4 > 0:
        out[at] = QUOTE_MARK
        at = put_word(out, at + 1, PROVINCE_DIGITS, change.province)
        out[at] = QUOTE_MARK
        at += 1
    else:
        at = put(out, at, NULL)
    at = put(out, at, K_ROLLING)
    at = put_money_or_null(out, at, change.rolling_e4)
    at = put(out, at, K_AT)
    at = put_time(out, at, change.at_ms)
    at = put(out, at, K_POSITION)
    at = put_position(out, at, partition, record.offset, record.line)
    out[at] = 125
    return at + 1


@kernel
def alerts_room(s: State) -> int:
    """Bytes that the batch's alert rows can take at most."""
    room = 0
    for i in range(s.meta[0].alerts):
        alert = s.alerts[i]
        record = s.records[alert.record]
        ids = int64(record.id_length)
        if alert.kind == BARGAIN:
            ids += 3 * int64(record.key_length) + record.institution_length
        elif alert.owner >= 0:
            ids += 4 * LONGEST_STRING
        lists = POSITION_ROOM * int64(alert.evidence_count) + PROVINCE_ROOM * int64(alert.named_count)
        room += ALERT_ROOM + lists + 6 * ids
    return room


@kernel
def fill_event(s: State, event: Any, row: int, record: int) -> None:
    """Sets what the events of both topics have in common."""
    code = s.codes[row]
    event.offset = s.records[record].offset
    event.broker_ts_ms = s.records[record].broker_ts_ms
    for i in range(27):
        event.code[i] = code.code[i]


@kernel
def render_alerts(s: State, partition: int, versions: Any, out: Any, table: Any) -> int:
    """Renders every alert row into ``out``; fills an EVENT_BYTES row each. Returns the bytes used."""
    at = 0
    for i in range(s.meta[0].alerts):
        alert = s.alerts[i]
        event = table[i]
        event.start = at
        at = put_alert(s, alert, partition, versions, out, at)
        event.end = at
        # the id again where JSON had to escape it: headers carry it as it is
        event.id_start = at
        at = put_alert_id(s, alert, out, at, RAW)
        out[at] = 47
        at = put_int(out, at + 1, alert.revision)
        event.id_end = at
        event.at_ms = alert.at_ms
        event.kind = alert.kind
        event.change = alert.change
        event.band = alert.band
        event.previous_band = alert.previous_band
        event.province = alert.province
        fill_event(s, event, alert.code, alert.record)
    return at


@kernel
def render_changes(s: State, partition: int, out: Any, table: Any) -> int:
    """Renders every price change into ``out``; fills an EVENT_BYTES row each. Returns the bytes used."""
    at = 0
    for i in range(s.meta[0].changes):
        change = s.changes[i]
        event = table[i]
        event.start = at
        at = put_change(s, change, partition, out, at)
        event.end = at
        event.id_start = event.start + CHANGED_ID_PREFIX
        end = event.id_start
        while out[end] != QUOTE_MARK:
            end += 1
        event.id_end = end
        event.at_ms = change.at_ms
        event.kind = ABSENT_KIND
        event.change = 0
        event.band = NO_BAND
        event.previous_band = NO_BAND
        event.province = change.province
        fill_event(s, event, change.code, change.record)
    return at
