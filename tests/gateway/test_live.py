"""The gateway over a real log and a real Redis."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx
import orjson
import pytest

from agents.embedded import free_port, start_broker
from agents.topics import apply
from gateway.keys import Owner
from load_tests.sse_clients import new_token
from tests.gateway.fakes import Messages, event
from tests.gateway.live import gateway, stage
from tests.gateway.test_subscriber_stream import OURS, THEIRS, change

pytestmark = pytest.mark.integration


def test_a_stream_begun_on_one_gateway_resumes_on_another_without_loss_or_repeat() -> None:
    async def run() -> None:
        async with stage() as scene:
            await scene.tell(30)
            async with gateway(scene.settings) as first, first.stream("GET", "/events?backlog=1000") as answer:
                seen = await Messages(answer).take(30)
            assert {event["event_id"] for _, event in seen} == {event["event_id"] for event in scene.told}
            cursor = seen[11][0]
            before = {event["event_id"] for _, event in seen[:12]}
            await scene.tell(20)
            async with (
                gateway(scene.settings) as second,
                second.stream("GET", "/events", headers={"Last-Event-ID": str(cursor)}) as answer,
            ):
                rest = await Messages(answer).take(38)
            resumed = [event["event_id"] for _, event in rest]
            assert len(set(resumed)) == len(resumed)
            assert before | set(resumed) == {event["event_id"] for event in scene.told}
            assert not before & set(resumed)

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("ring_events", [20_000, 5])
def test_a_suppliers_stream_resumes_on_another_gateway_on_both_topics(
    ring_events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a short ring the other gateway reads what was missed from the logs."""
    monkeypatch.setattr("gateway.alerts_topic.TAIL_EVENTS", ring_events)

    async def run() -> None:
        async with stage() as scene:
            rows = {f"C{number:026}": {OURS} for number in range(10)}
            monkeypatch.setattr("gateway.read_model.ReadModel.listers", listers_of(rows))
            headers = {"Authorization": f"Bearer {await new_token(scene, Owner('supplier', OURS))}"}
            wanted: list[str] = []

            async def write(numbers: range) -> None:
                for number in numbers:
                    code = f"C{number % 20:026}"  # the upper half of them is another's
                    alert = event(number, code=code) | {"supplier": OURS if number % 20 < 10 else THEIRS}
                    for topic, each in (("alerts", alert), ("price-changes", change(number, code=code))):
                        await scene.producer.send_and_wait(topic, orjson.dumps(each), key=code.encode())
                        wanted.extend([each["event_id"]] if number % 20 < 10 else [])

            async def read(client: httpx.AsyncClient, cursor: str | None, count: int) -> tuple[str, list[str]]:
                resumed = headers | ({"Last-Event-ID": cursor} if cursor else {})
                found: list[str] = []
                async with client.stream("GET", "/v1/events/stream", headers=resumed) as answer:
                    assert answer.status_code == 200
                    fields: dict[str, str] = {}
                    async for line in answer.aiter_lines():
                        name, _, value = line.partition(": ")
                        fields[name] = value
                        if name == "event":
                            assert value != "reset"
                        if name == "data" and fields["event"] in {"alert", "price"}:
                            found.append(orjson.loads(value)["event_id"])
                        if name == "data" and fields["event"] == "ready" and not cursor:
                            await write(range(40))
                        if len(found) == count:
                            break
                return fields["id"], found

            async with gateway(scene.settings) as first:
                await until_streams(first, headers)
                cursor, before = await read(first, None, 17)
            await write(range(40, 80))
            async with gateway(scene.settings) as second:
                await until_streams(second, headers)
                cursor, between = await read(second, cursor, 30)
                async with gateway(scene.settings) as third:
                    await until_streams(third, headers)
                    _, rest = await read(third, cursor, len(wanted) - 47)
            got = before + between + rest
            assert len(got) == len(set(got))
            assert set(got) == set(wanted)

    asyncio.run(asyncio.wait_for(run(), 60))


def listers_of(rows: dict[str, set[str]]) -> Any:
    async def listers(_: Any, codes: Sequence[str]) -> list[frozenset[str]]:
        return [frozenset(rows.get(code, {THEIRS})) for code in codes]

    return listers


