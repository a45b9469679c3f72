"""``/v1/prices`` and ``/v1/alerts``: what a supplier may ask about its own, and an operator about everything."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Path, Query, Request

from gateway.access import Caller, require
from gateway.arithmetic import arithmetic
from gateway.evidence import Line, Position
from gateway.keys import ALERTS_READ, PRICES_READ
from gateway.problems import Problem, redis_away
from gateway.queries import ANSWER_S
from gateway.read_model import PAGE_ALERTS, REDIS_FAULTS
from gateway.saved_rows import as_json
from gateway.sources import Sources, sources_of
from gateway.stream import Words
from gateway.subscriber_stream import event_filter, tenant_of
from gateway.summary import without_password
from schemas.codes import is_code, partition_of
from schemas.columns import CEILING, ITEM, TICK
from schemas.parser import Record, parse_line
from schemas.policy import Policy, load_policy
from streams.partition_row import PartitionRow

_READ_FAULTS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "No key, or none that is live"},
    403: {"description": "The key may not read this"},
    422: {"description": "A parameter is unfit"},
    503: {"description": "Redis is away, or the keys are not known yet"},
}
_NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "Not known here, or another supplier's"}}
_NOBODYS: Final = frozenset({ITEM, CEILING, TICK})
"""Records that are no supplier's, and no operator's own: whoever asks may see them."""

router = APIRouter(prefix="/v1")
Answer = TypeVar("Answer")
Event = dict[str, Any]
AlertId = Annotated[str, Path(max_length=600, description="As in events: `kind:code:province:…:n`")]


async def _ask(sources: Sources, question: Awaitable[Answer]) -> Answer:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await question
    except REDIS_FAULTS as error:
        raise redis_away(without_password(sources.settings.redis_url), error) from error


@router.get("/prices/{code}", responses=_READ_FAULTS | _NOT_FOUND)
async def prices(request: Request, key: Caller, code: str) -> dict[str, Any]:
    """Returns a code's national lowest, its rolling lowest, and each province's price, band and reference.

    ``as_of``: everything up to this position of ``feeds`` is in it; behind it, up to ``checked_to``, nothing of this code
    changed. It is as old as the worker's last checkpoint: a second or so. A supplier may ask for the codes it lists.
    """
    require(key, PRICES_READ, request.url.path)
    sources = sources_of(request)
    row, checkpoints = await _ask(sources, sources.read_model.row(code)) if is_code(code) else (None, {})
    tenant = tenant_of(key)
    if row is None or (tenant is not None and tenant not in row.suppliers):
        remedy = "A supplier sees the codes that it lists. A new listing is here a second or two after its record."
        raise Problem(404, "no_such_code", "this code is not known here", request.url.path[:200], remedy)
    partition = partition_of(code, len(sources.hub.lanes(prices=False)) or sources.settings.partitions)
    own = PartitionRow.from_bytes(checkpoints[partition]) if partition in checkpoints else None
    policy = policy_of(sources, own)
    shown = await asyncio.to_thread(partial(as_json, row, policy, tenant))
    as_of = {"partition": partition, "offset": row.offset, "line": row.line}
    return shown | {"policy_version": policy.version, "as_of": as_of, "checked_to": own.next_offset if own else None}


def policy_of(sources: Sources, own: PartitionRow | None) -> Policy:
    """Returns the policy that holds in a partition: its last policy record's, else the file's."""
    text = own.policy if own is not None and own.policy is not None else sources.settings.policy_file.read_bytes()
    policy = load_policy(text)
    assert isinstance(policy, Policy), "workers run with it"
    return policy


@router.get("/alerts", responses=_READ_FAULTS | {400: {"description": "A cursor of another list"}})
async def alerts(
    request: Request,
    key: Caller,
    kind: Words = [],  # noqa: B006
    code: Words = [],  # noqa: B006
    province: Words = [],  # noqa: B006
    band: Words = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=PAGE_ALERTS)] = 100,
    cursor: Annotated[str | None, Query(max_length=2_000)] = None,
) -> dict[str, Any]:
    """Returns open alerts, each as its last event: a supplier's own by id; an operator's all, red first.

    ``cursor``: as the page before returned it; null after the last. An operator may name one code at most.
    """
    require(key, ALERTS_READ, request.url.path)
    sources = sources_of(request)
    wanted = event_filter(key, province, kind, band, code)
    tenant = tenant_of(key)
    try:
        if tenant is not None:
            own, place = await _ask(sources, sources.read_model.open_alerts_of(tenant, wanted, limit, cursor))
            return {"alerts": own, "cursor": place}
        if len(wanted.codes) > 1:
            raise Problem(422, "bad_filter", "at most one code", "code", "Ask for one code after the other.")
        only = replace(wanted, codes=frozenset())
        page = await _ask(sources, sources.read_model.open_alerts(only, "".join(wanted.codes), limit, cursor))
    except ValueError as error:
        remedy = "Send the cursor of the page before, or none for the first page."
        raise Problem(400, "bad_cursor", "this is not a cursor of this list", "cursor", remedy) from error
    return {"alerts": page.alerts, "cursor": page.cursor}


async def _history(request: Request, tenant: str | None, alert_id: str) -> list[Event]:
    sources = sources_of(request)
    history = await _ask(sources, sources.read_model.history(alert_id))
    seen = [event for event in history if tenant is None or event.get("supplier") == tenant]
    if not seen:
        remedy = "Check the id. Ended alerts are kept for 30 days; one of this very second may not be here yet."
        raise Problem(404, "no_such_alert", "no alert of this id is known", alert_id[:400], remedy)
    return seen


def _shown(line: Line, tenant: str | None) -> dict[str, Any]:
    """Returns a record of the evidence; what is another supplier's, or an operator's, is withheld."""
    if tenant is None or line.text is None or _may_see(line.text, tenant):
        return line.as_json()
    return {"position": line.position._asdict(), "problem": "withheld"}


def _may_see(text: str, tenant: str) -> bool:
    record = parse_line(text.encode())
    return isinstance(record, Record) and (record.supplier == tenant or record.type in _NOBODYS)


async def _evidence(request: Request, event: Event) -> list[Line]:
    positions = [Position(each["partition"], each["offset"], each["line"]) for each in event.get("evidence", [])]
    return await sources_of(request).evidence.lines(positions)


@router.get("/alerts/{alert_id:path}/explain", responses=_READ_FAULTS | _NOT_FOUND)
async def explain(
    request: Request, key: Caller, alert_id: AlertId, revision: Annotated[int | None, Query(ge=1)] = None
) -> dict[str, Any]:
    """Returns how an event's numbers follow from its records and the policy, step by step.

    ``agrees``: whether the event says the same; null where there is nothing to compare. ``revision``: the last by default.
    """
    require(key, ALERTS_READ, request.url.path)
    history = await _history(request, tenant_of(key), alert_id)
    event = _revision(history, revision, alert_id)
    lines = await _evidence(request, event)
    parsed = [parse_line(line.text.encode()) for line in lines if line.text is not None]
    policy = await _policy_then(sources_of(request), event)
    steps = list(arithmetic(event, history[0], [each for each in parsed if isinstance(each, Record)], policy))
    return {
        "alert": event,
        "steps": [{"text": text, "agrees": agrees} for text, agrees in steps],
        "missing_records": len(lines) - len(parsed),
        "policy_known": policy is not None,
    }


async def _policy_then(sources: Sources, event: Event) -> Policy | None:
    """Returns the policy that held if it still holds: the file's, or the partition's own."""
    _, checkpoints = await _ask(sources, sources.read_model.row(event.get("code", "")))
    partition = event["evidence"][0]["partition"] if event.get("evidence") else None
    own = PartitionRow.from_bytes(checkpoints[partition]) if partition in checkpoints else None
    for row in (own, None):
        policy = policy_of(sources, row)
        if policy.version == event.get("policy_version"):
            return policy
    return None


def _revision(history: list[Event], revision: int | None, alert_id: str) -> Event:
    if revision is None:
        return history[-1]
    found = next((event for event in history if event["revision"] == revision), None)
    if found is None:
        remedy = "Leave it out for the last one."
        raise Problem(404, "no_such_revision", f"there is no revision {revision}", alert_id[:400], remedy)
    return found


@router.get("/alerts/{alert_id:path}", responses=_READ_FAULTS | _NOT_FOUND)
async def alert(
    request: Request, key: Caller, alert_id: AlertId, revision: Annotated[int | None, Query(ge=1)] = None
) -> dict[str, Any]:
    """Returns an alert: its last event, all events that are kept, and the records behind one of them.

    ``revision``: whose evidence to read; the last one's by default. Records of other suppliers are withheld from a supplier.
    """
    require(key, ALERTS_READ, request.url.path)
    tenant = tenant_of(key)
    history = await _history(request, tenant, alert_id)
    event = _revision(history, revision, alert_id)
    lines = await _evidence(request, event)
    return {
        "alert": history[-1],
        "history": history,
        "evidence": {"revision": event["revision"], "records": [_shown(line, tenant) for line in lines]},
    }
