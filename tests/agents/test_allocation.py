"""glibc takes what we ask of it; another C library is left alone."""

import platform
import subprocess
import sys

import pytest

from agents import allocation

_FAULTS = """
import resource, sys
import numpy as np
from agents.allocation import keep_freed_blocks
if sys.argv[1] == "keep":
    assert keep_freed_blocks()
np.ones(4 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(3 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, check=True).stdout)


_KEPT = """
import sys
import numpy as np
from agents.allocation import give_back_freed_blocks
if sys.argv[1] == "give":
    assert give_back_freed_blocks()
from psutil import Process
np.ones(24 << 20, np.uint8)  # what glibc learns from
bodies = [np.ones(300 << 10, np.uint8) for _ in range(100)]
kept = bodies[-1:]
del bodies
print(Process().memory_info().rss >> 20)
"""


def resident_mb(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _KEPT, how], capture_output=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc")
def test_blocks_are_given_back() -> None:
    assert resident_mb("give") <= resident_mb("learn") - 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc")
def test_blocks_are_reused() -> None:
    assert faults("keep") < 200


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not allocation.keep_freed_blocks()
    assert not allocation.give_back_freed_blocks()
