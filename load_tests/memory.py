"""How many bytes a live (product, province) slot takes in the machine: ``python -m load_tests.memory --provinces 8``.

Runs the listings of a market through the machines of all partitions, with checkpoints between as a worker makes them, and
counts of every array of their states the pages that are really resident (mincore), so free blocks, indexes, heaps, lists
of changed rows and what empty pools cost are in. ``packed`` is after the last checkpoint, ``grown`` just before it.
Writes load_tests/results/memory.json; ``rss_mb_of_states``: by how much the process grew, ``restored``: the same of machines that took
up the state from its rows. CPU seconds are beside wall seconds.
"""

import argparse
import ctypes
import gc
import mmap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import config.jit  # noqa: F401  (before the first kernel)
from load_tests.core import add_load_arguments, load_of
from load_tests.generate import Load, batches
from load_tests.report import RESULTS, heading, save
from schemas.policy import Policy, load_policy
from streams.machine import Machine
from streams.state import FIELDS

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def resident_bytes(array: npt.NDArray[Any]) -> int:
    """Returns how many bytes of an array lie in pages that are resident."""
    if array.nbytes == 0:
        return 0
    page = mmap.PAGESIZE
    address = array.ctypes.data
    first, end = address - address % page, address + array.nbytes
    pages = -(-(end - first) // page)
    seen = np.zeros(pages, np.uint8)
    if _LIBC.mincore(ctypes.c_void_p(first), ctypes.c_size_t(end - first), seen.ctypes.data_as(ctypes.c_void_p)) != 0:
        raise OSError(ctypes.get_errno(), "mincore")
    there = np.flatnonzero(seen & 1) * page + first
    return int((np.minimum(there + page, end) - np.maximum(there, address)).sum())


def rss_mb() -> float:
    """Returns the resident megabytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE / 2**20


def bytes_by_array(machines: list[Machine]) -> dict[str, int]:
    """Returns the resident bytes of each array of the machines' states, all machines together."""
    found: Counter[str] = Counter()
    for machine in machines:
        for state, suffix in ((machine._state, ""), (machine._scratch, " (scratch)")):  # noqa: SLF001
            for name in FIELDS:
                found[name + suffix] += resident_bytes(getattr(state, name))
    return dict(found.most_common())


def summary(machines: list[Machine]) -> dict[str, Any]:
    """Returns bytes a slot, and of which arrays."""
    slots = sum(int(code) for machine in machines for code in [_listings(machine)])
    found = bytes_by_array(machines)
    return {
        "slots": slots,
        "bytes_per_slot": round(sum(found.values()) / slots, 2),
        "by_array": {name: round(size / slots, 3) for name, size in found.items() if size / slots >= 0.005},
    }


def _listings(machine: Machine) -> int:
    state = machine._state  # noqa: SLF001
    return int(state.codes[: state.meta[0].codes]["listing_count"].sum(dtype=np.int64))


def measure(load: Load, checkpoint_every: int) -> dict[str, Any]:
    """Returns the figures of a log: its listings and what follows, with a checkpoint after so many batches."""
    policy = load_policy(b"{}")
    assert isinstance(policy, Policy)
    small = replace(load, products=500, records=500 * load.provinces)
    for batch in batches(small):
        Machine(batch.partition, load.partitions, policy).apply(batch)
    gc.collect()
    before_mb = rss_mb()
    machines = [Machine(partition, load.partitions, policy) for partition in range(load.partitions)]
    applied = [0] * load.partitions
    next_offset = [0] * load.partitions
    longest_s = 0.0
    for batch in batches(load):
        machines[batch.partition].apply(batch)
        applied[batch.partition] += 1
        next_offset[batch.partition] = int(batch.messages["offset"][-1]) + 1
        if applied[batch.partition] % checkpoint_every == 0:
            began_s = time.thread_time()
            machines[batch.partition].checkpoint(next_offset[batch.partition])
            longest_s = max(longest_s, time.thread_time() - began_s)
    del batch
    result: dict[str, Any] = {"grown": summary(machines)}
    restored = []
    restore_s = restore_cpu_s = 0.0
    for machine, offset in zip(machines, next_offset, strict=True):
        machine.checkpoint(offset)
    gc.collect()
    result["packed"] = summary(machines)
    result["rss_mb_of_states"] = round(rss_mb() - before_mb, 1)
    result["longest_checkpoint_cpu_ms"] = round(longest_s * 1000, 1)
    for number, offset in enumerate(next_offset):
        machine = machines[number]
        state = machine._state  # noqa: SLF001
        state.dirty[: state.meta[0].codes] = np.arange(state.meta[0].codes)
        state.meta[0].dirty = state.meta[0].codes
        rows = machine.checkpoint(offset)
        again = Machine(number, load.partitions, policy)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        again.restore([rows])
        restore_s += time.perf_counter() - began_s
        restore_cpu_s += time.process_time() - began_cpu_s
        restored.append(again)
        machines[number] = again
    result["restored"] = summary(restored)
    result["restored"] |= {"seconds": round(restore_s, 3), "cpu_s": round(restore_cpu_s, 3)}
    return result


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    parser.set_defaults(products=1_000_000, provinces=8, partitions=8, records=0)
    parser.add_argument("--checkpoint-every", type=int, default=20, help="batches of a partition between checkpoints")
    parser.add_argument("--out", type=Path, default=RESULTS / "memory.json")
    options = parser.parse_args()
    options.records = options.records or options.products * options.provinces
    load = load_of(options)
    about = {"products": load.products, "provinces": load.provinces, "partitions": load.partitions}
    save(options.out, heading("none") | about | measure(load, options.checkpoint_every))


if __name__ == "__main__":
    main()
