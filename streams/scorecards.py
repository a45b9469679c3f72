"""Scorecards: who is answerable for how much (SPEC §8). A card is a sum over rows, a row is what the last event of a slot said.

Rows only go forward: an event counts if its (number of the opening, revision) is greater than the row's, so that one
that comes again changes nothing, whoever died meanwhile. A row counts for as long as it is kept.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from schemas.columns import BANDS, KINDS, NO_BAND, RED, YELLOW
from schemas.events import MOST, NotAnEvent
from schemas.money import format_e4, parse_money
from schemas.score_rules import MEASURES_BELOW, ScoreRules
from schemas.times import parse_rfc3339

DIMENSIONS: Final = ("supplier", "institution", "province")
ANSWERABLE: Final = {
    "supplier": ("price_hold", "price_adjustment", "ceiling_breach", "bargain", "supply_shortfall"),
    "institution": ("bargain", "purchase_shortfall", "settlement_arrears"),
    "province": KINDS,
}
"""The kinds for which each has to answer. Cards count all kinds that name them; sums, steps and ranks are of these."""
_ANSWERABLE: Final = {name: tuple(map(KINDS.index, kinds)) for name, kinds in ANSWERABLE.items()}
ROW_KEPT_MS: Final = 400 * 86_400_000
"""A slot whose alert ended counts for so long after its last event: as long as topic ``alerts`` keeps it."""
OBSERVED_SHOWN: Final = 20
"""A card names so many of its latest observed alerts, which are never open."""
_MOST_OWED_E4: Final = 2**63
_NOT_OPEN: Final = frozenset({"resolved", "closed", "observed"})
_BEGINS: Final = frozenset({"opened", "observed"})
_SUPPLY: Final = KINDS.index("supply_shortfall")
_BARGAIN: Final = KINDS.index("bargain")


class Standing(NamedTuple):
    """What one event says of its slot. ``band``: NO_BAND when the alert is not open; ``opened``: the band it began with.

    ``due``, ``filled``, ``overdue``: pieces, of an open supply shortfall. ``owed_e4``: of open settlement arrears.
    """

    slot: str
    number: int
    revision: int
    kind: int
    band: int
    opened: int
    due: int
    filled: int
    overdue: int
    owed_e4: int
    at_ms: int


class Row(NamedTuple):
    """What is kept of a slot: its last standing but for the slot's name, and how many openings each band began."""

    number: int
    revision: int
    kind: int
    band: int
    blue: int
    yellow: int
    red: int
    due: int
    filled: int
    overdue: int
    owed_e4: int
    at_ms: int

    @property
    def is_open(self) -> bool:
        """Tells whether the slot's last alert is open."""
        return self.band != NO_BAND

    def forgotten(self, now_ms: int) -> bool:
        """Tells whether the row no longer counts: its alert ended, and is quiet for ROW_KEPT_MS."""
        return not self.is_open and self.at_ms < now_ms - ROW_KEPT_MS


def standing_of(event: Mapping[str, Any]) -> Standing:
    """Returns what an event of ``alerts`` says; raises NotAnEvent where it says less than a card needs."""
    try:
        standing = _standing_of(event)
    except (KeyError, ValueError, TypeError, AttributeError) as fault:
        raise NotAnEvent(f"{type(fault).__name__}: {fault}") from fault
    return _checked(standing)


def standing_from(values: Any) -> Standing:
    """Returns a standing that was passed on as a list; raises NotAnEvent."""
    if not isinstance(values, list) or len(values) != len(Standing._fields):
        raise NotAnEvent("no standing")
    return _checked(Standing(*values))


def row_from(values: Any) -> Row:
    """Returns the row that a list begins with; raises NotAnEvent."""
    if not isinstance(values, list) or len(values) < len(Row._fields):
        raise NotAnEvent("no row")
    row = Row(*values[: len(Row._fields)])
    if not _fits(row) or row.kind >= len(KINDS) or row.band >= len(BANDS):
        raise NotAnEvent("a row's numbers are out of bounds")
    return row


