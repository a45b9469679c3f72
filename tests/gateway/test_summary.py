"""What the page's counters say of Redis: where it is, and never its password."""

import asyncio
from typing import Any

from redis.exceptions import ConnectionError as RedisGone
from structlog.testing import capture_logs

from config.settings import Settings
from gateway.alerts_topic import AlertsTopic
from gateway.hub import Hub
from gateway.summary import Summary


class Away:
    """A read model without its Redis."""

    async def figures(self, _lanes: list[int]) -> Any:
        raise RedisGone("refused")


def test_no_password_is_logged_or_shown() -> None:
    hub = Hub()
    topic = AlertsTopic(Settings(), hub)
    summary = Summary(Away(), topic, hub, "redis://:hush@redis:6379/0")  # type: ignore[arg-type]
    summary.problem = None  # it answered until now
    with capture_logs() as lines:
        asyncio.run(summary.refresh())
    assert [(line["reason"], line["where"]) for line in lines] == [("redis_away", "redis://…@redis:6379/0")]
    assert "hush" not in str(lines)
    assert "hush" not in str(summary.as_json())
