"""A machine that hangs once, at a record with a negative ``add``."""

import os
import time
from pathlib import Path

from schemas.batches import Batch, Effects
from tests.agents.fake_machine import FakeMachine

HANG = "PRICELINK_TEST_HANG"
"""Names the file that notes that it hung."""


class HangingMachine(FakeMachine):
    """Hangs until its process ends."""

    def apply(self, batch: Batch, reached: object = None) -> Effects:
        once = Path(os.environ[HANG])
        if b'"add":-1' in batch.data.tobytes() and not once.exists():
            once.touch()
            time.sleep(3600)
        return super().apply(batch, reached)
