"""Provokes what alerts are about, on a busy run, and looks whether each fires and ends: ``python -m load_tests.outages``.

The rules are the repository's, but fire after seconds; the age of a hold counts in seconds, too.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from load_tests.monitored import NotReady, Scene, scene, send_nonsense, wait_for
from tests.cli.test_run import below

SOON: Final = {"for": "3s"}
STOPPED: Final = {
    "BrokerAway": "tansu",
    "RedisAway": "redis-server",
    "WorkerGone": "cli worker",
    "ProcessGone": "cli read-model",
}
"""Alerts that fire when a process is stopped (SIGSTOP), and a part of its command."""
_PATIENCE_S: Final = 90.0


def soon(rule: dict[str, Any]) -> None:
    """Lets a rule fire after seconds."""
    if "alert" in rule:
        rule |= SOON
    if rule.get("alert") == "HoldsWaitTooLong":
        rule["expr"] = rule["expr"].replace("86400", "20")


def firing(running: Scene) -> set[str]:
    """Returns the names of the alerts that fire."""
    return {each["metric"]["alertname"] for each in running.ask('ALERTS{alertstate="firing"}')}


@contextmanager
def stopped(running: Scene, part: str) -> Iterator[None]:
    """Stops the process whose command has ``part``; lets it go on at the end."""
    pids = [pid for pid, command in below(running.pid) if part in command]
    if not pids:
        raise NotReady(f"no process {part}")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _await(running: Scene, alert: str, *, fires: bool) -> float:
    began_s = time.monotonic()
    wait_for(
        lambda: (alert in firing(running)) == fires,
        f"{alert} {'does not fire' if fires else 'does not end'}",
        _PATIENCE_S,
    )
    return time.monotonic() - began_s


def provoke(running: Scene) -> Iterator[str]:
    """Yields what was seen of each alert; raises NotReady where one does not come, or does not end."""
    for alert in ("HoldsWaitTooLong", "ProvinceSilent"):  # the market sees to these by itself
        yield f"{alert}: fired after {_await(running, alert, fires=True):.0f} s"
    for alert, part in STOPPED.items():
        with stopped(running, part):
            fired_s = _await(running, alert, fires=True)
            also = ", ".join(sorted(firing(running) - {alert}))
        ended_s = _await(running, alert, fires=False)
        yield f"{alert}: fired {fired_s:.0f} s after {part} stood still, ended after {ended_s:.0f} s; besides: {also}"
    yield f"AlertsLate: fired after {_await(running, 'AlertsLate', fires=True):.0f} s, of what had to wait"
    asyncio.run(send_nonsense(running, 60_000))
    yield f"DeadLetterShare: fired after {_await(running, 'DeadLetterShare', fires=True):.0f} s"


def main() -> int:
    """Provokes them all; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with scene(Path(folder), soon, PRICELINK_MAX_SILENCE_MINUTES="0.2") as running:
                for line in provoke(running):
                    print(line, flush=True)
        except NotReady as fault:
            print(fault, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
