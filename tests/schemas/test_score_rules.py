"""The file of rules: what it may say, and what is said of it when it says something else."""

import json
from typing import Any

import pytest

from config.settings import Settings
from schemas.score_rules import STEPS, OveruseRules, RulesFault, parse_score_rules


def test_the_file_that_comes_with_it_is_fit_and_has_every_step() -> None:
    rules = parse_score_rules(Settings().scorecards_file.read_bytes())
    assert tuple(step for step, _ in rules.steps["supplier"]) == STEPS
    assert rules.overuse == OveruseRules()


def test_an_empty_object_suggests_nothing() -> None:
    rules = parse_score_rules(b"{}")
    assert set(rules.steps.values()) == {()}
    assert rules.min_orders == 20


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "the file must be an object"),
        ({"vendor": {}}, "vendor is unknown"),
        ({"supplier": {"warn": {"open": 1}}}, "supplier.warn is unknown; there are remind"),
        ({"supplier": {"remind": {"opne": 1}}}, "supplier.remind.opne is unknown"),
        ({"supplier": {"remind": {}}}, "supplier.remind has no threshold"),
        ({"supplier": {"remind": {"open": 0}}}, "supplier.remind.open must be an integer from 1"),
        ({"supplier": {"remind": {"open": 1.5}}}, "supplier.remind.open must be an integer"),
        ({"supplier": {"remind": {"open": True}}}, "supplier.remind.open must be an integer"),
        ({"min_orders": "20"}, "min_orders must be an integer"),
        ({"overuse": {"most": 1}}, "overuse.most is unknown"),
        ({"overuse": {"most_rows": 10**15}}, "overuse.most_rows must be an integer"),
    ],
)
def test_what_is_unfit_is_named(given: Any, says: str) -> None:
    with pytest.raises(RulesFault, match=says):
        parse_score_rules(json.dumps(given).encode())


def test_what_is_not_json_is_said_so() -> None:
    with pytest.raises(RulesFault, match="not JSON"):
        parse_score_rules(b"{")
