"""`pricelink keys` against a real topic, and a gateway's ring that follows it."""

import asyncio
import re

import pytest
from typer.testing import CliRunner

from agents.embedded import Embedded, EmbeddedUnavailable
from agents.topics import apply
from cli.main import app
from config.settings import Settings
from gateway.key_ring import KeyRing, now_ms


@pytest.mark.integration
def test_keys_are_made_listed_followed_and_revoked() -> None:
    runner = CliRunner()
    try:
        embedded = Embedded(redis=False).start()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    with embedded:
        settings = Settings(broker_kind="embedded", bootstrap=embedded.bootstrap)
        apply(settings)
        broker = ["--kafka", embedded.bootstrap, "--embedded"]
        made = runner.invoke(app, ["keys", "create", "--province", "320000", *broker])
        assert made.exit_code == 0, made.output
        token = re.search(r"pl_\S+", made.output)
        assert token
        listed = runner.invoke(app, ["keys", "list", *broker])
        assert "province:320000" in listed.output
        assert token[0] not in listed.output
        assert runner.invoke(app, ["keys", "create", "--province", "999999", *broker]).exit_code == 2
        asyncio.run(_follow(settings, token[0], broker, runner))


async def _follow(settings: Settings, token: str, broker: list[str], runner: CliRunner) -> None:
    ring = KeyRing(settings)
    following = asyncio.create_task(ring.follow())
    for _ in range(100):
        await asyncio.sleep(0.1)
        if ring.loaded:
            break
    key = ring.find(token, now_ms())
    assert key is not None
    revoked = await asyncio.to_thread(runner.invoke, app, ["keys", "revoke", key.id, *broker])
    assert revoked.exit_code == 0, revoked.output
    for _ in range(30):
        await asyncio.sleep(0.1)
        if ring.find(token, now_ms()) is None:
            break
    assert ring.find(token, now_ms()) is None
    following.cancel()