def _checked(standing: Standing) -> Standing:
    slot: object = standing.slot  # it may come from JSON
    if (
        not isinstance(slot, str)
        or not _fits(standing)
        or standing.kind >= len(KINDS)
        or max(standing.band, standing.opened) >= len(BANDS)
    ):
        raise NotAnEvent("a standing's numbers are out of bounds")
    return standing


def _fits(said: Standing | Row) -> bool:
    """Sums of what passes go into 64 bits, but for amounts, which are rendered as text."""
    return all(
        type(number) is int and 0 <= number < (_MOST_OWED_E4 if name == "owed_e4" else MOST)
        for name, number in zip(said._fields, said, strict=True)
        if name != "slot"
    )


def _standing_of(event: Mapping[str, Any]) -> Standing:
    slot, _, number = event["alert_id"].rpartition(":")
    change = event["change"]
    kind = KINDS.index(event["kind"])
    band = BANDS.index(event["band"] or BANDS[NO_BAND])
    is_open = change not in _NOT_OPEN
    quantity = event.get("quantity") if is_open and kind == _SUPPLY else None
    amount = event.get("amount") if is_open else None
    at_ms = parse_rfc3339(event["at"])
    owed_e4 = parse_money(amount["owed"]) if amount else 0
    if at_ms is None or owed_e4 is None:
        raise ValueError(event["alert_id"])
    return Standing(
        slot=slot,
        number=int(number),
        revision=int(event["revision"]),
        kind=kind,
        band=band if is_open else NO_BAND,
        opened=band if change in _BEGINS else NO_BAND,
        due=quantity["due"] if quantity else 0,
        filled=quantity["filled"] if quantity else 0,
        overdue=quantity["overdue"] if quantity else 0,
        owed_e4=owed_e4,
        at_ms=at_ms,
    )


def left(standing: Standing) -> Standing:
    """Returns what an event says to whom the alert no longer belongs: it is not open there, and did not begin there."""
    return standing._replace(band=NO_BAND, opened=NO_BAND, due=0, filled=0, overdue=0, owed_e4=0)


def advanced(row: Row | None, standing: Standing) -> Row | None:
    """Returns the row after an event; None: the event, or a later one, was counted before."""
    if row is not None and (standing.number, standing.revision) <= (row.number, row.revision):
        return None
    began = [row.blue, row.yellow, row.red] if row else [0, 0, 0]
    if standing.opened != NO_BAND:
        began[standing.opened - 1] += 1
    return Row(
        standing.number, standing.revision, standing.kind, standing.band, began[0], began[1], began[2], standing.due, standing.filled,
        standing.overdue, standing.owed_e4, standing.at_ms,
    )  # fmt: skip


def _cells() -> list[list[int]]:
    return [[0] * len(BANDS) for _ in KINDS]


