"""``/v1/webhooks``: a supplier's endpoints, their secrets, what became of deliveries, and sending again."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.access import Caller, require
from gateway.alerts_topic import BROKER_FAULTS
from gateway.endpoints import (
    ENDPOINTS_OF_AN_OWNER,
    MOST_ENDPOINTS,
    Endpoint,
    EndpointFault,
    Secret,
    check_url,
    new_id,
    new_secret,
    with_new_secret,
    with_replay,
)
from gateway.filters import CODES_NAMED, FilterFault, parse_event_filter
from gateway.key_ring import now_ms
from gateway.keys import DAY_MS, WEBHOOKS_WRITE, Key
from gateway.problems import Problem, redis_away
from gateway.read_model import REDIS_FAULTS
from gateway.sources import Sources, sources_of
from gateway.summary import without_password
from schemas.times import format_ms, parse_rfc3339

JOURNAL: Final = "pl:webhooks:log:"
STATES: Final = "pl:webhooks:states"
DELIVERIES_SHOWN: Final = 500
FURTHEST_DAYS: Final = 400
"""The logs keep events for so long."""

_FAULTS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The body is not JSON"},
    401: {"description": "No key, or none that is live"},
    403: {"description": "The key may not do this"},
    422: {"description": "Something in it is unfit"},
    503: {"description": "The broker or Redis is away, or endpoints are not known yet"},
}
_NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "Not known here, or another supplier's"}}

router = APIRouter(prefix="/v1/webhooks")

EndpointId = Annotated[str, Path(max_length=40)]
Names = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=CODES_NAMED)]


class Wishes(BaseModel):
    """What of an endpoint can be changed; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str | None, Field(max_length=2_000, description="https://… of your receiver")] = None
    description: Annotated[str | None, Field(max_length=200)] = None
    kinds: Annotated[Names | None, Field(description="Kinds of events; empty: all")] = None
    codes: Annotated[Names | None, Field(description="Product codes; empty: all")] = None
    provinces: Annotated[Names | None, Field(description="Provinces; empty: all")] = None
    enabled: Annotated[bool | None, Field(description="true also ends what disabled it")] = None


class NewEndpoint(Wishes):
    """A new endpoint."""

    url: Annotated[str, Field(max_length=2_000, description="https://… of your receiver")]


class WhichEvent(BaseModel):
    """An event of the delivery log."""

    model_config = ConfigDict(extra="forbid")
    event_id: Annotated[str, Field(max_length=700)]


class Since(BaseModel):
    """A time."""

    model_config = ConfigDict(extra="forbid")
    since: Annotated[str, Field(max_length=40, description="RFC 3339 with offset, such as 2026-01-01T00:00:00Z")]


def _tenant(key: Key, where: str) -> str:
    require(key, WEBHOOKS_WRITE, where)
    return key.owner.name


def _loaded(request: Request) -> Sources:
    sources = sources_of(request)
    if not sources.endpoints.loaded:
        what = f"the endpoints are not known yet: {sources.endpoints.problem}"
        raise Problem(503, "endpoints_unknown", what, request.url.path, "Is the broker up? Try again in a moment.")
    return sources


def _own(request: Request, key: Key, endpoint_id: str) -> tuple[Sources, Endpoint]:
    tenant = _tenant(key, request.url.path)
    sources = _loaded(request)
    endpoint = sources.endpoints.find(tenant, endpoint_id)
    if endpoint is None:
        what = "no endpoint of this id is known"
        raise Problem(404, "no_such_endpoint", what, endpoint_id, "`GET /v1/webhooks` lists yours.")
    return sources, endpoint


async def _written(request: Request, writing: Awaitable[None]) -> None:
    try:
        await writing
    except BROKER_FAULTS as error:
        what = f"Kafka did not take it: {str(error) or type(error).__name__}"
        raise Problem(503, "broker_away", what, request.url.path, "Try again in a moment.") from error


