"""``GET /v1/events/stream``: a supplier's events as they come, resumable on any gateway by a cursor of log positions."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request

from gateway.access import Caller, require
from gateway.audience import Subscription
from gateway.cursors import format_cursor
from gateway.filters import Filter, FilterFault, parse_event_filter
from gateway.hub import frame_of
from gateway.keys import EVENTS_READ, Key
from gateway.problems import Problem
from gateway.sources import Sources, sources_of
from gateway.stream import RETRY_MS, Stream, Words, cursor_from, past, refuse_a_crowd, until_reached

STREAMS_OF_AN_OWNER: Final = 100
"""Streams that all keys of one owner may have open on one gateway."""
_WHERE: Final = "/v1/events/stream"

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "`Last-Event-ID` is no cursor of this stream"},
    401: {"description": "No key, or none that is live"},
    403: {"description": "The key may not read events"},
    422: {"description": "A filter is unfit"},
    429: {"description": "This owner has enough streams open"},
    503: {"description": "The log or the keys are not read yet, or too many streams are open"},
}

router = APIRouter(prefix="/v1")


def tenant_of(key: Key) -> str | None:
    """Returns the supplier that a key is of; None: an operator's, who sees everything."""
    return key.owner.name if key.owner.kind == "supplier" else None


def event_filter(key: Key, province: list[str], kind: list[str], band: list[str], code: list[str]) -> Filter:
    """Returns what a key's owner may see and wants to. Raises Problem."""
    try:
        return parse_event_filter(tenant_of(key), province, kind, band, code)
    except FilterFault as fault:
        raise Problem(422, "bad_filter", str(fault), "query", "Correct the parameter or leave it out.") from fault


@router.get("/events/stream", status_code=200, response_class=Stream, responses=RESPONSES)
async def stream(
    request: Request,
    key: Caller,
    kind: Words = [],  # noqa: B006
    code: Words = [],  # noqa: B006
    province: Words = [],  # noqa: B006
    last_event_id: Annotated[str | None, Header()] = None,
    after: Annotated[str | None, Query(description="The same as Last-Event-ID, which goes first")] = None,
) -> Stream:
    """Streams events as they come: ``event: alert`` and ``event: price``, ``data`` the event, ``id`` a cursor.

    With ``Last-Event-ID`` what came behind that event is sent first: without loss or repeat, on any gateway.
    ``event: ready`` follows what was caught up, with a cursor of its own. ``event: reset``: the place is no longer in the log, so
    that open alerts must be read anew. A comment comes every 15 s. A client that does not keep up is cut, and resumes.
    """
    require(key, EVENTS_READ, _WHERE)
    sources = sources_of(request)
    wanted = event_filter(key, province, kind, [], code)
    cursor = cursor_from(last_event_id or after)
    refuse_a_crowd(sources, _WHERE)
    if not sources.hub.caught_up:
        remedy = "The gateway has only just started, or the broker is away. Try again in a moment."
        raise Problem(503, "not_ready", "the log is not read up to its end yet", _WHERE, remedy)
    if sum(client.owner == str(key.owner) for client in sources.hub.clients) >= STREAMS_OF_AN_OWNER:
        what = f"{key.owner} has {STREAMS_OF_AN_OWNER} streams open here"
        raise Problem(429, "too_many_streams", what, _WHERE, "One stream carries everything; close the others.")
    await until_reached(sources.hub, cursor, prices=True)
    first = partial(_first, sources=sources, cursor=cursor)
    return Stream(sources.hub, wanted, first, owner=str(key.owner), key_id=key.id)


async def _first(
    client: Subscription, *, sources: Sources, cursor: dict[int, int] | None
) -> AsyncGenerator[bytes, None]:
    yield b"retry: %d\n\n" % RETRY_MS
    async for frames in past(sources, client, cursor, 0):
        yield frames
    yield frame_of("ready", b"{}", format_cursor(client.start))
