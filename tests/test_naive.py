"""The twin gives the golden logs' bytes: what it says can be trusted where the fast machine is compared with it."""

import json
import pathlib
from typing import Any

import pytest

from tests.hostile import hostile_case, hostile_log
from tests.naive import Message, read_log, replay

GOLDEN = pathlib.Path(__file__).parent / "golden"
FOLDERS = sorted(path.parent for path in GOLDEN.glob("**/log.ndjson"))


def grouped(events: list[bytes], key: str) -> dict[Any, list[bytes]]:
    """Returns events by code or partition: the order of events of different codes is free."""
    groups: dict[Any, list[bytes]] = {}
    for event in events:
        groups.setdefault(json.loads(event)[key], []).append(event)
    return groups


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_golden(folder: pathlib.Path) -> None:
    own_policy = (folder / "policy.json").exists()
    policy = json.loads((folder / "policy.json" if own_policy else GOLDEN / "policy.json").read_bytes())
    machines = replay(read_log(folder / "log.ndjson"), policy, 2 if own_policy else 1)
    outputs = {
        "alerts": ("code", [event for machine in machines for event in machine.alerts]),
        "price-changes": ("code", [event for machine in machines for event in machine.price_changes]),
        "dead-letters": (
            "partition",
            [json.dumps(one, separators=(",", ":")).encode() for machine in machines for one in machine.dead_letters],
        ),
    }
    for name, (key, got) in outputs.items():
        assert grouped(got, key) == grouped((folder / f"{name}.ndjson").read_bytes().splitlines(), key), name


def test_hostile_logs_repeat() -> None:
    messages, policy, machines = hostile_case(7, records=60, kinds="everything")
    assert hostile_log(7, records=60, kinds="everything") == (messages, policy)
    again = replay(messages, policy, 2)
    assert [machine.alerts for machine in again] == [machine.alerts for machine in machines]
    assert any(machine.alerts for machine in machines)


def test_a_log_is_the_same_however_its_messages_are_cut() -> None:
    """One line a message: only the positions differ, so evidence is left out of the comparison."""
    messages, policy, machines = hostile_case(8, records=60)
    lines = [
        Message(message.partition, number, message.broker_ts_ms, line)
        for number, (message, line) in enumerate(
            (message, line) for message in messages for line in message.value.split(b"\n")
        )
    ]
    alone = replay(lines, policy, 2)
    for one, other in zip(machines, alone, strict=True):
        assert [without_positions(event) for event in one.alerts] == [
            without_positions(event) for event in other.alerts
        ]


def without_positions(event: bytes) -> dict[str, Any]:
    """Returns an alert event without its evidence."""
    alert: dict[str, Any] = json.loads(event)
    del alert["evidence"]
    return alert
