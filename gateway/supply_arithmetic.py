"""How the numbers of shortfalls, gaps and arrears follow from each other and from the policy (SPEC §6, §7)."""

from collections.abc import Iterator
from typing import Any, Final

from schemas.columns import CONTRACT
from schemas.parser import Record
from schemas.policy import Policy
from schemas.times import parse_rfc3339

Step = tuple[str, bool | None]
"""A line of the explanation, and whether the event agrees with it (None: nothing to compare)."""

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_SHANGHAI_MS: Final = 8 * _HOUR_MS
_REMINDER_DAYS: Final = 7
_LONG_ARREARS_DAYS: Final = 90
_CHANNELS: Final = {
    None: "no channel has",
    "yellow": "one channel, hospital or pharmacy, has",
    "red": "both channels have",
}


def supply_steps(event: dict[str, Any], records: list[Record], policy: Policy | None) -> Iterator[Step]:
    """Yields the steps of an event of SPEC §6 or §7; nothing for other kinds."""
    if event["kind"] == "supply_shortfall":
        yield from _fill_rate(event["quantity"], "filled on time", "due in the window")
        if policy is not None:
            yield from _shortfall(event, policy)
    elif event["kind"] == "purchase_shortfall":
        yield from _agreed(event, records)
        yield from _fill_rate(event["quantity"], "ordered", "agreed by then")
        yield from _purchases(event)
    elif event["kind"] == "channel_gap":
        has = _CHANNELS[event["band"]]
        yield f"{has} an open order, and no delivery for 30 days → {_name(event['band'])}", None
    elif event["kind"] == "settlement_arrears":
        yield from _arrears(event)


def _name(band: str | None) -> str:
    return band or "none"


def _shanghai_day(ms: int) -> int:
    return (ms + _SHANGHAI_MS) // _DAY_MS


def _ms(text: str) -> int:
    moment = parse_rfc3339(text)
    assert moment is not None
    return moment


def _fill_rate(quantity: dict[str, int], filled: str, due: str) -> Iterator[Step]:
    if "fill_rate_bp" not in quantity:
        yield f"nothing was {due}", quantity["due"] == 0
        return
    rate_bp = quantity["filled"] * 10_000 // quantity["due"]
    yield (
        f"{quantity['filled']} pieces {filled} × 10,000 ÷ {quantity['due']} {due}, rounded down = {rate_bp} bp",
        rate_bp == quantity["fill_rate_bp"],
    )


def _shortfall(event: dict[str, Any], policy: Policy) -> Iterator[Step]:
    quantity, rules = event["quantity"], policy.supply
    late_ms = _ms(event["at"]) - _ms(event["due_at"]) if "due_at" in event else None
    if late_ms is None:
        yield "nothing is overdue", quantity["overdue"] == 0
    else:
        yield (
            f"{quantity['overdue']} pieces are overdue, the oldest since {event['due_at']}: {late_ms // _HOUR_MS} hours",
            quantity["overdue"] > 0,
        )
    band = "blue" if quantity["overdue"] else None
    for name, fill_bp, hours in (
        ("yellow", rules.fill_yellow_bp, rules.late_yellow_hours),
        ("red", rules.fill_red_bp, rules.late_red_hours),
    ):
        is_low = quantity["filled"] * 10_000 < fill_bp * quantity["due"]
        if is_low or (late_ms is not None and late_ms >= hours * _HOUR_MS):
            band = name
    yield (
        f"band: blue if anything is overdue, yellow below {rules.fill_yellow_bp} bp or from "
        f"{rules.late_yellow_hours} hours, red below {rules.fill_red_bp} bp or from {rules.late_red_hours} hours → "
        f"{_name(band)}",
        band == event["band"],
    )


def _agreed(event: dict[str, Any], records: list[Record]) -> Iterator[Step]:
    # the contract stands last: the record that triggered the event may be another
    contract = next((record for record in reversed(records) if record.type == CONTRACT), None)
    if contract is None or contract.starts_ms is None or contract.ends_ms is None or contract.agreed_quantity is None:
        return
    at_ms = _ms(event["at"])
    if at_ms >= contract.ends_ms:
        yield (
            f"the contract has ended: all of {contract.agreed_quantity} pieces count",
            (contract.agreed_quantity == event["quantity"]["due"]),
        )
        return
    term = _shanghai_day(contract.ends_ms) - _shanghai_day(contract.starts_ms)
    elapsed = max(_shanghai_day(at_ms) - _shanghai_day(contract.starts_ms), 0)
    agreed = contract.agreed_quantity * elapsed // term if term else 0
    yield (
        f"agreed by then: {contract.agreed_quantity} × {elapsed} of {term} days in Shanghai, rounded down = {agreed}",
        agreed == event["quantity"]["due"],
    )


def _purchases(event: dict[str, Any]) -> Iterator[Step]:
    ordered, agreed = event["quantity"]["filled"], event["quantity"]["due"]
    band = "red" if ordered * 10 < agreed * 7 else "yellow" if ordered * 10 < agreed * 9 else None
    if event["change"] == "closed":
        yield (
            f"the contract's last midnight: at 0.9 and 0.7 the band would be {_name(band)}; it ends with its last",
            None,
        )
    elif band is not None and event["band"] is None:
        yield "band: none before 10 % of the term", None
    else:
        yield f"band: yellow below 0.9 of what is agreed, red below 0.7 → {_name(band)}", band == event["band"]


def _arrears(event: dict[str, Any]) -> Iterator[Step]:
    amount = event["amount"]
    if "due_at" not in amount:
        yield "nothing is owed any more", amount["owed"] == "0.0000"
        return
    due_ms, at_ms = _ms(amount["due_at"]), _ms(event["at"])
    yield (
        f"{amount['owed']} yuan are owed; the earliest unpaid delivery is due at {amount['due_at']}, "
        "the end of the month after its acceptance in Shanghai",
        None,
    )
    band = None
    for name, from_ms in (
        ("blue", due_ms - _REMINDER_DAYS * _DAY_MS),
        ("yellow", due_ms),
        ("red", due_ms + _LONG_ARREARS_DAYS * _DAY_MS),
    ):
        band = name if at_ms >= from_ms else band
    yield (
        f"band: blue from {_REMINDER_DAYS} days before it, yellow when it comes, red {_LONG_ARREARS_DAYS} days after → "
        f"{_name(band)}",
        band == event["band"],
    )