def _changed(endpoint: Endpoint, wishes: Wishes, *, allow_http: bool) -> Endpoint:
    given = wishes.model_dump(exclude_none=True)
    try:
        if "url" in given:
            check_url(given["url"], allow_http=allow_http)
        parse_event_filter(None, given.get("provinces", ()), given.get("kinds", ()), (), given.get("codes", ()))
    except (EndpointFault, FilterFault) as fault:
        raise Problem(422, "bad_endpoint", str(fault), "body", "Correct it.") from fault
    for name in ("kinds", "codes", "provinces"):
        if name in given:
            given[name] = tuple(dict.fromkeys(given[name]))
    if given.get("enabled"):
        given["enabled_number"] = endpoint.enabled_number + 1
    return replace(endpoint, **given)


async def _states(sources: Sources, endpoints: list[Endpoint]) -> list[dict[str, Any] | None]:
    """Returns what the notifier says of endpoints; None where it said nothing yet, or Redis is away."""
    try:
        values = await sources.redis.hmget(STATES, [each.id for each in endpoints]) if endpoints else []
    except REDIS_FAULTS:
        return [None] * len(endpoints)
    return [orjson.loads(value) if value else None for value in values]


def _shown(endpoint: Endpoint, state: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "description": endpoint.description,
        "kinds": list(endpoint.kinds),
        "codes": list(endpoint.codes),
        "provinces": list(endpoint.provinces),
        "enabled": endpoint.enabled,
        "created_at": format_ms(endpoint.created_ms),
        "secrets_signing": len(endpoint.signing_secrets(now_ms())),
        "state": state,
    }


@router.post("", status_code=201, responses=_FAULTS | {409: {"description": "This supplier has enough endpoints"}})
async def create(request: Request, key: Caller, wishes: NewEndpoint) -> dict[str, Any]:
    """Makes an endpoint, which gets what happens from now on. ``secret`` is shown this once."""
    tenant = _tenant(key, request.url.path)
    sources = _loaded(request)
    if len(sources.endpoints.of(tenant)) >= ENDPOINTS_OF_AN_OWNER or len(sources.endpoints.endpoints) >= MOST_ENDPOINTS:
        what = f"{ENDPOINTS_OF_AN_OWNER} endpoints are the most"
        raise Problem(409, "too_many_endpoints", what, request.url.path, "Delete one, or change it.")
    at_ms = now_ms()
    secret = new_secret()
    bare = Endpoint(new_id(), tenant, "", "", (), (), (), (Secret(secret),), True, at_ms, at_ms)  # noqa: FBT003
    made = _changed(bare, wishes, allow_http=sources.settings.webhooks_allow_http)
    await _written(request, sources.endpoints.put(made))
    return _shown(made, None) | {"secret": secret}


@router.get("", responses=_FAULTS)
async def listed(request: Request, key: Caller) -> dict[str, Any]:
    """Returns this supplier's endpoints. ``state``: what the notifier says of each, a second or so old."""
    tenant = _tenant(key, request.url.path)
    sources = _loaded(request)
    own = sources.endpoints.of(tenant)
    states = await _states(sources, own)
    return {"endpoints": [_shown(each, state) for each, state in zip(own, states, strict=True)]}


@router.get("/{endpoint_id}", responses=_FAULTS | _NOT_FOUND)
async def one(request: Request, key: Caller, endpoint_id: EndpointId) -> dict[str, Any]:
    """Returns an endpoint and how it is doing."""
    sources, endpoint = _own(request, key, endpoint_id)
    (state,) = await _states(sources, [endpoint])
    return _shown(endpoint, state)


