"""What the shell needs of the deterministic machine (``streams.machine.Machine``), so that tests may put in another."""

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from config.settings import Settings
from schemas.batches import Batch, Effects, StateRows

Reached = Callable[[str], object]
"""Is told the name of a stage."""


class MachineLike(Protocol):
    """All state of one partition; a function of the log."""

    @property
    def clock_ms(self) -> int:
        """Returns the partition clock (SPEC §2)."""

    def apply(self, batch: Batch, reached: Reached | None = None) -> Effects:
        """Applies a batch, whole. ``reached``: told each stage that is done."""

    def open_alerts(self) -> npt.NDArray[np.int64]:
        """Returns how many alerts are open: int64[9 kinds, 4 bands]."""

    def checkpoint(self, next_offset: int) -> StateRows:
        """Returns the rows that changed since the last call; what was applied ends before ``next_offset``."""

    def restore(self, blocks: Iterable[StateRows]) -> int | None:
        """Takes the rows of the state topic; returns the next offset to read in feeds, None if there were none.

        Runs in a thread of its own: blocks come as they are fetched.
        """


NewMachine = Callable[[int], MachineLike]
"""Takes the number of a partition, returns its empty machine."""


def real_machines(settings: Settings) -> NewMachine:
    """Returns what makes the product's machines, with the policy of the settings' file; raises ``ConfigFault``."""
    from agents.exits import ConfigFault
    from agents.known_rows import KnownRowsMachine
    from schemas.parser import Reject
    from schemas.policy import load_policy

    policy = load_policy(settings.policy_file.read_bytes())
    if isinstance(policy, Reject):
        raise ConfigFault(f"{settings.policy_file}: {policy.message}")

    def new_machine(partition: int) -> MachineLike:
        return KnownRowsMachine(partition, settings.partitions, policy)

    return new_machine
