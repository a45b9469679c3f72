"""Where measurements write: ``load_tests/results/NAME.json``, each with the machine, the commit and the raw numbers."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from load_tests.harness import PROJECT

RESULTS: Final = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """Returns what it ran on."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory_gb, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Returns the commit, with a plus sign where the tree has changes of its own beside results."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    try:
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", ".", ":!load_tests/results", ":!docs"
        ).strip()
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def heading(broker: str) -> dict[str, Any]:
    """Returns what every file of results begins with."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "broker": broker,
    }


def save(path: Path, result: dict[str, Any]) -> None:
    """Writes results whole, or not at all, and prints them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    unfinished.replace(path)
    print(json.dumps(result, indent=1), flush=True)


def say(text: str) -> None:
    """Tells on standard error what is being measured."""
    print(text, file=sys.stderr, flush=True)
