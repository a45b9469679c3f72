"""The doctor says what is missing, how to get it, and whether `run` can work."""

import io
import socket

import pytest
from rich.console import Console

from agents.embedded import EmbeddedUnavailable
from cli import doctor
from cli.doctor import Finding, examine, report


def named(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def shown(findings: list[Finding]) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    code = report(findings, console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_this_machine_can_run_it() -> None:
    findings = list(examine())
    assert named(findings, "packages").state == "ok"
    assert named(findings, "Python").state == "ok"
    assert all(finding.remedy for finding in findings if finding.state != "ok")


def test_what_is_missing_stops_it_and_says_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> None:
        raise EmbeddedUnavailable("no wheel")

    monkeypatch.setattr(doctor, "broker_binary", unavailable)
    code, text = shown(list(examine()))
    assert code == 1
    assert "docker compose up" in text
    assert "cannot work yet: embedded broker" in text


def test_with_a_kafka_the_embedded_broker_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> None:
        raise EmbeddedUnavailable("no wheel")

    monkeypatch.setattr(doctor, "broker_binary", unavailable)
    with socket.create_server(("127.0.0.1", 0)) as kafka:
        findings = list(examine(f"127.0.0.1:{kafka.getsockname()[1]}"))
    assert named(findings, "Kafka").state == "ok"
    assert named(findings, "embedded broker").state == "optional"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_a_kafka_that_does_not_answer_is_missing(address: str) -> None:
    assert named(list(examine(address)), "Kafka").state == "missing"


def test_a_taken_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert named(list(examine(None, taken.getsockname()[1])), "port of the page").state == "missing"


def test_optional_things_do_not_stop_it() -> None:
    code, text = shown([Finding("docker", "optional", "not on PATH", "install it")])
    assert code == 0
    assert "docker: install it" in text
