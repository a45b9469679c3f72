"""How a process keeps its memory: what it reuses, what it gives back, what collections of garbage pass over."""

import ctypes
import gc
import platform
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_LARGEST_KEPT_BYTES: Final = 32 << 20
"""The most that glibc allows: a chunk's arrays are smaller."""
_KEPT_BYTES: Final = 256 << 20
_BODY_BYTES: Final = 128 << 10


def keep_freed_blocks() -> bool:
    """Has blocks of a chunk's size reused; returns whether it could.

    By default each array of more than 128 KiB is a new mapping, whose pages the kernel clears one fault at a time: a
    fifth of a catch-up's processor time. The machine's pools have mappings of their own all the same (``streams.growth``).
    """
    return _tell_glibc((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES))


def give_back_freed_blocks() -> bool:
    """Has blocks of a request body's size go back to the system as they are freed; returns whether it could.

    By default glibc learns from the largest block that was ever freed to keep such, in pieces: a server of bodies of all
    sizes grows for days.
    """
    return _tell_glibc((_ARENA_MAX, 2), (_MMAP_THRESHOLD, _BODY_BYTES), (_TRIM_THRESHOLD, _BODY_BYTES))


def _tell_glibc(*wanted: tuple[int, int]) -> bool:
    """Returns False with another C library, where nothing is done."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in wanted)


def keep_imports_out_of_collections() -> None:
    """To be called once all is imported: a full collection of that million objects would hold up a stream for 0.1 to 0.25 s."""
    gc.collect()
    gc.freeze()
