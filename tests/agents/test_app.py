"""What is cancelled ends, though a library swallows the first cancellation; what stops is not waited for for ever."""

import asyncio

import pytest

from agents import app
from agents.app import Tasks, cancel


async def swallows(times: int, begun: asyncio.Event) -> None:
    """Goes on after a cancellation, as redis-py does while it connects."""
    while True:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if times == 0:
                raise
            times -= 1


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_cancellation_that_is_swallowed_is_said_again(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_CANCEL_AGAIN_S", 0.02)

    async def scene() -> bool:
        begun = asyncio.Event()
        tasks = Tasks()
        task = tasks.spawn(swallows(times, begun))
        await begun.wait()
        await asyncio.wait_for(tasks.cancel(), 5)
        return task.cancelled()

    assert asyncio.run(scene())


def test_tasks_whose_owner_was_cancelled_end_too() -> None:
    async def owner(tasks: Tasks, begun: asyncio.Event) -> None:
        tasks.spawn(swallows(0, begun))
        try:
            await tasks.fault
        finally:
            await tasks.cancel()

    async def scene() -> bool:
        begun = asyncio.Event()
        owning = asyncio.ensure_future(owner(Tasks(), begun))
        await begun.wait()
        await cancel([owning])
        return owning.cancelled()

    assert asyncio.run(scene())


def test_the_first_fault_of_any_task_is_there_to_be_raised() -> None:
    async def fails() -> None:
        raise ConnectionResetError("gone")

    async def scene() -> None:
        tasks = Tasks()
        tasks.spawn(fails())
        await asyncio.wait([tasks.fault])
        await tasks.cancel()
        tasks.fault.result()

    with pytest.raises(ConnectionResetError):
        asyncio.run(scene())
