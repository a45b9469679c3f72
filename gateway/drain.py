"""Early answers to requests whose body is still on its way."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DRAIN_BYTES: Final = 4 << 20
DRAIN_S: Final = 2.0


class Drain:
    """Reads on, within bounds, before an answer that comes early: a closed connection would lose it on its way.

    Plain ASGI, so that streams pass untouched.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH"}:
            await self._app(scope, receive, send)
            return
        body: dict[str, bool] = {}

        async def receive_noted() -> Message:
            message = await receive()
            body["goes_on"] = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def send_drained(message: Message) -> None:
            if message["type"] == "http.response.start" and body.get("goes_on", True):
                left = DRAIN_BYTES
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_S):
                        while body.get("goes_on", True) and left > 0:
                            left -= len((await receive_noted()).get("body", b""))
            await send(message)

        await self._app(scope, receive_noted, send_drained)
