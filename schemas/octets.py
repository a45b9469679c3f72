"""Kernels over raw bytes, eight at a time where it pays: strings, digits, words.

``data`` is a uint8 array with at least PADDING zero bytes behind what is read, so that eight bytes may be loaded
anywhere. With JIT off ``data`` is a ``bytearray``, whose elements are Python's integers: they neither wrap nor warn.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from config.kernel import inlined_kernel, kernel

PADDING: Final = 64

Words = npt.NDArray[np.uint64]

QUOTE_MARK: Final = 0x22
BACKSLASH: Final = 0x5C

_ONES: Final = np.uint64(0x0101010101010101)
_HIGHS: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)
_NIBBLES: Final = np.uint64(0x0F0F0F0F0F0F0F0F)
_HIGH_NIBBLES: Final = np.uint64(0xF0F0F0F0F0F0F0F0)
_DIGITS: Final = np.uint64(0x3333333333333333)
_SIXES: Final = np.uint64(0x0606060606060606)
_PAIRS: Final = np.uint64(0x00FF00FF00FF00FF)
_QUADS: Final = np.uint64(0x0000FFFF0000FFFF)
_TEN_AND_ONE: Final = np.uint64(10 * 256 + 1)
_HUNDRED_AND_ONE: Final = np.uint64(100 * 65_536 + 1)
_MYRIAD_AND_ONE: Final = np.uint64(10_000 * 2**32 + 1)
_N1: Final = np.uint64(1)
_N4: Final = np.uint64(4)
_N7: Final = np.uint64(7)
_N8: Final = np.uint64(8)
_N16: Final = np.uint64(16)
_N32: Final = np.uint64(32)
_N56: Final = np.uint64(56)
_N0: Final = np.uint64(0)


@intrinsic
def _load8(_context: Any, data: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        index = context.cast(builder, arguments[1], signature.args[1], types.intp)
        pointer = builder.gep(array.data, [index])
        return builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, at), generate


def load8(data: Any, at: int) -> Any:
    """Returns ``data[at:at + 8]`` as a little-endian uint64."""
    return np.uint64(int.from_bytes(bytes(data[at : at + 8]), "little"))


@overload(load8)
def _load8_compiled(data: Any, at: Any) -> Callable[[Any, Any], Any]:  # noqa: ARG001 - numba passes types
    def load(data: Any, at: Any) -> Any:
        return _load8(data, at)

    return load


@intrinsic
def _octet(_context: Any, data: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        index = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.load(builder.gep(array.data, [index]))

    return types.uint8(data, at), generate


def octet(data: Any, at: int) -> Any:
    """Returns ``data[at]``. Compiled, it does not look whether ``at`` counts from the end, as numpy's indexes may."""
    return data[at]


@overload(octet)
def _octet_compiled(data: Any, at: Any) -> Callable[[Any, Any], Any]:  # noqa: ARG001 - numba passes types
    def load(data: Any, at: Any) -> Any:
        return _octet(data, at)

    return load


