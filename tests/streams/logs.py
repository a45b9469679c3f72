"""Logs for the machine: read from files, cut into batches, run through machine and twin; outputs as lists of bytes."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.batches import Batch, StateRows
from schemas.columns import MESSAGE
from schemas.policy import Policy, load_policy
from streams.effects import STALE
from streams.machine import Machine
from tests.naive import Message, NaiveMachine, read_log

GOLDEN: Final = Path(__file__).parent.parent / "golden"
GOLDEN_LOGS: Final = sorted(path.parent for path in GOLDEN.glob("**/log.ndjson"))

Pairs = list[tuple[bytes, bytes]]
"""Rows of the state topic: key and value."""


@dataclass(slots=True)
class Outputs:
    """What comes out of one partition, in order: alerts and price changes as bytes, dead letters as in SPEC §9."""

    alerts: list[bytes] = field(default_factory=list)
    price_changes: list[bytes] = field(default_factory=list)
    dead_letters: list[dict[str, Any]] = field(default_factory=list)
    stale: int = 0

    def __add__(self, later: "Outputs") -> "Outputs":
        return Outputs(
            self.alerts + later.alerts,
            self.price_changes + later.price_changes,
            self.dead_letters + later.dead_letters,
            self.stale + later.stale,
        )


def policy_of(given: dict[str, Any]) -> Policy:
    """Returns a policy given as an object."""
    policy = load_policy(json.dumps(given).encode())
    assert isinstance(policy, Policy), policy
    return policy


def batch_of(messages: Sequence[Message]) -> Batch:
    """Returns messages of one partition as a batch."""
    table = np.zeros(len(messages), MESSAGE)
    ends = np.cumsum([len(message.value) for message in messages])
    table["end"] = ends
    table["start"][1:] = ends[:-1]
    table["offset"] = [message.offset for message in messages]
    table["broker_ts_ms"] = [message.broker_ts_ms for message in messages]
    data = np.frombuffer(b"".join(message.value for message in messages), np.uint8)
    return Batch(messages[0].partition, data, table)


def cut(messages: Sequence[Message], rng: random.Random, longest: int) -> list[list[Message]]:
    """Cuts messages into runs of 1 to ``longest``."""
    runs = []
    at = 0
    while at < len(messages):
        size = rng.randint(1, longest)
        runs.append(list(messages[at : at + size]))
        at += size
    return runs


def run(machine: Machine, *batches: Sequence[Message]) -> Outputs:
    """Applies batches to a machine; returns what came out of it."""
    out = Outputs()
    for messages in batches:
        if not messages:
            continue
        effects = machine.apply(batch_of(messages))
        out.alerts += effects.alerts.values()
        out.price_changes += effects.price_changes.values()
        out.stale += int(effects.outcomes[:, STALE].sum())
        for letter in effects.dead_letters:
            row: dict[str, Any] = {"partition": letter.partition, "offset": letter.offset, "line": letter.line}
            row["reason"] = letter.reason
            if letter.moved_to is not None:
                row["moved_to"] = letter.moved_to
            out.dead_letters.append(row)
    return out


def twin_outputs(twin: NaiveMachine) -> Outputs:
    """Returns all that came out of a twin."""
    return Outputs(list(twin.alerts), list(twin.price_changes), list(twin.dead_letters), twin.stale)


def by_code(events: Iterable[bytes]) -> dict[str, list[bytes]]:
    """Returns events by code: the order of events of different codes is free (SPEC §8)."""
    groups: dict[str, list[bytes]] = {}
    for event in events:
        groups.setdefault(json.loads(event)["code"], []).append(event)
    return groups


def of_partition(messages: Iterable[Message], partition: int) -> list[Message]:
    """Returns the messages of one partition."""
    return [message for message in messages if message.partition == partition]


def pairs_of(rows: StateRows) -> Pairs:
    """Returns state rows as keys and values, in sending order."""
    raw = rows.data.tobytes()
    return [(raw[start:key_end], raw[key_end:end]) for start, key_end, end in rows.spans.tolist()]


def blocks_of(pairs: Iterable[tuple[bytes, bytes]], rows: int = 3) -> Iterator[StateRows]:
    """Yields keys and values as blocks of up to so many rows: what a restore takes."""
    left = list(pairs)
    for first in range(0, len(left), rows):
        some = left[first : first + rows]
        ends = np.cumsum([(len(key), len(value)) for key, value in some]).reshape(-1, 2)
        spans = np.zeros((len(some), 3), np.int64)
        spans[:, 1:] = ends
        spans[1:, 0] = ends[:-1, 1]
        yield StateRows(np.frombuffer(b"".join(key + value for key, value in some), np.uint8), spans)


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden log: its messages and policy, and the files that must come out."""

    messages: list[Message]
    policy: dict[str, Any]
    partitions: int
    alerts: list[bytes]
    price_changes: list[bytes]
    dead_letters: list[dict[str, Any]]


def golden(folder: Path) -> Golden:
    """Reads a golden log. A log without a policy of its own has one partition and the policy of all such logs."""
    own_policy = folder / "policy.json"
    return Golden(
        messages=list(read_log(folder / "log.ndjson")),
        policy=json.loads((own_policy if own_policy.exists() else GOLDEN / "policy.json").read_bytes()),
        partitions=2 if own_policy.exists() else 1,
        alerts=(folder / "alerts.ndjson").read_bytes().splitlines(),
        price_changes=(folder / "price-changes.ndjson").read_bytes().splitlines(),
        dead_letters=[json.loads(line) for line in (folder / "dead-letters.ndjson").read_bytes().splitlines()],
    )


def replay(log: Golden, *, restart: bool = False) -> Outputs:
    """Runs a golden log through fresh machines, one batch a partition; outputs by partition, then in log order.

    ``restart``: halfway the state goes to another machine.
    """
    out = Outputs()
    policy = policy_of(log.policy)
    for partition in range(log.partitions):
        messages = of_partition(log.messages, partition)
        half = len(messages) // 2 if restart else 0
        machine = Machine(partition, log.partitions, policy)
        out += run(machine, messages[:half])
        if restart:
            next_offset = messages[half].offset
            saved = pairs_of(machine.checkpoint(next_offset))
            machine = Machine(partition, log.partitions, policy)
            assert machine.restore(blocks_of(saved)) == next_offset
        out += run(machine, messages[half:])
    return out
