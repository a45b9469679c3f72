"""What all kernels are compiled with."""

from typing import Any

import numba
import numpy as np
import pytest
from numba.core.errors import NumbaError

from config.kernel import OPTIONS, kernel
from schemas.octets import octet

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


def _space_at(data: Any, at: int) -> int:
    while octet(data, at) == 0x20 or octet(data, at) == 0x09:
        at += 1
    return at


@kernel
def _allocates(count: int) -> int:
    return int(np.zeros(count, np.int64).size)


@pytest.mark.parametrize(("options", "counts"), [(OPTIONS, False), ({}, True)])
def test_references_are_not_counted(options: dict[str, bool], counts: bool) -> None:
    skip: Any = numba.njit(**options | {"cache": False})(_space_at)  # what comes from the cache shows no code
    assert skip(np.frombuffer(b" \t x", np.uint8).copy(), 0) == 3
    (code,) = skip.inspect_asm().values()
    assert ("NRT_incref" in code) is counts


def test_what_allocates_does_not_compile() -> None:
    with pytest.raises(NumbaError, match="Only accept returning of array"):
        _allocates(3)
