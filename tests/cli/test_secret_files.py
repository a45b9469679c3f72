"""Passwords are made once, kept, and reach the processes by file alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.secret_files import GRAFANA_PASSWORD, REDIS_CONF, REDIS_PASSWORD, make
from config.settings import Settings


def test_they_are_made_once(tmp_path: Path) -> None:
    assert make(tmp_path) == [REDIS_PASSWORD, GRAFANA_PASSWORD, REDIS_CONF]
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert make(tmp_path) == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert before[REDIS_CONF] == f"requirepass {before[REDIS_PASSWORD]}\n"
    assert len(set(before.values())) == 3
    assert min(map(len, before.values())) >= 32


def test_a_password_that_is_there_is_the_one_of_redis_conf(tmp_path: Path) -> None:
    (tmp_path / REDIS_PASSWORD).write_text("ours\n")
    assert make(tmp_path) == [GRAFANA_PASSWORD, REDIS_CONF]
    assert (tmp_path / REDIS_CONF).read_text() == "requirepass ours\n"


def test_a_process_reads_it_from_its_file(tmp_path: Path) -> None:
    (tmp_path / REDIS_PASSWORD).write_text("a/b@c")
    program = "from config.settings import settings; s = settings(); print(s.redis_url, repr(s))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={"PRICELINK_SECRETS_DIR": str(tmp_path), "PRICELINK_REDIS_URL": "redis://redis:6379/0"},
    )  # fmt: skip
    url, shown = done.stdout.split(" ", 1)
    assert url == "redis://:a%2Fb%40c@redis:6379/0"
    assert "a/b@c" not in shown
    assert "a%2Fb" not in shown


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"redis_password": "x"}, "redis://:x@127.0.0.1:6379/0"),
        ({"redis_password": "x", "redis_url": "rediss://r:1/2"}, "rediss://:x@r:1/2"),
        ({"redis_password": "x", "redis_url": "redis://:y@r:1/2"}, "redis://:y@r:1/2"),
        ({}, "redis://127.0.0.1:6379/0"),
    ],
)
def test_it_goes_into_the_address(given: dict[str, str], url: str) -> None:
    assert Settings(**given).redis_url == url  # type: ignore[arg-type]
