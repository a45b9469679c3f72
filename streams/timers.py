"""Timers: one heap of (due, code) entries, earliest first.

A code's row says when its earliest timer is due (``due_ms``) and which of its entries in the heap is earliest
(``queued_ms``). An entry that a row has outlived is dropped, or put back later, when it comes to the top: so a code
has few entries, and a tick costs nothing while nothing is due.
"""

from numba import njit

from streams.layout import NEVER_MS
from streams.state import State


@njit(cache=True)
def comes_before(s: State, one_ms: int, one: int, other_ms: int, other: int) -> bool:
    """Whether a timer fires before another: by due time, then by code, wherever the rows lie after a restart."""
    if one_ms != other_ms:
        return one_ms < other_ms
    one_code = s.codes[one].code
    other_code = s.codes[other].code
    for i in range(one_code.size):
        if one_code[i] != other_code[i]:
            return one_code[i] < other_code[i]
    return False


@njit(cache=True)
def push_timer(s: State, due_ms: int, row: int) -> None:
    """Adds an entry."""
    at = s.meta[0].timers
    s.meta[0].timers += 1
    while at > 0:
        parent = (at - 1) >> 1
        above = s.timers[parent]
        if not comes_before(s, due_ms, row, above.due_ms, above.code):
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
        if child + 1 < size and comes_before(
            s, s.timers[child + 1].due_ms, s.timers[child + 1].code, s.timers[child].due_ms, s.timers[child].code
        ):
            child += 1
        if not comes_before(s, s.timers[child].due_ms, s.timers[child].code, due_ms, row):
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
