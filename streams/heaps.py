"""Heaps of keys that can lose any entry: pairing heaps, linked through nodes of one pool.

A heap is the index of its root, NONE where it is empty; adding and removing return the new root. Adding costs a
constant, removing O(log n) amortised. Whoever adds keeps the node to remove it by.
"""

from numba import int64

from config.kernel import kernel
from streams.layout import NONE
from streams.state import State


@kernel
def take_node(s: State, key: int) -> int:
    """Takes a node from the free ones, or from the end of the pool."""
    meta = s.meta[0]
    node = int64(meta.free_node)
    if node >= 0:
        meta.free_node = s.nodes[node].next
        meta.spare_nodes -= 1
    else:
        node = int64(meta.nodes)
        meta.nodes += 1
    taken = s.nodes[node]
    taken.key = key
    taken.child = NONE
    taken.next = NONE
    taken.previous = NONE
    return node


@kernel
def meld(s: State, one: int, other: int) -> int:
    """Makes one heap of two; neither root has a neighbour."""
    if one < 0:
        return int64(other)
    if other < 0:
        return int64(one)
    if s.nodes[other].key < s.nodes[one].key:
        one, other = other, one
    child = int64(s.nodes[one].child)
    s.nodes[other].next = child
    if child >= 0:
        s.nodes[child].previous = other
    s.nodes[other].previous = one
    s.nodes[one].child = other
    return int64(one)


@kernel
def meld_siblings(s: State, first: int) -> int:
    """Makes one heap of a list of siblings: in pairs from the left, then all from the right."""
    paired = int64(NONE)
    at = int64(first)
    while at >= 0:
        second = int64(s.nodes[at].next)
        rest = int64(NONE)
        s.nodes[at].next = NONE
        if second >= 0:
            rest = int64(s.nodes[second].next)
            s.nodes[second].next = NONE
        pair = meld(s, at, second)
        s.nodes[pair].next = paired
        paired = pair
        at = rest
    root = int64(NONE)
    while paired >= 0:
        rest = int64(s.nodes[paired].next)
        s.nodes[paired].next = NONE
        root = meld(s, root, paired)
        paired = rest
    if root >= 0:
        s.nodes[root].previous = NONE
    return root


@kernel
def heap_with(s: State, root: int, node: int) -> int:
    """Adds a node taken before; returns the root."""
    return meld(s, root, node)


@kernel
def heap_without(s: State, root: int, node: int) -> int:
    """Removes a node of the heap and gives it back; returns the root."""
    gone = s.nodes[node]
    rest = meld_siblings(s, gone.child)
    if node == root:
        root = rest
    else:
        previous = s.nodes[gone.previous]
        if previous.child == node:
            previous.child = gone.next
        else:
            previous.next = gone.next
        if gone.next >= 0:
            s.nodes[gone.next].previous = gone.previous
        root = meld(s, root, rest)
    gone.next = s.meta[0].free_node
    s.meta[0].free_node = node
    s.meta[0].spare_nodes += 1
    return int64(root)
