"""One or more workers catch up with a log that is there already: first with the listings, then with what follows them.

A market lists once and then refreshes for years: so the two are measured apart. Feeds are filled with the listings and
the workers catch up and stop; feeds are filled with the rest, and new workers take up the state and catch up again. The
clock of either part runs from when the workers have their partitions to when the last batch of events was written. One worker lists, however many refresh.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from config.settings import Settings
from load_tests import trades
from load_tests.expected import POLICY, outputs_of
from load_tests.generate import Load, batches, messages
from load_tests.harness import BenchFault, Broker, Filled, Worker, fill, own_broker, read_outputs, surroundings, usage
from load_tests.latency import SplitLog

CATCHUP_S: Final = 600.0
_LOOK_S: Final = 0.05


@dataclass(slots=True)
class Counted:
    """Counts the records of the messages that pass, by partition and offset."""

    records: int = 0
    _until: dict[int, list[int]] = field(default_factory=dict)

    def passing(self, messages: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """Yields (partition, value) messages as they are."""
        for partition, value in messages:
            until = self._until.setdefault(partition, [0])
            lines = value.count(b"\n") + 1
            until.append(until[-1] + lines)
            self.records += lines
            yield partition, value

    def before(self, positions: dict[int, int]) -> int:
        """Returns how many records lie before these offsets."""
        return sum(
            self._until[partition][offset] for partition, offset in positions.items() if partition in self._until
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the log and what it took. CPU seconds are those of the workers, one by one, and of the broker."""

    records: int
    seconds: float
    worker_cpu_s: list[float]
    broker_cpu_s: float | None
    peak_mb: float
    stop_s: float

    def figures(self) -> dict[str, Any]:
        """Returns them as they go into the results."""
        broker_us = None if self.broker_cpu_s is None else round(self.broker_cpu_s / self.records * 1e6, 3)
        return {
            "records": self.records,
            "seconds": round(self.seconds, 3),
            "records_per_s": round(self.records / self.seconds),
            "worker_cpu_us_per_record": round(sum(self.worker_cpu_s) / self.records * 1e6, 3),
            "broker_cpu_us_per_record": broker_us,
            "worker_cpu_s": [round(cpu_s, 2) for cpu_s in self.worker_cpu_s],
            "worker_peak_mb": round(self.peak_mb),
            "stop_s": round(self.stop_s, 2),
        }


def catchup(load: Load, kafka: str | None, compression: str | None, workers: int = 1) -> dict[str, Any]:
    """Returns one catch-up's figures; those at the top are of the records after the listings, where there are any.

    Raises BenchFault where it cannot be measured.
    """
    expected = outputs_of(batches(load), load.partitions)
    listed = load.products * load.provinces
    log = SplitLog(load, load.records - listed)
    traded = load.market in trades.SHARES  # these have no listings at the beginning
    counted = Counted()
    with _places(kafka, load.partitions) as (broker, settings):
        filled = fill(settings, counted.passing(messages(load) if traded else log.head()), compression)
        goes_on = load.records > listed and not traded
        listings = _part(settings, broker, counted, 1 if goes_on else workers)
        refreshes = None
        if goes_on:
            filled = fill(settings, counted.passing(log.rest()), compression)
            refreshes = _part(settings, broker, counted, workers)
        found = read_outputs(settings)
    events = expected.alerts.events + expected.price_changes.events
    return {
        "market": load.market,
        "lines_per_message": load.lines_per_message,
        "odd_share": load.odd_share,
        "compression": compression,
        "workers": workers,
        "partitions": load.partitions,
        **(refreshes or listings).figures(),
        **_whole(listings, refreshes),
        **_volume(filled),
        "events": events,
        "events_per_record": round(events / counted.records, 4),
        "mean_event_bytes": round((expected.alerts.size + expected.price_changes.size) / max(events, 1)),
        "listings": None if traded else listings.figures(),
        "difference": expected.difference(found.outputs),
    }


def _whole(listings: Part, refreshes: Part | None) -> dict[str, Any]:
    parts = [listings] if refreshes is None else [listings, refreshes]
    records = sum(part.records for part in parts)
    return {"whole_records": records, "whole_records_per_s": round(records / sum(part.seconds for part in parts))}


def _volume(filled: Filled) -> dict[str, Any]:
    return {"messages": filled.messages, "mb": round(filled.size / 1e6, 1), "fill_s": round(filled.seconds, 2)}


@contextlib.contextmanager
def _places(kafka: str | None, partitions: int) -> Iterator[tuple[Broker, Settings]]:
    with (
        tempfile.TemporaryDirectory(prefix="pricelink-kafka-") as folder,
        own_broker(kafka, Path(folder)) as broker,
        surroundings(broker, partitions, POLICY) as settings,
    ):
        yield broker, settings


def _part(settings: Settings, broker: Broker, counted: Counted, workers: int) -> Part:
    """Starts workers on what waits in feeds, and returns what they took until it was done."""
    with contextlib.ExitStack() as stack:
        crew = [
            stack.enter_context(Worker(settings.model_copy(update={"instance": f"bench-{number}"})))
            for number in range(workers)
        ]
        positions = _settled(crew, settings.partitions)
        used_before = [usage(worker.pid).cpu_s for worker in crew]
        broker_before = _broker_cpu_s(broker)
        began_s = min(worker.restored()[0] for worker in crew)
        records = counted.records - counted.before(positions)
        if records == 0:
            raise BenchFault("everything was applied before all workers had their partitions: take more records")
        _wait_until_done(crew, records)
        used = [usage(worker.pid) for worker in crew]
        broker_after = _broker_cpu_s(broker)
        stop_s = max(worker.stop() for worker in crew)
    ended_s = read_outputs(settings).last_ms / 1000
    if ended_s <= began_s:
        raise BenchFault("no event came of these records: nothing says when they were done")
    return Part(
        records=records,
        seconds=ended_s - began_s,
        worker_cpu_s=[after.cpu_s - before for after, before in zip(used, used_before, strict=True)],
        broker_cpu_s=None if broker_before is None or broker_after is None else broker_after - broker_before,
        peak_mb=max(one.peak_mb for one in used),
        stop_s=stop_s,
    )


def _broker_cpu_s(broker: Broker) -> float | None:
    return None if broker.pid is None else usage(broker.pid).cpu_s


def _settled(crew: list[Worker], partitions: int) -> dict[int, int]:
    """Waits until every worker has partitions and all partitions have one; returns where each is read from."""
    deadline = time.monotonic() + CATCHUP_S
    while time.monotonic() < deadline:
        shares = [worker.restored()[1] for worker in crew]
        positions = {partition: offset for share in shares for partition, offset in share.items()}
        if all(shares) and sum(map(len, shares)) == len(positions) == partitions:
            return positions
        for worker in crew:
            worker.check()
        time.sleep(_LOOK_S)
    raise BenchFault(f"{len(crew)} workers did not share {partitions} partitions:\n{crew[0].said()}")


def _wait_until_done(crew: list[Worker], records: int) -> None:
    """Waits until the workers together have applied so many records since they settled, and nothing waits."""
    deadline = time.monotonic() + CATCHUP_S
    done = 0
    while True:
        told = [worker.status() for worker in crew]
        done = sum(one.get("records_total", 0) for one in told)
        if done >= records and all(one.get("lag_records", 1) == 0 for one in told):
            return
        for worker in crew:
            worker.check()
        if time.monotonic() > deadline:
            raise BenchFault(f"{done:,} of {records:,} records after {CATCHUP_S:.0f} s:\n{crew[0].said()}")
        time.sleep(_LOOK_S)
