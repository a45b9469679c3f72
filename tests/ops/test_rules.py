"""Alert rules: each has a severity, a page of the runbook that exists, and a promtool test that makes it fire."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings
from tests.ops.tools import tool

ROOT = Path(__file__).resolve().parent.parent.parent
PROMETHEUS = ROOT / "ops" / "prometheus"


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in loaded(PROMETHEUS / "rules" / name)["groups"] for rule in group["rules"]]


ALERTS = rules("alerts.yml")


def anchors() -> set[str]:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_every_alert_leads_to_a_page_of_the_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {"summary", "description", "runbook_url"} <= rule["annotations"].keys()
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == "docs/operations.md"
    assert anchor in anchors()
    assert rule["for"]


def test_every_alert_is_seen_firing_and_not_firing() -> None:
    tests = [each for test in loaded(PROMETHEUS / "tests" / "alerts.yml")["tests"] for each in test["alert_rule_test"]]
    fires = {test["alertname"] for test in tests if test["exp_alerts"]}
    quiet = {test["alertname"] for test in tests if not test["exp_alerts"]}
    assert fires == quiet == {rule["alert"] for rule in ALERTS}


def test_every_severity_has_a_receiver_and_inhibitions_name_alerts() -> None:
    config = loaded(ROOT / "ops" / "alertmanager" / "alertmanager.yml")
    routed = " ".join(matcher for route in config["route"]["routes"] for matcher in route["matchers"])
    assert all(f'severity="{severity}"' in routed for severity in ("page", "ticket"))
    matchers = " ".join(
        matcher
        for rule in config["inhibit_rules"]
        for side in ("source_matchers", "target_matchers")
        for matcher in rule[side]
    )
    named = set(re.findall(r"[A-Z]\w+", matchers))
    assert named
    assert named <= {rule["alert"] for rule in ALERTS}


def test_every_recording_rule_is_used() -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / "ops" / "grafana").glob("*.py")]
    texts.append((PROMETHEUS / "rules" / "alerts.yml").read_text("utf-8"))
    assert [
        rule["record"] for rule in rules("recording.yml") if not any(rule["record"] in text for text in texts)
    ] == []


def seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def test_a_worker_that_stands_still_is_told_of_before_its_watchdog_ends_it() -> None:
    """What begins anew looks well for a while: the alert would have to begin anew, too."""
    scrape_s = seconds(loaded(PROMETHEUS / "prometheus.yml")["global"]["scrape_interval"])
    found = {
        rule["alert"]: (group, rule)
        for group in loaded(PROMETHEUS / "rules" / "alerts.yml")["groups"]
        for rule in group["rules"]
    }
    for name, looks_back in (("LagWithoutProgress", r"\[(\d+)s\]"), ("CheckpointTooOld", r"seconds\) > (\d+)")):
        group, rule = found[name]
        window = re.search(looks_back, rule["expr"])
        assert window is not None
        latest_s = int(window[1]) + scrape_s + seconds(group["interval"]) + seconds(rule["for"])
        assert latest_s < Settings().stall_s, name


@pytest.mark.integration
@pytest.mark.parametrize(
    "command",
    [
        ["promtool", "check", "config", "ops/prometheus/prometheus.yml"],
        ["promtool", "test", "rules", "ops/prometheus/tests/alerts.yml"],
        ["amtool", "check-config", "ops/alertmanager/alertmanager.yml"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_the_tools_of_prometheus_are_content(command: list[str]) -> None:
    done = subprocess.run([tool(command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
