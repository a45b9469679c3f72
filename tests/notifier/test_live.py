"""The guide for subscribers, run as it stands: a receiver in Python, questions and the stream by curl."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import orjson
import pytest

from agents.embedded import free_port
from gateway.keys import Owner
from load_tests.sse_clients import new_token, process, ready
from tests.gateway.fakes import event
from tests.gateway.live import stage
from tests.gateway.test_subscriber_stream import OURS

pytestmark = pytest.mark.integration

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "subscribers.md"


async def curl(*arguments: str) -> bytes:
    asking = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--noproxy", "*", *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(asking.communicate(), 40)
    return said


def test_the_guide_works(tmp_path: Path) -> None:
    found = re.search(r"```python\n(# receiver\.py.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert found
    script = tmp_path / "receiver.py"
    script.write_text(found[1], "utf-8")

    async def run() -> None:
        async with stage() as scene:
            token = await new_token(scene, Owner("supplier", OURS))
            port, hook = free_port(), free_port()
            address, key = f"http://127.0.0.1:{port}", f"Authorization: Bearer {token}"
            allowed = {"PRICELINK_WEBHOOKS_ALLOW_HTTP": "1", "PRICELINK_WEBHOOKS_ALLOWED_NETWORKS": "127.0.0.0/8"}
            async with (
                process("gateway", scene, PRICELINK_GATEWAY_PORT=str(port), **allowed),
                process("notifier", scene, **allowed),
            ):
                await ready(address)
                await asyncio.sleep(2)
                wishes = json.dumps({"url": f"http://127.0.0.1:{hook}/hook", "kinds": ["price_adjustment"]})
                headers = ("-H", key, "-H", "Content-Type: application/json")
                made = json.loads(await curl("-X", "POST", *headers, f"{address}/v1/webhooks", "-d", wishes))
                receiver = await asyncio.create_subprocess_exec(
                    sys.executable, str(script), stdout=asyncio.subprocess.PIPE,
                    env=os.environ | {"WEBHOOK_SECRET": made["secret"], "PORT": str(hook)},
                )  # fmt: skip
                assert receiver.stdout
                try:
                    streaming = asyncio.create_task(curl("-N", "-m", "15", "-H", key, f"{address}/v1/events/stream"))
                    await asyncio.sleep(3)
                    happened = event(1)
                    for each in (happened, event(2) | {"supplier": "91320000MA1YYYYY2B"}):
                        await scene.producer.send_and_wait("alerts", orjson.dumps(each), key=each["code"].encode())
                    while b"price_adjustment.opened" not in (
                        line := await asyncio.wait_for(receiver.stdout.readline(), 60)
                    ):
                        assert line
                    assert happened["event_id"].encode() in line
                    streamed = await streaming
                    assert streamed.count(b"event: alert") == 1
                    assert b"event: ready" in streamed
                    place = f"{address}/v1/webhooks/{made['id']}"
                    await asyncio.sleep(2)
                    (note, *_) = json.loads(await curl("-H", key, f"{place}/deliveries"))["deliveries"]
                    assert (note["result"], note["event_id"]) == ("delivered", happened["event_id"])
                    since = json.dumps({"since": made["created_at"]})
                    await curl("-X", "POST", *headers, f"{place}/recover", "-d", since)
                    await asyncio.sleep(4)
                    notes = json.loads(await curl("-H", key, f"{place}/deliveries"))["deliveries"]
                    assert [each["event_id"] for each in notes] == [happened["event_id"]] * 2
                    assert json.loads(await curl("-H", key, place))["state"]["state"] == "on"
                finally:
                    receiver.kill()
                    await receiver.wait()

    asyncio.run(asyncio.wait_for(run(), 200))
