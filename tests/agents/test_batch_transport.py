"""The transport's consumer without a broker: what is in flight, what is committed, what a rebalance leaves behind."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faust.types import TP

from agents import batch_transport, record_batches
from agents.app import App, make_app
from agents.batch_transport import BatchConsumer
from agents.record_batches import Chunk
from config.settings import Settings
from schemas.batches import Batch
from schemas.columns import MESSAGE

P0, P1 = TP("feeds", 0), TP("feeds", 1)


def chunk(partition: int, position: int, next_offset: int) -> Chunk:
    messages = np.zeros(next_offset - position, MESSAGE)
    messages["offset"] = range(position, next_offset)
    return Chunk("feeds", Batch(partition, np.zeros(0, np.uint8), messages), position, next_offset, next_offset)


class Thread:
    """The consumer's thread, and the broker behind it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.assigned = {P0, P1}
        self.sought: list[dict[TP, int]] = []
        self.committed: dict[TP, int] = {}
        self.commits_fail = False
        self.fetched: list[dict[TP, list[Chunk]]] = []
        self.epoch: tuple[int, int] | None = None
        self.seeks: dict[TP, int] = {}

    def assignment(self) -> set[TP]:
        return self.assigned

    async def call_thread(self, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return await method(*args)

    async def fenced_commit(self, offsets: Mapping[TP, int], generation: int) -> bool:
        if self.commits_fail or generation != self.app.consumer_generation_id:
            return False
        self.committed.update(offsets)
        return True

    async def seek_all(self, offsets: Mapping[TP, int], epoch: tuple[int, int]) -> None:
        self.sought.append(dict(offsets))
        self.epoch = epoch

    async def seek_one(self, tp: TP, offset: int, seeks: int) -> None:
        self.sought.append({tp: offset})
        self.seeks[tp] = seeks

    async def seek_to_committed(self) -> dict[TP, int]:
        return {tp: self.committed.get(tp, 0) for tp in self.assigned}

    async def getmany(self, active: set[TP], timeout: float) -> dict[TP, list[Chunk]]:  # noqa: ASYNC109
        fetched = self.fetched.pop(0) if self.fetched else {}
        return {
            tp: [replace(one, epoch=self.epoch, seeks=self.seeks.get(tp, 0)) for one in chunks]
            for tp, chunks in fetched.items()
        }


@pytest.fixture
def scene() -> Iterable[Callable[[Callable[[BatchConsumer, Thread], Awaitable[None]]], None]]:
    def run(act: Callable[[BatchConsumer, Thread], Awaitable[None]]) -> None:
        async def whole() -> None:
            async def handle(_chunk: Chunk, _generation: int, _ack: Any) -> None: ...

            app = make_app(Settings(), group="g", topics=["feeds"], handle=handle, find_positions=None)
            app.topics._acking_topics.add("feeds")
            consumer = app.batches
            thread = Thread(app)
            consumer._thread = thread
            consumer._set_active_tps({P0, P1})
            await act(consumer, thread)

        asyncio.run(whole())

    return run  # type: ignore[return-value]


async def fetch(consumer: BatchConsumer, thread: Thread, *chunks: Chunk) -> list[Any]:
    fetched: dict[TP, list[Chunk]] = {}
    for one in chunks:
        fetched.setdefault(TP(one.topic, one.partition), []).append(one)
    thread.fetched.append(fetched)
    return [message async for _, message in consumer.getmany(timeout=0.01)]


def ack(consumer: BatchConsumer, message: Any) -> None:
    message.incref()
    message.ack(consumer)


def test_a_message_is_a_chunk_with_the_offset_of_its_last_message(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        [message] = await fetch(consumer, thread, chunk(0, 0, 500))
        assert message.offset == 499
        assert isinstance(message.value, Chunk)

    scene(act)


def test_committed_is_what_is_acked_from_the_head(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        first, second, third = await fetch(consumer, thread, chunk(0, 0, 10), chunk(0, 10, 30), chunk(0, 30, 31))
        [other] = await fetch(consumer, thread, chunk(1, 0, 7))
        ack(consumer, second)
        ack(consumer, other)
        assert await consumer.commit()
        assert thread.committed == {P0: 0, P1: 7}
        ack(consumer, first)
        assert await consumer.commit()
        assert thread.committed == {P0: 30, P1: 7}
        assert not await consumer.commit()  # nothing new
        ack(consumer, third)
        assert await consumer.commit()
        assert thread.committed == {P0: 31, P1: 7}

    scene(act)


def test_a_commit_that_failed_is_tried_again(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        [message] = await fetch(consumer, thread, chunk(0, 0, 10))
        ack(consumer, message)
        thread.commits_fail = True
        assert not await consumer.commit()
        thread.commits_fail = False
        assert await consumer.commit()
        assert thread.committed[P0] == 10

    scene(act)


def test_positions_come_from_the_state_where_it_knows(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        async def find(assigned: set[TP], generation: int) -> dict[TP, int]:
            assert assigned == {P0, P1}
            assert generation == consumer.app.consumer_generation_id
            return {P0: 70}

        thread.committed = {P0: 60, P1: 5}
        consumer.find_positions = find
        await consumer.perform_seek()
        assert thread.sought == [{P0: 70, P1: 5}]
        [message] = await fetch(consumer, thread, chunk(0, 70, 80))
        ack(consumer, message)
        assert await consumer.commit()
        assert thread.committed == {P0: 80, P1: 5}

    scene(act)


def test_nothing_is_handed_over_before_the_seek(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        assert await fetch(consumer, thread, chunk(0, 0, 10)) == []
        await consumer.perform_seek()
        assert len(await fetch(consumer, thread, chunk(0, 0, 10))) == 1

    scene(act)


def test_after_a_revocation_nothing_is_handed_over_until_the_next_seek(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        consumer._on_partitions_revoked = nothing
        await consumer.on_partitions_revoked({P0, P1})
        consumer._set_active_tps({P0, P1})
        assert await fetch(consumer, thread, chunk(0, 0, 10)) == []
        consumer.app.consumer_generation_id += 1
        assert await fetch(consumer, thread, chunk(0, 0, 10)) == []
        await consumer.perform_seek()
        assert len(await fetch(consumer, thread, chunk(0, 0, 10))) == 1

    scene(act)


def test_what_is_taken_right_behind_the_seek_is_handed_over_and_nothing_older(scene: Any) -> None:
    """The consumer's thread goes on before the stream's knows that it has sought: the chunk would be lost."""

    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        consumer._on_partitions_revoked = nothing
        await consumer.on_partitions_revoked({P0, P1})
        consumer.app.consumer_generation_id += 1
        consumer._set_active_tps({P0, P1})
        sought = thread.seek_all
        handed = []

        async def seek_and_fetch(offsets: Mapping[TP, int], epoch: tuple[int, int]) -> None:
            handed.append(await fetch(consumer, thread, chunk(0, 7, 9)))  # of where the last owner stood
            await sought(offsets, epoch)
            handed.append(await fetch(consumer, thread, chunk(0, 0, 10)))

        thread.seek_all = seek_and_fetch  # type: ignore[method-assign]
        await consumer.perform_seek()
        assert [[message.value.position for message in messages] for messages in handed] == [[], [0]]
        assert consumer.in_flight.unacked(P0) == 1

    scene(act)


def test_what_is_fetched_between_the_seek_and_the_flow_waits_for_the_flow(scene: Any) -> None:
    """A fetch that outlives the rebalance comes back before Faust has resumed the flow."""

    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        fetched: list[Any] = []

        async def fetch_across_the_seek() -> dict[TP, list[Chunk]]:
            consumer.stop_flow()
            return {P0: [replace(chunk(0, 0, 10), epoch=thread.epoch)]}

        thread.getmany = lambda _active, _timeout: fetch_across_the_seek()  # type: ignore[method-assign,assignment]

        async def read() -> None:
            fetched.extend([message async for _, message in consumer.getmany(timeout=0.01)])

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0.01)
        assert not consumer.flow_active
        assert not fetched
        consumer.resume_flow()
        await asyncio.wait_for(reading, 1)
        assert [message.value.position for message in fetched] == [0]

    scene(act)


def test_what_waits_for_the_flow_is_dropped_with_the_next_revocation(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        consumer._on_partitions_revoked = nothing
        taken = {P0: [replace(chunk(0, 0, 10), epoch=thread.epoch)]}

        async def fetch_across_a_revocation() -> dict[TP, list[Chunk]]:
            consumer.stop_flow()
            await consumer.on_partitions_revoked({P0, P1})
            return taken

        thread.getmany = lambda _active, _timeout: fetch_across_a_revocation()  # type: ignore[method-assign,assignment]
        assert [message async for _, message in consumer.getmany(timeout=0.01)] == []
        assert consumer.in_flight.unacked(P0) == 0

    scene(act)


def test_a_seek_that_a_rebalance_overtakes_opens_nothing(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        async def find(_assigned: set[TP], _generation: int) -> dict[TP, int]:
            await consumer.on_partitions_revoked({P0, P1})  # while the state is read
            return {P0: 1, P1: 1}

        consumer._on_partitions_revoked = nothing
        consumer.find_positions = find
        await consumer.perform_seek()
        consumer._set_active_tps({P0, P1})
        assert thread.sought == []
        assert await fetch(consumer, thread, chunk(0, 0, 10)) == []

    scene(act)


def test_acks_count_until_the_last_commit_before_a_revocation(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        done, lost = await fetch(consumer, thread, chunk(0, 0, 10), chunk(0, 10, 20))

        async def finish(_revoked: set[TP]) -> None:
            ack(consumer, done)
            assert await consumer.commit()

        consumer._on_partitions_revoked = finish
        await consumer.on_partitions_revoked({P0, P1})
        assert thread.committed == {P0: 10, P1: 0}
        ack(consumer, lost)
        assert not await consumer.commit()
        assert thread.committed == {P0: 10, P1: 0}

    scene(act)


def test_acks_from_before_a_rebalance_do_not_count_after_it(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        [before] = await fetch(consumer, thread, chunk(0, 0, 10))
        consumer._on_partitions_revoked = nothing
        await consumer.on_partitions_revoked({P0, P1})
        consumer.app.consumer_generation_id += 1
        consumer._set_active_tps({P0, P1})
        await consumer.perform_seek()
        [after] = await fetch(consumer, thread, chunk(0, 0, 10))
        ack(consumer, before)
        assert consumer.in_flight.unacked(P0) == 1
        ack(consumer, after)
        assert consumer.in_flight.unacked(P0) == 0

    scene(act)


def test_a_seek_forgets_what_is_in_flight(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        await fetch(consumer, thread, chunk(0, 0, 10))
        await consumer.seek_chunks(P0, 3)
        assert thread.sought[-1] == {P0: 3}
        assert consumer.in_flight.unacked(P0) == 0
        [again] = await fetch(consumer, thread, chunk(0, 3, 10))
        ack(consumer, again)
        assert await consumer.commit()
        assert thread.committed[P0] == 10

    scene(act)


def test_what_was_taken_before_a_seek_is_dropped_and_what_comes_right_behind_it_is_not(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        [first] = await fetch(consumer, thread, chunk(0, 0, 10))
        taken = {P0: [replace(chunk(0, 10, 20), epoch=thread.epoch)], P1: [replace(chunk(1, 0, 5), epoch=thread.epoch)]}
        sought, early = thread.seek_one, []

        async def seek_and_fetch(tp: TP, offset: int, seeks: int) -> None:
            """The thread fetches on before the loop goes on."""
            await sought(tp, offset, seeks)
            early.extend(await fetch(consumer, thread, chunk(0, 0, 10)))

        thread.seek_one = seek_and_fetch  # type: ignore[method-assign]
        await consumer.seek_chunks(P0, 0)
        assert [message.offset for message in early] == [9]

        async def late(_active: set[TP], _timeout: float) -> dict[TP, list[Chunk]]:
            return taken

        getmany, thread.getmany = thread.getmany, late  # type: ignore[method-assign,assignment]
        assert [tp async for tp, _ in consumer.getmany(timeout=0.01)] == [P1]
        thread.getmany = getmany  # type: ignore[method-assign]
        assert [message.offset for message in await fetch(consumer, thread, chunk(0, 10, 20))] == [19]
        assert consumer.in_flight.unacked(P0) == 2
        assert first.offset == 9

    scene(act)


def test_the_fence_is_a_commit_of_what_is_acked(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        generation = consumer.app.consumer_generation_id
        assert await consumer.still_owns(P0, generation)
        [message] = await fetch(consumer, thread, chunk(0, 0, 10))
        ack(consumer, message)
        assert await consumer.still_owns(P0, generation)
        assert thread.committed == {P0: 10}
        assert not await consumer.still_owns(P0, generation - 1)
        thread.commits_fail = True
        assert not await consumer.still_owns(P0, generation)
        consumer.in_flight.forget([P0])
        assert not await consumer.still_owns(P0, generation)

    scene(act)


def test_a_full_stream_does_not_pause_a_partition(scene: Any) -> None:
    async def act(consumer: BatchConsumer, thread: Thread) -> None:
        await consumer.perform_seek()
        consumer.on_buffer_full(P0)
        assert len(await fetch(consumer, thread, chunk(0, 0, 10))) == 1

    scene(act)


def test_faust_is_the_one_that_is_known() -> None:
    assert batch_transport.missing_attributes() == []


def test_another_faust_is_refused(monkeypatch: pytest.MonkeyPatch, scene: Any) -> None:
    monkeypatch.setattr(batch_transport, "missing_attributes", lambda: ["Consumer.force_commit"])

    async def act(_consumer: BatchConsumer, _thread: Thread) -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match="force_commit missing"):
        scene(act)


async def nothing(_revoked: set[TP]) -> None: ...


def test_another_aiokafka_is_read_publicly_and_said_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scene: Any
) -> None:
    monkeypatch.setattr(record_batches, "missing", lambda: ["Fetcher._records"])
    monkeypatch.setattr(record_batches, "keep_bytes", lambda: pytest.fail("a private name was used"))
    record = SimpleNamespace(offset=7, timestamp=1_000, value=b"x")

    class Public:
        """A consumer that has what is documented, and the two states without which no fetch may begin."""

        _closed = False
        _fetcher = SimpleNamespace(_closed=False, _subscriptions=SimpleNamespace(fetch_context=nullcontext))

        async def position(self, _place: Any) -> int:
            return 5

        def highwater(self, _place: Any) -> int:
            return 9

        async def getmany(self, *places: Any, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
            return {places[0]: [record]}

    async def act(consumer: BatchConsumer, _thread: Thread) -> None:
        capsys.readouterr()  # the app's own thread said it, too
        thread = consumer._new_consumer_thread()
        consumer.flow_active = True
        for _ in range(2):
            [[found]] = (await thread._fetch_records(Public(), {P0}, 0.01)).values()
            assert (found.position, found.next_offset, found.highwater) == (5, 8, 9)
        assert thread._public_only

    scene(act)
    assert capsys.readouterr().out.count("getmany") == 1


class Sought:
    """A consumer read through its public names alone; ``during`` happens while it waits for records."""

    _closed = False
    _fetcher = SimpleNamespace(_closed=False, _subscriptions=SimpleNamespace(fetch_context=nullcontext))

    def __init__(self, during: Callable[[], Awaitable[None]], *, before_records: bool) -> None:
        self.at = 5
        self._during = during
        self._before_records = before_records

    def assignment(self) -> set[TP]:
        return {P0}

    async def position(self, _place: Any) -> int:
        return self.at

    def highwater(self, _place: Any) -> int:
        return 100

    def seek(self, _place: Any, offset: int) -> None:
        self.at = offset

    async def getmany(self, *places: Any, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        if self._before_records:
            await self._during()
        records = [SimpleNamespace(offset=self.at + each, timestamp=1_000, value=b"x") for each in range(3)]
        self.at += 3
        if not self._before_records:
            await self._during()
        return {places[0]: records}


@pytest.mark.parametrize("before_records", [True, False])
@pytest.mark.parametrize("how", ["all", "one", "faust"])
def test_a_seek_amid_a_public_fetch_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, scene: Any, before_records: bool, how: str
) -> None:
    """Whether what came is of before the seek or of behind it, the next fetch begins where was sought."""
    monkeypatch.setattr(record_batches, "missing", lambda: ["Fetcher._records"])

    async def act(consumer: BatchConsumer, _thread: Thread) -> None:
        thread = consumer._new_consumer_thread()
        consumer.flow_active = True
        epoch = thread._epoch

        async def seek() -> None:
            if how == "all":
                await thread.seek_all({P0: 40}, (1, 2))
            elif how == "one":
                await thread.seek_one(P0, 40, 7)
            else:
                await thread._seek_wait(public, {P0: 40})

        public = Sought(seek, before_records=before_records)
        monkeypatch.setattr(thread, "_ensure_consumer", lambda: public)
        assert await thread._fetch_records(public, {P0}, 0.01) == {}
        assert public.at == 40
        public._during = partial(asyncio.sleep, 0)
        [[found]] = (await thread._fetch_records(public, {P0}, 0.01)).values()
        assert (found.position, found.next_offset) == (40, 43)
        assert found.epoch == ((1, 2) if how == "all" else epoch)
        assert found.seeks == (7 if how == "one" else 0)

    scene(act)
