"""The State: every array the machine works on, handed to kernels as one pointer.

A tuple of thirty arrays would be copied, and its references counted, at each call that is not inlined: measured, ten
microseconds a record. So kernels see a State as the address of a table that says where each array lies and how long
it is; ``s.codes`` in a kernel is one load. With the JIT off it is the attribute it looks like.

The Python object keeps the arrays alive. Kernels never keep them, and arrays are never moved while one runs.
"""

from copy import copy
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import from_dtype

from schemas.columns import RECORD
from streams.layout import (
    ALERT,
    CHANGE,
    CODE,
    EXTRA,
    LISTING,
    META,
    NEW_CODE,
    POSITION,
    PROVINCE_RULES,
    QUOTE,
    RULES,
    SIGHT,
    TIMER,
    WINDOW,
    Numbers,
    Rows,
)
from streams.supply_layout import CONTRACT, DELIVERY, DETAIL, GAP, NODE, ORDER, TALLY, TEXT

_OCTET: Final = np.dtype(np.uint8)
_INDEX: Final = np.dtype(np.int32)
_NUMBER: Final = np.dtype(np.int64)

FIELDS: Final[dict[str, tuple[np.dtype[Any], int]]] = {
    # name: what a row is, dimensions
    "meta": (META, 1),
    "codes": (CODE, 1),
    "listings": (LISTING, 1),
    "extras": (EXTRA, 1),
    "waiting": (QUOTE, 1),
    "held": (QUOTE, 1),
    "window": (WINDOW, 1),
    "moved": (NEW_CODE, 1),
    "orders": (ORDER, 1),
    "tallies": (TALLY, 1),
    "details": (DETAIL, 1),
    "deliveries": (DELIVERY, 1),
    "contracts": (CONTRACT, 1),
    "gaps": (GAP, 1),
    "nodes": (NODE, 1),  # of heaps, see ``heaps``
    "texts": (TEXT, 1),  # each once
    "arena": (_OCTET, 1),  # ids and texts
    "index": (_INDEX, 1),  # of codes
    "order_index": (_INDEX, 1),
    "delivery_index": (_INDEX, 1),
    "contract_index": (_INDEX, 1),
    "text_index": (_INDEX, 1),
    "timers": (TIMER, 1),
    "dirty": (_INDEX, 1),  # codes changed since the last checkpoint
    "dirty_orders": (_INDEX, 1),
    "dirty_deliveries": (_INDEX, 1),
    "dirty_contracts": (_INDEX, 1),
    "touched": (_NUMBER, 1),  # see ``supply_steps``
    "rules": (RULES, 1),
    "provinces": (PROVINCE_RULES, 1),
    "prefixes": (_OCTET, 2),
    "was_rules": (RULES, 1),  # those before a policy record, while its step runs
    "was_provinces": (PROVINCE_RULES, 1),
    "open_alerts": (_NUMBER, 2),  # [kind, band]
    "outcomes": (_NUMBER, 2),  # [record type, applied | stale | dead-lettered]
    "was": (SIGHT, 1),  # what the code looked like before the step
    "now": (SIGHT, 1),  # and after it
    "incoming": (QUOTE, 1),  # the quote of the record being applied
    "used": (_NUMBER, 1),  # scratch of 33: see kernels.reference_price
    "alerts": (ALERT, 1),
    "evidence": (POSITION, 1),
    "named": (_OCTET, 1),
    "changes": (CHANGE, 1),
    "data": (_OCTET, 1),  # the batch's bytes
    "records": (RECORD, 1),  # and lines
}
_WORDS: Final = 3  # of the table a field: address, length, width


