"""Who lists the code of a change of the lowest price: asked of the saved rows as the change is read."""

import asyncio
from collections.abc import Sequence
from typing import Final

import orjson
import structlog

from gateway.alerts_topic import Messages
from gateway.hub import NOBODY
from gateway.key_ring import now_ms
from gateway.read_model import REDIS_FAULTS, ReadModel

NEW_CODE_S: Final = 3.0
"""A code's first change waits so long for its first saved row: checkpoints come every second or so."""
_RETRY_S: Final = 0.25

_log = structlog.get_logger("listers")


class Listers:
    """Answers from the read model. Redis that is away is waited for: a change that nobody gets would be lost."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model

    async def __call__(self, messages: Messages) -> Sequence[frozenset[str]]:
        """Returns who lists the code of each of these messages' events, now."""
        codes = [_code(value) for value, _ in messages]
        distinct = list(dict.fromkeys(code for code in codes if code))
        youngest_ms = max((at_ms for _, at_ms in messages), default=0)
        while True:
            found = dict(zip(distinct, await self._ask(distinct), strict=True))
            young = now_ms() - youngest_ms < NEW_CODE_S * 1_000
            if not young or None not in found.values():
                return [found.get(code) or NOBODY for code in codes]
            await asyncio.sleep(_RETRY_S)

    async def _ask(self, codes: list[str]) -> list[frozenset[str] | None]:
        said = False
        while True:
            try:
                return await self._read_model.listers(codes)
            except REDIS_FAULTS as error:
                if not said:
                    _log.warning(
                        "Redis does not answer: changes of lowest prices wait, as who lists their codes is asked there",
                        reason="redis_away", fault=error,
                    )  # fmt: skip
                said = True
                await asyncio.sleep(1.0)


def _code(value: bytes) -> str:
    try:
        found = orjson.loads(value).get("code")
    except (orjson.JSONDecodeError, AttributeError):
        return ""
    return found if isinstance(found, str) else ""