@dataclass(slots=True)
class Card:
    """The sums of one supplier, institution or province. ``open`` and ``opened``: alerts by kind and band.

    ``amount_overdue_e4``: owed on orders of which something is past due (yellow and red arrears), the rest of what
    these orders owe included, as that is what the alerts tell.
    """

    open: list[list[int]] = field(default_factory=_cells)
    opened: list[list[int]] = field(default_factory=_cells)
    due: int = 0
    filled: int = 0
    overdue: int = 0
    amount_owed_e4: int = 0
    amount_overdue_e4: int = 0
    at_ms: int = 0
    open_ids: set[str] = field(default_factory=set)
    moved_ids: dict[str, bool] = field(default_factory=dict)
    observed: deque[str] = field(default_factory=lambda: deque(maxlen=OBSERVED_SHOWN))

    @classmethod
    def of(cls, rows: Iterable[tuple[str, Row]]) -> Self:
        """Returns the card of rows by slot."""
        card = cls()
        for slot, row in sorted(rows, key=lambda each: each[1].at_ms):
            card.replace(slot, None, row)
        return card

    def replace(self, slot: str, was: Row | None, row: Row | None) -> None:
        """Takes a slot's old row out of the sums, and puts its new one in."""
        if was is not None:
            self._add(was, -1)
            if was.is_open:
                self._mark(f"{slot}:{was.number}", is_open=False)
        if row is not None:
            self._add(row, 1)
            self.at_ms = max(self.at_ms, row.at_ms)
            alert_id = f"{slot}:{row.number}"
            if row.is_open:
                self._mark(alert_id, is_open=True)
            elif row.kind == _BARGAIN:
                self.observed.append(alert_id)

    def _add(self, row: Row, sign: int) -> None:
        opened = self.opened[row.kind]
        for band, count in enumerate((row.blue, row.yellow, row.red), 1):
            opened[band] += sign * count
        if row.is_open:
            self.open[row.kind][row.band] += sign
        self.due += sign * row.due
        self.filled += sign * row.filled
        self.overdue += sign * row.overdue
        self.amount_owed_e4 += sign * row.owed_e4
        self.amount_overdue_e4 += sign * row.owed_e4 * (row.band >= YELLOW)

    def _mark(self, alert_id: str, *, is_open: bool) -> None:
        (self.open_ids.add if is_open else self.open_ids.discard)(alert_id)
        self.moved_ids[alert_id] = is_open

    @property
    def banded_orders(self) -> int:
        """Returns how many order records were scored and given a band."""
        return sum(self.opened[_BARGAIN])

    def measures(self, dimension: str, orders: int | None, min_orders: int) -> dict[str, int]:
        """Returns what the rules look at; a measure that cannot be told is left out. ``orders``: None where not known."""
        kinds = _ANSWERABLE[dimension]
        found = {
            "open": sum(sum(self.open[kind]) for kind in kinds),
            "open_red": sum(self.open[kind][RED] for kind in kinds),
            "opened": sum(sum(self.opened[kind]) for kind in kinds),
            "overdue_quantity": self.overdue,
            "amount_overdue_yuan": self.amount_overdue_e4 // 10_000,
        }
        if self.due:
            found["fill_rate_below_bp"] = self.filled * 10_000 // self.due
        if orders is not None and orders >= max(min_orders, self.banded_orders, 1):
            found["banded_share_bp"] = self.banded_orders * 10_000 // orders
        return found

    def as_json(self, dimension: str, key: str, orders: int | None, rules: ScoreRules) -> dict[str, Any]:
        """Returns the card as topic ``scorecards`` and the page have it (docs/scorecards.md).

        ``orders``: accepted order records of the same owner, None while they are not counted up.
        """
        measures = self.measures(dimension, orders, rules.min_orders)
        step, because = suggested_step(measures, rules, dimension)
        share = self.banded_orders * 10_000 // orders if orders and orders >= self.banded_orders else None
        return {
            "dimension": dimension,
            "key": key,
            "step": step,
            "because": because,
            "answerable": list(ANSWERABLE[dimension]),
            "open_total": measures["open"],
            "open_red": measures["open_red"],
            "opened_total": measures["opened"],
            "open": _named(self.open),
            "opened": _named(self.opened),
            "orders": orders,
            "banded_orders": self.banded_orders,
            "banded_share_bp": share,
            "supply": {
                "due": self.due,
                "filled": self.filled,
                "overdue": self.overdue,
                "fill_rate_bp": measures.get("fill_rate_below_bp"),
            },
            "amount_owed": format_e4(self.amount_owed_e4),
            "amount_overdue": format_e4(self.amount_overdue_e4),
            "latest_observed": list(self.observed)[::-1],
            "at_ms": self.at_ms,
        }


def suggested_step(measures: Mapping[str, int], rules: ScoreRules, dimension: str) -> tuple[str | None, list[str]]:
    """Returns the worst step of which some threshold is reached, and which; (None, []) if none is."""
    for step, thresholds in reversed(rules.steps[dimension]):
        because = [
            name
            for name, threshold in thresholds
            if name in measures
            and (measures[name] < threshold if name in MEASURES_BELOW else measures[name] >= threshold)
        ]
        if because:
            return step, because
    return None, []


def _named(cells: list[list[int]]) -> dict[str, dict[str, int]]:
    return {
        kind: {band: count for band, count in zip(BANDS, bands, strict=True) if count}
        for kind, bands in zip(KINDS, cells, strict=True)
        if any(bands)
    }
