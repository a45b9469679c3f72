"""`make audit`: bill of materials, known vulnerabilities, our source, secrets in files. Says what it could not check.

Findings that are accepted stand here with their reason; one that is not found any more is a fault, too, so that the
lists cannot rot. What needs a network that is not there counts as not checked: it is said, and fails nothing.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).resolve().parent.parent
SBOM: Final = ROOT / ".cache" / "sbom.json"
SOURCES: Final = ("agents", "cli", "config", "gateway", "market", "notifier", "ops", "schemas", "streams")
_BIN: Final = Path(sys.executable).parent
_MADE: Final = r"tests/golden/|load_tests/results/|ops/grafana/dashboards/.*\.json"
"""Made by commands of ours, and large."""
_TOOL_S: Final = 120.0
_NETWORK_S: Final = 10
_AWAY: Final = ("NameResolutionError", "ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "Max retries")

Accepted = dict[tuple[str, str], str]
"""A file (a pattern) and a kind of finding: why it may stay."""

BANDIT: Final[Accepted] = {
    ("*", "B101"): "assertions state invariants; nothing depends on their running",
    ("*", "B311"): "seeded pseudo-random numbers are what the demo market and jitter want",
    ("*", "B404"): "we start our own processes",
    ("*", "B603"): "with fixed arguments, and no shell",
    ("cli/loopback.py", "B104"): "compares with what a container calls itself; binds nothing",
    ("ops/kubernetes/build.py", "B104"): "a pod has one address, and the network policy says who reaches it",
    ("ops/kubernetes/build.py", "B108"): "the mount of the pod's own empty folder",
    ("cli/native_twin.py", "B310"): "addresses of the compose file's own health checks",
    ("cli/run.py", "B310"): "our own page",
    ("gateway/pages.py", "B704"): "what could end a script is escaped in the same line",
}
SECRETS: Final[Accepted] = {
    ("docs/*.md", "Secret Keyword"): "names of variables, and answers cut short",
    ("ops/kubernetes/*", "Secret Keyword"): "the name of a secret, not what is in it",
    ("load_tests/generate.py", "Base64 High Entropy String"): "an alphabet",
    ("market/catalogue.py", "Base64 High Entropy String"): "an alphabet",
    ("tests/*", "Secret Keyword"): "made up for a test",
    ("tests/*", "Basic Auth Credentials"): "made up for a test",
    ("tests/*", "Hex High Entropy String"): "versions of policies, and product codes",
    ("tests/*", "Base64 High Entropy String"): "an alphabet",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one check."""

    name: str
    state: Literal["ok", "failed", "not checked"]
    said: tuple[str, ...]


def bill_of_materials() -> Outcome:
    """Writes what is installed with us, as uv.lock has it, in CycloneDX; every component has a hash."""
    done = _run("uv", "export", "--frozen", "--no-dev", "--format", "cyclonedx1.5", "-q")
    if done.returncode != 0:
        return Outcome("bill of materials", "failed", (done.stderr.strip()[-500:],))
    parts = json.loads(done.stdout)["components"]
    bare = [part["name"] for part in parts if not any("hashes" in each for each in part.get("externalReferences", ()))]
    if bare or not parts:
        return Outcome("bill of materials", "failed", (f"without a hash: {', '.join(bare) or 'nothing is listed'}",))
    SBOM.parent.mkdir(parents=True, exist_ok=True)
    SBOM.write_text(done.stdout, encoding="utf-8")
    return Outcome("bill of materials", "ok", (f"{len(parts)} components: {SBOM.relative_to(ROOT)}",))


def vulnerabilities() -> Outcome:
    """Asks OSV's database about everything in uv.lock that developers and users install."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        locked = _run("uv", "export", "--frozen", "--no-hashes", "--no-emit-project", "-q")
        pinned.write(locked.stdout)
        pinned.flush()
        done = _run(
            "pip-audit", "-r", pinned.name, "--no-deps", "--disable-pip", "-s", "osv",
            "--timeout", str(_NETWORK_S), "--progress-spinner", "off", "-f", "json",
        )  # fmt: skip
    return judged_vulnerabilities(done.stdout, done.stderr)


def judged_vulnerabilities(stdout: str, stderr: str) -> Outcome:
    """Returns the outcome from what pip-audit said."""
    name = "known vulnerabilities"
    try:
        found = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
        if any(word in stderr for word in _AWAY):
            return Outcome(name, "not checked", (f"the database of vulnerabilities cannot be reached: {last[:200]}",))
        return Outcome(name, "failed", (f"pip-audit does not work: {last[:500]}",))
    bad = [f"{each['name']} {each['version']}: {vuln['id']}, mended in {', '.join(vuln['fix_versions']) or 'no version'}"
           for each in found for vuln in each.get("vulns", ())]  # fmt: skip
    skipped = [f"{each['name']}: {each['skip_reason']}" for each in found if "skip_reason" in each]
    if bad:
        return Outcome(name, "failed", tuple(bad))
    if skipped:
        return Outcome(name, "not checked", tuple(skipped))
    return Outcome(name, "ok", (f"none in {len(found)} packages",))


def source() -> Outcome:
    """Has bandit read our source."""
    done = _run("bandit", "-q", "-r", *SOURCES, "-f", "json")
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return Outcome("source", "failed", (f"bandit does not work: {done.stderr.strip()[-500:]}",))
    if report["errors"]:
        return Outcome("source", "failed", tuple(str(each) for each in report["errors"]))
    found = ((each["filename"], each["test_id"], each["line_number"], each["issue_text"]) for each in report["results"])
    return judged("source", found, BANDIT)


def secrets() -> Outcome:
    """Has detect-secrets read every file of the repository."""
    done = _run("detect-secrets", "scan", "--no-verify", "--exclude-files", _MADE)
    try:
        results = json.loads(done.stdout)["results"]
    except (ValueError, KeyError):
        return Outcome("secrets", "failed", (f"detect-secrets does not work: {done.stderr.strip()[-500:]}",))
    found = ((file, each["type"], each["line_number"], "looks like a secret")
             for file, hits in results.items() for each in hits)  # fmt: skip
    return judged("secrets", found, SECRETS)


def judged(name: str, findings: Iterable[tuple[str, str, int, str]], accepted: Accepted) -> Outcome:
    """Returns the outcome of findings (file, kind, line, text), some of which are accepted."""
    used, bad, count = set(), [], 0
    for file, kind, line, text in findings:
        count += 1
        reasons = [each for each in accepted if each[1] == kind and fnmatch(file, each[0])]
        used.update(reasons)
        if not reasons:
            bad.append(f"{file}:{line} {kind}: {text}")
    bad += [f"{file} {kind} is accepted, and not found any more" for file, kind in accepted if (file, kind) not in used]
    said = tuple(bad) or (f"{count} findings, each accepted with a reason in ops/audit.py",)
    return Outcome(name, "failed" if bad else "ok", said)


def checks() -> Iterator[Outcome]:
    """Yields each check's outcome."""
    yield bill_of_materials()
    yield vulnerabilities()
    yield source()
    yield secrets()


def main() -> int:
    """Prints the outcomes; 1 where one failed."""
    failed = False
    for outcome in checks():
        print(f"{outcome.state.upper():<12} {outcome.name}: {outcome.said[0]}", flush=True)
        for line in outcome.said[1:]:
            print(f"{'':<12} {line}")
        failed |= outcome.state == "failed"
    return int(failed)


def _run(tool: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(_BIN / tool), *options], cwd=ROOT, capture_output=True, text=True, timeout=_TOOL_S, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
