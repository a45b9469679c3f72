"""``GET /events``: the live stream of alert events, resumable by cursor."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Final

import orjson
import structlog
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.alerts_topic import BROKER_FAULTS, LogGone
from gateway.audience import Subscription
from gateway.cursors import CursorFault, alerts_only, format_cursor, parse_cursor
from gateway.filters import Filter, FilterFault, parse_filter
from gateway.hub import Hub, bands_of, frame_of
from gateway.problems import Problem
from gateway.read_model import REDIS_FAULTS
from gateway.sources import Sources, sources_of

BACKLOG_EVENTS: Final = 1_000
"""Most events that a client without a cursor gets of what came before."""
CLIENTS: Final = 2_000
"""Streams that one gateway holds at once."""
RETRY_MS: Final = 1_000
REACH_S: Final = 3.0
"""So long a client waits that comes from a gateway which has read further than this one."""
_LOOK_S: Final = 0.02

_log = structlog.get_logger("stream")
router = APIRouter()

Words = Annotated[list[str], Query()]


First = Callable[[Subscription], AsyncGenerator[bytes, None]]
"""Gives what a client gets before its queue."""


class Stream(Response):
    """An SSE answer: ``first``, what came before, then what waits for its client. ``more``: of ``Subscription``.

    One task sends and one waits for the client to leave; nothing is scheduled per message. A client that stopped reading
    is given up by ``gateway.audience``, quietly.
    """

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, wanted: Filter, first: First, **more: Any) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub = hub
        self._subscribe = partial(hub.subscribe, wanted, **more)
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves it."""
        del scope
        client = self._subscribe()
        tasks = asyncio.create_task(self._send_all(client, send)), asyncio.create_task(_left(receive))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.clients.remove(client)
            for task in tasks:
                task.cancel()
            sent, _ = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(sent, Exception):
            raise sent

    async def _send_all(self, client: Subscription, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._first(client)) as first:
            async for frames in first:
                await _send(client, send, frames)
        while frames := await client.take():
            await _send(client, send, frames)
        await _send(client, send, b"", more_body=False)


async def _send(client: Subscription, send: Send, body: bytes, *, more_body: bool = True) -> None:
    clock = asyncio.get_running_loop().time
    client.sending, client.since_s = asyncio.current_task(), clock()
    try:
        await send({"type": "http.response.body", "body": body, "more_body": more_body})
    finally:
        client.sending, client.since_s = None, clock()


async def _left(receive: Receive) -> None:
    """Returns once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


@router.get("/events", status_code=200, response_class=Stream)
async def events(
    request: Request,
    province: Words = [],  # noqa: B006
    kind: Words = [],  # noqa: B006
    band: Words = [],  # noqa: B006
    backlog: Annotated[int, Query(ge=0, le=BACKLOG_EVENTS)] = 0,
    after: str | None = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Stream:
    """Streams alert events (``event: alert``) as they come, and the counters (``summary``, ``cells``) once a second.

    ``Last-Event-ID`` or ``after`` resumes behind that event without loss, on any gateway. Without it the last
    ``backlog`` events come first. ``event: ready`` follows what was caught up; ``event: reset`` says that the place is
    no longer in the log, so that what the client knows must be read anew.
    """
    sources = sources_of(request)
    wanted = filter_from(province, kind, band)
    cursor = cursor_from(last_event_id or after)
    refuse_a_crowd(sources, "/events")
    await until_reached(sources.hub, cursor)
    return Stream(sources.hub, wanted, partial(_first, sources=sources, cursor=cursor, backlog=backlog), counted=True)


async def until_reached(hub: Hub, cursor: dict[int, int] | None, *, prices: bool = False) -> None:
    """Waits until this gateway has read as far as a cursor: another one, which the client left, may be ahead.

    Gives up after REACH_S: the cursor is of another log, then.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + REACH_S
    while cursor and hub.positions and hub.is_behind(cursor, prices=prices) and loop.time() < deadline_s:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)


def refuse_a_crowd(sources: Sources, where: str) -> None:
    """Raises Problem 503 where no more streams fit."""
    if len(sources.hub.clients) >= CLIENTS:
        remedy = "Try another gateway, or later."
        raise Problem(503, "too_many_clients", f"{CLIENTS} streams are open here", where, remedy)


def filter_from(province: list[str], kind: list[str], band: list[str]) -> Filter:
    """Reads filters of a request. Raises Problem."""
    try:
        return parse_filter(province, kind, band)
    except FilterFault as fault:
        raise Problem(422, "bad_filter", str(fault), "query", "Correct the parameter or leave it out.") from fault


def cursor_from(text: str | None) -> dict[int, int] | None:
    """Reads the cursor of a request. Raises Problem."""
    try:
        return None if text is None or not text else parse_cursor(text)
    except CursorFault as fault:
        remedy = "Send the id of an event of this stream, or none to start at its end."
        raise Problem(400, "bad_cursor", str(fault), "Last-Event-ID", remedy) from fault


async def _first(
    client: Subscription, *, sources: Sources, cursor: dict[int, int] | None, backlog: int
) -> AsyncGenerator[bytes, None]:
    yield b"retry: %d\n\n" % RETRY_MS + sources.summary.first_frames()
    async for frames in past(sources, client, cursor, backlog):
        yield frames
    yield frame_of("ready", b"{}", format_cursor(client.start) if client.start else None)


async def past(
    sources: Sources, client: Subscription, cursor: dict[int, int] | None, backlog: int
) -> AsyncIterator[bytes]:
    """Gives what came before the client's queue began."""
    hub = sources.hub
    prices = client.wanted.prices
    if cursor is None:
        frames = hub.latest(backlog, client.start, client.wanted) or await _backlog_of_redis(
            sources, client.wanted, backlog
        )
        if frames:
            yield b"".join(frames)
        return
    where = hub.locate(cursor, prices=prices)
    if where == "ring":
        frames = list(hub.since(cursor, client.start, client.wanted))
        if frames:
            yield b"".join(frames)
        return
    if where == "log":
        try:
            async for entry in sources.topic.read_again(cursor, client.start, client.wanted):
                yield entry.frame
            if prices:
                reached = cursor | alerts_only(client.start)
                async for entry in sources.prices.read_again(reached, client.start, client.wanted):
                    yield entry.frame
        except (LogGone, *BROKER_FAULTS) as fault:
            _log.info("a client could not resume and starts over", cursor=format_cursor(cursor), fault=fault)
        else:
            return
    yield frame_of("reset", b'{"why":"cursor_not_in_log"}')
    frames = hub.latest(backlog, client.start, client.wanted)
    if frames:
        yield b"".join(frames)


async def _backlog_of_redis(sources: Sources, wanted: Filter, count: int) -> list[bytes]:
    """Returns the read model's last events where the log was not reached yet."""
    if sources.hub.positions is not None or not count:
        return []
    try:
        async with asyncio.timeout(2.0):
            values = await sources.read_model.last_events(count)
    except REDIS_FAULTS:
        return []
    return [frame_of("alert", value) for value in values if _passes(value, wanted)]


def _passes(value: bytes, wanted: Filter) -> bool:
    try:
        event: dict[str, Any] = orjson.loads(value)
        return wanted.passes(event.get("province"), event["kind"], bands_of(event))
    except (orjson.JSONDecodeError, KeyError):
        return False
