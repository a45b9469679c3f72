"""What `pricelink status` shows, and what it finds wrong."""

from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agents.embedded import free_port
from cli.main import app
from cli.status import Found, problems, tables


def worker(**values: Any) -> dict[str, Any]:
    return {
        "records_per_s": 1234.5, "lag_records": 0, "lag_seconds": 0.0, "partitions": [0, 1], "records_total": 5_000,
        "dead_letters_total": 3, "checkpoint_age_s": 0.7, "version": "0.1.0", "policy_version": "abc", "at": "",
    } | values  # fmt: skip


def found(**values: Any) -> Found:
    usual: dict[str, Any] = {
        "workers": {"a": worker(), "b": worker(partitions=[2])}, "ends": {0: 10, 1: 20, 2: 3_000},
        "committed": {0: 10, 1: 20, 2: 1_000}, "brokers": ("kafka:9092",), "missing": (), "faults": (),
    }  # fmt: skip
    return Found(**usual | values)


def test_workers_partitions_lag_checkpoints_and_versions_are_shown() -> None:
    console = Console(width=160)
    with console.capture() as shown:
        for table in tables(found()):
            console.print(table)
    text = shown.get()
    for word in ("0.1.0", "abc", "0, 1", "1,234", "kafka:9092", "3,000", "1,000", "2,000"):
        assert word in text
    assert list(problems(found())) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"workers": {}}, "no worker says that it is alive"),
        ({"workers": {"a": worker()}}, "partition 2 has no worker"),
        ({"workers": {"a": worker(), "b": worker(partitions=[1, 2])}}, "partition 1 is claimed by a, b"),
        (
            {"workers": {"a": worker(partitions=[0, 1, 2], lag_records=9, checkpoint_age_s=90.0)}},
            "a wrote no checkpoint for 90 s while records wait",
        ),
        (
            {"workers": {"a": worker(), "b": worker(partitions=[2], version="0.2.0")}},
            "workers differ in version: 0.1.0, 0.2.0",
        ),
        ({"missing": ("alerts",)}, "topics are missing: alerts: `pricelink topics apply` makes them"),
        ({"workers": None, "faults": ("Redis does not answer",)}, "Redis does not answer"),
    ],
)
def test_what_is_wrong_is_said(values: dict[str, Any], said: str) -> None:
    assert list(problems(found(**values))) == [said]


def test_without_redis_and_broker_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICELINK_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    done = CliRunner().invoke(app, ["status", "--kafka", f"127.0.0.1:{free_port()}"])
    assert done.exit_code == 1
    assert "Redis does not answer" in done.output
    assert "no Kafka answers" in done.output
