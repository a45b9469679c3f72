"""Rows into the state topic and back, without a broker: order, batches, the end of a partition, faults amid a restore."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiokafka.errors
import pytest

from agents import record_batches, state_topic
from agents.state_topic import KafkaStateStore
from config.settings import Settings
from config.topics import STATE
from schemas.batches import Batch, StateRows
from tests.agents.fake_machine import FakeMachine


@dataclass(slots=True)
class Record:
    key: bytes
    value: bytes | None


@dataclass(slots=True)
class Reader:
    """A consumer of one partition. Each fetch gives one of ``fetches``; the high watermark is known after the first."""

    fetches: list[list[Record]]
    end: int
    fault: Exception | None = None
    at: int = 0
    fetched: bool = False
    calls: list[str] = field(default_factory=list)

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    def assign(self, places: list[Any]) -> None:
        assert [(place.topic, place.partition) for place in places] == [(STATE.name, 3)]

    async def seek_to_beginning(self, _place: Any) -> None:
        self.calls.append("beginning")

    def highwater(self, _place: Any) -> int | None:
        if not self.fetched:
            raise aiokafka.errors.IllegalStateError
        return self.end

    async def position(self, _place: Any) -> int:
        return self.at

    async def getmany(self, place: Any, timeout_ms: int) -> dict[Any, list[Record]]:
        self.fetched = True
        if self.fault is not None and not self.fetches:
            raise self.fault
        rows = self.fetches.pop(0) if self.fetches else []
        self.at += len(rows)
        return {place: rows} if rows else {}


class Broker:
    """A writer that takes ``most`` messages a batch, and remembers what it was given."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.batches: list[list[Record]] = []

    async def write(self, topic: str, partition: int, messages: Any) -> int:
        assert (topic, partition) == (STATE.name, 3)
        batch: list[Record] = []
        for key, value, headers in messages:
            if len(batch) == self.most:
                messages.put_back()
                break
            assert not headers
            batch.append(Record(key, value))
        self.batches.append(batch)
        return len(batch)

    @property
    def log(self) -> list[Record]:
        return [record for batch in self.batches for record in batch]


def machine_with(counts: Iterable[tuple[bytes, int]]) -> FakeMachine:
    machine = FakeMachine(3)
    for number, (code, add) in enumerate(counts):
        machine._count(code, add, number, 0)
    return machine


@pytest.fixture
def read_from(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reader], None]:
    def use(reader: Reader) -> None:
        monkeypatch.setattr(record_batches, "missing", lambda: ["Fetcher"])
        monkeypatch.setattr(state_topic, "new_reader", lambda _settings, _fetch_bytes: reader)

    return use


def store(broker: Any = None) -> KafkaStateStore:
    return KafkaStateStore(broker, Settings())


def test_rows_are_written_in_order_in_as_many_batches_as_it_takes() -> None:
    machine = machine_with((b"C%d" % number, number) for number in range(10))
    broker = Broker(4)
    asyncio.run(store(broker).write(3, machine.checkpoint(10)))
    assert [len(batch) for batch in broker.batches] == [4, 4, 3]
    assert [record.key for record in broker.log] == [*sorted(b"C%d" % number for number in range(10)), b"\x00partition"]


def test_what_was_written_comes_back(read_from: Callable[[Reader], None]) -> None:
    machine = machine_with([(b"C1", 5), (b"C2", 7)])
    broker = Broker(2)
    asyncio.run(store(broker).write(3, machine.checkpoint(2)))
    machine._count(b"C1", 1, 2, 0)
    asyncio.run(store(broker).write(3, machine.checkpoint(3)))
    reader = Reader([broker.log[:1], [], broker.log[1:]], len(broker.log))
    read_from(reader)
    restored = FakeMachine(3)
    assert asyncio.run(store().restore(3, restored)) == 3
    assert restored.rows == machine.rows
    assert reader.calls == ["start", "beginning", "stop"]


def test_an_empty_partition_has_no_next_offset(read_from: Callable[[Reader], None]) -> None:
    read_from(Reader([], 0))
    assert asyncio.run(store().restore(3, FakeMachine(3))) is None


def test_a_tombstone_is_no_row(read_from: Callable[[Reader], None]) -> None:
    read_from(Reader([[Record(b"C9", None), *_rows()]], 3))
    restored = FakeMachine(3)
    assert asyncio.run(store().restore(3, restored)) == 1
    assert restored.rows.keys() == {b"C1"}


def test_more_batches_than_fit_wait_for_the_machine(read_from: Callable[[Reader], None]) -> None:
    """The machine reads nothing until all that may wait does: the reader is held back, and nothing is lost."""
    rows = _rows()[:1]
    reader = Reader([rows for _ in range(20)], 20)
    read_from(reader)
    seen: list[int] = []

    class Slow(FakeMachine):
        def restore(self, blocks: Iterable[StateRows]) -> int | None:
            threading.Event().wait(0.2)
            seen.append(reader.at)
            return super().restore(blocks)

    slow = Slow(3)
    assert asyncio.run(store().restore(3, slow)) is None
    assert seen[0] <= state_topic._BATCHES_AHEAD + 1
    assert reader.at == 20


def test_a_fault_amid_a_restore_is_raised_and_ends_the_thread(read_from: Callable[[Reader], None]) -> None:
    reader = Reader([_rows()], 9, fault=aiokafka.errors.KafkaConnectionError("gone"))
    read_from(reader)
    ended = threading.Event()

    class Watched(FakeMachine):
        def restore(self, blocks: Iterable[StateRows]) -> int | None:
            try:
                return super().restore(blocks)
            finally:
                ended.set()

    with pytest.raises(aiokafka.errors.KafkaConnectionError):
        asyncio.run(store().restore(3, Watched(3)))
    assert ended.wait(5)
    assert reader.calls[-1] == "stop"


def test_a_fault_of_the_machine_is_raised(read_from: Callable[[Reader], None]) -> None:
    read_from(Reader([_rows()], 2))

    class Broken(FakeMachine):
        def restore(self, blocks: Iterable[StateRows]) -> int | None:
            raise ValueError("a row of another version")

        def apply(self, batch: Batch, reached: object = None) -> Any:
            raise AssertionError

    with pytest.raises(ValueError, match="another version"):
        asyncio.run(store().restore(3, Broken(3)))


def _rows() -> list[Record]:
    broker = Broker(9)
    asyncio.run(store(broker).write(3, machine_with([(b"C1", 5)]).checkpoint(1)))
    return broker.log
