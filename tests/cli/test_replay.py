"""`pricelink replay` over the golden logs gives the golden bytes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.log_file import Message, batch_of, open_log, read_log
from cli.main import app
from cli.replay import OUTPUTS
from schemas.batches import DeadLetter
from schemas.dead_letters import line_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PRICES = ["01-linkage", "02-holds", "03-timers-ceilings-orders", "05-dead-letters"]
GENERATED = [f"generated/{number:02}-prices" for number in range(1, 7)]
SUPPLY = ["04-supply-settlement"]
GROUPS = dict(zip(OUTPUTS, ("code", "code", "partition"), strict=True))
"""Events of different codes have no order among each other (SPEC §8)."""


def grouped(path: Path, key: str) -> dict[str, list[bytes]]:
    groups: dict[str, list[bytes]] = {}
    for line in path.read_bytes().splitlines():
        groups.setdefault(str(json.loads(line)[key]), []).append(line)
    return groups


def replayed(name: str, out: Path) -> Path:
    folder = GOLDEN / name
    own = folder / "policy.json"
    policy, partitions = (own, "2") if own.exists() else (GOLDEN / "policy.json", "1")
    arguments = [str(folder / "log.ndjson"), "--policy", str(policy), "--partitions", partitions, "--out", str(out)]
    done = CliRunner().invoke(app, ["replay", *arguments])
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("name", PRICES + GENERATED)
def test_the_golden_logs_give_the_golden_bytes(name: str, tmp_path: Path) -> None:
    folder = replayed(name, tmp_path)
    for output, key in GROUPS.items():
        assert grouped(tmp_path / output, key) == grouped(folder / output, key), output


@pytest.mark.parametrize("name", SUPPLY)
def test_records_of_supply_do_not_disturb_prices(name: str, tmp_path: Path) -> None:
    folder = replayed(name, tmp_path)
    for output in ("price-changes.ndjson", "dead-letters.ndjson"):
        assert grouped(tmp_path / output, GROUPS[output]) == grouped(folder / output, GROUPS[output])


def test_each_output_goes_by_partition_first(tmp_path: Path) -> None:
    replayed(GENERATED[0], tmp_path)
    partitions = [
        json.loads(line)["partition"] for line in (tmp_path / "dead-letters.ndjson").read_bytes().splitlines()
    ]
    assert partitions == sorted(partitions)
    assert set(partitions) == {0, 1}


def test_an_empty_log_gives_empty_files(tmp_path: Path) -> None:
    log = tmp_path / "log.ndjson"
    log.touch()
    done = CliRunner().invoke(app, ["replay", str(log), "--partitions", "3", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == dict.fromkeys(OUTPUTS, b"")


def test_dead_letters_have_the_keys_of_the_contract() -> None:
    letter = DeadLetter(1, 2, 3, "not_json", b"{")
    assert line_of(letter) + b"\n" == b'{"partition":1,"offset":2,"line":3,"reason":"not_json"}\n'
    moved = DeadLetter(1, 2, 3, "disabled_code", b"{}", moved_to="X")
    assert (line_of(moved) + b"\n").endswith(b'"reason":"disabled_code","moved_to":"X"}\n')


def test_a_log_file_is_a_batch(tmp_path: Path) -> None:
    with open_log(GOLDEN / PRICES[0] / "log.ndjson") as file:
        messages: list[Message] = list(read_log(file, "log"))
    assert len(batch_of(messages).messages) == len(messages)
