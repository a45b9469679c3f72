"""A policy file becomes a record that the parser takes, under the version that the file has."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from agents.record_batches import batch_of
from cli.log_file import LogFault
from cli.main import app
from cli.policy import record_of
from cli.replay import read_policy
from config.settings import Settings
from schemas.batches import Batch
from streams.machine import Machine

FILE = Settings().policy_file


class Message:
    def __init__(self, value: bytes) -> None:
        self.offset, self.timestamp, self.value = 0, 2_000_000_000_000, value


def test_the_record_makes_the_files_policy_hold(tmp_path: Path) -> None:
    changed = orjson.loads(FILE.read_bytes())
    changed["default"]["bands"]["red"] = 3_000
    file = tmp_path / "policy.json"
    file.write_bytes(orjson.dumps(changed, option=orjson.OPT_INDENT_2))
    line, version = record_of(file, 1_900_000_000_000)
    policy = record_of(FILE, 0)
    assert policy[1] != version
    machine = Machine(0, 1, read_policy(FILE))
    batch: Batch = batch_of(0, [Message(line)])
    assert not machine.apply(batch).dead_letters
    assert machine.policy.version == version == CliRunner().invoke(app, ["policy", "version", str(file)]).stdout.strip()


def test_an_unfit_file_is_refused_with_where(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_bytes(FILE.read_bytes().replace(b'"guard_bp"', b'"gard_bp"'))
    with pytest.raises(LogFault, match="gard_bp"):
        record_of(file, 0)
    assert CliRunner().invoke(app, ["policy", "apply", str(file)]).exit_code == 2
