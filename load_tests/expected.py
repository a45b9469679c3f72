"""What must come out: the machine run offline over the same log, and the naive twin over a small one.

Events of one code have an order, events of different codes have none: so each code's events are chained into a digest.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from load_tests.generate import Load, batches
from schemas.batches import Batch, Run
from schemas.policy import Policy, load_policy
from streams.machine import Machine

POLICY: bytes = b"{}"
"""The default policy of the SPEC, whole."""


@dataclass(slots=True)
class Digest:
    """Events seen so far, by topic and code: how many, how many bytes, and the chained hash of each code's."""

    events: int = 0
    size: int = 0
    by_code: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, code: bytes, value: bytes) -> None:
        """Adds the next event of a code."""
        self.events += 1
        self.size += len(value)
        self.by_code[code] = hashlib.blake2b(value, key=self.by_code.get(code, b""), digest_size=16).digest()

    def add_run(self, run: Run) -> None:
        """Adds rendered events."""
        for code, value in zip(run.table["code"].tolist(), run.values(), strict=True):
            self.add(code, value)


@dataclass(slots=True)
class Outputs:
    """Everything that a log caused."""

    alerts: Digest = field(default_factory=Digest)
    price_changes: Digest = field(default_factory=Digest)
    dead_letters: int = 0

    def difference(self, other: "Outputs") -> str | None:
        """Returns what is not equal, in words, or None."""
        for name in ("alerts", "price_changes"):
            mine: Digest = getattr(self, name)
            others: Digest = getattr(other, name)
            if mine.events != others.events:
                return f"{name}: {mine.events} events, not {others.events}"
            if mine.by_code != others.by_code:
                codes = [code for code in mine.by_code if mine.by_code[code] != others.by_code.get(code)]
                return f"{name}: {len(codes)} codes differ, the first is {codes[:1]}"
        if self.dead_letters != other.dead_letters:
            return f"dead letters: {self.dead_letters}, not {other.dead_letters}"
        return None


def outputs_of(log: Iterable[Batch], partitions: int) -> Outputs:
    """Returns what the machine makes of a log."""
    policy = load_policy(POLICY)
    assert isinstance(policy, Policy)
    machines = [Machine(partition, partitions, policy) for partition in range(partitions)]
    outputs = Outputs()
    for batch in log:
        effects = machines[batch.partition].apply(batch)
        outputs.alerts.add_run(effects.alerts)
        outputs.price_changes.add_run(effects.price_changes)
        outputs.dead_letters += len(effects.dead_letters)
    return outputs


def naive_outputs(load: Load) -> Outputs:
    """Returns what the naive twin makes of a log: slow, for small ones."""
    from tests.naive import Message, NaiveMachine

    machines = [NaiveMachine(partition, load.partitions, json.loads(POLICY)) for partition in range(load.partitions)]
    for batch in batches(load):
        raw = batch.data.tobytes()
        for row in batch.messages:
            value = raw[int(row["start"]) : int(row["end"])]
            machines[batch.partition].apply(
                Message(batch.partition, int(row["offset"]), int(row["broker_ts_ms"]), value)
            )
    outputs = Outputs()
    for machine in machines:
        for digest, values in ((outputs.alerts, machine.alerts), (outputs.price_changes, machine.price_changes)):
            for value in values:
                digest.add(json.loads(value)["code"].encode(), value)
        outputs.dead_letters += len(machine.dead_letters)
    return outputs


def check_against_naive(load: Load) -> str | None:
    """Returns how the machine and the naive twin differ on a small log like ``load``, or None."""
    small = Load(
        products=30,
        provinces=load.provinces,
        records=30 * load.provinces * 5,
        partitions=load.partitions,
        market=load.market,
        seed=load.seed,
        lines_per_message=7,
        odd_share=load.odd_share,
    )
    return outputs_of(batches(small), small.partitions).difference(naive_outputs(small))


def batch_of(partition: int, first_offset: int, values: list[bytes], broker_ts_ms: int) -> Batch:
    """Returns messages of one partition with consecutive offsets as a batch."""
    from schemas.columns import MESSAGE

    table = np.empty(len(values), MESSAGE)
    ends = np.cumsum([len(value) for value in values])
    table["end"] = ends
    table["start"][0] = 0
    table["start"][1:] = ends[:-1]
    table["offset"] = first_offset + np.arange(len(values))
    table["broker_ts_ms"] = broker_ts_ms
    return Batch(partition, np.frombuffer(b"".join(values), np.uint8), table)