class State:
    """The arrays of FIELDS. Pools grow by being replaced; ``meta`` says how much of each is in use."""

    meta: Rows
    codes: Rows
    listings: Rows
    extras: Rows
    waiting: Rows
    held: Rows
    window: Rows
    moved: Rows
    orders: Rows
    tallies: Rows
    details: Rows
    deliveries: Rows
    contracts: Rows
    gaps: Rows
    nodes: Rows
    texts: Rows
    arena: npt.NDArray[np.uint8]
    index: npt.NDArray[np.int32]
    order_index: npt.NDArray[np.int32]
    delivery_index: npt.NDArray[np.int32]
    contract_index: npt.NDArray[np.int32]
    text_index: npt.NDArray[np.int32]
    timers: Rows
    dirty: npt.NDArray[np.int32]
    dirty_orders: npt.NDArray[np.int32]
    dirty_deliveries: npt.NDArray[np.int32]
    dirty_contracts: npt.NDArray[np.int32]
    touched: Numbers
    rules: Rows
    provinces: Rows
    prefixes: npt.NDArray[np.uint8]
    was_rules: Rows
    was_provinces: Rows
    open_alerts: Numbers
    outcomes: Numbers
    was: Rows
    now: Rows
    incoming: Rows
    used: Numbers
    alerts: Rows
    evidence: Rows
    named: npt.NDArray[np.uint8]
    changes: Rows
    data: npt.NDArray[np.uint8]
    records: Rows

    def __init__(self, **arrays: npt.NDArray[Any]) -> None:
        """Takes an array for each of FIELDS, contiguous and of its row type."""
        self.table = np.zeros(len(FIELDS) * _WORDS, np.int64)
        self.address = self.table.ctypes.data
        for name in FIELDS:
            self._put(name, arrays[name])

    def _put(self, name: str, array: npt.NDArray[Any]) -> None:
        dtype, dimensions = FIELDS[name]
        if array.dtype.itemsize != dtype.itemsize or array.ndim != dimensions or not array.flags.c_contiguous:
            raise TypeError(f"{name} must be contiguous rows of {dtype}, not {array.dtype}")
        at = _PLACES[name] * _WORDS
        if dtype.names and not isinstance(array, np.recarray):
            array = array.view(np.recarray)
        setattr(self, name, array)
        self.table[at] = array.ctypes.data
        self.table[at + 1 : at + 1 + array.ndim] = array.shape

    def replace(self, **arrays: npt.NDArray[Any]) -> Self:
        """Returns a State in which some arrays are others."""
        made = copy(self)
        made.table = self.table.copy()
        made.address = made.table.ctypes.data
        for name, array in arrays.items():
            made._put(name, array)  # noqa: SLF001  it is a State, too
        return made


_PLACES: Final = {name: place for place, name in enumerate(FIELDS)}


class StateType(types.Type):  # type: ignore[misc,unused-ignore]
    """The State as kernels see it."""

    def __init__(self) -> None:
        super().__init__(name="State")


STATE: Final = StateType()
_TYPES: Final = {
    name: types.Array(from_dtype(dtype), dimensions, "C", aligned=dtype.names is None)
    for name, (dtype, dimensions) in FIELDS.items()
}


@typeof_impl.register(State)
def _typeof_state(_value: State, _context: Any) -> StateType:
    return STATE


@register_model(StateType)
class StateModel(models.OpaqueModel):  # type: ignore[misc,unused-ignore]
    """A pointer to the table."""


@unbox(StateType)
def _unbox_state(_type: Any, value: Any, c: Any) -> Any:
    address = c.pyapi.object_getattr_string(value, "address")
    pointer = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    return NativeValue(pointer)


@infer_getattr
class StateAttributes(AttributeTemplate):  # type: ignore[misc,unused-ignore]
    """Types of the State's attributes."""

    key = StateType

    def generic_resolve(self, _type: Any, name: str) -> Any:
        """Returns the attribute's array type."""
        return _TYPES.get(name)


@lower_getattr_generic(StateType)
def _lower_state(context: Any, builder: Any, _type: Any, value: Any, name: str) -> Any:
    array_type = _TYPES[name]
    word = ir.IntType(64)
    table = builder.bitcast(value, word.as_pointer())
    first = _PLACES[name] * _WORDS

    def loaded(place: int) -> Any:
        number = builder.load(builder.gep(table, [ir.Constant(word, first + place)]))
        # the table does not change while a kernel runs: one load serves all uses
        number.set_metadata("invariant.load", builder.module.add_metadata([]))
        return number

    itemsize = context.get_abi_sizeof(context.get_data_type(array_type.dtype))
    shape = [loaded(1 + dimension) for dimension in range(array_type.ndim)]
    strides = [ir.Constant(word, itemsize)]
    if array_type.ndim == 2:
        strides.insert(0, builder.mul(shape[1], strides[0]))
    array = context.make_array(array_type)(context, builder)
    populate_array(
        array,
        data=builder.inttoptr(loaded(0), array.data.type),
        shape=shape,
        strides=strides,
        itemsize=ir.Constant(word, itemsize),
        meminfo=None,
    )
    return array._getvalue()  # noqa: SLF001 - numba's own way to read a proxy
