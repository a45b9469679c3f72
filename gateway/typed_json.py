"""What our own compacted topics hold, read into dataclasses: types are checked, and a fault names no value."""

from dataclasses import fields
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from schemas.events import object_of

Kept = TypeVar("Kept")


def read_json(kind: type[Kept], raw: bytes) -> Kept:
    """Returns the ``kind`` that a message says; raises ValueError, which never has the values in it: some are secrets."""
    unknown = object_of(raw).keys() - {each.name for each in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{min(unknown)[:40]} is not known")
    try:
        found: Kept = _adapter(kind).validate_json(raw)  # type: ignore[arg-type]
    except ValidationError as fault:
        first = fault.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return found


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
