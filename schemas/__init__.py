"""Bytes to columns and objects, and back: the records of SPEC §2 to §7 and the events of SPEC §8."""

import sys

import config.jit as _jit  # noqa: F401  # before any kernel is compiled or loaded

if "numba" in sys.modules:
    # Whoever imported numba first made it read its settings before ours: it would load kernels of older source, kept
    # beside the modules under their names alone.
    sys.modules["numba"].config.reload_config()
