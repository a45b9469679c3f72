"""Feeds over HTTP: what is accepted is in the log, what is not is told, and nothing is ever promised in vain."""

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import zstandard
from aiokafka.errors import KafkaTimeoutError

from gateway import feeds, ingest
from gateway.key_ring import now_ms
from gateway.keys import Owner, make_key, revoked
from tests.gateway.fakes import SETTINGS, Parts

PATH = "/v1/feeds/320000/records"
JIANGSU = Owner("province", "320000")
NDJSON = {"Content-Type": "application/x-ndjson"}


def quote(number: int, **changes: object) -> bytes:
    record = {"type": "quote", "province": "320000", "code": f"C{number:026}", "at": 1_767_225_600_000, "price": 1}
    return json.dumps(record | {"supplier": "91320000MA1N4XXXX1"} | changes).encode()


QUOTE = quote(1)


def token_of(parts: Parts, owner: Owner = JIANGSU, *scopes: str) -> dict[str, str]:
    key, token = make_key(owner, scopes, 1, now_ms(), ())
    parts.keys.put(key)
    return {"Authorization": f"Bearer {token}"}


Work = Callable[[Parts, httpx.AsyncClient], Awaitable[None]]


def ask(work: Work, parts: Parts | None = None, *, connect: bool = True) -> None:
    async def run() -> None:
        asked = parts or Parts()
        writing = asyncio.create_task(asked.intake.log.run()) if connect else None
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        transport = httpx.ASGITransport(asked.app)
        headers = NDJSON | token_of(asked)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test", headers=headers) as client:
            await work(asked, client)
        if writing:
            writing.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_what_is_accepted_is_in_the_log(encoding: str) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        lines = [quote(number % 200, seq=number) for number in range(5_000)]
        body = b"\n".join(lines)
        packed = {"identity": body, "gzip": gzip.compress(body), "zstd": zstandard.compress(body)}[encoding]
        answer = await client.post(PATH, content=packed, headers={"Content-Encoding": encoding})
        assert answer.status_code == 200, answer.text
        shown = answer.json()
        assert (shown["accepted"], shown["rejected"], shown["items"]) == (5_000, 0, [])
        assert sorted(parts.broker.lines()) == sorted(lines)
        assert len(parts.broker.values()) < 80
        assert parts.intake.log.in_flight_bytes == 0

    ask(work)


def test_rejected_lines_are_told_and_kept() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        body = b"\n".join([quote(1), b"", b"oops", quote(2, province="110000"), quote(3, price=0)])
        shown = (await client.post(PATH, content=body)).json()
        assert (shown["accepted"], shown["rejected"]) == (1, 3)
        assert [(item["line"], item["reason"], item["field"]) for item in shown["items"]] == [
            (3, "not_json", None),
            (4, "other_province", "province"),
            (5, "bad_money", "price"),
        ]
        letters = [
            letter
            for (topic, _), messages in parts.broker.written.items()
            if topic == "feeds.dead-letter"
            for letter in messages
        ]
        assert sorted(value for _, value, _ in letters) == sorted(body.split(b"\n")[2:])
        assert {headers["source"] for _, _, headers in letters} == {b"gateway:records"}
        assert {headers["line"]: headers["reason"] for _, _, headers in letters}[b"3"] == b"not_json"

    ask(work)


def test_a_policy_goes_to_every_partition_and_counts_once() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        policy = b'{"type":"policy","at":1,"policy":{}}'
        desk = token_of(parts, Owner("operator", "desk"))
        answer = await client.post(PATH, content=b"\n".join([quote(1), policy, b"oops"]), headers=desk)
        assert (answer.json()["accepted"], answer.json()["rejected"]) == (2, 1)
        assert sorted(parts.broker.lines()) == sorted([quote(1), *[policy] * 4])

    ask(work)


