"""When an event is tried again, and when an endpoint has failed for too long. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

DELAYS_S: Final = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Before the first attempt, the second, …: 0, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h. Then it is given up."""
JITTER: Final = 0.1
"""Each delay is longer by up to this share, so that what failed together does not come back together."""
LONGEST_RETRY_AFTER_S: Final = 86_400
FAILING_MS: Final = 120 * 3_600_000
"""An endpoint that has only failed for so long is disabled."""
GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt. ``status``: of the answer, None where there was none; ``problem``: a word for why."""

    status: int | None
    problem: str | None
    took_ms: int
    retry_after_s: float | None = None

    @property
    def succeeded(self) -> bool:
        """Tells whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300 and self.problem is None


def next_due_ms(attempts: int, outcome: Outcome, now_ms: int, chance: Callable[[], float]) -> int | None:
    """Returns when an event is due after so many failed attempts; None: it is given up.

    ``chance``: gives numbers from 0 to below 1. ``Retry-After`` makes the wait longer, never shorter.
    """
    if attempts >= len(DELAYS_S):
        return None
    wait_s = DELAYS_S[attempts] * (1 + JITTER * chance())
    return lengthened_ms(now_ms + int(wait_s * 1_000), outcome, now_ms)


def lengthened_ms(due_ms: int, outcome: Outcome, now_ms: int) -> int:
    """Returns when an event is due that would be at ``due_ms``: then, or as late as ``Retry-After`` says, up to a day."""
    asked_s = min(outcome.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
    return max(due_ms, now_ms + int(asked_s * 1_000))


def why_disabled(outcome: Outcome, failing_since_ms: int | None, now_ms: int) -> str | None:
    """Returns a word for why an endpoint is disabled after this outcome; None: it is not."""
    if outcome.status == GONE:
        return "gone"
    if failing_since_ms is not None and now_ms - failing_since_ms >= FAILING_MS:
        return "failed_for_120_hours"
    return None
