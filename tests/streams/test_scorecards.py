"""Rows and cards: each event once, sums that equal a recount, and the step that the rules suggest."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from schemas.columns import BANDS, KINDS
from schemas.events import NotAnEvent, read_alert
from schemas.score_rules import ScoreRules, parse_score_rules
from streams.scorecards import (
    ROW_KEPT_MS,
    Card,
    Row,
    Standing,
    advanced,
    left,
    row_from,
    standing_from,
    standing_of,
    suggested_step,
)  # fmt: skip
from tests.golden_logs import golden_alerts

RULES = parse_score_rules(Settings().scorecards_file.read_bytes())
SUPPLY, ARREARS, BARGAIN = (KINDS.index(kind) for kind in ("supply_shortfall", "settlement_arrears", "bargain"))


def standing(
    number: int, revision: int, *, band: int = 2, opened: int = 0, kind: int = SUPPLY, **more: int
) -> Standing:
    fields: dict[str, Any] = {"due": 10, "filled": 4, "overdue": 3, "owed_e4": 0, "at_ms": 1} | more
    return Standing("supply_shortfall:C1:320000:k", number, revision, kind, band, opened, **fields)


@pytest.mark.parametrize(
    ("number", "revision", "counted"),
    [(1, 1, False), (2, 1, False), (2, 3, False), (2, 4, True), (2, 9, True), (3, 1, True), (1, 9, False)],
)
def test_only_what_is_newer_counts(number: int, revision: int, counted: bool) -> None:
    row = advanced(None, standing(2, 3))
    assert (advanced(row, standing(number, revision)) is not None) == counted


def test_every_event_of_the_golden_logs_says_something() -> None:
    kinds = set()
    for event in golden_alerts():
        said = standing_of(event)
        assert (said.band != 0) == (event["change"] not in ("resolved", "closed", "observed"))
        assert (said.opened != 0) == (event["change"] in ("opened", "observed"))
        assert (
            said.overdue == (event.get("quantity") or {}).get("overdue", 0)
            or event["kind"] != "supply_shortfall"
            or not said.band
        )
        kinds.add(event["kind"])
    assert kinds == set(KINDS) - {"feed_silence"}


def test_what_says_less_than_a_card_needs_is_none() -> None:
    good: dict[str, Any] = next(event for event in golden_alerts() if "quantity" in event and event["change"] == "opened"
                                and event["kind"] == "supply_shortfall")  # fmt: skip
    assert read_alert(json.dumps(good).encode()) == good
    changes: list[dict[str, Any]] = [
        {"kind": "unheard_of"}, {"band": "green"}, {"at": "noon"}, {"at": None}, {"quantity": 3}, {"quantity": {"due": 1}},
        {"quantity": good["quantity"] | {"due": "3"}}, {"quantity": good["quantity"] | {"filled": -1}},
        {"quantity": good["quantity"] | {"overdue": 2**53}}, {"amount": {"owed": "much"}}, {"amount": [1]},
        {"alert_id": "supply_shortfall:x"}, {"revision": {}},
    ]  # fmt: skip
    for changed in changes:
        with pytest.raises(NotAnEvent):
            standing_of(good | changed)


def test_what_was_passed_on_and_kept_is_read_back_or_is_none() -> None:
    said = standing(3, 2, owed_e4=2**63 - 1)
    row = advanced(None, said)
    assert row is not None
    assert standing_from(list(said)) == said
    assert row_from([*row, ["", ""], []]) == row
    no_standings: list[Any] = [
        {}, None, [], list(said)[:-1], [1, *said[1:]], [*said[:3], len(KINDS), *said[4:]], [*said[:-1], "1"],
        [*said[:4], -1, *said[5:]], [*said[:-2], 2**63, 1],
    ]  # fmt: skip
    for bad in no_standings:
        with pytest.raises(NotAnEvent):
            standing_from(bad)
    for bad in ({}, [], list(row)[:-1], ["3", *row[1:]], [*row[:3], len(BANDS), *row[4:]]):
        with pytest.raises(NotAnEvent):
            row_from(bad)


events = st.lists(
    st.builds(
        standing, st.integers(1, 3), st.integers(1, 4), band=st.integers(0, 3), opened=st.integers(0, 3),
        kind=st.sampled_from([SUPPLY, ARREARS, BARGAIN]), owed_e4=st.integers(0, 10**15), overdue=st.integers(0, 9),
    ),
    max_size=30,
)  # fmt: skip


@given(events)
def test_a_card_that_follows_equals_one_summed_anew(story: list[Standing]) -> None:
    card, row = Card(), None
    for said in story:
        after = advanced(row, said)
        if after is not None:
            card.replace(said.slot, row, after)
            row = after
    anew = Card.of([("supply_shortfall:C1:320000:k", row)] if row else [])
    for name in ("open", "opened", "due", "filled", "overdue", "amount_owed_e4", "amount_overdue_e4", "open_ids"):
        assert getattr(card, name) == getattr(anew, name), name
    assert len(card.open_ids) == sum(map(sum, card.open)) <= 1


@given(events)
def test_whoever_lost_an_alert_has_nothing_open_of_it(story: list[Standing]) -> None:
    card, row = Card(), None
    for said in [*story, left(standing(9, 9))]:
        after = advanced(row, said)
        if after is not None:
            card.replace(said.slot, row, after)
            row = after
    assert not card.open_ids
    assert (card.due, card.overdue, card.amount_owed_e4) == (0, 0, 0)


def test_rows_are_forgotten_once_their_alert_is_long_over() -> None:
    over = Row(1, 2, SUPPLY, 0, 1, 0, 0, 0, 0, 0, 0, at_ms=1_000)
    assert not over.forgotten(1_000 + ROW_KEPT_MS)
    assert over.forgotten(1_001 + ROW_KEPT_MS)
    assert not over._replace(band=1).forgotten(10**15)


@pytest.mark.parametrize(
    ("measures", "step", "because"),
    [
        ({"open": 0, "open_red": 0}, None, []),
        ({"open": 1, "open_red": 0}, "remind", ["open"]),
        ({"open": 9, "open_red": 5}, "interview", ["open_red"]),
        ({"open": 9, "open_red": 0, "fill_rate_below_bp": 4_999}, "interview", ["fill_rate_below_bp"]),
        ({"open": 9, "open_red": 0, "fill_rate_below_bp": 5_000}, "remind", ["open"]),
        ({"open": 9, "open_red": 20, "fill_rate_below_bp": 10}, "violation_list", ["open_red"]),
        ({"open": 100, "open_red": 100}, "disqualify", ["open_red"]),
        ({"open": 0, "open_red": 0, "banded_share_bp": 499}, None, []),
        ({"open": 0, "open_red": 0, "banded_share_bp": 500}, "remind", ["banded_share_bp"]),
    ],
)
def test_the_worst_step_of_which_a_threshold_is_reached(
    measures: dict[str, int], step: str | None, because: list[str]
) -> None:
    assert suggested_step(measures, RULES, "supplier") == (step, because)


def test_a_share_needs_orders_enough() -> None:
    card = Card()
    for number in range(5):
        slot = f"bargain:C1:320000:o{number}"
        row = advanced(None, Standing(slot, 1, 1, BARGAIN, 0, 1, 0, 0, 0, 0, number))
        card.replace(slot, None, row)
    assert card.as_json("supplier", "S", None, RULES)["banded_share_bp"] is None
    few = card.as_json("supplier", "S", 10, RULES)
    assert (few["banded_orders"], few["orders"], few["banded_share_bp"], few["step"]) == (5, 10, 5_000, None)
    many = card.as_json("supplier", "S", 25, RULES)
    assert (many["banded_share_bp"], many["step"], many["because"]) == (2_000, "interview", ["banded_share_bp"])
    assert many["latest_observed"][0] == "bargain:C1:320000:o4:1"
    assert json.loads(json.dumps(many)) == many
    assert BANDS[1] in many["opened"]["bargain"]


def test_rules_of_nothing_suggest_nothing() -> None:
    rules = ScoreRules(dict.fromkeys(("supplier", "institution", "province"), ()))
    assert suggested_step({"open": 10**6, "open_red": 10**6}, rules, "supplier") == (None, [])


def test_nobody_is_ranked_by_what_others_owe_them() -> None:
    card = Card()
    owing = Standing("settlement_arrears:C1:320000:o1", 1, 1, ARREARS, 3, 3, 0, 0, 0, 5 * 10**10, 1)
    card.replace(owing.slot, None, advanced(None, owing))
    for dimension, total in (("supplier", 0), ("institution", 1), ("province", 1)):
        shown = card.as_json(dimension, "k", None, RULES)
        assert (shown["open_total"], shown["open_red"], shown["opened_total"]) == (total, total, total)
        assert shown["open"] == {"settlement_arrears": {"red": 1}}
    assert card.as_json("supplier", "k", None, RULES)["step"] is None
    assert card.as_json("institution", "k", None, RULES)["step"] == "interview"