def test_nothing_good_is_400_with_the_reasons() -> None:
    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        answer = await client.post(PATH, content=b"oops\n")
        assert answer.status_code == 400
        assert answer.json()["items"][0]["reason"] == "not_json"
        assert (await client.post(PATH, content=b"")).status_code == 400
        answer = await client.post(PATH, content=b"x\n" * (ingest.MOST_REJECTED + 5))
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "too_many_rejected"
        assert answer.json()["rejected"] == ingest.MOST_REJECTED

    ask(work)


def test_keys_are_asked_for() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        async def status(headers: dict[str, str], path: str = PATH, content: bytes = QUOTE) -> int:
            answer = await client.post(path, content=content, headers=headers)
            assert (answer.status_code == 401) == ("WWW-Authenticate" in answer.headers)
            return answer.status_code

        key, token = make_key(Owner("province", "320000"), (), 1, now_ms(), ())
        bearer = {"Authorization": f"Bearer {token}"}
        assert await status({"Authorization": ""}) == 401
        assert await status({"Authorization": "Bearer"}) == 401
        assert await status({"Authorization": "Basic eDp5"}) == 401
        assert await status(bearer) == 401
        parts.keys.put(key)
        assert await status(bearer) == 200
        assert await status(bearer, "/v1/feeds/330000/records") == 403
        assert await status(bearer, "/v1/feeds/99/records") == 404
        parts.keys.put(revoked(key, 1))
        assert await status(bearer) == 401
        assert await status(token_of(parts, Owner("supplier", "91320000MA1N4XXXX1"))) == 403
        desk = token_of(parts, Owner("operator", "desk"))
        item = b'{"type":"item","code":"C%026d","at":1}' % 1
        policy = b'{"type":"policy","at":1,"policy":{}}'
        assert await status(desk, content=item) == 200
        assert await status(desk, "/v1/feeds/330000/records", quote(1, province="330000")) == 200
        assert await status(desk, content=policy) == 200
        assert parts.broker.lines().count(policy) == 4
        assert await status(desk, content=b'{"type":"tick","at":1}') == 400
        assert await status(token_of(parts), content=item) == 400
        assert await status(token_of(parts, Owner("operator", "other"), "console:read")) == 403
        parts.keys.loaded = False
        assert await status({"Authorization": "Bearer pl_a_b"}) == 503

    ask(work)


