"""The command line answers at once, and says what it cannot use."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import app

HEAVY = {"numba", "faust", "aiokafka", "kafka", "fastapi", "redis", "numpy"}


def test_help_imports_nothing_heavy() -> None:
    program = "import sys, cli.main; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_version() -> None:
    done = CliRunner().invoke(app, ["version"])
    assert done.exit_code == 0
    assert done.output.strip()


def test_replay_wants_one_source(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["replay", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "either a LOG or --from-kafka" in done.output


def test_replay_says_which_line_is_wrong(tmp_path: Path) -> None:
    log = tmp_path / "log.ndjson"
    log.write_text('{"partition":0,"offset":0,"broker_ts":0,"value":""}\nnonsense\n')
    done = CliRunner().invoke(app, ["replay", str(log), "--partitions", "1", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "line 2: not JSON" in done.output


def test_replay_says_what_is_unfit_in_a_policy(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"default":{"aggregate":"highest"}}')
    log = tmp_path / "log.ndjson"
    log.touch()
    done = CliRunner().invoke(app, ["replay", str(log), "--partitions", "1", "--policy", str(policy)])
    assert done.exit_code == 2
    assert "default.aggregate" in done.output


def test_roles_and_their_rights_are_shown() -> None:
    done = CliRunner().invoke(app, ["principals", "roles"])
    assert done.exit_code == 0
    rows = [line.split() for line in done.output.splitlines()]
    assert ["supplier", "topic", "events.NAME", "read"] in rows
    assert ["worker", "group", "pricelink-worker", "read"] in rows
    assert ["province", "topic", "feeds", "write"] in rows


def test_settings_that_do_not_fit_are_a_sentence_and_exit_code_78() -> None:
    variables = {"PRICELINK_SECURITY_PROTOCOL": "SASL_SSL", "PRICELINK_SASL_PASSWORD": "hush"}
    program = "from cli.main import app; app(['worker'])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    assert done.returncode == 78
    assert done.stderr == "settings do not fit: PRICELINK_SASL_USERNAME is empty, and SASL_SSL wants one\n"


@pytest.mark.parametrize(
    ("given", "kafka"),
    [
        ([], None),
        (["--kafka"], "own"),
        (["--kafka", "--rate", "5"], "own"),
        (["--kafka", "h:9092"], "h:9092"),
        (["--rate", "5", "--kafka"], "own"),
    ],
)
def test_run_takes_no_option_and_kafka_alone(given: list[str], kafka: str | None) -> None:
    command: Any = get_command(app)
    assert command.commands["run"].make_context("run", given).params["kafka"] == kafka
