"""The state topic from the log alone: the machine runs over feeds to where the workers' group is, and writes its rows.

No event is sent: what feeds says before the committed offset, the workers have sent; they go on from there. So nothing
comes twice, and nothing is left out. The policy of the settings' file must be the one that the workers had at the start
of the log: until a partition's first policy record it is an input of the machine (SPEC §3).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from agents.clients import never_give_up, new_producer
from agents.log_reader import read_chunks
from agents.machines import NewMachine
from agents.metrics import epoch_ms
from agents.sinks import KafkaWriter
from agents.standing import Standing, admin_of, create_topic, delete_topics, members, partition_counts, standings
from agents.state_topic import KafkaStateStore
from config.settings import Settings
from config.topics import FEEDS, STATE
from schemas.batches import Effects
from streams.machine import Machine

_STOP_S: Final = 5.0

OnOffsets = Callable[[int, int], object]
"""Is told a partition and up to which offset it is read."""


class CannotRebuild(RuntimeError):
    """The state cannot be made from the log as it is now; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done for one partition."""

    partition: int
    next_offset: int
    records: int
    rows: int
    bytes: int
    read_s: float
    write_s: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A partition's rows in the state topic beside those that the log gives up to ``next_offset``.

    ``next_offset``: None if no checkpoint is there. ``different``: keys whose rows differ or are on one side only, "clock"
    and "policy" among them.
    """

    partition: int
    next_offset: int | None
    rows: int
    different: tuple[str, ...]


def targets(settings: Settings) -> dict[int, Standing]:
    """Returns up to where each partition is to be rebuilt; raises ``CannotRebuild``.

    A partition of which nothing was ever committed is rebuilt to 0: workers then read it from its start.
    """
    with admin_of(settings) as admin:
        working = members(admin, settings.worker_group)
        if working:
            raise CannotRebuild(f"{len(working)} workers are in group {settings.worker_group}: stop them all first")
        found = standings(admin, FEEDS.name, settings.worker_group)
    if len(found) != settings.partitions:
        raise CannotRebuild(f"{FEEDS.name} has {len(found)} partitions, the settings say {settings.partitions}")
    for number, at in found.items():
        if at.first > 0:
            raise CannotRebuild(
                f"{FEEDS.name}[{number}] begins at {at.first}: what was before is gone, and with it what the state was made of. "
                "Restore feeds or the state topic from a backup"
            )
        if (at.committed or 0) > at.end:
            raise CannotRebuild(
                f"{FEEDS.name}[{number}] ends at {at.end}, but {at.committed} is committed: records are lost. "
                "Restore feeds from a backup"
            )
    return found


def make_topic_anew(settings: Settings) -> None:
    """Deletes the state topic with all that is in it, and creates it empty."""
    with admin_of(settings) as admin:
        delete_topics(admin, [STATE.name])
        create_topic(admin, STATE, settings.partitions, settings.replication)


async def rebuild(
    settings: Settings, new_machine: NewMachine, ends: dict[int, int], on_offsets: OnOffsets
) -> list[Rebuilt]:
    """Writes the rows of each partition as the log before ``ends`` gives them, one partition after the other.

    The state topic must be empty. A partition is whole when its last row is there: interrupted, run it all again.
    """
    producer = new_producer(settings)
    never_give_up(producer)
    await producer.start()
    try:
        store = KafkaStateStore(KafkaWriter(producer, settings, epoch_ms), settings)
        return [await _rebuild(settings, new_machine, store, number, end, on_offsets)
                for number, end in sorted(ends.items()) if end]  # fmt: skip
    finally:
        await asyncio.wait_for(producer.stop(), _STOP_S)


async def _rebuild(
    settings: Settings, new_machine: NewMachine, store: KafkaStateStore, number: int, end: int, on_offsets: OnOffsets
) -> Rebuilt:
    began = time.monotonic()
    machine = new_machine(number)
    records = await run_over(settings, machine.apply, number, end, on_offsets)
    read_s = time.monotonic() - began
    rows = await asyncio.to_thread(machine.checkpoint, end)
    await store.write(number, rows)
    write_s = time.monotonic() - began - read_s
    return Rebuilt(number, end, records, len(rows.spans), len(rows.data), read_s, write_s)


async def run_over(
    settings: Settings, apply: Callable[[Any], Effects], number: int, end: int, on_offsets: OnOffsets
) -> int:
    """Gives a partition of feeds before ``end`` to ``apply``, in a thread, while more is fetched; returns the records."""
    loop = asyncio.get_running_loop()
    records = 0
    working: Awaitable[Effects] | None = None
    read = 0
    async for chunk in read_chunks(settings, FEEDS.name, number, end):
        if working is not None:
            records += (await working).records
            on_offsets(number, read)
        working = loop.run_in_executor(None, apply, chunk.batch)
        read = chunk.next_offset
    if working is not None:
        records += (await working).records
    on_offsets(number, end)
    return records


async def compare(settings: Settings, new_machine: NewMachine, on_offsets: OnOffsets) -> list[Compared]:
    """Compares the state topic's last finished checkpoints with the log, byte for byte; workers may run meanwhile."""
    with admin_of(settings) as admin:
        partitions = partition_counts(admin).get(FEEDS.name, 0)
    return [await _compare(settings, new_machine, number, on_offsets) for number in range(partitions)]


async def _compare(settings: Settings, new_machine: NewMachine, number: int, on_offsets: OnOffsets) -> Compared:
    saved, wanted = new_machine(number), new_machine(number)
    assert isinstance(saved, Machine)
    assert isinstance(wanted, Machine)
    end = await KafkaStateStore(_NoWriter(), settings).restore(number, saved)
    if end is None:
        return Compared(number, None, 0, ())
    await run_over(settings, wanted.apply, number, end, on_offsets)
    return Compared(number, end, *differences(saved, wanted))


def differences(saved: Machine, wanted: Machine) -> tuple[int, tuple[str, ...]]:
    """Returns how many rows ``wanted`` has, and what of ``saved`` differs from it."""
    there, rows = saved.rows(), wanted.rows()
    different = [
        key.decode(errors="replace") for key in sorted(there.keys() | rows.keys()) if there.get(key) != rows.get(key)
    ]
    if saved.clock_ms != wanted.clock_ms:
        different.append("clock")
    if saved.policy.version != wanted.policy.version:
        different.append("policy")
    return len(rows), tuple(different)


class _NoWriter:
    async def write(self, *_args: object, **_others: object) -> int:
        raise AssertionError("what is compared is not written")