def test_what_is_not_taken_is_told() -> None:
    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        async def status(content: Any = QUOTE, **headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return (await client.post(PATH, content=content, headers=named)).status_code

        assert await status(Content_Type="text/csv") == 415
        assert await status(Content_Encoding="br") == 415
        assert await status(Content_Encoding="gzip") == 400
        assert await status(gzip.compress(quote(1))[:-4], Content_Encoding="gzip") == 400
        assert await status(Content_Length=str(10**12)) == 413
        assert await status(Idempotency_Key="x" * 300) == 422

    ask(work)


def test_a_body_over_its_bound_tells_what_is_written() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        small = SETTINGS.model_copy(update={"feeds_body_bytes": 1 << 20})
        object.__setattr__(parts.sources, "settings", small)
        body = gzip.compress(b"\n".join(quote(number) for number in range(20_000)))
        answer = await client.post(PATH, content=body, headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 413
        assert 0 < answer.json()["accepted"] == len(parts.broker.lines()) < 20_000

    ask(work)


@pytest.mark.parametrize("once", [{}, {"Idempotency-Key": "endless"}])
def test_a_body_that_unpacks_to_nothing_and_does_not_end_is_given_up(once: dict[str, str]) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        small = SETTINGS.model_copy(update={"feeds_body_bytes": 1 << 20})
        object.__setattr__(parts.sources, "settings", small)
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            yield gzip.compress(quote(1) + b"\n")
            while True:
                sent += 1
                yield gzip.compress(b"") * 1_000

        answer = await client.post(PATH, content=endless(), headers=once | {"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["accepted"]) == (413, 1)
        assert sent < 1_000  # what is drained before the answer

    ask(work)


def test_an_unacknowledged_body_is_never_2xx() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.broker.fault = KafkaTimeoutError("gone")
        answer = await client.post(PATH, content=quote(1))
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        assert answer.json()["accepted"] == 0
        await asyncio.sleep(0.05)
        assert (await client.post(PATH, content=quote(1))).status_code == 503  # it cannot even connect
        parts.broker.fault = None
        for _ in range(40):
            await asyncio.sleep(0.1)
            answer = await client.post(PATH, content=quote(1))
            if answer.status_code == 200:
                break
        assert answer.status_code == 200
        assert parts.broker.lines() == [quote(1)]

    ask(work)


def test_a_silent_broker_is_503_in_time_and_its_lines_leave_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    object.__setattr__(parts.intake._settings, "feeds_answer_s", 20.0)
    parts.intake._settings = SETTINGS.model_copy(update={"feeds_answer_s": 0.2})

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.broker.silent = True
        answers = await asyncio.gather(*(client.post(PATH, content=quote(number)) for number in range(4)))
        assert {answer.status_code for answer in answers} == {503}
        monkeypatch.setattr("gateway.feed_log.STALLED_S", 0.1)
        assert (await client.post(PATH, content=quote(9))).status_code == 503
        assert parts.broker.lines() == []

    ask(work, parts)


def test_without_a_broker_it_says_so() -> None:
    async def work(_: Parts, client: httpx.AsyncClient) -> None:
        assert (await client.post(PATH, content=quote(1))).status_code == 503

    ask(work, connect=False)


def test_too_much_at_once_is_429() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.intake.log.in_flight_bytes = SETTINGS.feeds_in_flight_bytes
        answer = await client.post(PATH, content=quote(1))
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
        parts.intake.log.in_flight_bytes = 0
        go_on = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield quote(1) + b"\n"
            await go_on.wait()

        slow_ones = [asyncio.create_task(client.post(PATH, content=slow())) for _ in range(ingest.BODIES_A_KEY)]
        await asyncio.sleep(0.1)
        assert len(parts.broker.lines()) == ingest.BODIES_A_KEY  # what came is written, though the body goes on
        assert (await client.post(PATH, content=quote(1))).json()["error"]["code"] == "too_many_bodies"
        other = token_of(parts, Owner("operator", "desk"))
        assert (await client.post(PATH, content=quote(1), headers=other)).status_code == 200
        go_on.set()
        assert {(await answer).status_code for answer in slow_ones} == {200}
        assert (await client.post(PATH, content=quote(1))).status_code == 200

    ask(work)


def test_bodies_that_the_broker_does_not_take_fill_the_bound_and_no_more() -> None:
    """What waits for the broker counts, whoever sent it: the next body is 429 at once, and taken when there is room again."""
    bound = 4 * ingest.RESERVE_BYTES
    parts = Parts()
    settings = SETTINGS.model_copy(update={"feeds_in_flight_bytes": bound, "feeds_answer_s": 0.5})
    parts.intake._settings = parts.intake.log._settings = settings

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.broker.silent = True
        body = b"\n".join(quote(number) for number in range(32_000))
        assert len(body) > bound
        waiting = [asyncio.create_task(client.post(PATH, content=body)) for _ in range(3)]
        async with asyncio.timeout(10):
            while parts.intake.log.has_room():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        desk = token_of(parts, Owner("operator", "desk"))
        answer = await client.post(PATH, content=quote(1), headers=desk)
        assert (answer.status_code, answer.json()["error"]["code"], answer.headers["Retry-After"]) == (429, "busy", "2")
        # A body is read in pieces, and each may be on its way when the bound is passed.
        assert parts.intake.log.in_flight_bytes < bound + len(waiting) * ingest.RESERVE_BYTES
        assert {(await answer).status_code for answer in waiting} <= {429, 503}

    ask(work, parts)


def test_a_body_that_stops_coming_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "IDLE_S", 0.1)

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        async def stuck() -> AsyncIterator[bytes]:
            yield quote(1) + b"\n"
            await asyncio.Event().wait()

        answer = await client.post(PATH, content=stuck())
        assert answer.status_code == 408
        assert answer.json()["accepted"] == 1
        assert parts.broker.lines() == [quote(1)]

    ask(work)


def test_a_repeated_key_gets_the_first_answer() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        once = {"Idempotency-Key": "batch-1"}
        body = b"\n".join([quote(1), b"oops"])
        first = await client.post(PATH, content=body, headers=once)
        again = await client.post(PATH, content=body, headers=once)
        assert (first.status_code, first.json()) == (again.status_code, again.json())
        assert [answer.headers["Idempotency-Status"] for answer in (first, again)] == ["kept", "repeated"]
        assert parts.broker.lines() == [quote(1)]
        assert (await client.post(PATH, content=quote(2), headers=once)).status_code == 422
        other = token_of(parts, Owner("operator", "desk"))
        assert (await client.post(PATH, content=quote(2), headers=once | other)).status_code == 200

    ask(work)


def test_a_repeat_waits_for_the_first_and_a_failed_one_leaves_no_answer() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        once = {"Idempotency-Key": "batch-1"}
        go_on = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield quote(1)
            await go_on.wait()

        first = asyncio.create_task(client.post(PATH, content=slow(), headers=once))
        await asyncio.sleep(0.05)
        answer = await client.post(PATH, content=quote(1), headers=once)
        assert (answer.status_code, "Retry-After" in answer.headers) == (409, True)
        go_on.set()
        assert (await first).status_code == 200
        refused = {"Idempotency-Key": "batch-2", "Content-Encoding": "gzip"}
        assert (await client.post(PATH, content=b"no gzip", headers=refused)).status_code == 400
        good = await client.post(PATH, content=gzip.compress(quote(1)), headers=refused)
        assert good.headers["Idempotency-Status"] == "kept"
        parts.redis.away = True
        answer = await client.post(PATH, content=quote(1), headers={"Idempotency-Key": "batch-3"})
        assert (answer.status_code, answer.headers["Idempotency-Status"]) == (200, "not-kept")

    ask(work)


def test_lines_of_one_code_keep_their_order_over_many_requests() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        for start in range(0, 200, 10):
            body = b"\n".join(quote(7, seq=number) for number in range(start, start + 10))
            assert (await client.post(PATH, content=body)).json()["accepted"] == 10
        assert [json.loads(line)["seq"] for line in parts.broker.lines()] == list(range(200))

    ask(work)


def test_small_requests_share_batches() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        desks = [token_of(parts, Owner("operator", f"desk-{number}")) for number in range(20)]
        for _ in range(5):
            answers = await asyncio.gather(*(client.post(PATH, content=quote(1), headers=desk) for desk in desks))
            assert {answer.status_code for answer in answers} == {200}
        assert len(parts.broker.lines()) == 100
        assert parts.broker.batches < 50

    ask(work)


def test_little_is_checked_in_the_event_loop_but_not_before_the_kernels_are_there() -> None:
    async def run() -> None:
        intake, here = Parts().intake, threading.get_ident()
        for _ in range(2):
            assert await intake.work(10, threading.get_ident) != here
        await intake.warm_up()
        assert await intake.work(10, threading.get_ident) == here
        assert await intake.work(10_000, threading.get_ident) != here

    asyncio.run(run())


def test_every_status_is_in_the_description() -> None:
    described = Parts().app.openapi()["paths"]["/v1/feeds/{province}/records"]["post"]["responses"]
    assert {"200", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "503"} <= described.keys()


def test_an_early_answer_reaches_who_is_still_sending() -> None:
    async def run() -> None:
        parts = Parts()
        async with parts.client() as client:
            for _ in range(20):
                answer = await client.post(PATH, content=b"x" * 2_000_000, headers={"Content-Type": "text/plain"})
                assert answer.status_code == 401

    asyncio.run(run())
