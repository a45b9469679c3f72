"""Where Kafka cannot be had, what is said tells what to do. The broker itself is tested in tests/kafka."""

import shutil
from pathlib import Path

import pytest

from agents import real_kafka
from agents.real_kafka import KafkaUnavailable, RealKafka


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, with what a script of ``/bin/sh`` needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PRICELINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!{shutil.which('sh', path='/bin:/usr/bin')}\n{script}\n")
    file.chmod(0o755)


def test_without_java(path: Path, tmp_path: Path) -> None:
    with pytest.raises(KafkaUnavailable, match=r"needs Java 17: apt-get install openjdk-17.*docker compose up kafka"):
        RealKafka(tmp_path / "data").start()
    assert not (tmp_path / "data").exists()


def test_with_an_old_java(path: Path) -> None:
    program(path, "java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    with pytest.raises(KafkaUnavailable, match=r'needs Java 17 or newer, .* says openjdk version "11'):
        real_kafka.java()


def test_without_maven(path: Path) -> None:
    with pytest.raises(KafkaUnavailable, match="apt-get install maven"):
        real_kafka.jars()


def test_without_maven_central(path: Path, tmp_path: Path) -> None:
    program(path, "mvn", "echo '[ERROR] Could not transfer artifact: repo.maven.apache.org: unknown host'; exit 1")
    with pytest.raises(KafkaUnavailable, match=r"unknown host.*proxy or mirror"):
        real_kafka.jars()
    assert list((tmp_path / "cache" / "kafka-jars").iterdir()) == []


def test_jars_are_got_once(path: Path) -> None:
    program(path, "mvn", 'for last; do :; done; : > "${last#*=}/kafka_2.13-4.3.1.jar"')
    folder = real_kafka.jars()
    assert [jar.name for jar in folder.iterdir()] == ["kafka_2.13-4.3.1.jar"]
    (path / "mvn").unlink()
    assert real_kafka.jars() == folder
