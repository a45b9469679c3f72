"""Bad lines among good ones: each is a dead letter with its reason and its bytes, and changes nothing else (SPEC §2)."""

import random

from numba import config as numba_config

from schemas.batches import Batch
from schemas.columns import REASONS
from schemas.parser import parse_line
from schemas.policy import Policy, load_policy
from schemas.records import Reject
from streams.machine import Machine
from tests.schemas.lines import AT, FULL, batch_of, line_of

COUNT = 300 if numba_config.DISABLE_JIT else 100_000
PER_MESSAGE = 250


def bad_lines(rng: random.Random) -> list[tuple[bytes, str]]:
    """Returns lines with a few bytes spoiled, and the reason that the exact parser gives for each."""
    good = [line_of(fields) for fields in FULL.values()]
    bad: list[tuple[bytes, str]] = []
    while len(bad) < COUNT:
        line = bytearray(rng.choice(good))
        for _ in range(rng.randrange(1, 4)):
            line[rng.randrange(len(line))] = rng.randrange(256)
        text = bytes(line).replace(b"\n", b" ")
        exact = parse_line(text)
        if isinstance(exact, Reject):
            bad.append((text, REASONS[exact.reason]))
    return bad


def quote(rng: random.Random, number: int) -> bytes:
    """Returns a good quote, later than those before."""
    province = rng.choice(("110000", "320000", "370000", "440000"))
    fields = {**FULL["quote"], "province": province, "at": AT + number, "price": rng.randrange(90, 120), "seq": number}
    fields.pop("effective_at", None)
    fields.pop("valid_until", None)
    return line_of({**fields, "status": "active", "kind": "listed", "pack_size": 1})


def message(offset: int, lines: list[bytes]) -> Batch:
    """Returns a batch of one message."""
    batch = batch_of([b"\n".join(lines)])
    batch.messages["offset"] = offset
    return batch


def test_a_hundred_thousand_bad_lines_among_good_ones() -> None:
    rng = random.Random(20)
    bad = bad_lines(rng)
    policy = load_policy(b"{}")
    assert isinstance(policy, Policy)
    mixed, clean = Machine(0, 1, policy), Machine(0, 1, policy)
    letters: list[tuple[bytes, str]] = []
    applied = 0
    for start in range(0, COUNT, PER_MESSAGE):
        lines = [text for text, _ in bad[start : start + PER_MESSAGE]]
        without = [b""] * len(lines)  # blank lines keep their numbers
        for number in range(10):
            good = quote(rng, start + number)
            lines.append(good)
            without.append(good)
        dirty = mixed.apply(message(start, lines))
        wanted = clean.apply(message(start, without))
        letters += [(letter.original, letter.reason) for letter in dirty.dead_letters]
        assert dirty.alerts.values() == wanted.alerts.values()
        assert dirty.price_changes.values() == wanted.price_changes.values()
        assert not wanted.dead_letters
        applied += len(wanted.alerts.table)
    assert letters == bad
    assert mixed.rows() == clean.rows()
    assert applied > COUNT // 1_000
