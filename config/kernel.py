"""How a kernel is compiled: said once, for all of them (docs/adr/0015).

A kernel takes arrays and numbers, writes into arrays that it is given, and neither allocates nor returns an array.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from numba import njit

import config.jit  # noqa: F401 - says where compiled kernels are kept

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

OPTIONS: Final[dict[str, bool]] = {
    "cache": True,
    "nogil": True,
    # No counting of references to arrays: whoever calls a kernel holds its arrays anyway, and numba would count, by an
    # atomic instruction, at every call of one kernel by another. One that allocates does not compile.
    "_nrt": False,
}
"""What ``numba.njit`` is told."""


def kernel(function: Kernel) -> Kernel:
    """Compiles a function at its first call, or loads it from the cache; with JIT off it is the function itself."""
    compiled: Kernel = njit(**OPTIONS)(function)
    return compiled


def inlined_kernel(function: Kernel) -> Kernel:
    """As ``kernel``; its code becomes part of each kernel that calls it."""
    compiled: Kernel = njit(**OPTIONS, forceinline=True)(function)
    return compiled
