"""Timers: one heap of (due, code) entries, earliest first.

A code's row says when its earliest timer is due (``due_ms``) and which of its entries in the heap is earliest
(``queued_ms``). An entry that a row has outlived is dropped, or put back later, when it comes to the top: so a code
has few entries, and a tick costs nothing while nothing is due.
"""

from numba import njit

from streams.layout import NEVER_MS
from streams.state import State


@njit(cache=True)
def push_timer(s: State, due_ms: int, row: int) -> None:
    """Adds an entry."""
    at = s.meta[0].timers
    s.meta[0].timers += 1
    while at > 0:
        parent = (at - 1) >> 1
        if s.timers[parent].due_ms <= due_ms:
            break
        s.timers[at] = s.timers[parent]
        at = parent
    s.timers[at].due_ms = due_ms
    s.timers[at].code = row


@njit(cache=True)
def pop_timer(s: State) -> None:
    """Removes the earliest entry."""
    s.meta[0].timers -= 1
    size = s.meta[0].timers
    if size == 0:
        return
    due_ms = s.timers[size].due_ms
    row = s.timers[size].code
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and s.timers[child + 1].due_ms < s.timers[child].due_ms:
            child += 1
        if s.timers[child].due_ms >= due_ms:
            break
        s.timers[at] = s.timers[child]
        at = child
    s.timers[at].due_ms = due_ms
    s.timers[at].code = row


@njit(cache=True)
def schedule(s: State, row: int, due_ms: int) -> None:
    """Sets when the code's earliest timer is due."""
    code = s.codes[row]
    code.due_ms = due_ms
    if due_ms < code.queued_ms:
        code.queued_ms = due_ms
        push_timer(s, due_ms, row)


@njit(cache=True)
def due_code(s: State, until_ms: int) -> int:
    """The code whose timer is due next, if by ``until_ms``: it is taken off the heap. Otherwise -1."""
    while s.meta[0].timers > 0:
        due_ms = s.timers[0].due_ms
        if due_ms > until_ms:
            return -1
        row = s.timers[0].code
        pop_timer(s)
        code = s.codes[row]
        if code.queued_ms == due_ms:
            code.queued_ms = NEVER_MS
        if code.due_ms == due_ms:
            return int(row)
        if code.queued_ms == NEVER_MS and code.due_ms < NEVER_MS:
            code.queued_ms = code.due_ms
            push_timer(s, code.due_ms, row)
    return -1
