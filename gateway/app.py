"""The gateway's composition root: which parts it has and how they are wired."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.settings import Settings
from gateway import (
    access,
    feeds,
    pages,
    price_lists,
    problems,
    queries,
    scorecards,
    stream,
    subscriber_queries,
    subscriber_stream,
    webhooks,
)
from gateway.drain import Drain
from gateway.sources import Sources

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DEFAULT_BANDS: Final = {"blue": 0, "yellow": 500, "red": 2000}
"""Of a policy that leaves them out (SPEC §3)."""

_log = structlog.get_logger("gateway")


def create_app(
    settings: Settings,
    sources: Sources,
    *,
    connected: bool = True,
    before_serving: Callable[[], Awaitable[object]] | None = None,
    on_fault: Callable[[BaseException], object] = lambda _fault: None,
) -> FastAPI:
    """Makes the app of these parts.

    ``connected``: whether to keep them going; ``before_serving``: awaited before the first connection is taken;
    ``on_fault``: told what ended one of the parts.
    """

    def ended(running: asyncio.Task[None]) -> None:
        if not running.cancelled() and (fault := running.exception()):
            on_fault(fault)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(sources.run()) if connected else None
        if running:
            running.add_done_callback(ended)
        try:
            if before_serving:
                await before_serving()
            yield
        finally:
            sources.hub.clients.close()
            if running:
                running.cancel()
                await asyncio.wait([running])

    app = FastAPI(title="pricelink", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.sources = sources
    app.state.policy = known_policy(settings.policy_file)
    problems.install(app)
    app.add_middleware(_Headers)
    app.add_middleware(Drain)
    app.include_router(feeds.router)
    app.include_router(price_lists.router)
    app.include_router(subscriber_stream.router)
    app.include_router(subscriber_queries.router)
    app.include_router(webhooks.router)
    open_here = [Depends(access.console)]
    app.include_router(stream.router, dependencies=open_here, responses=access.CONSOLE_RESPONSES)
    app.include_router(queries.router, dependencies=open_here, responses=access.CONSOLE_RESPONSES)
    app.include_router(pages.router, dependencies=open_here, responses=access.CONSOLE_RESPONSES)
    app.include_router(scorecards.router, dependencies=open_here, responses=access.CONSOLE_RESPONSES)
    app.include_router(pages.probes)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    return app


class _Headers:
    """Adds the headers that every answer has. Plain ASGI, so that streams pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        await self._app(scope, receive, send_with_headers)


def known_policy(path: Path) -> dict[str, Any] | None:
    """Returns the version of the policy file and its bands for each province, for the page to explain them by.

    None when the file cannot be read: the page then explains without thresholds.
    """
    try:
        policy = orjson.loads(path.read_bytes())
        canonical = orjson.dumps(policy, option=orjson.OPT_SORT_KEYS)
        default = DEFAULT_BANDS | _given(policy.get("default"))
        provinces = {code: default | _given(rules) for code, rules in (policy.get("provinces") or {}).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        _log.warning(
            "the policy file cannot be read: the page explains bands without their thresholds; look at PRICELINK_POLICY_FILE",
            reason="policy_unreadable", fault=error, where=str(path),
        )  # fmt: skip
        return None
    return {"version": hashlib.sha256(canonical).hexdigest()[:16], "bands": default, "provinces": provinces}


def _given(rules: Any) -> dict[str, int]:
    bands = (rules or {}).get("bands") or {}
    return {band: value for band, value in bands.items() if value is not None and value != ""}
