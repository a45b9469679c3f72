"""An event loop of its own time, in which processes can die between any two steps."""

import asyncio
import contextlib
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

PROCESS: contextvars.ContextVar[str] = contextvars.ContextVar("process", default="world")


class SimLoop(asyncio.AbstractEventLoop):
    """Runs callbacks one by one, in the order in which they became ready; time passes only when none is.

    Every task belongs to a process (by its context). ``kill`` drops all that a process would ever still do: no
    ``except`` and no ``finally`` of it runs, just as with kill -9.
    """

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._now = 0.0
        self._number = 0
        self._dead: set[str] = set()
        self._kept: list[Any] = []  # tasks of the dead must not be collected while we look: that would close them
        self.steps = 0
        self.faults: list[dict[str, Any]] = []
        self.before_step: Callable[[int], None] = lambda _step: None

    def kill(self, process: str) -> None:
        self._dead.add(process)

    def start(self, process: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self, context=context)
        self._kept.append(task)
        return task

    def run_while(self, go_on: Callable[[], bool], most_steps: int) -> None:
        asyncio._set_running_loop(self)
        try:
            while go_on():
                if self.steps >= most_steps:
                    raise AssertionError(f"still running after {most_steps} steps")
                handle = self._next()
                if handle is None:
                    raise AssertionError("nothing left to do, and not done")
                self.steps += 1
                self.before_step(self.steps)
                process = handle._context.get(PROCESS, "world")  # type: ignore[attr-defined]
                if not handle.cancelled() and process not in self._dead:
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def close(self) -> None:
        """Ends what is left, now and here: collected later, it would end in the midst of something else."""
        for task in self._kept:
            if not task.done():
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
        self._kept.clear()
        self._ready.clear()
        self._timers.clear()

    def _next(self) -> asyncio.Handle | None:
        if not self._ready:
            while self._timers:
                when, _, timer = heapq.heappop(self._timers)
                if not timer.cancelled():
                    self._now = max(self._now, when)
                    return timer
            return None
        return self._ready.popleft()

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._kept.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if "was destroyed" not in str(context.get("message")):
            self.faults.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass
