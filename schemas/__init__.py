"""Bytes to columns and objects, and back: the records of SPEC §2 to §7 and the events of SPEC §8."""

import config.jit as _jit  # noqa: F401  # before any kernel is compiled or loaded
