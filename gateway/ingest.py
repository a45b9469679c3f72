"""What a request's lines go through: check, ``feeds``, ``feeds.dead-letter``, and the count of it all."""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from config.settings import Settings
from gateway import warm_up
from gateway.feed_log import BrokerAway, FeedLog, Header, Receipt
from gateway.keys import CATALOGUE_WRITE, POLICY_WRITE, Key
from gateway.problems import Problem
from gateway.workbooks import Workbooks
from schemas.columns import ITEM, POLICY, RECORD_TYPES, TICK
from schemas.packets import Checked, Rejected, Sender, types_mask
from schemas.parser import MAX_LINE_BYTES

ITEMS_SHOWN: Final = 1_000
"""Rejected lines that an answer names; all are counted, and kept in feeds.dead-letter."""
MOST_REJECTED: Final = 10_000
"""A body with more is not read further."""
BODIES_A_KEY: Final = 8
RESERVE_BYTES: Final = 1 << 20
"""What a body that is being read may hold beside what is on its way."""
LISTS_AT_ONCE: Final = 2
"""Price lists that are read at once, each by a thread, and a workbook by a process; others wait."""
_THREADS: Final = 2
_INLINE_BYTES: Final = 4_096
"""So little is checked where it is: the way to a thread takes longer."""
_PROVINCE_TYPES: Final = types_mask(*(index for index in range(len(RECORD_TYPES)) if index not in (ITEM, POLICY, TICK)))

Result = TypeVar("Result")


def sender_of(key: Key, province: int) -> Sender:
    """Returns what a key may write.

    A province: its own records but for those of no province. ``item`` is the national catalogue's and ``policy`` the
    operator's, so they need scopes that only operators have. ``tick`` nobody: the clock process writes it, and one from
    outside would fire everybody's timers.
    """
    types = _PROVINCE_TYPES
    types |= types_mask(ITEM) if CATALOGUE_WRITE in key.scopes else 0
    types |= types_mask(POLICY) if POLICY_WRITE in key.scopes else 0
    return Sender(province, types)


@dataclass(slots=True)
class Tally:
    """One request's count. ``items``: the first rejected lines."""

    began_s: float = field(default_factory=time.monotonic)
    rejected: int = 0
    last_line: int = 0
    items: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, rejected: Rejected) -> None:
        """Counts a rejected line."""
        self.rejected += 1
        self.last_line = rejected.line
        self.reasons[rejected.reason] += 1
        if len(self.items) < ITEMS_SHOWN:
            self.items.append(rejected.shown())

    def body(self, accepted: int) -> dict[str, Any]:
        """Returns the answer's body."""
        took_ms = int((time.monotonic() - self.began_s) * 1000)
        return {"took_ms": took_ms, "accepted": accepted, "rejected": self.rejected, "items": self.items}


class Intake:
    """Takes lines for the log, within the gateway's bounds."""

    def __init__(self, settings: Settings, feed_log: FeedLog) -> None:
        self._settings = settings
        self.log = feed_log
        self.workbooks = Workbooks()
        self._threads = ThreadPoolExecutor(_THREADS, "check")
        self._readers = ThreadPoolExecutor(LISTS_AT_ONCE, "read")
        self._lists = asyncio.Semaphore(LISTS_AT_ONCE)
        self._bodies: Counter[str] = Counter()
        self.warm = False

    @contextmanager
    def admit(self, key: Key, where: str) -> Iterator[None]:
        """Holds a place for a body; raises Problem 429 where there is none, 503 while the broker is away."""
        if (away := self.log.away) is not None:
            raise broker_away(away, where)
        if not self.log.has_room((self._bodies.total() + 1) * RESERVE_BYTES):
            remedy = "Wait as long as Retry-After says, then send the same again."
            raise Problem(429, "busy", "too much is on its way to the broker already", where, remedy)
        if self._bodies[key.id] >= BODIES_A_KEY:
            remedy = f"Send at most {BODIES_A_KEY} bodies at once; one big body is quicker than many small ones."
            raise Problem(429, "too_many_bodies", "this key is sending enough at once", where, remedy)
        self._bodies[key.id] += 1
        try:
            yield
        finally:
            self._bodies[key.id] -= 1
            if not self._bodies[key.id]:
                del self._bodies[key.id]

    async def work(self, size: int, job: Callable[[], Result]) -> Result:
        """Runs a job over so many bytes, in a thread if it is worth it."""
        if self.warm and size <= _INLINE_BYTES:
            return job()
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    @asynccontextmanager
    async def place_to_read(self, where: str) -> AsyncIterator[None]:
        """Holds a place for a price list; raises Problem 429 where none becomes free."""
        try:
            async with asyncio.timeout(self._settings.feeds_answer_s):
                await self._lists.acquire()
        except TimeoutError:
            remedy = "Wait as long as Retry-After says, then send the same again."
            raise Problem(429, "busy", "other price lists are being read", where, remedy) from None
        try:
            yield
        finally:
            self._lists.release()

    async def read(self, job: Callable[[], Result]) -> Result:
        """Runs a job over a price list in a thread, whose checks of other bodies go on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, job)

    async def warm_up(self) -> None:
        """Has every kernel at hand before the first request comes."""
        await self.work(0, warm_up.compile_kernels)
        self.warm = True  # not before: a check where it is would hold up everything for as long as others compile
        gc.collect()
        gc.freeze()  # the million objects of the imports: a full collection would hold up every stream for 0.25 s

    async def put(self, checked: Checked, receipt: Receipt, tally: Tally, origin: list[Header]) -> None:
        """Sends checked lines on their way; waits while too much is. Raises BrokerAway, and Problem at MOST_REJECTED."""
        if not self.log.has_room():
            await self.log.room(self._settings.feeds_answer_s)
        for packet in checked.packets:
            self.log.put(packet, receipt)
        for rejected in checked.rejected[: MOST_REJECTED - tally.rejected]:
            tally.add(rejected)
            original = rejected.original[:MAX_LINE_BYTES]  # a row of a price list may be longer
            self.log.put_rejected(original, rejection_headers(rejected, origin), receipt)
        if tally.rejected >= MOST_REJECTED:
            what = f"{MOST_REJECTED:,} lines are rejected; the rest is not read"
            raise Problem(400, "too_many_rejected", what, f"line {tally.last_line}", "See items for what is wrong.")

    async def settle(self, receipt: Receipt) -> None:
        """Waits until all of a request's lines are in the log; raises BrokerAway."""
        self.log.flush(receipt)
        await receipt.wait(self._settings.feeds_answer_s)

    def close(self) -> None:
        """Lets the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)
        self.workbooks.close()


def rejection_headers(rejected: Rejected, origin: list[Header]) -> list[Header]:
    """Returns the headers of a dead letter of the gateway: as the worker's, but of a request in place of a position."""
    headers: list[Header] = [("reason", rejected.reason.encode()), ("line", b"%d" % rejected.line)]
    if rejected.field:
        headers.append(("field", rejected.field.encode(errors="backslashreplace")))
    headers.append(("message", rejected.message.encode(errors="backslashreplace")))
    return headers + origin


def broker_away(fault: str | BrokerAway, where: str, body: dict[str, Any] | None = None) -> Problem:
    """The log does not take what is sent."""
    remedy = "Send the whole body again: what is in the log already changes nothing."
    return Problem(503, "broker_away", f"Kafka does not acknowledge: {fault}", where, remedy, more=body)
