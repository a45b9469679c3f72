"""How glibc gives memory back. Elsewhere, or with another C library, nothing is done."""

import ctypes
import platform
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_LARGEST_KEPT_BYTES: Final = 32 << 20
"""The most that glibc allows: a chunk's arrays are smaller."""
_KEPT_BYTES: Final = 256 << 20


def keep_freed_blocks() -> bool:
    """Has blocks of a chunk's size reused; returns whether it could.

    By default each array of more than 128 KiB is a new mapping, whose pages the kernel clears one fault at a time: a
    fifth of a catch-up's processor time. The machine's pools have mappings of their own all the same (``streams.growth``).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(mallopt(name, value) == 1 for name, value in wanted)
