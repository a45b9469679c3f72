"""``/api``: counters, open alerts, and one alert with its history and evidence."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request

from gateway.evidence import Position
from gateway.problems import Problem, redis_away
from gateway.read_model import PAGE_ALERTS, REDIS_FAULTS
from gateway.sources import Sources, sources_of
from gateway.stream import Words, filter_from
from gateway.summary import without_password

router = APIRouter(prefix="/api")
ANSWER_S: Final = 10.0


@router.get("/summary")
async def summary(request: Request) -> dict[str, Any]:
    """Returns the counters of this second; ``redis`` and ``broker`` say whether they are there."""
    return sources_of(request).summary.as_json()


@router.get("/alerts")
async def open_alerts(
    request: Request,
    province: Words = [],  # noqa: B006
    kind: Words = [],  # noqa: B006
    band: Words = [],  # noqa: B006
    code: Annotated[str, Query(max_length=27, pattern="^[0-9A-Za-z]*$")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_ALERTS)] = 100,
    cursor: Annotated[str | None, Query(max_length=2_000)] = None,
) -> dict[str, Any]:
    """Returns open alerts, each as its last event: red first, then by kind, province and id.

    ``code``: part of a product code. ``cursor``: as the page before returned it; null after the last page.
    """
    sources = sources_of(request)
    wanted = filter_from(province, kind, band)
    try:
        async with asyncio.timeout(ANSWER_S):
            page = await sources.read_model.open_alerts(wanted, code.upper(), limit, cursor)
    except REDIS_FAULTS as error:
        raise redis_away(without_password(sources.settings.redis_url), error) from error
    except ValueError as error:
        remedy = "Send the cursor of the page before, or none for the first page."
        raise Problem(400, "bad_cursor", "this is not a cursor of this list", "cursor", remedy) from error
    return {
        "alerts": page.alerts,
        "matching": page.matching,
        "cursor": page.cursor,
        "incomplete": page.incomplete,
    }


@router.get("/alerts/{alert_id:path}")
async def alert(request: Request, alert_id: str, revision: Annotated[int | None, Query(ge=1)] = None) -> dict[str, Any]:
    """Returns an alert: its last event, all events that are kept, and the records behind one of them.

    ``revision``: whose evidence to read; the last one's by default.
    """
    sources = sources_of(request)
    history = await _history(sources, alert_id)
    shown = next((event for event in history if event["revision"] == revision), history[-1])
    lines = await sources.evidence.lines(_positions(shown))
    return {
        "alert": history[-1],
        "history": history,
        "evidence": {"revision": shown["revision"], "records": [line.as_json() for line in lines]},
    }


async def _history(sources: Sources, alert_id: str) -> list[dict[str, Any]]:
    try:
        async with asyncio.timeout(ANSWER_S):
            history = await sources.read_model.history(alert_id)
    except REDIS_FAULTS as error:
        raise redis_away(without_password(sources.settings.redis_url), error) from error
    if not history:
        remedy = (
            "Check the id. Ended alerts are kept for 30 days; `pricelink explain` finds older ones in the log, and one"
            " of this very second may not be here yet."
        )
        raise Problem(404, "no_such_alert", "no alert of this id is known", alert_id[:400], remedy)
    return history


def _positions(event: dict[str, Any]) -> list[Position]:
    return [Position(each["partition"], each["offset"], each["line"]) for each in event.get("evidence", [])]
