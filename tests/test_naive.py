"""The twin gives the golden logs' bytes: what it says can be trusted where the fast machine is compared with it."""

import json
import pathlib
from typing import Any

import pytest

from tests.naive import read_log, replay

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
