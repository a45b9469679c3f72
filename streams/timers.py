"""Timers: one heap of (due, code, ref) entries, earliest first.

``ref`` says whose timer it is: NONE the code's prices; else a contract, a place's gap or an order, its row times 4 plus
its kind. Each keeps which of its entries in the heap is earliest (``queued``). An entry that its owner has outlived is
dropped, or put back later, when it comes to the top: so each has few entries, and a tick costs nothing while nothing
is due. When an owner's timer is due follows from its row: see ``alarms``.
"""

from typing import Final

from numba import int64

from config.kernel import kernel
from streams.layout import NONE
from streams.state import State

OF_CONTRACT: Final = 0
OF_GAP: Final = 1
OF_ORDER: Final = 2
"""Kinds of refs, in the order in which a step's events come."""


@kernel
def ref_of(row: int, kind: int) -> int:
    """The ref of a row."""
    return int64(row) * 4 + kind


@kernel
def comes_before(s: State, one_ms: int, one: int, other_ms: int, other: int) -> bool:
    """Whether a timer fires before another: by due time, then by code, wherever the rows lie after a restart."""
    if one_ms != other_ms:
        return one_ms < other_ms
    if one == other:
        return False
    one_code = s.codes[one].code
    other_code = s.codes[other].code
    for i in range(one_code.size):
        if one_code[i] != other_code[i]:
            return one_code[i] < other_code[i]
    return False


@kernel
def push_timer(s: State, due_ms: int, row: int, ref: int) -> None:
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
    s.timers[at].ref = ref


@kernel
def pop_timer(s: State) -> None:
    """Removes the earliest entry."""
    s.meta[0].timers -= 1
    size = s.meta[0].timers
    if size == 0:
        return
    due_ms = s.timers[size].due_ms
    row = s.timers[size].code
    ref = s.timers[size].ref
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
    s.timers[at].ref = ref


@kernel
def schedule(s: State, row: int, due_ms: int) -> None:
    """Sets when the earliest timer of the code's prices is due."""
    code = s.codes[row]
    code.due_ms = due_ms
    if due_ms < code.queued_ms:
        code.queued_ms = due_ms
        push_timer(s, due_ms, row, NONE)