async def until_streams(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """Waits until a gateway knows the key and has reached both topics."""
    for _ in range(100):
        async with client.stream("GET", "/v1/events/stream", headers=headers) as answer:
            if answer.status_code == 200:
                return
        await asyncio.sleep(0.1)
    raise TimeoutError


def test_what_the_ring_no_longer_has_is_read_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.alerts_topic.TAIL_EVENTS", 2)

    async def run() -> None:
        async with stage() as scene:
            await scene.tell(60)
            start = ",".join(f"{partition}:0" for partition in range(4))
            async with (
                gateway(scene.settings) as client,
                client.stream("GET", "/events?band=red", headers={"Last-Event-ID": start}) as answer,
            ):
                asyncio.get_running_loop().call_later(1, lambda: asyncio.ensure_future(scene.tell(20)))
                wanted = {e["event_id"] for e in scene.told if "red" in (e["band"], e["previous_band"])}
                found = await Messages(answer).take(len(wanted))
            assert {event["event_id"] for _, event in found} == wanted

    asyncio.run(asyncio.wait_for(run(), 60))


def test_the_records_behind_an_alert_are_read_at_their_positions() -> None:
    async def run() -> None:
        async with stage() as scene:
            happened = next(event for event in await scene.tell(20) if event["kind"] == "price_adjustment")
            happened["evidence"].append({"partition": 0, "offset": 999_999, "line": 0})
            happened["evidence"].append(happened["evidence"][0] | {"line": 7})
            await scene.writer.take(happened | {"revision": 9})
            async with gateway(scene.settings) as client:
                started = time.monotonic()
                body = (await client.get(f"/api/alerts/{happened['alert_id']}")).json()
                assert time.monotonic() - started < 5
            records = body["evidence"]["records"]
            assert [record.get("problem") for record in records] == [None, None, "gone", "no_such_line"]
            assert records[0]["record"]["province"] == happened["province"]
            assert records[1]["record"]["province"] == happened["reference"]["provinces"][0]
            assert records[0]["broker_ts_ms"] > 0

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_broker_that_lost_its_log_is_noticed_and_followed_again() -> None:
    async def run() -> None:
        async with stage() as scene:
            await scene.tell(30)
            async with gateway(scene.settings) as client, client.stream("GET", "/events") as answer:
                stream = Messages(answer)
                await stream.take(1, "ready")
                scene.broker.stop()
                for _ in range(100):
                    await asyncio.sleep(0.1)
                    if not (shown := (await client.get("/readyz")).json())["broker"]["ok"]:
                        break
                assert not shown["broker"]["ok"]
                assert shown["broker"]["problem"]
                scene.broker = start_broker(scene.broker.port)
                await asyncio.to_thread(apply, scene.settings)
                assert await stream.take(1, "reset") == [(None, {"why": "log_began_anew"})]
                happened = await scene.tell(1)
                ((_, event),) = await stream.take(1)
                assert event["event_id"] == happened[0]["event_id"]

    asyncio.run(asyncio.wait_for(run(), 90))


def test_sigterm_closes_streams_at_once_and_ends_well() -> None:
    async def run() -> None:
        async with stage() as scene:
            await scene.tell(3)
            port = free_port()
            settings = scene.settings.model_copy(update={"gateway_port": port})
            environment = os.environ | settings.environment() | {"PRICELINK_GATEWAY_PORT": str(port)}
            script = (
                "from agents.clients import new_producer; from config.settings import settings; "
                "from gateway.server import run; run(settings(), new_producer)"
            )
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, env=environment)
            try:
                async with httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False
                ) as client:
                    for _ in range(150):
                        await asyncio.sleep(0.1)
                        with contextlib.suppress(httpx.ConnectError):
                            assert (await client.get("/readyz")).status_code == 200  # the first that it takes
                            break
                    async with client.stream("GET", "/events?backlog=10") as answer:
                        stream = Messages(answer)
                        assert len(await stream.take(3)) == 3
                        started = time.monotonic()
                        process.send_signal(signal.SIGTERM)
                        assert await stream.take(1, "never") == []
                        assert await asyncio.wait_for(process.wait(), 10) == 0
                        assert time.monotonic() - started < 3
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    asyncio.run(asyncio.wait_for(run(), 60))