@intrinsic
def _prefetch(_context: Any, rows: Any, offset: Any) -> Any:  # noqa: ARG001 - numba names them
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte = ir.IntType(8).as_pointer()
        place = builder.gep(builder.bitcast(array.data, byte), [arguments[1]])
        number = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0i8"
        )
        builder.call(function, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(rows, types.int64), generate


def prefetch(rows: Any, offset: int) -> None:
    """Has the processor fetch what lies ``offset`` bytes behind the start of an array. It may be out of bounds."""


@overload(prefetch)
def _prefetch_compiled(rows: Any, offset: Any) -> Callable[..., Any]:  # noqa: ARG001
    def ask(rows: Any, offset: Any) -> Any:
        _prefetch(rows, offset)

    return ask


@intrinsic
def _copy(_context: Any, out: Any, at: Any, source: Any, start: Any, length: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(array: int, index: int) -> Any:
            made = context.make_array(signature.args[array])(context, builder, arguments[array])
            return builder.gep(made.data, [context.cast(builder, arguments[index], signature.args[index], types.intp)])

        count = context.cast(builder, arguments[4], signature.args[4], types.intp)
        cgutils.raw_memcpy(builder, pointer(0, 1), pointer(2, 3), count, 1)
        return context.get_dummy_value()

    return types.void(out, at, source, start, length), generate


def copy_octets(out: Any, at: int, source: Any, start: int, length: int) -> None:
    """Copies ``source[start:start + length]`` to ``out`` from ``at`` on: no bounds are checked, the two never overlap."""
    out[at : at + length] = source[start : start + length]


@overload(copy_octets)
def _copy_compiled(out: Any, at: Any, source: Any, start: Any, length: Any) -> Callable[..., Any]:  # noqa: ARG001
    def copy(out: Any, at: Any, source: Any, start: Any, length: Any) -> Any:
        _copy(out, at, source, start, length)

    return copy


@inlined_kernel
def lowest_flag(flags: Any) -> int:
    """Returns which byte of ``flags`` (a uint64 with high bits set, not 0) is the first with its high bit set: 0 to 7."""
    below = (flags & (~flags + _N1)) - _N1
    return int(np.int64(((below & _ONES) * _ONES) >> _N56)) - 1


@inlined_kernel
def quote_flags(word: Any) -> Any:
    """Returns a uint64 whose lowest set bit is the high bit of the first ``"`` among eight bytes; 0: there is none."""
    other = word ^ _QUOTES
    return (other - _ONES) & ~other & _HIGHS


@inlined_kernel
def mask_below(flags: Any) -> Any:
    """Returns a uint64 that keeps the bytes before the first flagged one."""
    return ((flags & (~flags + _N1)) >> _N7) - _N1


@inlined_kernel
def special_flags(word: Any) -> Any:
    """As quote_flags, for the bytes at which plain text of a string stops: quote, backslash, control, not ASCII."""
    quote = word ^ _QUOTES
    backslash = word ^ _BACKSLASHES
    return (
        ((quote - _ONES) & ~quote) | ((backslash - _ONES) & ~backslash) | ((word - _SPACES) & ~word) | word
    ) & _HIGHS


@kernel
def utf8_length(data: Any, at: int) -> int:
    """Returns how many bytes the well-formed character at ``at`` (not ASCII) has, 0: it is not well-formed."""
    first = octet(data, at)
    second = octet(data, at + 1)
    if first < 0xC2 or first > 0xF4 or second & 0xC0 != 0x80:
        return 0
    if first < 0xE0:
        return 2
    if octet(data, at + 2) & 0xC0 != 0x80:
        return 0
    if first < 0xF0:
        if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F):
            return 0
        return 3
    if octet(data, at + 3) & 0xC0 != 0x80 or (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
        return 0
    return 4


@kernel
def hex4(data: Any, at: int) -> int:
    """Returns the number that four hexadecimal digits write, -1: they are none."""
    number = 0
    for index in range(at, at + 4):
        digit = octet(data, index)
        if 0x30 <= digit <= 0x39:
            number = number * 16 + (digit - 0x30)
        elif 0x41 <= digit <= 0x46 or 0x61 <= digit <= 0x66:
            number = number * 16 + ((digit | 0x20) - 0x57)
        else:
            return -1
    return number


@kernel
def escape_length(data: Any, at: int) -> int:
    """Returns how many bytes the escape at ``at`` (a backslash) has, a surrogate pair as one; 0: it is none, or half of one."""
    letter = octet(data, at + 1)
    if letter in (0x22, 0x2F, 0x5C, 0x62, 0x66, 0x6E, 0x72, 0x74):
        return 2
    if letter != 0x75:
        return 0
    unit = hex4(data, at + 2)
    if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
        return 0
    if unit < 0xD800 or unit > 0xDFFF:
        return 6
    if octet(data, at + 6) != BACKSLASH or octet(data, at + 7) != 0x75:
        return 0
    return 12 if 0xDC00 <= hex4(data, at + 8) <= 0xDFFF else 0


@inlined_kernel
def scan_string(data: Any, at: int) -> tuple[int, bool]:
    """Returns where the string that starts at ``at`` (behind its quote) ends, and whether it has escapes; -1: unclear.

    It stops at control characters, so it never runs past the line, unless the batch's next message goes on without
    one: that the end lies within the line is the caller's to check.
    """
    escaped = False
    while True:
        flags = special_flags(load8(data, at))
        if flags == _N0:
            at += 8
            continue
        at += lowest_flag(flags)
        byte = octet(data, at)
        if byte == QUOTE_MARK:
            return at, escaped
        if byte >= 0x80:
            length = utf8_length(data, at)
        elif byte == BACKSLASH:
            escaped = True
            length = escape_length(data, at)
        else:
            length = 0
        if length == 0:
            return -1, escaped
        at += length


@kernel
def put_utf8(out: Any, at: int, point: int) -> int:
    """Writes a code point in UTF-8 at ``at``; returns where it ends."""
    if point < 0x80:
        out[at] = point
        return at + 1
    if point < 0x800:
        out[at] = 0xC0 | point >> 6
        out[at + 1] = 0x80 | point & 0x3F
        return at + 2
    if point < 0x10000:
        out[at] = 0xE0 | point >> 12
        out[at + 1] = 0x80 | point >> 6 & 0x3F
        out[at + 2] = 0x80 | point & 0x3F
        return at + 3
    out[at] = 0xF0 | point >> 18
    out[at + 1] = 0x80 | point >> 12 & 0x3F
    out[at + 2] = 0x80 | point >> 6 & 0x3F
    out[at + 3] = 0x80 | point & 0x3F
    return at + 4


@kernel
def decode_string(data: Any, start: int, end: int, to: int) -> int:
    """Writes what the string ``data[start:end]`` (as scan_string takes it) stands for at ``to``; returns its end.

    What is written is never longer than what is read.
    """
    at = start
    while at < end:
        byte = octet(data, at)
        if byte != BACKSLASH:
            data[to] = byte
            at += 1
            to += 1
            continue
        letter = octet(data, at + 1)
        if letter == 0x75:
            point = hex4(data, at + 2)
            at += 6
            if 0xD800 <= point <= 0xDBFF:
                point = 0x10000 + ((point - 0xD800) << 10) + (hex4(data, at + 2) - 0xDC00)
                at += 6
            to = put_utf8(data, to, point)
            continue
        if letter == 0x62:
            letter = 0x08
        elif letter == 0x66:
            letter = 0x0C
        elif letter == 0x6E:
            letter = 0x0A
        elif letter == 0x72:
            letter = 0x0D
        elif letter == 0x74:
            letter = 0x09
        data[to] = letter
        at += 2
        to += 1
    return to


@inlined_kernel
def are_digits8(word: Any) -> bool:
    """Tells whether eight bytes are digits."""
    high = word & _HIGH_NIBBLES
    return bool(high | (((word + _SIXES) & _HIGH_NIBBLES) >> _N4) == _DIGITS)


@inlined_kernel
def number8(word: Any) -> int:
    """Returns the number that eight digits write, the first of them in the lowest byte."""
    pairs = ((word & _NIBBLES) * _TEN_AND_ONE >> _N8) & _PAIRS
    quads = (pairs * _HUNDRED_AND_ONE >> _N16) & _QUADS
    return int(np.int64(quads * _MYRIAD_AND_ONE >> _N32))


@inlined_kernel
def are_digits(data: Any, start: int, end: int) -> bool:
    """Tells whether ``data[start:end]`` are digits."""
    at = start
    while at + 8 <= end:
        if not are_digits8(load8(data, at)):
            return False
        at += 8
    for index in range(at, end):  # noqa: SIM110 - a kernel
        if octet(data, index) < 0x30 or octet(data, index) > 0x39:
            return False
    return True


@inlined_kernel
def are_capitals(data: Any, start: int, end: int) -> bool:
    """Tells whether ``data[start:end]`` are of ``[0-9A-Z]``."""
    for index in range(start, end):
        byte = octet(data, index)
        if not (0x30 <= byte <= 0x39 or 0x41 <= byte <= 0x5A):
            return False
    return True


def word_table(words: Sequence[str]) -> Words:
    """Returns uint64[n, 2]: words of at most 16 ASCII characters, padded with zeros, as two loads of eight bytes."""
    rows = np.zeros((len(words), 16), np.uint8)
    for row, word in zip(rows, words, strict=True):
        row[: len(word)] = np.frombuffer(word.encode("ascii"), np.uint8)
    return rows.view("<u8").astype(np.uint64)


MASKS: Final[Words] = np.array([(1 << 8 * length) - 1 for length in range(9)], np.uint64)
"""By how many of eight bytes they keep."""


@inlined_kernel
def word_index(data: Any, start: int, end: int, words: Any, lengths: Any, first: int, last: int) -> int:
    """Returns which of ``words[first:last]`` ``data[start:end]`` is, counted from ``first``; -1: none of them."""
    length = end - start
    if length > 16:
        return -1
    head = load8(data, start) & MASKS[min(length, 8)]
    tail = load8(data, start + 8) & MASKS[max(length - 8, 0)]
    for index in range(first, last):
        if words[index, 0] == head and words[index, 1] == tail and lengths[index] == length:
            return index - first
    return -1
