"""`pricelink replay`: the machine over a log kept in a file or in a topic, without the stream around it (SPEC §9)."""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cli.log_file import LogFault, Message, batches
from schemas.batches import Effects, Run
from schemas.dead_letters import line_of
from schemas.parser import Reject
from schemas.policy import Policy, load_policy
from streams.machine import Machine

OUTPUTS: Final = ("alerts.ndjson", "price-changes.ndjson", "dead-letters.ndjson")


@dataclass(slots=True)
class Totals:
    """What a replay read and wrote."""

    messages: int = 0
    records: int = 0
    alerts: int = 0
    price_changes: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    """By reason."""


def read_policy(path: Path) -> Policy:
    """Reads a policy file; raises LogFault saying what is unfit in it."""
    try:
        policy = load_policy(path.read_bytes())
    except OSError as error:
        raise LogFault(f"cannot read the policy {path}: {error.strerror}") from error
    if isinstance(policy, Reject):
        where = f" at {policy.field}" if policy.field else ""
        raise LogFault(f"{path} is not a policy{where}: {policy.message}. docs/spec.md §3 has the whole of one")
    return policy


def replay(
    messages: Iterable[Message],
    policy: Policy,
    partitions: int,
    out: Path,
    on_batch: Callable[[Totals], object] | None = None,
) -> Totals:
    """Runs one machine per partition over ``messages`` and writes the three files of SPEC §9 into ``out``.

    The events of a partition are kept in files of its own until the end, as the outputs go by partition first.
    Raises LogFault where ``messages`` does.
    """
    out.mkdir(parents=True, exist_ok=True)
    totals = Totals()
    machines: dict[int, Machine] = {}
    with tempfile.TemporaryDirectory(dir=out, prefix=".replay-") as scratch:
        for batch in batches(messages):
            partition = batch.partition
            if partition not in machines:
                machines[partition] = Machine(partition, partitions, policy)
            effects = machines[partition].apply(batch)
            for name, chunk in zip(OUTPUTS, _chunks(effects), strict=True):
                with Path(scratch, f"{partition}-{name}").open("ab") as part:
                    part.write(chunk)
            _count(totals, len(batch.messages), effects)
            if on_batch is not None:
                on_batch(totals)
        for name in OUTPUTS:
            _join([Path(scratch, f"{partition}-{name}") for partition in sorted(machines)], out / name)
    return totals


def _join(parts: list[Path], path: Path) -> None:
    with path.open("wb") as joined:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined, 1 << 20)


def _chunks(effects: Effects) -> tuple[bytes, bytes, bytes]:
    dead = b"".join(line_of(letter) + b"\n" for letter in effects.dead_letters)
    return _lines(effects.alerts), _lines(effects.price_changes), dead


def _lines(run: Run) -> bytes:
    values = run.values()
    return b"\n".join(values) + b"\n" if values else b""


def _count(totals: Totals, messages: int, effects: Effects) -> None:
    totals.messages += messages
    totals.records += effects.records
    totals.alerts += len(effects.alerts.table)
    totals.price_changes += len(effects.price_changes.table)
    for letter in effects.dead_letters:
        totals.dead_letters[letter.reason] = totals.dead_letters.get(letter.reason, 0) + 1
