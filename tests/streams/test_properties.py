"""What must hold for any log: machine equals twin, batches and packing do not matter, state can be taken up anywhere.

``PRICELINK_SEEDS=2000 pytest tests/streams/test_properties.py`` looks further than the fast tests do.
"""

import json
import os
import random
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from config.provinces import PROVINCE_CODES
from schemas.columns import BANDS, CHANGES, KINDS
from schemas.policy import Policy
from streams.layout import CODE
from streams.machine import Machine
from streams.partition_row import PARTITION_KEY
from tests.hostile import hostile_case
from tests.naive import Message
from tests.naive_records import format_ms, parse_line
from tests.streams.logs import (
    Outputs,
    Pairs,
    batch_of,
    blocks_of,
    by_code,
    cut,
    of_partition,
    pairs_of,
    policy_of,
    run,
    twin_outputs,
)

SEEDS = range(int(os.environ.get("PRICELINK_SEEDS", "25")))
FEWER = SEEDS if "PRICELINK_SEEDS" in os.environ else SEEDS[:8]
"""For what takes many machines."""
RECORDS = 150
PARTITIONS = 2
LOG_KINDS = "everything"


class Case:
    """A hostile log, and what one machine a partition makes of it in one batch."""

    def __init__(self, seed: int) -> None:
        self.messages, given, self.twins = hostile_case(seed, RECORDS, LOG_KINDS, PARTITIONS)
        self.policy: Policy = policy_of(given)
        self.logs = [of_partition(self.messages, partition) for partition in range(PARTITIONS)]
        machines = [self.machine(partition) for partition in range(PARTITIONS)]
        self.outputs = [run(machine, log) for machine, log in zip(machines, self.logs, strict=True)]
        self.rows = [machine.rows() for machine in machines]
        self.open_alerts = [machine.open_alerts().tolist() for machine in machines]
        self.clocks_ms = [machine.clock_ms for machine in machines]

    def machine(self, partition: int) -> Machine:
        """Returns a fresh machine."""
        return Machine(partition, PARTITIONS, self.policy)

    def check_end(self, partition: int, machine: Machine) -> None:
        """Checks that a machine stands where the one stands that saw the log in one batch."""
        assert machine.rows() == self.rows[partition]
        self.check_counts(partition, machine)

    def check_counts(self, partition: int, machine: Machine) -> None:
        """Checks open alerts and clock alone."""
        assert machine.open_alerts().tolist() == self.open_alerts[partition]
        assert machine.clock_ms == self.clocks_ms[partition]


@cache
def case(seed: int) -> Case:
    """Returns the case of a seed: the tests of this module share it."""
    return Case(seed)


