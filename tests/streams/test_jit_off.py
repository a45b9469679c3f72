"""The kernels as plain Python: the rules need no compiler, and a debugger can step through them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.streams.logs import GOLDEN_LOGS, by_code, golden, replay

ROOT = Path(__file__).resolve().parents[2]
LOGS = [folder for folder in GOLDEN_LOGS if folder.parent.name == "golden"] + GOLDEN_LOGS[-5:-3]
"""The small ones, and two of those that have everything: without the compiler a record takes milliseconds."""


def test_golden_logs_without_compiler() -> None:
    """One process for all logs: it runs this module's main. A number that wraps is an error."""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "tests.streams.test_jit_off"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [folder.name for folder in LOGS]


def main() -> None:
    """Compares the golden logs' outputs; prints the name of each that is right."""
    for folder in LOGS:
        log = golden(folder)
        got = replay(log, restart=True)
        assert by_code(got.alerts) == by_code(log.alerts), folder.name
        assert by_code(got.price_changes) == by_code(log.price_changes), folder.name
        assert got.dead_letters == log.dead_letters, folder.name
        print(folder.name)


if __name__ == "__main__":
    main()
