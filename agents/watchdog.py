"""Ends a process that has stopped working without knowing it: a consumer can die quietly, a loop can hang."""

import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Final

import structlog

from agents import exits

_log = structlog.get_logger("watchdog")
_LOOK_S: Final = 1.0
DRAIN_S: Final = 9.0
"""From SIGTERM to the end of a process that does not end by itself: its supervisor kills a second later."""


def _end_process(code: int) -> None:
    sys.stderr.flush()
    os._exit(code)


def end_in_time(within_s: float = DRAIN_S, end: Callable[[int], None] = _end_process) -> threading.Timer:
    """Ends this process with ``exits.STALLED`` after so long, unless it has ended by itself by then.

    Call it when the process is asked to stop. Returns the timer.
    """

    def late() -> None:
        _log.critical(
            "did not stop in time after it was asked to; it ends at once, and the next start repeats what was not acked",
            reason="stop_late", within_s=within_s, exit_code=exits.STALLED,
        )  # fmt: skip
        end(exits.STALLED)

    timer = threading.Timer(within_s, late)
    timer.daemon = True
    timer.start()
    return timer


class Watchdog:
    """A thread that is told once a second how far the work is, and acts when it is not told, or not further.

    ``end`` is called with ``exits.STALLED``; it ends the process at once, as whatever hangs would hang an orderly end.
    """

    def __init__(
        self,
        stall_s: float,
        *,
        end: Callable[[int], None] = _end_process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stall_s = stall_s
        self._end = end
        self._clock = clock
        self._told_at = clock()
        self._parts: dict[Hashable, tuple[object, float]] = {}
        self._stopped = threading.Event()

    def tell(self, progress: object, *, lag: int) -> None:
        """Notes how far the work is; without lag, standing still is no fault."""
        self.tell_parts({None: (progress, lag)})

    def tell_parts(self, parts: Mapping[Hashable, tuple[object, int]]) -> None:
        """Notes how far each part of the work is, and its lag: one that stands still is a fault, however the others go."""
        now = self._clock()
        self._told_at = now
        before = self._parts
        self._parts = {
            part: (progress, now if lag == 0 or part not in before or before[part][0] != progress else before[part][1])
            for part, (progress, lag) in parts.items()
        }

    def look(self) -> str | None:
        """Returns what is wrong, None if nothing is."""
        now = self._clock()
        if now - self._told_at > self._stall_s:
            return "the process does not respond"
        late = [part for part, (_, moved_at) in self._parts.items() if now - moved_at > self._stall_s]
        if late:
            which = "" if None in late else f" of {', '.join(map(str, late))}"
            return f"records{which} wait and none is applied"
        return None

    def start(self) -> None:
        """Starts looking, in a thread that does not keep the process alive."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stops looking."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(min(_LOOK_S, self._stall_s / 4)):
            if wrong := self.look():
                _log.critical(
                    "stands still; it ends, for its supervisor to start it again: look at the broker's and the host's load",
                    reason="stalled", wrong=wrong, stall_s=self._stall_s, exit_code=exits.STALLED,
                )  # fmt: skip
                self._end(exits.STALLED)
                return
