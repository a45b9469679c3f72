"""`pricelink warm-up`: compiles every kernel into the cache, those of workers and those of gateways."""

import time
from typing import Final

from agents import warm_up as stream
from agents.known_rows import KnownRowsMachine
from config import jit
from gateway import warm_up as requests
from schemas.policy import Policy, load_policy

_PARTITIONS: Final = 1


def warm_up() -> str:
    """Compiles what is not compiled yet; returns a sentence that says how long it took."""
    began_s = time.perf_counter()
    policy = load_policy(b"{}")
    assert isinstance(policy, Policy)
    stream.warm_up(lambda partition: KnownRowsMachine(partition, _PARTITIONS, policy), _PARTITIONS)
    requests.compile_kernels()
    jit.mark_warm()
    return f"Kernels are compiled ({time.perf_counter() - began_s:.1f} s)."
