"""JSON as RFC 8259 has it, with numbers as they were written (SPEC §2, ``not_json``)."""

import json
import re
from typing import Final, NoReturn

MAX_DEPTH: Final = 32
"""How deep arrays and objects may nest; a record itself is 1 deep."""

WHITESPACE: Final = " \t\r\n"


class Integer(str):
    """A JSON number without fraction or exponent, as written: it may have 60,000 digits."""

    __slots__ = ()


class Real(str):
    """A JSON number with a fraction or an exponent, as written."""

    __slots__ = ()


class Invalid:
    """What stands for text that is not one JSON value."""

    __slots__ = ()


INVALID: Final = Invalid()


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


_SCAN: Final = json.JSONDecoder(parse_float=Real, parse_int=Integer, parse_constant=_refuse).scan_once  # type: ignore[attr-defined]

_ESCAPES: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F])|.)", re.DOTALL
)
"""Each escape of a text, a surrogate pair as one; group 1: a surrogate alone."""

_BRACKETS: Final = re.compile(r'"(?:[^"\\]++|\\.?+)*+"?+|[\[{\]}]', re.DOTALL)
"""Each string and each bracket outside of strings; possessive, so that hostile text costs no more than its length."""


def _has_lone_surrogate(text: str) -> bool:
    return any(match[1] for match in _ESCAPES.finditer(text))


def _is_too_deep(text: str) -> bool:
    depth = 0
    for match in _BRACKETS.finditer(text):
        first = match[0][0]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif first != '"':
            depth -= 1
    return False


def read_json(data: bytes) -> object | Invalid:
    """Returns the one JSON value that ``data`` is, or INVALID.

    Numbers come as Integer and Real; of equal keys the last counts. INVALID are, wherever they stand: bad UTF-8, a lone
    surrogate, NaN and the infinities, and nesting over MAX_DEPTH. A byte order mark is no whitespace, so before the value
    it is INVALID, too; within a string U+FEFF is a character like any other.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return INVALID
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(text):
        return INVALID
    text = text.strip(WHITESPACE)
    try:
        value, end = _SCAN(text, 0)
    except (ValueError, StopIteration):
        return INVALID
    if end != len(text) or ("\\u" in text and _has_lone_surrogate(text)):
        return INVALID
    return value  # type: ignore[no-any-return]
