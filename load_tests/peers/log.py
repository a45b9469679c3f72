"""The log of the task: one record a message, a warm-up before, and late copies that must change nothing."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from load_tests.generate import Load, messages

WARM_UP_SHARE: Final = 10
"""One tenth as many products and records again go before the log that is measured, under codes of their own."""
_CODE: Final = b'"code":"'
_LATE_EVERY: Final = 400
_LATE_MS: Final = 7_200_000


@dataclass(frozen=True, slots=True)
class Log:
    """A warm-up and a load, if wanted with some records past the first listings kept apart as ``tail``."""

    load: Load
    warm: Load

    @classmethod
    def of(cls, load: Load) -> "Log":
        """Returns the log of a load and a warm-up like it."""
        single = replace(load, lines_per_message=1)
        warm = replace(
            single,
            products=max(load.products // WARM_UP_SHARE, 20),
            records=max(load.records // WARM_UP_SHARE, 1),
            seed=load.seed + 1000,
            start_ms=load.start_ms - load.records // load.records_per_ms // WARM_UP_SHARE - 1,
        )
        return cls(single, warm)

    def warm_up(self) -> Iterator[tuple[int, bytes]]:
        """Yields (partition, record) of the warm-up."""
        return with_late_copies(messages(self.warm))

    def measured(self) -> Iterator[tuple[int, bytes]]:
        """Yields (partition, record) of what is measured."""
        return with_late_copies(messages(self.load))


def with_late_copies(log: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yields a log, and after every 400th record another of its slot that is two hours older and half as dear again."""
    for number, (partition, value) in enumerate(log, 1):
        yield partition, value
        if number % _LATE_EVERY == 0:
            yield partition, _late(value)


def _late(value: bytes) -> bytes:
    from load_tests.peers.task import epoch_ms

    record = json.loads(value)
    record["at"] = epoch_ms(record["at"]) - _LATE_MS
    record["price"] = round(record["price"] * 1.5, 2)
    return json.dumps(record, separators=(",", ":")).encode()


def key_of(value: bytes) -> bytes:
    """Returns the key of a record's message: its code."""
    start = value.index(_CODE) + len(_CODE)
    return value[start : value.index(b'"', start)]
