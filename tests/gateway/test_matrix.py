"""Every route of /openapi.json, asked without a key, with wrong and expired ones, and by another tenant: nothing foreign."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from gateway.evidence import Position
from gateway.key_ring import now_ms
from gateway.keys import Owner, make_key, revoked
from tests.gateway.fakes import Parts, event
from tests.gateway.test_subscriber_stream import CODE, OURS, THEIRS, change, key_of, made

MARK = "no-other-may-see-this"
OPEN = {"/healthz", "/readyz"}
"""What probes ask for; there is nothing of anybody's in it."""
STREAMS = {"/events", "/v1/events/stream"}
ALERT = event(1)["alert_id"]
ENDPOINT = "ep_0000000000000000"


def full() -> Parts:
    """A gateway with something of one supplier behind every route."""
    parts = made()
    parts.write(event(1) | {"institution": MARK})
    parts.prices.write(0, change(1) | {"note": MARK}, frozenset({OURS}))
    parts.evidence.known = {Position(0, number, 0): f'{{"note":"{MARK}"}}' for number in (0, 1)}
    parts.redis.data[f"pl:webhooks:log:{ENDPOINT}"] = [orjson.dumps({"event_id": MARK, "lane": 0, "offset": 0})]
    parts.redis.data["pl:rows"] = {}
    card = {
        "dimension": "supplier", "key": OURS, "answerable": ["price_adjustment", "bargain"], "latest_observed": [ALERT],
        "note": MARK,
    }  # fmt: skip
    parts.redis.data["pl:cards:supplier"] = {OURS: orjson.dumps(card)}
    parts.redis.data["pl:rank:supplier:open_red"] = {OURS: 1}
    parts.redis.data[f"pl:card-open:supplier:{OURS}"] = {ALERT.encode()}
    parts.endpoints.take(ENDPOINT.encode(), orjson.dumps({
        "id": ENDPOINT, "supplier": OURS, "url": f"https://{MARK}.example", "description": MARK, "kinds": [], "codes": [],
        "provinces": [], "secrets": [{"value": "whsec_" + MARK, "until_ms": None}], "enabled": True, "created_ms": 0,
        "since_ms": 0, "since_number": 1, "enabled_number": 1, "replays": [],
    }))  # fmt: skip
    assert parts.endpoints.endpoints
    return parts


def routes() -> Iterator[tuple[str, str]]:
    for path, methods in sorted(Parts().app.openapi()["paths"].items()):
        for method in sorted(methods):
            yield method.upper(), path


def address(path: str) -> str:
    filled = {"alert_id": ALERT, "code": CODE, "province": "320000", "endpoint_id": ENDPOINT}
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: filled.get(found[1], "x"), path)


BODIES: dict[str, Any] = {"url": "https://x.example", "event_id": MARK, "since": "2026-11-01T00:00:00Z"}


def body_for(path: str) -> dict[str, Any]:
    last = path.rsplit("/", 1)[-1]
    if last == "replay":
        return {"event_id": MARK}
    if last == "recover":
        return {"since": "2026-11-01T00:00:00Z"}
    return {"url": "https://x.example"}


async def ask(parts: Parts, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(parts.app, client=("203.0.113.9", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.example") as client:
        body = body_for(path) if method in {"POST", "PATCH"} else None
        return await asyncio.wait_for(client.request(method, address(path), json=body, headers=headers), 10)


def holders(parts: Parts) -> dict[str, dict[str, str]]:
    """Everybody who must see nothing, and what they send."""
    expired, expired_token = make_key(Owner("supplier", OURS), (), 1, now_ms() - 2 * 86_400_000, ())
    ended, ended_token = make_key(Owner("supplier", OURS), (), 1, now_ms(), ())
    parts.keys.put(expired)
    parts.keys.put(revoked(ended, now_ms()))
    live, token = make_key(Owner("supplier", OURS), (), 1, now_ms(), ())
    parts.keys.put(live)
    return {
        "none": {},
        "wrong": {"Authorization": f"Bearer pl_{live.id}_{'A' * 43}"},
        "not_bearer": {"Authorization": f"Digest {token}"},
        "expired": {"Authorization": f"Bearer {expired_token}"},
        "revoked": {"Authorization": f"Bearer {ended_token}"},
    }


@pytest.mark.parametrize(("method", "path"), [each for each in routes() if each[1] not in OPEN])
def test_who_has_no_live_key_gets_nothing(method: str, path: str) -> None:
    async def run() -> None:
        parts = full()
        for who, headers in holders(parts).items():
            answer = await ask(parts, method, path, headers)
            assert answer.status_code == 401, (who, answer.status_code)
            assert MARK not in answer.text

    asyncio.run(run())


@pytest.mark.parametrize(
    "owner", [Owner("supplier", THEIRS), Owner("province", "110000")], ids=["another supplier", "a province"]
)
@pytest.mark.parametrize(("method", "path"), [each for each in routes() if each[1] not in OPEN | STREAMS])
def test_another_tenant_sees_nothing_of_it(method: str, path: str, owner: Owner) -> None:
    async def run() -> None:
        parts = full()
        before = parts.endpoints.endpoints[ENDPOINT]
        _, headers = key_of(parts, owner)
        answer = await ask(parts, method, path, headers)
        assert MARK not in answer.text
        assert OURS not in answer.text
        assert parts.endpoints.endpoints[ENDPOINT] == before
        if "{" in path:
            assert answer.status_code in {403, 404}, answer.text

    asyncio.run(run())


def test_its_owner_does_see_it() -> None:
    """Else the tests above would say nothing."""

    async def run() -> None:
        parts = full()
        _, headers = key_of(parts)
        for path in ("/v1/alerts", "/v1/alerts/{alert_id}", "/v1/webhooks", "/v1/webhooks/{endpoint_id}/deliveries"):
            assert MARK in (await ask(parts, "GET", path, headers)).text, path

    asyncio.run(run())


def test_every_route_is_asked() -> None:
    assert len(list(routes())) > 20
    assert {path for _, path in routes()} >= {"/v1/events/stream", "/v1/prices/{code}", "/v1/webhooks"}
