"""National codes, the partition they belong to, and suppliers packed into two numbers."""

import re
from typing import Any, Final

import numpy as np

from config.kernel import inlined_kernel
from schemas.octets import octet

_CODE: Final = re.compile(r"C[0-9]{26}|[XZT][A-Z0-9]{22}")
_SUPPLIER: Final = re.compile(r"[0-9A-Z]{18}")
_BASE36: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SUPPLIER_HEAD: Final = 12
_SUPPLIER_TAIL: Final = 6
SUPPLIER_LENGTH: Final = _SUPPLIER_HEAD + _SUPPLIER_TAIL

_SEED: Final = 0x9747B28C
_MIX: Final = 0x5BD1E995
_LOW: Final = 0xFFFFFFFF

_NO_DIGIT: Final = 64
_DIGITS36: Final = np.full(256, _NO_DIGIT, np.uint8)
for _value, _character in enumerate(_BASE36):
    _DIGITS36[ord(_character)] = _value


def is_code(text: str) -> bool:
    """Tells whether a text has the form of a consumable's code (``C`` + 26 digits) or a drug's (SPEC §2)."""
    return _CODE.fullmatch(text) is not None


def is_supplier(text: str) -> bool:
    """Tells whether a text has the form of a unified social credit code: 18 of ``[0-9A-Z]``."""
    return _SUPPLIER.fullmatch(text) is not None


def murmur2(key: bytes) -> int:
    """Returns Kafka's murmur2 of a key, as an unsigned 32-bit number."""
    whole = len(key) & ~3
    state = _SEED ^ len(key)
    for start in range(0, whole, 4):
        part = int.from_bytes(key[start : start + 4], "little") * _MIX & _LOW
        state = (state * _MIX & _LOW) ^ ((part ^ part >> 24) * _MIX & _LOW)
    if whole < len(key):
        state = (state ^ int.from_bytes(key[whole:], "little")) * _MIX & _LOW
    state = (state ^ state >> 13) * _MIX & _LOW
    return int(state ^ state >> 15)


@inlined_kernel
def murmur2_of(data: Any, start: int, length: int) -> int:
    """Kernel of murmur2 over ``data[start:start + length]`` (uint8). 32-bit products fit int64, so no type wraps."""
    whole = length & ~3
    state = np.int64(_SEED) ^ length
    for at in range(start, start + whole, 4):
        part = (
            np.int64(octet(data, at))
            | np.int64(octet(data, at + 1)) << 8
            | np.int64(octet(data, at + 2)) << 16
            | np.int64(octet(data, at + 3)) << 24
        )
        part = part * _MIX & _LOW
        part = (part ^ part >> 24) * _MIX & _LOW
        state = (state * _MIX & _LOW) ^ part
    if whole < length:
        for index in range(whole, length):
            state ^= np.int64(octet(data, start + index)) << 8 * (index - whole)
        state = state * _MIX & _LOW
    state = (state ^ state >> 13) * _MIX & _LOW
    return int(state ^ state >> 15)


def partition_of(code: str, partitions: int) -> int:
    """Returns the partition of a code: that of Kafka's default partitioner for the key ``code``."""
    return (murmur2(code.encode()) & 0x7FFFFFFF) % partitions


@inlined_kernel
def partition_of_hash(hash32: int, partitions: int) -> int:
    """Kernel of partition_of, from the code's murmur2."""
    index = (np.int64(hash32) & 0x7FFFFFFF) % partitions
    return int(index)


def pack_supplier(text: str) -> tuple[int, int]:
    """Returns a supplier's code (18 of ``[0-9A-Z]``) as two numbers: 12 and 6 characters in base 36."""
    return int(text[:_SUPPLIER_HEAD], 36), int(text[_SUPPLIER_HEAD:], 36)


def unpack_supplier(hi: int, lo: int) -> str:
    """Returns the supplier's code that ``pack_supplier`` made into two numbers."""
    return _in_base36(hi, _SUPPLIER_HEAD) + _in_base36(lo, _SUPPLIER_TAIL)


def _in_base36(number: int, width: int) -> str:
    characters = []
    for _ in range(width):
        number, digit = divmod(number, 36)
        characters.append(_BASE36[digit])
    return "".join(reversed(characters))


@inlined_kernel
def base36_of(data: Any, start: int, length: int) -> int:
    """Kernel: the number that ``data[start:start + length]``, at most 12 of ``[0-9A-Z]``, is in base 36; -1: is none."""
    number = np.int64(0)
    strange = np.int64(0)
    for at in range(start, start + length):
        digit = np.int64(_DIGITS36[octet(data, at)])
        number = number * 36 + digit
        strange |= digit
    return -1 if strange >= _NO_DIGIT else int(number)


@inlined_kernel
def put_base36(out: Any, at: int, number: int, width: int) -> None:
    """Kernel: writes a number in base 36 into ``out[at:at + width]`` (uint8)."""
    rest = np.int64(number)
    for index in range(at + width - 1, at - 1, -1):
        digit = rest % 36
        rest //= 36
        out[index] = 48 + digit if digit < 10 else 55 + digit
