"""Faust tables of scorecard rows, with a changelog that is awaited, and cards that are the sums over the rows.

Faust sends a table's changelog in the background, and a commit may overtake it. Here what was set waits in ``unsaved``
until ``save`` has written it with a producer of ours and has the acks; only then are the events acked. Rows only go
forward, in recovery, too: a row that somebody wrote late does no harm.
"""

import asyncio
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import faust
import orjson

from agents.logs import pass_over
from schemas.codes import partition_of
from schemas.events import NotAnEvent
from streams.scorecards import Card, Row, Standing, advanced, row_from

SEAL: Final = ""
"""Key of a message that ends what was saved where the broker misreports the end of a partition (the embedded one)."""
_BETWEEN: Final = "|"

Send = Callable[[str, bytes, bytes | None, int], Any]
"""Topic, key, value, partition: awaited, it returns a future of the ack."""


def table_key(owner: str, slot: str) -> str:
    """Returns the key of a row: whose it is, and the alerts' slot."""
    return f"{len(owner)}{_BETWEEN}{owner}{slot}"


def owner_of(key: str) -> tuple[str, str]:
    """Splits a row's key into its owner and slot; a name may have any character in it."""
    length, _, rest = key.partition(_BETWEEN)
    return rest[: int(length)], rest[int(length) :]


class RowTable(faust.Table):  # type: ignore[misc]
    """A Faust table whose values are Rows as lists (further elements behind), and whose changelog ``save`` writes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unsaved: dict[str, list[Any] | None] = {}
        self.is_behind: Callable[[list[Any]], bool] = operator.not_
        """Tells whether a list may be what rows carry behind the Row; by default nothing."""

    def on_key_set(self, key: Any, value: Any) -> None:
        """Notes what ``save`` is to write."""
        self.unsaved[key] = value

    def on_key_del(self, key: Any) -> None:
        """Notes what ``save`` is to delete."""
        self.unsaved[key] = None

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Takes rows of the changelog; one that is older than what is there, or is none, changes nothing."""
        rows = self.data.data
        for event in batch:
            message = event.message
            if message.key == SEAL.encode():
                continue
            try:
                key, value = self._read(message.key, message.value)
            except NotAnEvent as fault:
                pass_over(message.topic, message.partition, message.offset, fault)
                continue
            if value is None:
                rows.pop(key, None)
            elif key not in rows or tuple(rows[key][:2]) <= tuple(value[:2]):
                rows[key] = value

    def _read(self, key: bytes | None, value: bytes | None) -> tuple[str, list[Any] | None]:
        try:
            name = (key or b"").decode()
            owner_of(name)
            row = orjson.loads(value) if value else None
        except ValueError as fault:
            raise NotAnEvent(f"no row: {fault}") from fault
        if row is not None and not self.is_behind(row[len(row_from(row)) :]):
            raise NotAnEvent("what is behind the row is none")
        return name, row

    async def save(self, send: Send, topic: str, partitions: int, *, seal: bool) -> int:
        """Writes what was set since the last call and awaits the acks; returns how many rows."""
        rows, self.unsaved = self.unsaved, {}
        touched = set()
        sent = []
        for key, value in rows.items():
            partition = partition_of(owner_of(key)[0], partitions)
            touched.add(partition)
            data = None if value is None else orjson.dumps(value)
            sent.append(await send(topic, key.encode(), data, partition))
        await asyncio.gather(*sent)
        if seal and touched:
            seals = [await send(topic, SEAL.encode(), b"[]", partition) for partition in sorted(touched)]
            await asyncio.gather(*seals)
        return len(rows)


class Cards:
    """The cards of one dimension, over its table's rows of the partitions that are ours. ``dirty``: to be published."""

    def __init__(self, dimension: str, partitions: int) -> None:
        self.dimension = dimension
        self.cards: dict[str, Card] = {}
        self.dirty: set[str] = set()
        self.repeats = 0
        self.counted = 0
        self._partitions = partitions

    def rebuild(self, table: Any, owned: set[int]) -> None:
        """Sums the table's rows anew, those of ``owned`` partitions."""
        rows: dict[str, list[tuple[str, Row]]] = {}
        for key, value in list(table.items()):
            owner, slot = owner_of(key)
            if partition_of(owner, self._partitions) in owned:
                rows.setdefault(owner, []).append((slot, Row(*value[: len(Row._fields)])))
        self.cards = {owner: Card.of(found) for owner, found in rows.items()}
        self.dirty = set(self.cards)

    def take(
        self, table: Any, owner: str, standing: Standing, behind: Callable[[Any], list[Any]] = lambda _: []
    ) -> bool:
        """Counts an event for its owner; False: it was counted before. ``behind``: what the row carries beside."""
        key = table_key(owner, standing.slot)
        was = table.get(key)
        before = Row(*was[: len(Row._fields)]) if was else None
        row = advanced(before, standing)
        if row is None:
            self.repeats += 1
            return False
        table[key] = [*row, *behind(was)]
        self.counted += 1
        card = self.cards.get(owner)
        if card is None:
            card = self.cards[owner] = Card()
        card.replace(standing.slot, before, row)
        self.dirty.add(owner)
        return True

    def forget(self, table: Any, now_ms: int) -> int:
        """Drops the rows that no longer count; returns how many."""
        old = list(self._forgotten(table, now_ms))
        for key, row in old:
            owner, slot = owner_of(key)
            if owner in self.cards:
                self.cards[owner].replace(slot, row, None)
                self.dirty.add(owner)
            del table[key]
        return len(old)

    def _forgotten(self, table: Any, now_ms: int) -> Iterator[tuple[str, Row]]:
        for key, value in list(table.items()):
            row = Row(*value[: len(Row._fields)])
            if row.forgotten(now_ms):
                yield key, row
