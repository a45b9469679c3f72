"""`pricelink explain` finds the records behind an alert, and its arithmetic agrees with every golden event."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.log_file import open_log, read_log
from cli.main import app
from gateway.arithmetic import arithmetic, pack_multiple, policy_of
from schemas.parser import Record, parse_line
from schemas.policy import Policy, load_policy

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NAMES = [
    "01-linkage",
    "02-holds",
    "03-timers-ceilings-orders",
    "04-supply-settlement",
    *(f"generated/{number:02}-prices" for number in range(1, 7)),
    *(f"generated/{number:02}-everything" for number in range(7, 13)),
]
PRICE_KINDS = {"price_adjustment", "ceiling_breach", "price_hold", "bargain"}


def policy_file(folder: Path) -> Path:
    own = folder / "policy.json"
    return own if own.exists() else GOLDEN / "policy.json"


def lines_of(folder: Path) -> dict[tuple[int, int], list[bytes]]:
    with open_log(folder / "log.ndjson") as file:
        return {(each.partition, each.offset): each.value.split(b"\n") for each in read_log(file, "log")}


@pytest.mark.parametrize("name", NAMES)
def test_the_arithmetic_agrees_with_every_golden_event(name: str) -> None:
    folder = GOLDEN / name
    lines = lines_of(folder)
    own = load_policy(policy_file(folder).read_bytes())
    assert isinstance(own, Policy)
    policies: dict[str, Policy | None] = {own.version: own}
    first: dict[str, dict[str, Any]] = {}
    checked = 0
    for event in map(json.loads, (folder / "alerts.ndjson").read_bytes().splitlines()):
        first.setdefault(event["alert_id"], event)
        version = event["policy_version"]
        if version not in policies:
            found = (policy_of(message, version) for message in lines.values())
            policies[version] = next((policy for policy in found if policy is not None), None)
        positions = event["evidence"]
        parsed = (parse_line(lines[place["partition"], place["offset"]][place["line"]]) for place in positions)
        records = [record for record in parsed if isinstance(record, Record)]
        assert policies[version] is not None
        steps = list(arithmetic(event, first[event["alert_id"]], records, policies[version]))
        assert [text for text, agrees in steps if agrees is False] == [], event["event_id"]
        checked += sum(agrees is True for _, agrees in steps)
    assert checked


@pytest.mark.parametrize(
    ("lowest_e4", "held_e4", "multiple"),
    [(10_000_000, 1_000_000, 10), (10_200, 5_100, 2), (102, 50, 2), (103, 50, None), (98, 50, 2), (97, 50, None),
     (5, 5, None), (1_000_000, 1_000, 1000), (1_020_000, 1_000, 1000), (1_021_000, 1_000, None), (980, 10, 98)],
)  # fmt: skip
def test_a_multiple_is_the_number_of_pieces_that_a_mistake_would_explain(
    lowest_e4: int, held_e4: int, multiple: int | None
) -> None:
    assert pack_multiple(lowest_e4, held_e4) == multiple


def explain(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["explain", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


ALERT = "price_adjustment:C09100100000000211790000049:320000:1"
OFFLINE = ["--log", str(GOLDEN / "01-linkage/log.ndjson"), "--policy", str(GOLDEN / "policy.json")]
EVENTS = ["--alerts", str(GOLDEN / "01-linkage/alerts.ndjson")]


def test_offline_it_shows_events_records_and_arithmetic() -> None:
    text = explain(f"{ALERT}/2", *OFFLINE, *EVENTS)
    assert "0/3/0" in text
    assert "Shandong" in text
    assert "(1200.0000 − 950.5000) × 10,000 ÷ 950.5000, rounded down = 2624 bp  ✓" in text
    assert "red from 2000 bp → red  ✓" in text
    assert "✗" not in text


def test_without_events_it_replays_the_log() -> None:
    assert explain(ALERT, *OFFLINE) == explain(ALERT, *OFFLINE, *EVENTS)


def test_an_alert_that_is_not_there_is_said() -> None:
    done = CliRunner().invoke(app, ["explain", "price_hold:X:1", *OFFLINE, *EVENTS])
    assert done.exit_code == 2
    assert "no event of alert price_hold:X:1" in done.output


def test_a_revision_that_is_not_there_is_said() -> None:
    done = CliRunner().invoke(app, ["explain", ALERT, "--revision", "9", *OFFLINE, *EVENTS])
    assert done.exit_code == 2
    assert "has no revision 9: there are 1 to 3" in done.output


def test_a_policy_of_another_version_is_said() -> None:
    text = explain(f"{ALERT}/2", *OFFLINE[:2], *EVENTS)
    assert "thresholds of policy 44136fa355b3678a are not known here" in text
