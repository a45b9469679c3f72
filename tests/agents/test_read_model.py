"""The read model's patience with Redis."""

import asyncio

import pytest
import redis.exceptions

from agents import read_model
from agents.read_model import ReadModel


@pytest.mark.parametrize(
    "fault",
    [
        redis.exceptions.ConnectionError("Connection closed by server."),
        redis.exceptions.TimeoutError("Timeout reading from socket"),
        redis.exceptions.WatchError("A ConnectionError occurred while watching one or more keys"),
        ConnectionResetError("reset by peer"),
    ],
)
def test_what_redis_does_not_take_is_tried_again(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_model, "_RETRY_S", (0.0,))
    model = ReadModel(None)
    faults = [fault, fault]
    waited: list[bool] = []

    async def work() -> str:
        waited.append(model.waiting)
        if faults:
            raise faults.pop()
        return "done"

    assert asyncio.run(model.patiently(work)) == "done"
    assert waited == [False, True, True]
    assert (model.waiting, model.waiting_since_start) == (False, 2)
