"""How an alert's numbers follow from the records behind it, said step by step and checked (SPEC §3 to §7)."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from config.provinces import PROVINCE_CODES, PROVINCE_INDEX, PROVINCES
from gateway.supply_arithmetic import Step, supply_steps
from schemas.columns import ABSENT, ORDER, QUOTE, QUOTE_KINDS, QUOTE_STATUSES, RECORD_TYPES
from schemas.money import format_e4, parse_money
from schemas.parser import Record, parse_line
from schemas.policy import Policy, ProvincePolicy
from schemas.times import format_ms

_ALWAYS_RED: Final = {"ceiling_breach": "a price above its ceiling is red", "price_hold": "a hold is red"}
_LARGEST_PACK: Final = 1_000
_MISMATCH_SHARE: Final = 50
"""Two per cent: one part in fifty."""


def policy_of(lines: Iterable[bytes], version: str) -> Policy | None:
    """Returns the policy of this version if one of the lines is a policy record with it."""
    for line in lines:
        if b'"policy"' in line and isinstance(record := parse_line(line), Record):
            policy: Policy | None = record.policy
            if policy is not None and policy.version == version:
                return policy
    return None


def record_cells(record: Record, role: str) -> list[str]:
    """Returns what a table shows of a record: type, province, at, price, per piece, and what else matters."""
    price, pack = _number(record.price_e4), _number(record.pack_size)
    written = "" if price is None else format_e4(price) + (f" ÷ {pack}" if pack is not None and pack != 1 else "")
    piece = _number(record.per_piece_e4)
    others = [role, f"id {record.id}" if record.id else "", f"order {record.order_id}" if record.order_id else ""]
    others += [f"contract {record.contract_id}" if record.contract_id else ""]
    if record.type == QUOTE and record.kind is not None and record.status is not None:
        others += [QUOTE_KINDS[record.kind], QUOTE_STATUSES[record.status]]
    for name in ("effective_ms", "valid_until_ms"):
        if (moment := _number(getattr(record, name))) is not None:
            others.append(f"{name.removesuffix('_ms')} {format_ms(moment)}")
    province = "" if record.province is None else PROVINCES[record.province].name_en
    return [
        RECORD_TYPES[record.type],
        province,
        format_ms(record.at_ms),
        written,
        "" if piece is None else format_e4(piece),
        ", ".join(filter(None, others)),
    ]


def _number(value: int | None) -> int | None:
    return None if value is None or value == ABSENT else value


def _e4(text: str) -> int:
    value = parse_money(text)
    assert isinstance(value, int)
    return value


def arithmetic(
    event: dict[str, Any], first: dict[str, Any], records: list[Record], policy: Policy | None
) -> Iterator[Step]:
    """Yields the steps from the records to the event.

    ``first``: the alert's first event, from whose time the deadline runs. ``policy``: the one that held, if known.
    """
    rules = None
    if policy is not None and event.get("province") in PROVINCE_INDEX:
        rules = policy.provinces[PROVINCE_INDEX[event["province"]]]
    own_e4 = _e4(event["price"]) if "price" in event else None
    reference_e4 = _e4(event["reference"]["price"]) if "reference" in event else None
    yield from _per_piece(records)
    if "reference" in event:
        yield from _reference(event, records)
    if own_e4 is not None and reference_e4 is not None:
        excess_bp = (own_e4 - reference_e4) * 10_000 // reference_e4
        yield (
            f"excess: ({event['price']} − {event['reference']['price']}) × 10,000 ÷ {event['reference']['price']}, "
            f"rounded down = {excess_bp} bp",
            excess_bp == event.get("excess_bp", excess_bp),
        )
        if event["kind"] == "price_hold":
            yield from _hold(event, own_e4, reference_e4, policy)
        else:
            yield from _band(event, excess_bp, rules)
    yield from _deadline(event, first, rules)
    yield from supply_steps(event, records, policy)


def _per_piece(records: list[Record]) -> Iterator[Step]:
    for record in records:
        price, pack, piece = _number(record.price_e4), _number(record.pack_size), _number(record.per_piece_e4)
        if record.type not in {QUOTE, ORDER} or price is None or pack is None or pack == 1:
            continue
        computed = (2 * price + pack) // (2 * pack)
        where = "" if record.province is None else f"{PROVINCES[record.province].name_en}: "
        yield f"{where}{format_e4(price)} yuan ÷ {pack} pieces, half up = {format_e4(computed)}", computed == piece


def _reference(event: dict[str, Any], records: list[Record]) -> Iterator[Step]:
    reference = event["reference"]
    rule, price, provinces = reference["rule"], reference["price"], reference["provinces"]
    if rule == "rolling_lowest":
        yield f"reference: the rolling lowest of the code = {price}", None
        return
    if rule in {"ceiling", "listing"}:
        yield f"reference: the province's own {rule} = {price}", None
        return
    prices = _prices_of(provinces, records)
    if prices is None:
        yield f"reference: {rule} of {len(provinces)} provinces = {price}", None
        return
    mean_e4 = (2 * sum(prices) + len(prices)) // (2 * len(prices))
    shown = ", ".join(
        f"{PROVINCES[PROVINCE_INDEX[code]].name_en} {format_e4(each)}"
        for code, each in zip(provinces, prices, strict=True)
    )
    how = "" if len(prices) == 1 else ", their mean, half up"
    yield f"reference, {rule}: {shown}{how} = {format_e4(mean_e4)}", mean_e4 == _e4(price)


def _prices_of(provinces: list[str], records: list[Record]) -> list[int] | None:
    # No position is named twice: where a province has two quotes, the one that triggered it is not the one in force.
    found = {
        PROVINCE_CODES[record.province]: piece
        for record in records
        if record.type == QUOTE and record.province is not None and (piece := _number(record.per_piece_e4)) is not None
    }
    prices = [found[code] for code in provinces if code in found]
    return prices if prices and len(prices) == len(provinces) else None


def _band(event: dict[str, Any], excess_bp: int, rules: ProvincePolicy | None) -> Iterator[Step]:
    if event["kind"] in _ALWAYS_RED or event.get("reason") == "above_listing":
        why = _ALWAYS_RED.get(event["kind"], "an order above the province's own listing is red")
        yield f"band: {why}", event["band"] in {"red", None}
        return
    if rules is None:
        return
    thresholds = thresholds_of(rules)
    reached = [name for name, threshold_bp in thresholds if excess_bp >= threshold_bp]
    band = reached[-1] if reached and _e4(event["price"]) > _e4(event["reference"]["price"]) else None
    shown = ", ".join(f"{name} from {threshold_bp}" for name, threshold_bp in thresholds)
    silenced = band is not None and event["band"] is None
    note = "; silenced by the policy, or the price no longer counts" if silenced else ""
    yield f"band: {shown} bp → {band or 'none'}{note}", None if silenced else band == event["band"]


def thresholds_of(rules: ProvincePolicy) -> list[tuple[str, int]]:
    """Returns a province's bands and thresholds in basis points, lowest first."""
    return [("blue", rules.blue_bp), ("yellow", rules.yellow_bp), ("red", rules.red_bp)]


