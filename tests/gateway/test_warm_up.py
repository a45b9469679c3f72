"""After the warm-up no request compiles anything: it would hold up all others for seconds."""

from typing import Any

import numba
import pytest

from gateway import warm_up
from gateway.saved_rows import Listing, SavedRow, as_json
from schemas.packets import Sender, check_lines
from schemas.policy import Policy, load_policy
from streams.kernels import reference_price, sort_provinces


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_nothing_is_left_to_compile() -> None:
    warm_up.compile_kernels()
    kernels: tuple[Any, ...] = (sort_provinces, reference_price)
    before = [kernel.signatures for kernel in kernels]
    assert all(before)
    policy = load_policy(b"{}")
    assert isinstance(policy, Policy)
    listing = Listing(0, 12_000, True, 0, "91320000MA1XXXXX1A", 0, None, None)
    row = SavedRow(f"C{0:026d}", (listing,), 0, None, 0, 0, 0)
    assert as_json(row, policy, None)["lowest"] == "1.2000"
    assert check_lines(b"{", 1, Sender(0, -1), 0, 1).rejected
    assert [kernel.signatures for kernel in kernels] == before
