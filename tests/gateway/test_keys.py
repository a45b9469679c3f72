"""Keys: made once, kept hashed, two at a time, ended by time or hand."""

import asyncio
import base64
from dataclasses import replace

import httpx
import pytest

from gateway.key_ring import USED_KEY, KeyRing, now_ms
from gateway.keys import (
    DAY_MS,
    FEEDS_WRITE,
    Key,
    KeyFault,
    Owner,
    fits,
    make_key,
    owner_of,
    parse_token,
    revoked,
)  # fmt: skip
from tests.gateway.fakes import SETTINGS, FakeRedis, Parts

NOW_MS = 1_767_225_600_000
JIANGSU = Owner("province", "320000")


def ring(*keys: Key) -> KeyRing:
    made = KeyRing(SETTINGS, FakeRedis())
    for key in keys:
        made.put(key)
    return made


def test_a_key_opens_until_it_expires_or_is_revoked() -> None:
    key, token = make_key(JIANGSU, (), 30, NOW_MS, ())
    assert ring(key).find(token, NOW_MS) == key
    assert ring(key).find(token, NOW_MS + 30 * DAY_MS) is None
    assert ring(key, revoked(key, NOW_MS)).find(token, NOW_MS) is None
    assert revoked(revoked(key, 1), 2).revoked_ms == 1


@pytest.mark.parametrize("token", ["", "pl", "pl__", "x_1_2", "pl_é_é", "pl_a_" + "x" * 300])
def test_nothing_else_opens(token: str) -> None:
    key, good = make_key(JIANGSU, (), 30, NOW_MS, ())
    assert ring(key).find(token, NOW_MS) is None
    assert ring(key).find(good[:-1] + ("A" if good[-1] != "A" else "B"), NOW_MS) is None
    assert ring(replace(key, id="other")).find(good, NOW_MS) is None


def test_the_secret_is_not_kept() -> None:
    key, token = make_key(JIANGSU, (), 30, NOW_MS, ())
    parts = parse_token(token)
    assert parts is not None
    assert parts[1].encode() not in key.to_bytes()
    assert Key.from_bytes(key.to_bytes()) == key
    assert fits(key, parts[1])
    assert not fits(key, "")


def test_an_owner_has_two_live_keys_at_most() -> None:
    first, _ = make_key(JIANGSU, (), 30, NOW_MS, ())
    second, _ = make_key(JIANGSU, (), 30, NOW_MS, (first,))
    with pytest.raises(KeyFault, match="revoke"):
        make_key(JIANGSU, (), 30, NOW_MS, (first, second))
    make_key(JIANGSU, (), 30, NOW_MS, (revoked(first, NOW_MS), second))
    make_key(JIANGSU, (), 30, NOW_MS + 31 * DAY_MS, (first, second))
    make_key(Owner("province", "330000"), (), 30, NOW_MS, (first, second))


def test_scopes_are_the_owners_own() -> None:
    assert make_key(JIANGSU, (), 1, NOW_MS, ())[0].scopes == (FEEDS_WRITE,)
    with pytest.raises(KeyFault, match="policy:write"):
        make_key(JIANGSU, ("policy:write",), 1, NOW_MS, ())
    with pytest.raises(KeyFault, match="days"):
        make_key(JIANGSU, (), 0, NOW_MS, ())


@pytest.mark.parametrize(
    "given", [(None, None, None), ("X", None, None), (None, "1", None), (None, None, "a b"), (None, "320000", "desk")]
)
def test_unfit_owners(given: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(KeyFault):
        owner_of(*given)


def test_what_is_no_key_in_the_topic_opens_nothing() -> None:
    made = ring()
    for value in (b"", None):
        made.take(b"", value)
    for value in (b"{}", b"[]", b"nonsense", b'{"owner":{"kind":1}}'):
        with pytest.raises(ValueError, match=r"."):
            made.take(b"", value)
    assert made.find("pl_a_b", NOW_MS) is None


def test_last_use_is_noted_and_waits_for_redis() -> None:
    key, token = make_key(JIANGSU, (), 30, NOW_MS, ())
    made = ring(key)
    made.find(token, NOW_MS)
    made._redis.away = True
    asyncio.run(made.note())
    made._redis.away = False
    asyncio.run(made.note())
    assert made._redis.data[USED_KEY] == {key.id: str(NOW_MS)}


def test_the_page_is_open_to_its_own_host_and_to_operators() -> None:
    async def run() -> None:
        parts = Parts()
        key, token = make_key(Owner("operator", "desk"), (), 1, now_ms(), ())
        other, province_token = make_key(JIANGSU, (), 1, now_ms(), ())
        parts.keys.put(key)
        parts.keys.put(other)

        async def status(host: str, path: str = "/", **headers: str) -> int:
            transport = httpx.ASGITransport(parts.app, client=(host, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
                return (await client.get(path, headers=headers)).status_code

        basic = base64.b64encode(f"desk:{token}".encode()).decode()
        assert await status("127.0.0.1") == 200
        assert await status("::1") == 200
        for path in ("/", "/api/summary", "/api/alerts", "/events"):
            assert await status("192.0.2.1", path) == 401
        assert await status("192.0.2.1", Authorization=f"Basic {basic}") == 200
        assert await status("192.0.2.1", Authorization=f"Bearer {token}") == 200
        assert await status("192.0.2.1", Authorization=f"Bearer {province_token}") == 403
        assert await status("192.0.2.1", Authorization="Basic %%%") == 401
        assert await status("192.0.2.1", "/healthz") == 200

    asyncio.run(run())