@router.patch("/{endpoint_id}", responses=_FAULTS | _NOT_FOUND)
async def change(request: Request, key: Caller, endpoint_id: EndpointId, wishes: Wishes) -> dict[str, Any]:
    """Changes an endpoint. Enabled again, it gets what happened meanwhile."""
    sources, endpoint = _own(request, key, endpoint_id)
    made = _changed(endpoint, wishes, allow_http=sources.settings.webhooks_allow_http)
    await _written(request, sources.endpoints.put(made))
    return _shown(made, None)


@router.delete("/{endpoint_id}", status_code=204, responses=_FAULTS | _NOT_FOUND)
async def delete(request: Request, key: Caller, endpoint_id: EndpointId) -> Response:
    """Deletes an endpoint; what is under way may still arrive."""
    sources, endpoint = _own(request, key, endpoint_id)
    await _written(request, sources.endpoints.drop(endpoint))
    return Response(status_code=204)


@router.post("/{endpoint_id}/rotate-secret", responses=_FAULTS | _NOT_FOUND)
async def rotate(request: Request, key: Caller, endpoint_id: EndpointId) -> dict[str, Any]:
    """Gives it a new secret, shown this once; for a day the old one signs, too."""
    sources, endpoint = _own(request, key, endpoint_id)
    made = with_new_secret(endpoint, now_ms())
    await _written(request, sources.endpoints.put(made))
    return _shown(made, None) | {"secret": made.secrets[0].value}


async def _journal(request: Request, endpoint: Endpoint, count: int) -> list[dict[str, Any]]:
    sources = sources_of(request)
    try:
        notes = await sources.redis.lrange(JOURNAL + endpoint.id, 0, count - 1)
    except REDIS_FAULTS as error:
        raise redis_away(without_password(sources.settings.redis_url), error) from error
    return [orjson.loads(note) for note in notes]


@router.get("/{endpoint_id}/deliveries", responses=_FAULTS | _NOT_FOUND)
async def deliveries(
    request: Request, key: Caller, endpoint_id: EndpointId, limit: Annotated[int, Query(ge=1, le=DELIVERIES_SHOWN)] = 50
) -> dict[str, Any]:
    """Returns the last attempts, newest first."""
    _, endpoint = _own(request, key, endpoint_id)
    return {"deliveries": await _journal(request, endpoint, limit)}


@router.post("/{endpoint_id}/replay", status_code=202, responses=_FAULTS | _NOT_FOUND)
async def replay(request: Request, key: Caller, endpoint_id: EndpointId, which: WhichEvent) -> dict[str, Any]:
    """Sends an event of the delivery log again, at once and with all its attempts."""
    sources, endpoint = _own(request, key, endpoint_id)
    notes = await _journal(request, endpoint, DELIVERIES_SHOWN)
    found = next((note for note in notes if note["event_id"] == which.event_id), None)
    if found is None:
        remedy = "Recover everything since a time: POST …/recover."
        raise Problem(404, "no_such_delivery", "it is not among the last deliveries", which.event_id[:400], remedy)
    made = with_replay(endpoint, found["lane"], found["offset"], which.event_id)
    await _written(request, sources.endpoints.put(made))
    return {"event_id": which.event_id}


@router.post("/{endpoint_id}/recover", status_code=202, responses=_FAULTS | _NOT_FOUND)
async def recover(request: Request, key: Caller, endpoint_id: EndpointId, since: Since) -> dict[str, Any]:
    """Sends everything since a time again, in order; receivers drop what they have by ``webhook-id``."""
    sources, endpoint = _own(request, key, endpoint_id)
    at_ms = parse_rfc3339(since.since)
    if at_ms is None or not now_ms() - FURTHEST_DAYS * DAY_MS <= at_ms <= now_ms():
        what = f"since: RFC 3339 with offset, within the last {FURTHEST_DAYS} days"
        raise Problem(422, "bad_time", what, "since", "Correct it.")
    made = replace(endpoint, since_ms=at_ms, since_number=endpoint.since_number + 1)
    await _written(request, sources.endpoints.put(made))
    return {"since": format_ms(at_ms)}