def _hold(event: dict[str, Any], held_e4: int, lowest_e4: int, policy: Policy | None) -> Iterator[Step]:
    share_bp = held_e4 * 10_000 // lowest_e4
    if policy is None:
        yield f"the quote is {share_bp} bp of the national lowest", None
    else:
        yield (
            f"the quote is {share_bp} bp of the national lowest, the guard is at {policy.guard_bp} bp",
            held_e4 * 10_000 < policy.guard_bp * lowest_e4,
        )
    multiple = pack_multiple(lowest_e4, held_e4)
    if multiple is None:
        yield "no pack size from 2 to 1,000 makes up the difference", event["reason"] != "unit_mismatch"
    else:
        yield (
            f"{multiple} × {format_e4(held_e4)} = {format_e4(multiple * held_e4)}, within 2 % of {format_e4(lowest_e4)}: "
            "a price per piece beside one per pack?",
            event["reason"] == "unit_mismatch",
        )


def pack_multiple(lowest_e4: int, held_e4: int) -> int | None:
    """Returns the k from 2 to 1,000 whose k × ``held`` is nearest to ``lowest`` if within 2 %, or None (SPEC §5)."""
    around = min(max((2 * lowest_e4 + held_e4) // (2 * held_e4), 2), _LARGEST_PACK)
    near = [multiple for multiple in (around, around + 1) if multiple <= _LARGEST_PACK]
    fitting = [
        multiple for multiple in near if abs(lowest_e4 - multiple * held_e4) * _MISMATCH_SHARE <= multiple * held_e4
    ]
    return min(fitting, key=lambda multiple: abs(lowest_e4 - multiple * held_e4), default=None)


def _deadline(event: dict[str, Any], first: dict[str, Any], rules: ProvincePolicy | None) -> Iterator[Step]:
    if event["kind"] != "price_adjustment" or "due_at" not in event:
        return
    if rules is None or first["policy_version"] != event["policy_version"]:
        yield f"deadline: {event['due_at']}, set when the alert opened", None
        return
    due = datetime.fromisoformat(first["at"]) + timedelta(days=rules.adjust_within_days)
    shown = due.strftime("%Y-%m-%dT%H:%M:%S.") + f"{due.microsecond // 1000:03}Z"
    yield f"deadline: opened {first['at']} + {rules.adjust_within_days} days = {shown}", shown == event["due_at"]
