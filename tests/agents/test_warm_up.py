"""After the warm-up nothing is left to compile: the first records would wait for it, a minute or so."""

import pkgutil
import sys

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import agents
import schemas
import streams
from agents.machines import real_machines
from agents.outgoing import Events, Part, RecordBatch, dead_letters, missing, state_rows
from agents.warm_up import warm_up
from config.settings import Settings
from schemas.batches import Batch
from schemas.columns import MESSAGE
from tests.agents.fake_machine import FakeMachine
from tests.hostile import hostile_log
from tests.naive import Message


def compiled() -> dict[str, int]:
    """Returns how many signatures of each kernel that Python calls are compiled."""
    names = [
        f"{package.__name__}.{m.name}"
        for package in (agents, schemas, streams)
        for m in pkgutil.iter_modules(package.__path__)
    ]
    return {
        f"{name}.{key}": len(value.signatures)
        for name in names
        if name in sys.modules
        for key, value in vars(sys.modules[name]).items()
        if isinstance(value, Dispatcher)
    }


def batch(messages: list[Message]) -> Batch:
    rows = np.zeros(len(messages), MESSAGE)
    rows["end"] = np.cumsum([len(message.value) for message in messages])
    rows["start"][1:] = rows["end"][:-1]
    rows["offset"] = [message.offset for message in messages]
    rows["broker_ts_ms"] = [message.broker_ts_ms for message in messages]
    return Batch(0, np.frombuffer(b"".join(message.value for message in messages), np.uint8), rows)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_nothing_is_left_to_compile() -> None:
    new_machine = real_machines(Settings(partitions=1))
    warm_up(new_machine, 1)
    before = compiled()
    assert missing() == []
    for seed in range(3):
        messages, _ = hostile_log(seed, 300, "everything", 1)
        machine = new_machine(0)
        effects = machine.apply(batch(messages))
        rows = machine.checkpoint(messages[-1].offset + 1)
        new_machine(0).restore([rows])
        sent: list[Part] = [
            Events(effects.alerts),
            Events(effects.price_changes),
            dead_letters(effects.dead_letters),
            state_rows(rows),
        ]
        for part in sent:
            assert part.count
            record_batch = RecordBatch(part.size, "lz4", 0)
            part.fill(record_batch)
            record_batch._build()
    assert compiled() == before


def test_it_fits_any_machine() -> None:
    warm_up(FakeMachine, 4)
