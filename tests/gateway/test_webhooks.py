from typing import Any

import httpx
import orjson
import pytest

from gateway.keys import Owner
from tests.gateway.fakes import Parts
from tests.gateway.test_stream import serve
from tests.gateway.test_subscriber_stream import CODE, THEIRS, key_of, made

URL = "https://receiver.example/hook"
ADDRESS = "/v1/webhooks"


async def an_endpoint(client: httpx.AsyncClient, headers: dict[str, str], **wishes: Any) -> dict[str, Any]:
    answer = await client.post(ADDRESS, json={"url": URL} | wishes, headers=headers)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def test_an_endpoint_is_made_read_changed_and_deleted() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        shown = await an_endpoint(client, headers, kinds=["price_adjustment"], codes=[CODE], provinces=["320000"])
        assert shown["secret"].startswith("whsec_")
        place = f"{ADDRESS}/{shown['id']}"
        parts.redis.data["pl:webhooks:states"] = {shown["id"]: b'{"state":"on"}'}
        read = (await client.get(place, headers=headers)).json()
        assert "secret" not in read
        assert (read["url"], read["kinds"], read["state"]) == (URL, ["price_adjustment"], {"state": "on"})
        changed = (await client.patch(place, json={"kinds": [], "enabled": False}, headers=headers)).json()
        assert (changed["kinds"], changed["enabled"], changed["codes"]) == ([], False, [CODE])
        assert len((await client.get(ADDRESS, headers=headers)).json()["endpoints"]) == 1
        rotated = (await client.post(f"{place}/rotate-secret", headers=headers)).json()
        assert rotated["secret"] != shown["secret"]
        assert rotated["secrets_signing"] == 2
        assert (await client.delete(place, headers=headers)).status_code == 204
        assert (await client.get(place, headers=headers)).status_code == 404

    serve(work, made())


@pytest.mark.parametrize(
    "body",
    [{}, {"url": "http://x.example"}, {"url": URL, "kinds": ["nothing"]}, {"url": URL, "codes": ["x"]}, {"url": URL, "more": 1},
     {"url": URL, "provinces": ["999999"]}, {"url": URL, "kinds": ["a"] * 501}, {"url": 1}, [], None],
)  # fmt: skip
def test_what_is_unfit_is_told(body: Any) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        assert (await client.post(ADDRESS, json=body, headers=headers)).status_code == 422
        assert not parts.endpoints.endpoints

    serve(work, made())


def test_another_suppliers_endpoint_is_not_there() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        _, others = key_of(parts, Owner("supplier", THEIRS))
        place = f"{ADDRESS}/{(await an_endpoint(client, headers))['id']}"
        assert (await client.get(ADDRESS, headers=others)).json() == {"endpoints": []}
        for method, suffix, body in [
            ("GET", "", None), ("PATCH", "", {"enabled": False}), ("DELETE", "", None), ("POST", "/rotate-secret", None),
            ("GET", "/deliveries", None), ("POST", "/replay", {"event_id": "x"}), ("POST", "/recover", {"since": "2026-01-01T00:00:00Z"}),
        ]:  # fmt: skip
            assert (await client.request(method, place + suffix, json=body, headers=others)).status_code == 404
        _, desk = key_of(parts, Owner("operator", "desk"))
        assert (await client.get(place, headers=desk)).status_code == 403
        assert (await client.get(place)).status_code == 401
        assert (await client.get(place, headers=headers)).json()["enabled"]

    serve(work, made())


def test_deliveries_are_shown_and_sent_again() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        shown = await an_endpoint(client, headers)
        place = f"{ADDRESS}/{shown['id']}"
        note = {"event_id": "e/1", "attempt": 1, "result": "failed", "lane": 3, "offset": 17}
        parts.redis.data[f"pl:webhooks:log:{shown['id']}"] = [orjson.dumps(note)]
        assert (await client.get(f"{place}/deliveries", headers=headers)).json() == {"deliveries": [note]}
        assert (await client.post(f"{place}/replay", json={"event_id": "e/1"}, headers=headers)).status_code == 202
        assert (await client.post(f"{place}/replay", json={"event_id": "e/2"}, headers=headers)).status_code == 404
        (replay,) = parts.endpoints.endpoints[shown["id"]].replays
        assert (replay.lane, replay.offset) == (3, 17)
        for since, wanted in (("2026-11-01T00:00:00Z", 202), ("1999-01-01T00:00:00Z", 422), ("soon", 422)):
            answer = await client.post(f"{place}/recover", json={"since": since}, headers=headers)
            assert answer.status_code == wanted
        assert parts.endpoints.endpoints[shown["id"]].since_number == 2
        parts.endpoints.fault = OSError("away")
        assert (await client.post(f"{place}/replay", json={"event_id": "e/1"}, headers=headers)).status_code == 503
        parts.redis.away = True
        assert (await client.get(f"{place}/deliveries", headers=headers)).status_code == 503
        assert (await client.get(place, headers=headers)).json()["state"] is None

    serve(work, made())


def test_endpoints_are_bounded_and_unknown_until_read() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        _, headers = key_of(parts)
        for _ in range(10):
            await an_endpoint(client, headers)
        assert (await client.post(ADDRESS, json={"url": URL}, headers=headers)).status_code == 409
        parts.endpoints.loaded = False
        assert (await client.get(ADDRESS, headers=headers)).status_code == 503

    serve(work, made())
