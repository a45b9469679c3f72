"""Runs become messages in their order, however they are cut into record batches, and acks are waited for."""

import asyncio
from typing import Any

import numpy as np
import pytest

from agents.encode_kernels import NO_KEY
from agents.headers import rfc3339
from agents.outgoing import Message, Parts, Records
from agents.sinks import KafkaWriter, Lane, Sinks
from config.settings import Settings
from config.topics import ALERTS, DEAD_LETTERS
from schemas.batches import DeadLetter, Effects
from schemas.dead_letters import headers_of
from tests.agents.fake_machine import FakeMachine
from tests.simulation.world import batch_of


class SlowWriter:
    """Keeps what it is given; acks when it is let."""

    def __init__(self, most: int = 3) -> None:
        self.written: list[tuple[str, int, Message]] = []
        self.most = most
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, topic: str, partition: int, messages: Parts) -> int:
        taken = []
        for message in messages:
            taken.append(message)
            if len(taken) == self.most:
                break
        await self.gate.wait()
        self.written += [(topic, partition, message) for message in taken]
        return len(taken)


def numbers(first: int, end: int) -> Records:
    """Messages of one digit each, without a key."""
    data = np.frombuffer(b"".join(b"%d" % n for n in range(first, end)), np.uint8)
    starts = np.arange(end - first)
    return Records(data, np.stack([np.full_like(starts, NO_KEY), starts, starts + 1, starts + 1], axis=1))


def effects(*lines: bytes) -> Effects:
    return FakeMachine(1).apply(batch_of(1, list(enumerate(lines))))


def add(code: str, amount: int) -> bytes:
    return b'{"code":"%s","add":%d}' % (code.encode(), amount)


def test_alerts_keep_their_order_across_batches() -> None:
    async def scene() -> None:
        writer = SlowWriter()
        acked: list[int] = []
        tasks = []
        sinks = Sinks(writer, Settings(), lambda work: tasks.append(asyncio.ensure_future(work)),
                      lambda run: acked.append(len(run.table)))  # fmt: skip
        machine = FakeMachine(1)
        for start in (0, 10):
            await sinks.put(1, machine.apply(batch_of(1, [(start + n, add("C1", n)) for n in range(10)])))
        await asyncio.wait_for(sinks.acked(sinks.mark(1)), 5)
        ids = [dict(headers)["ce_id"] for _, _, (_, _, headers) in writer.written]
        assert ids == [b"fake:C1:%d/1" % (n + 1) for n in range(20)]
        assert acked == [10, 10]
        for task in tasks:
            task.cancel()

    asyncio.run(scene())


def test_a_mark_waits_for_what_was_put_before_it_and_not_for_more() -> None:
    async def scene() -> None:
        writer = SlowWriter(most=100)
        tasks = []
        sinks = Sinks(writer, Settings(), lambda work: tasks.append(asyncio.ensure_future(work)), lambda _run: None)
        await sinks.put(1, effects(add("C1", 1)))
        mark = sinks.mark(1)
        await asyncio.wait_for(sinks.acked(mark), 5)
        writer.gate.clear()
        await sinks.put(1, effects(add("C2", 1)))
        await asyncio.wait_for(sinks.acked(mark), 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sinks.acked(sinks.mark(1)), 0.05)
        writer.gate.set()
        await asyncio.wait_for(sinks.acked(sinks.mark(1)), 5)
        for task in tasks:
            task.cancel()

    asyncio.run(scene())


def test_a_slow_broker_holds_the_stream_back() -> None:
    async def scene() -> None:
        writer = SlowWriter()
        writer.gate.clear()
        tasks = []
        settings = Settings().model_copy(update={"sink_bytes": 100})
        sinks = Sinks(writer, settings, lambda work: tasks.append(asyncio.ensure_future(work)), lambda _run: None)
        for _ in range(2):
            await asyncio.wait_for(sinks.put(1, effects(add("C1", 1))), 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sinks.put(1, effects(add("C1", 1))), 0.05)
        writer.gate.set()
        await asyncio.wait_for(sinks.put(1, effects(add("C1", 1))), 5)
        for task in tasks:
            task.cancel()

    asyncio.run(scene())


def test_a_lane_goes_on_where_a_full_batch_ended() -> None:
    async def scene() -> None:
        writer = SlowWriter(most=2)
        lane = Lane(writer, "t", 0, 1_000)
        lane.put(numbers(0, 5))
        lane.put(numbers(5, 7))
        task = asyncio.ensure_future(lane.run())
        await asyncio.wait_for(lane.acked(7), 5)
        assert [value for _, _, (_, value, _) in writer.written] == [b"%d" % n for n in range(7)]
        assert lane.has_room
        task.cancel()

    asyncio.run(scene())


def test_dead_letters_carry_their_bytes_and_say_why() -> None:
    async def scene() -> None:
        writer = SlowWriter()
        tasks = []
        sinks = Sinks(writer, Settings(), lambda work: tasks.append(asyncio.ensure_future(work)), lambda _run: None)
        await sinks.put(1, effects(b"\xff\xfe", add("C1", 1)))
        await asyncio.wait_for(sinks.acked(sinks.mark(1)), 5)
        letters = [
            (key, value, dict(headers))
            for topic, _, (key, value, headers) in writer.written
            if topic == DEAD_LETTERS.name
        ]
        assert letters == [
            (None, b"\xff\xfe", {"reason": b"not_json", "partition": b"1", "offset": b"0", "line": b"0"})
        ]
        assert sum(topic == ALERTS.name for topic, _, _ in writer.written) == 1
        for task in tasks:
            task.cancel()

    asyncio.run(scene())


def test_headers_of_a_dead_letter_for_a_moved_code() -> None:
    letter = DeadLetter(0, 7, 2, "disabled_code", b"{}", field="code", message="moved", moved_to="C9")
    assert dict(headers_of(letter))["moved_to"] == b"C9"


def test_times_of_cloud_events() -> None:
    assert rfc3339(1_767_225_600_000) == "2026-01-01T00:00:00.000Z"
    assert rfc3339(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"
    assert rfc3339(7) == "1970-01-01T00:00:00.007Z"


class FullBatch:
    """A batch builder of aiokafka that has room for two messages."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def append(self, *, timestamp: int, key: Any, value: bytes, headers: Any) -> object | None:
        if len(self.messages) == 2:
            return None
        self.messages.append(value)
        return object()

    def close(self) -> None: ...

    def record_count(self) -> int:
        return len(self.messages)


class Producer:
    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []

    def create_batch(self) -> FullBatch:
        return FullBatch()

    async def send_batch(self, batch: FullBatch, topic: str, *, partition: int) -> asyncio.Future[None]:
        self.sent.append(batch.messages)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def test_the_message_that_did_not_fit_comes_first_next_time() -> None:
    async def scene() -> None:
        producer = Producer()
        writer = KafkaWriter(producer, Settings(), lambda: 0)
        writer._public_only = True
        lane = Lane(writer, "t", 0, 1_000)
        lane.put(numbers(0, 5))
        task = asyncio.ensure_future(lane.run())
        await asyncio.wait_for(lane.acked(5), 5)
        assert producer.sent == [[b"0", b"1"], [b"2", b"3"], [b"4"]]
        task.cancel()

    asyncio.run(scene())
