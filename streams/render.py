"""Alert rows and price changes to the bytes of SPEC §3 and §8, in runs.

Every writer takes the output array and where to write, and returns where it stopped. ``alerts_room`` and
``changes_room`` bound what a run can take, so writers never check.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from schemas.columns import NO_BAND
from streams.layout import (
    ABSENT_KIND,
    BARGAIN,
    HAS_DUE,
    HAS_EXCESS,
    HAS_INSTITUTION,
    HAS_PRICE,
    HAS_REFERENCE,
    HAS_SOURCE,
    HAS_TARGET,
    State,
)
from streams.words import (
    BAND_WORDS,
    CHANGE_WORDS,
    KIND_WORDS,
    PROVINCE_DIGITS,
    REASON_WORDS,
    RULES_WORDS,
    literal,
)

QUOTE_MARK: Final = 34
BACKSLASH: Final = 92
COLON: Final = 58
COMMA: Final = 44
HEX: Final = literal("0123456789abcdef")
SHORT_ESCAPES: Final = literal("btn\0fr")  # of the characters 8 to 13
ALERT_ROOM: Final = 1_000  # an alert without evidence, ids and provinces
POSITION_ROOM: Final = 64
PROVINCE_ROOM: Final = 9
CHANGE_ROOM: Final = 420

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
NULL: Final = literal("null")
TRUE: Final = literal("true")
FALSE: Final = literal("false")
CHANGED_ID_PREFIX: Final = 13  # behind '{"event_id":"'


@njit(cache=True)
def put(out: Any, at: int, text: Any) -> int:
    """Writes a text."""
    for i in range(text.size):
        out[at + i] = text[i]
    return at + text.size


@njit(cache=True)
def put_word(out: Any, at: int, table: Any, word: int) -> int:
    """Writes a word of a table."""
    length = np.int64(table[word, table.shape[1] - 1])
    for i in range(length):
        out[at + i] = table[word, i]
    return at + length


@njit(cache=True)
def put_bytes(out: Any, at: int, source: Any, start: int, length: int) -> int:
    """Writes some bytes as they are."""
    for i in range(length):
        out[at + i] = source[start + i]
    return at + length


@njit(cache=True)
def put_escaped(out: Any, at: int, source: Any, start: int, length: int) -> int:
    """Writes UTF-8 bytes as the inside of a JSON string, escaped only where JSON must (SPEC §8)."""
    for i in range(start, start + length):
        byte = source[i]
        if byte in (QUOTE_MARK, BACKSLASH):
            out[at] = BACKSLASH
            out[at + 1] = byte
            at += 2
        elif byte >= 32:
            out[at] = byte
            at += 1
        elif 8 <= byte <= 13 and byte != 11:
            out[at] = BACKSLASH
            out[at + 1] = SHORT_ESCAPES[byte - 8]
            at += 2
        else:
            out[at] = BACKSLASH
            out[at + 1] = 117
            out[at + 2] = 48
            out[at + 3] = 48
            out[at + 4] = HEX[byte >> 4]
            out[at + 5] = HEX[byte & 15]
            at += 6
    return at


@njit(cache=True)
def put_int(out: Any, at: int, number: int) -> int:
    """Writes an integer in decimal."""
    if number < 0:
        out[at] = 45
        at += 1
        number = -number
    digits = 1
    bound = 10
    while digits < 19 and number >= bound:
        bound *= 10
        digits += 1
    for i in range(digits):
        out[at + digits - 1 - i] = 48 + number % 10
        number //= 10
    return at + digits


@njit(cache=True)
def put_digits(out: Any, at: int, number: int, digits: int) -> int:
    """Writes the last ``digits`` decimal digits of a number."""
    for i in range(digits):
        out[at + digits - 1 - i] = 48 + number % 10
        number //= 10
    return at + digits


@njit(cache=True)
def put_money(out: Any, at: int, amount_e4: int) -> int:
    """Writes 1/10,000 yuan as a decimal with 4 decimals."""
    at = put_int(out, at, amount_e4 // 10_000)
    out[at] = 46
    return put_digits(out, at + 1, amount_e4 % 10_000, 4)


@njit(cache=True)
def put_money_or_null(out: Any, at: int, amount_e4: int) -> int:
    """Writes an amount as a JSON string; 0 stands for none."""
    if amount_e4 == 0:
        return put(out, at, NULL)
    out[at] = QUOTE_MARK
    at = put_money(out, at + 1, amount_e4)
    out[at] = QUOTE_MARK
    return at + 1


@njit(cache=True)
def put_time(out: Any, at: int, time_ms: int) -> int:
    """Writes epoch milliseconds as RFC 3339 in UTC with milliseconds; years 1970 to 9999."""
    days = time_ms // 86_400_000
    ms = time_ms % 86_400_000
    # days since 0000-03-01, in 400-year eras (Hinnant, "chrono-compatible low-level date algorithms")
    days += 719_468
    era = days // 146_097
    day_of_era = days % 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    at = put_digits(out, at, year, 4)
    out[at] = 45
    at = put_digits(out, at + 1, month, 2)
    out[at] = 45
    at = put_digits(out, at + 1, day, 2)
    out[at] = 84
    at = put_digits(out, at + 1, ms // 3_600_000, 2)
    out[at] = COLON
    at = put_digits(out, at + 1, ms // 60_000 % 60, 2)
    out[at] = COLON
    at = put_digits(out, at + 1, ms // 1_000 % 60, 2)
    out[at] = 46
    at = put_digits(out, at + 1, ms % 1_000, 3)
    out[at] = 90
    return at + 1


@njit(cache=True)
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


@njit(cache=True)
def put_alert_id(s: State, alert: Any, out: Any, at: int, escaped: bool) -> int:
    """Writes ``{kind}:{code}:{province}[:{order_id}]:{opening}`` (SPEC §8)."""
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
        if escaped:
            at = put_escaped(out, at, s.data, record.key_start, record.key_length)
        else:
            at = put_bytes(out, at, s.data, record.key_start, record.key_length)
        out[at] = COLON
        at += 1
    return int(put_int(out, at, alert.opening))


@njit(cache=True)
def put_band(out: Any, at: int, band: int) -> int:
    """Writes a band as a JSON string, or null."""
    if band == NO_BAND:
        return put(out, at, NULL)
    out[at] = QUOTE_MARK
    at = put_word(out, at + 1, BAND_WORDS, band)
    out[at] = QUOTE_MARK
    return at + 1


@njit(cache=True)
def put_supplier(out: Any, at: int, hi: int, lo: int) -> int:
    """Writes a packed supplier code: 12 and 6 characters in base 36."""
    rest = np.uint64(hi)
    base = np.uint64(36)
    for i in range(12):
        digit = np.int64(rest % base)
        out[at + 11 - i] = 48 + digit if digit < 10 else 55 + digit
        rest //= base
    low = np.int64(lo)
    for i in range(6):
        digit = low % 36
        out[at + 17 - i] = 48 + digit if digit < 10 else 55 + digit
        low //= 36
    return at + 18


@njit(cache=True)
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
    if alert.shows & HAS_PRICE:
        at = put(out, at, K_HIGH_VALUE)
        at = put(out, at, TRUE) if alert.high_value == 1 else put(out, at, FALSE)
    if alert.shows & HAS_DUE:
        at = put(out, at, K_DUE_AT)
        at = put_time(out, at, alert.due_ms)
        out[at] = QUOTE_MARK
        at += 1
    return at


@njit(cache=True)
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
    at = put(out, at, K_SUPPLIER)
    at = put_supplier(out, at, alert.supplier_hi, alert.supplier_lo)
    if alert.shows & HAS_INSTITUTION:
        at = put(out, at, K_INSTITUTION)
        at = put_escaped(out, at, s.data, record.institution_start, record.institution_length)
    return at


@njit(cache=True)
def put_alert(s: State, alert: Any, partition: int, versions: Any, out: Any, at: int) -> int:
    """Writes one alert event."""
    at = put(out, at, K_EVENT_ID)
    at = put_alert_id(s, alert, out, at, True)
    out[at] = 47
    at = put_int(out, at + 1, alert.revision)
    at = put(out, at, K_ALERT_ID)
    at = put_alert_id(s, alert, out, at, True)
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


@njit(cache=True)
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


@njit(cache=True)
def alerts_room(s: State) -> int:
    """Bytes that the batch's alert rows can take at most."""
    room = 0
    for i in range(s.meta[0].alerts):
        alert = s.alerts[i]
        record = s.records[alert.record]
        ids = np.int64(record.id_length)
        if alert.kind == BARGAIN:
            ids += 3 * np.int64(record.key_length) + record.institution_length
        room += ALERT_ROOM + POSITION_ROOM * alert.evidence_count + PROVINCE_ROOM * alert.named_count + 6 * ids
    return room


@njit(cache=True)
def fill_event(s: State, event: Any, row: int, record: int) -> None:
    """Sets what the events of both topics have in common."""
    code = s.codes[row]
    event.offset = s.records[record].offset
    event.broker_ts_ms = s.records[record].broker_ts_ms
    for i in range(27):
        event.code[i] = code.code[i]


@njit(cache=True, nogil=True)
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
        at = put_alert_id(s, alert, out, at, False)
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


@njit(cache=True, nogil=True)
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
