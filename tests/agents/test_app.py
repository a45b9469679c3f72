"""What is cancelled ends, though a library swallows the first cancellation; what is handled is not kept until its ack."""

import asyncio
import weakref
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from agents import app
from agents.app import Tasks, cancel, hand_on


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


class _Chunk:
    """What can be watched for its end."""


def test_a_chunk_is_gone_before_its_event_is_acked() -> None:
    seen: list[weakref.ref[Any]] = []
    alive: list[int] = []
    acks: list[Any] = []
    waiting: list[Any] = []

    async def events() -> AsyncIterator[Any]:
        for number in range(3):
            chunk = _Chunk()
            event = SimpleNamespace(value=chunk, message=SimpleNamespace(value=chunk, generation_id=number))
            event.ack = lambda event=event: waiting.remove(event)
            del chunk
            waiting.append(event)
            yield event

    async def handle(chunk: Any, generation: int, ack: Any) -> None:
        assert generation == len(seen)
        seen.append(weakref.ref(chunk))
        acks.append(ack)
        alive.append(sum(one() is not None for one in seen))

    asyncio.run(hand_on(events(), handle))
    assert alive == [1, 1, 1]
    assert len(waiting) == 3
    for ack in acks:
        ack()
    assert not waiting
