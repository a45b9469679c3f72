"""A tree of child processes: started in order, restarted when they end, stopped in reverse order, orphaned never."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
BACKOFF_S: Final = (0.2, 1.0, 2.0, 5.0, 10.0)
"""How long to wait before the first, second, … restart in a row; the last counts for all later ones."""
STEADY_S: Final = 60.0
"""A child that ran for so long starts again with the first backoff."""
GRACE_S: Final = 10.0
"""How long the children of a stage may take to end after SIGTERM before SIGKILL; ours end themselves a second sooner."""
TAIL_LINES: Final = 12
"""Lines of its log that are shown when a child ends by itself."""
TAIL_COLUMNS: Final = 200

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Between fork and exec: the kernel kills this process when its parent dies, even by SIGKILL (Linux)."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if _libc is not None:
        parent = os.getppid()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it died in between


@dataclass(slots=True)
class Child:
    """One process of the tree. ``stage``: those of a higher one are stopped first. ``kept``: restarted when it ends."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    stage: int
    kept: bool
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    again_s: float | None = None
    failures: int = 0
    exit_code: int | None = None
    """Of its last end; negative: the signal that killed it."""


@dataclass(slots=True)
class ProcessTree:
    """The children of this process, and where each writes its output: ``{logs}/{name}.log``.

    ``hopeless``: exit codes after which a restart would not help.
    """

    logs: Path
    say: Callable[[str], None]
    hopeless: frozenset[int] = frozenset()
    children: list[Child] = field(default_factory=list)

    def start(
        self, name: str, arguments: list[str], environment: Mapping[str, str], *, stage: int, kept: bool = True
    ) -> Child:
        """Starts a child; it lives at most as long as this process."""
        child = Child(name, arguments, environment, stage, kept)
        self.children.append(child)
        self._spawn(child)
        return child

    def _spawn(self, child: Child) -> None:
        with self.log_of(child).open("ab") as log:
            child.process = subprocess.Popen(
                child.arguments,
                env=dict(child.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we pass it on in order
                preexec_fn=die_with_parent,  # noqa: PLW1509  # this process has one thread
            )
        child.started_s, child.again_s = time.monotonic(), None

    def log_of(self, child: Child) -> Path:
        """Returns the file that holds what a child wrote."""
        return self.logs / f"{child.name}.log"

    def watch(self) -> None:
        """Looks once at every child: says which ended, and starts those again whose backoff is over."""
        now = time.monotonic()
        for child in self.children:
            if child.again_s is not None:
                if now >= child.again_s:
                    self._spawn(child)
            elif child.process is not None and (code := child.process.poll()) is not None:
                self._ended(child, code, now)

    def _ended(self, child: Child, code: int, now: float) -> None:
        child.process, child.exit_code = None, code
        if not child.kept or code in self.hopeless:
            if code != 0:
                self.say_end(child)
            return
        child.failures = 1 if now - child.started_s > STEADY_S else child.failures + 1
        wait_s = BACKOFF_S[min(child.failures, len(BACKOFF_S)) - 1]
        child.again_s = now + wait_s
        self.say_end(child, f"starting it again in {wait_s:g} s; ")

    def say_end(self, child: Child, consequence: str = "") -> None:
        """Says how a child ended, what follows from it, and its last lines if it ended by itself."""
        code = child.exit_code or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self.say(f"{child.name} ended ({how}); {consequence}its log: {self.log_of(child)}")
        if code > 0:
            for line in self.tail(child):
                self.say(f"  {child.name} | {line[:TAIL_COLUMNS]}")

    @property
    def given_up(self) -> Child | None:
        """Returns a child that ended with a hopeless code, if there is one."""
        return next((child for child in self.children if child.kept and child.exit_code in self.hopeless), None)

    def tail(self, child: Child) -> list[str]:
        """Returns the last lines that a child wrote."""
        try:
            with self.log_of(child).open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 8192))
                return log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        except OSError:
            return []

    def stop(self) -> None:
        """Ends all children, stage by stage; what does not end within the grace is killed."""
        for child in self.children:
            child.kept, child.again_s = False, None
        for stage in sorted({child.stage for child in self.children}, reverse=True):
            running = [child for child in self.children if child.stage == stage and child.process is not None]
            for child in running:
                _signal_group(child.process, signal.SIGTERM)
            deadline_s = time.monotonic() + GRACE_S
            for child in running:
                self._await_end(child, deadline_s)

    def _await_end(self, child: Child, deadline_s: float) -> None:
        assert child.process is not None
        try:
            child.process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.say(f"{child.name} did not stop within {GRACE_S:g} s: killed")
        _signal_group(child.process, signal.SIGKILL)  # itself, or what it may have started and left
        child.process.wait()
        child.process = None


def _signal_group(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is not None:
        with suppress(ProcessLookupError):  # the whole group is gone
            os.killpg(process.pid, number)
