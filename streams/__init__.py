"""The deterministic machine: columns in, effects out, no I/O. Read machine.py first."""

import config.jit as _jit  # noqa: F401  # before any kernel is compiled or loaded
