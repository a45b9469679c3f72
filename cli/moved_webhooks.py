"""How far webhooks are, in a log that was moved to more partitions: at its end, where they were at the end of the old one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from cli.backup_files import Record
from config.topics import ALERTS, PRICE_CHANGES
from gateway.cursors import PRICE_LANES
from notifier.progress import Progress

Ends = Mapping[str, Mapping[int, int]]
"""Where partitions end, by topic."""


def lanes_of(ends: Ends) -> dict[int, int]:
    """Returns the cursor of somebody who has read both topics of events to these ends."""
    alerts, prices = ends.get(ALERTS.name, {}), ends.get(PRICE_CHANGES.name, {})
    return dict(alerts) | {PRICE_LANES + number: end for number, end in prices.items()}


def move_progress(records: Iterable[Record], old: Ends, new: Ends) -> tuple[list[Record], list[str]]:
    """Returns the new progress of endpoints, as messages without a place yet, and the endpoints that were not through.

    Of these nothing is kept: the notifier sends them everything since they were made, or since their owner last asked.
    What cannot be read is one of them.
    """
    latest = {record.key or b"": record for record in records}
    moved: list[Record] = []
    late: list[str] = []
    for key, record in latest.items():
        if not record.value:
            continue
        progress = _progress(record.value)
        if progress is None or progress.outstanding or any(
            progress.cursor.get(lane, 0) < end for lane, end in lanes_of(old).items()
        ):  # fmt: skip
            late.append(key.decode(errors="replace"))
            continue
        progress.cursor = lanes_of(new)
        moved.append(replace(record, value=progress.to_bytes()))
    return moved, late


def _progress(value: bytes) -> Progress | None:
    try:
        return Progress.from_bytes(value)
    except ValueError:
        return None
