"""What the page's counters say of Redis: where it is, and never its password."""

import asyncio
import logging
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisGone

from config.settings import Settings
from gateway.alerts_topic import AlertsTopic
from gateway.hub import Hub
from gateway.summary import Summary


class Away:
    """A read model without its Redis."""

    async def figures(self, _lanes: list[int]) -> Any:
        raise RedisGone("refused")


def test_no_password_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub()
    topic = AlertsTopic(Settings(), hub)
    summary = Summary(Away(), topic, hub, "redis://:hush@redis:6379/0")  # type: ignore[arg-type]
    summary.problem = None  # it answered until now
    with caplog.at_level(logging.WARNING):
        asyncio.run(summary.refresh())
    assert "redis:6379" in caplog.text
    assert "hush" not in caplog.text
    assert "hush" not in str(summary.as_json())
