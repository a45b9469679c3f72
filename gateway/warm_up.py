"""Compiles every kernel of a gateway, or loads it from the cache: a request would wait for it, and all others behind it."""

from typing import Final

from gateway import saved_rows
from schemas.packets import Sender, check_lines

_LINES: Final = (
    b'{"type":"tick","at":0}\n{"type":"quote","code":"C%026d","province":"110000","at":0,"price":1,' % 0
    + b'"supplier":"91320000MA1XXXXX1A"}'
)


def compile_kernels() -> None:
    """Checks two lines, and computes the references of a code without prices."""
    check_lines(_LINES, 1, Sender(0, -1), 0, 1)
    saved_rows.compile_kernels()
