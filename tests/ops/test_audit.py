"""The audit tells what it found from what it could not look at, and its lists of accepted findings cannot rot."""

import json

from ops.audit import Accepted, judged, judged_vulnerabilities

ACCEPTED: Accepted = {("a/*.py", "B1"): "meant", ("*", "B2"): "meant, too"}
THERE = [("a/x.py", "B1", 3, "text"), ("b/y.py", "B2", 4, "text")]


def dependencies(*found: dict[str, object]) -> str:
    return json.dumps({"dependencies": found})


def test_accepted_findings_are_fine_and_others_are_not() -> None:
    assert judged("source", THERE, ACCEPTED).state == "ok"
    outcome = judged("source", [*THERE, ("b/x.py", "B1", 5, "elsewhere")], ACCEPTED)
    assert (outcome.state, outcome.said) == ("failed", ("b/x.py:5 B1: elsewhere",))


def test_what_is_accepted_and_gone_is_said() -> None:
    outcome = judged("source", THERE[:1], ACCEPTED)
    assert (outcome.state, outcome.said) == ("failed", ("* B2 is accepted, and not found any more",))


def test_a_known_vulnerability_fails() -> None:
    bad: dict[str, object] = {"name": "p", "version": "1", "vulns": [{"id": "GHSA-1", "fix_versions": ["2"]}]}
    outcome = judged_vulnerabilities(dependencies({"name": "q", "version": "1", "vulns": []}, bad), "")
    assert (outcome.state, outcome.said) == ("failed", ("p 1: GHSA-1, mended in 2",))
    assert judged_vulnerabilities(dependencies({"name": "q", "version": "1", "vulns": []}), "").state == "ok"


def test_without_a_network_nothing_was_checked_and_a_broken_tool_fails() -> None:
    away = judged_vulnerabilities(
        "", "Traceback\nrequests.exceptions.ConnectionError: NameResolutionError: api.osv.dev"
    )
    assert (away.state, "cannot be reached" in away.said[0]) == ("not checked", True)
    skipped = judged_vulnerabilities(dependencies({"name": "q", "skip_reason": "not on the index"}), "")
    assert (skipped.state, skipped.said) == ("not checked", ("q: not on the index",))
    assert judged_vulnerabilities("", "usage: pip-audit [-h]").state == "failed"
