"""What provokes alerts knows the rules: each is one, and what it shortens of a rule is there to be shortened."""

import copy
from typing import Any

import pytest

from load_tests.outages import STOPPED
from load_tests.provoked import FAULTS, SHORTER, SHORTER_FOR, shorter
from tests.ops.test_rules import ALERTS


def test_every_alert_that_is_provoked_is_one() -> None:
    names = {rule["alert"] for rule in ALERTS}
    assert FAULTS.keys() | STOPPED.keys() <= names
    assert SHORTER.keys() | SHORTER_FOR.keys() <= FAULTS.keys()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_only_rules_that_look_back_for_long_are_shortened(rule: dict[str, Any]) -> None:
    changed = copy.deepcopy(rule)
    shorter(changed)
    for usual, short in SHORTER.get(rule["alert"], ()):
        assert usual in rule["expr"]
        assert usual not in changed["expr"]
        assert short in changed["expr"]
    if rule["alert"] not in SHORTER:
        assert changed == rule