def without_positions(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Returns rows without the position up to which each is applied."""

    def blank(key: bytes, value: bytes) -> bytes:
        if b"/" in key:  # rows of supply have none
            return value
        fields: dict[str, Any] = dict(CODE.fields or {})
        for name in ("applied_offset", "applied_line"):
            dtype, at = fields[name][:2]
            value = value[: 1 + at] + bytes(dtype.itemsize) + value[1 + at + dtype.itemsize :]
        return value

    return {key: blank(key, value) for key, value in rows.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_machine_equals_the_twin(seed: int) -> None:
    this = case(seed)
    for got, twin in zip(this.outputs, this.twins, strict=True):
        wanted = twin_outputs(twin)
        assert by_code(got.alerts) == by_code(wanted.alerts)
        assert by_code(got.price_changes) == by_code(wanted.price_changes)
        assert got.dead_letters == wanted.dead_letters
        assert got.stale == wanted.stale


@pytest.mark.parametrize("seed", SEEDS)
def test_batches_change_no_byte(seed: int) -> None:
    this = case(seed)
    rng = random.Random(seed)
    for partition, log in enumerate(this.logs):
        machine = this.machine(partition)
        assert run(machine, *cut(log, rng, rng.choice((1, 5, 50)))) == this.outputs[partition]
        this.check_end(partition, machine)


@pytest.mark.parametrize("seed", SEEDS)
def test_open_alerts_are_those_that_opened_and_did_not_end(seed: int) -> None:
    this = case(seed)
    for outputs, counts in zip(this.outputs, this.open_alerts, strict=True):
        last = {alert["alert_id"]: alert for alert in map(json.loads, outputs.alerts)}
        is_open = [alert for alert in last.values() if alert["change"] not in ("resolved", "closed", "observed")]
        assert sum(map(sum, counts)) == len(is_open)


@pytest.mark.parametrize("seed", FEWER)
def test_the_table_of_events_says_what_their_bytes_say(seed: int) -> None:
    """Headers, metrics and sinks go by the table; ids stand beside the events as they are before JSON escapes them."""
    this = case(seed)
    for partition, log in enumerate(this.logs):
        if not log:
            continue
        effects = this.machine(partition).apply(batch_of(log))
        broker_ts_ms = {message.offset: message.broker_ts_ms for message in log}
        for events in (effects.alerts, effects.price_changes):
            for row, value in zip(events.table, events.values(), strict=True):
                event = json.loads(value)
                assert events.data[row["id_start"] : row["id_end"]].tobytes().decode() == event["event_id"]
                assert row["code"].decode() == event["code"]
                assert format_ms(int(row["at_ms"])) == event["at"]
                trigger = event["position"] if "position" in event else event["evidence"][0]
                assert row["offset"] == trigger["offset"]
                assert row["broker_ts_ms"] == broker_ts_ms[trigger["offset"]]
                if "kind" not in event:
                    assert row["kind"] == 255
                    continue
                assert KINDS[row["kind"]] == event["kind"]
                assert CHANGES[row["change"]] == event["change"]
                assert BANDS[row["band"]] == (event["band"] or "none")
                assert BANDS[row["previous_band"]] == (event["previous_band"] or "none")
                assert PROVINCE_CODES[row["province"]] == event["province"]


# --- packing ----------------------------------------------------------------------------------------------------------


def one_line_each(log: list[Message]) -> tuple[list[Message], dict[tuple[int, int], tuple[int, int]]]:
    """Returns a log with a message for every line that is not blank, and where each line went."""
    messages: list[Message] = []
    moved = {}
    for message in log:
        for number, line in enumerate(message.value.split(b"\n")):
            if line.strip(b" \t\r"):
                moved[message.offset, number] = len(messages), 0
                messages.append(Message(message.partition, len(messages), message.broker_ts_ms, line))
    return messages, moved


def packed(log: list[Message], rng: random.Random) -> tuple[list[Message], dict[tuple[int, int], tuple[int, int]]]:
    """Returns a log of single lines with neighbours of one timestamp packed together, and where each line went."""
    messages: list[Message] = []
    moved = {}
    for message in log:
        last = messages[-1] if messages else None
        if last and last.broker_ts_ms == message.broker_ts_ms and rng.random() < 0.7:
            gap = b"\n" * rng.randint(1, 3)
            messages[-1] = Message(last.partition, last.offset, last.broker_ts_ms, last.value + gap + message.value)
        else:
            messages.append(Message(message.partition, 3 * len(messages) + 5, message.broker_ts_ms, message.value))
        moved[message.offset, 0] = messages[-1].offset, messages[-1].value.count(b"\n")
    return messages, moved


def moved_outputs(outputs: Outputs, moved: dict[tuple[int, int], tuple[int, int]]) -> Outputs:
    """Returns outputs with every position where it went."""

    def move(position: dict[str, int]) -> dict[str, int]:
        offset, line = moved[position["offset"], position["line"]]
        return position | {"offset": offset, "line": line}

    def written(event: dict[str, object]) -> bytes:
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()

    return Outputs(
        [written(one | {"evidence": list(map(move, one["evidence"]))}) for one in map(json.loads, outputs.alerts)],
        [written(one | {"position": move(one["position"])}) for one in map(json.loads, outputs.price_changes)],
        [move(one) for one in outputs.dead_letters],
        outputs.stale,
    )


@pytest.mark.parametrize("seed", FEWER)
def test_packing_changes_positions_alone(seed: int) -> None:
    this = case(seed)
    for partition, log in enumerate(this.logs):
        single, to_single = one_line_each(log)
        alone = run(this.machine(partition), single)
        assert alone == moved_outputs(this.outputs[partition], to_single)
        together, to_together = packed(single, random.Random(seed))
        assert run(this.machine(partition), together) == moved_outputs(alone, to_together)


# --- duplicates and late records --------------------------------------------------------------------------------------


def with_repeats(log: list[Message], dead: set[int], rng: random.Random) -> list[Message]:
    """Returns a log of single lines, numbered in tens, with repeats of what came before among them, some of them older.

    ``dead``: offsets of dead letters, which are not repeated, as they might be valid later. Nor are decisions, which
    have no slot.
    """
    messages: list[Message] = []
    valid: list[bytes] = []
    for message in log:
        offset = 10 * message.offset
        messages.append(Message(message.partition, offset, message.broker_ts_ms, message.value))
        if message.offset not in dead and parse_line(message.value).type != "decision":
            valid.append(message.value)
        for number in range(1, rng.randrange(4)):
            again = rng.choice(valid[-rng.choice((1, 5, 500)) :] or [b""])
            if rng.random() < 0.5 and again:
                again = older(again)
            messages.append(Message(message.partition, offset + number, message.broker_ts_ms, again))
    return messages


def older(line: bytes) -> bytes:
    """Returns a record as it would have been a millisecond earlier: the last of equal keys counts."""
    record = parse_line(line)
    at_ms = max(record.at - 1, 0)
    head = line.rstrip(b" \t\r")
    return head[:-1] + b',"at":%d}' % at_ms


@pytest.mark.parametrize("seed", FEWER)
def test_repeats_and_late_records_change_nothing(seed: int) -> None:
    this = case(seed)
    for partition, log in enumerate(this.logs):
        single, _ = one_line_each(log)
        first = run(this.machine(partition), single)
        wanted = moved_outputs(first, {(offset, 0): (10 * offset, 0) for offset in range(len(single))})
        dead = {letter["offset"] for letter in first.dead_letters}
        got = run(this.machine(partition), with_repeats(single, dead, random.Random(seed)))
        assert got.alerts == wanted.alerts
        assert got.price_changes == wanted.price_changes
        assert [letter for letter in got.dead_letters if letter["offset"] % 10 == 0] == wanted.dead_letters


# --- checkpoints ------------------------------------------------------------------------------------------------------


def checkpoints(this: Case, partition: int, rng: random.Random) -> tuple[list[int], list[Pairs], list[Outputs]]:
    """Runs a log with checkpoints now and then: how many messages were applied at each, its rows, outputs up to it."""
    log = this.logs[partition]
    machine = this.machine(partition)
    applied, saved, outputs = [0], [], [Outputs()]
    for batch in cut(log, rng, max(len(log) // 3, 1)):
        outputs.append(outputs[-1] + run(machine, *cut(batch, rng, 20)))
        applied.append(applied[-1] + len(batch))
        saved.append(pairs_of(machine.checkpoint(batch[-1].offset + 1)))
    return applied, saved, outputs


def rest(log: list[Message], next_offset: int | None) -> list[Message]:
    """Returns the messages from an offset on."""
    return [message for message in log if message.offset >= (next_offset or 0)]


@pytest.mark.parametrize("seed", FEWER)
def test_a_machine_goes_on_from_any_checkpoint(seed: int) -> None:
    this = case(seed)
    rng = random.Random(seed)
    for partition, log in enumerate(this.logs):
        if not log:
            continue
        applied, saved, outputs = checkpoints(this, partition, rng)
        for number in range(len(saved) + 1):
            machine = this.machine(partition)
            restored = machine.restore(
                blocks_of((pair for pairs in saved[:number] for pair in pairs), rng.randint(1, 40))
            )
            assert restored == (log[applied[number] - 1].offset + 1 if number else None)
            assert outputs[number] + run(machine, rest(log, restored)) == this.outputs[partition]
            this.check_end(partition, machine)


@pytest.mark.parametrize("seed", FEWER)
def test_a_restored_machine_is_the_one_that_was_saved(seed: int) -> None:
    this = case(seed)
    for partition, log in enumerate(this.logs):
        if not log:
            continue
        machine = this.machine(partition)
        run(machine, *cut(log, random.Random(seed), 20))
        end = log[-1].offset + 1
        pairs = pairs_of(machine.checkpoint(end))
        again = this.machine(partition)
        assert again.restore(blocks_of(pairs)) == end
        assert again.policy == machine.policy
        this.check_end(partition, again)
        assert pairs_of(again.checkpoint(end)) == [pairs[-1]], "nothing changed since"


@pytest.mark.parametrize("seed", FEWER)
def test_a_checkpoint_that_was_never_finished_is_ignored(seed: int) -> None:
    """Its rows are there, its partition row is not: what follows the last finished one gives the same bytes."""
    this = case(seed)
    rng = random.Random(seed)
    for partition, log in enumerate(this.logs):
        if not log:
            continue
        applied, saved, outputs = checkpoints(this, partition, rng)
        number = rng.randrange(len(saved))
        torn = saved[number][: rng.randrange(len(saved[number]))]
        machine = this.machine(partition)
        restored = machine.restore(
            blocks_of([pair for pairs in saved[:number] for pair in pairs] + torn, rng.randint(1, 40))
        )
        assert restored == (log[applied[number] - 1].offset + 1 if number else None)
        assert outputs[number] + run(machine, rest(log, restored)) == this.outputs[partition]
        this.check_end(partition, machine)


@pytest.mark.parametrize("seed", FEWER)
def test_a_torn_checkpoint_does_no_harm_where_older_rows_were_compacted_away(seed: int) -> None:
    """Kafka keeps the latest value of a key, finished checkpoint or not.

    A code whose older row is gone goes on from the newer one: what it caused up to there was sent before that was
    written, and is not sent again.
    """
    this = case(seed)
    rng = random.Random(seed)
    for partition, log in enumerate(this.logs):
        _, saved, outputs = checkpoints(this, partition, rng)
        if len(saved) < 2:
            continue
        number = rng.randrange(1, len(saved))
        torn = saved[number][: rng.randrange(len(saved[number]))]
        lost = {key for key, _ in torn}
        kept = {key: value for pairs in saved[:number] for key, value in pairs if key not in lost}
        own = kept.pop(PARTITION_KEY)
        machine = this.machine(partition)
        restored = machine.restore(blocks_of([*kept.items(), (PARTITION_KEY, own), *torn], rng.randint(1, 40)))
        got = by_code(outputs[number].alerts + run(machine, rest(log, restored)).alerts)
        wanted = by_code(this.outputs[partition].alerts)
        sent = by_code(outputs[number + 1].alerts)
        ahead = {key.split(b"/")[0].decode() for key in lost}
        for code in wanted:
            again = got.get(code, [])
            missing = [event for event in wanted[code] if event not in again]
            assert again == [event for event in wanted[code] if event not in missing]
            assert not missing or code in ahead
            assert set(missing) <= set(sent.get(code, []))
        assert got.keys() <= wanted.keys()
        assert without_positions(machine.rows()) == without_positions(this.rows[partition])
        this.check_counts(partition, machine)


@pytest.mark.parametrize("seed", FEWER)
def test_older_versions_and_repeats_do_no_harm(seed: int) -> None:
    this = case(seed)
    rng = random.Random(seed)
    for partition, log in enumerate(this.logs):
        if not log:
            continue
        _, saved, _ = checkpoints(this, partition, rng)
        topic = [pair for pairs in saved for pair in pairs]
        again = [topic[: rng.randrange(len(topic) + 1)], saved[0], saved[-1]]  # a writer that repeats what was there
        machine = this.machine(partition)
        assert (
            machine.restore(blocks_of(topic + [pair for part in again for pair in part], rng.randint(1, 40)))
            == log[-1].offset + 1
        )
        this.check_end(partition, machine)
        latest = dict(topic)
        compacted = [pair for pair in latest.items() if pair[0] != PARTITION_KEY]
        rng.shuffle(compacted)
        machine = this.machine(partition)
        machine.restore(blocks_of([*compacted, (PARTITION_KEY, latest[PARTITION_KEY])]))
        this.check_end(partition, machine)


def in_first_slot(key: bytes) -> bytes:
    """Returns the key as a first checkpoint has it: rows of supply go to two slots by turns."""
    slash = key.find(b"/")
    return key if slash < 0 else key[: slash + 2] + b"1" + key[slash + 3 :]


def test_a_state_topic_without_a_finished_checkpoint_is_an_empty_one() -> None:
    this = case(0)
    machine = this.machine(0)
    assert machine.restore([]) is None
    run(machine, this.logs[0])
    pairs = pairs_of(machine.checkpoint(9))
    again = this.machine(0)
    assert again.restore(blocks_of(pairs[:-1])) is None
    assert again.rows() == {}
    assert run(again, this.logs[0]) == this.outputs[0]


def test_a_checkpoint_holds_what_changed_since_the_last() -> None:
    this = case(0)
    machine = this.machine(0)
    half = len(this.logs[0]) // 2
    for part in (this.logs[0][:half], this.logs[0][half:]):
        before = machine.rows()
        run(machine, part)
        after = machine.rows()
        *rows, (key, _) = pairs_of(machine.checkpoint(part[-1].offset + 1))
        assert key == PARTITION_KEY
        written = {in_first_slot(key) for key, _ in rows}
        assert written == {key for key in after if after[key] != before.get(key)}
        assert len(written) == len(rows)
        assert all(later[0] != earlier[0] for earlier, later in pairwise(sorted(rows)))
    assert [key for key, _ in pairs_of(machine.checkpoint(99))] == [PARTITION_KEY]
