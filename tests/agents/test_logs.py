"""What client libraries repeat is written once in a while, with a count; what we say is written always."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from agents import logs
from agents.logs import REPEAT_S, Repeats
from config.settings import Settings


def record(name: str, template: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, template, values, None)


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_of_a_library_comes_once_in_a_while_and_says_how_many_were_left_out() -> None:
    time = Time()
    repeats = Repeats(time)
    shown = []
    for attempt in range(48):
        time.now = attempt * REPEAT_S / 47
        line = record("aiokafka.conn", "Unable to connect to node %s", attempt)
        if repeats.filter(line):
            shown.append(line.getMessage())
    assert shown == ["Unable to connect to node 0", "Unable to connect to node 47 (46 more like it)"]


def test_another_line_is_another_line() -> None:
    repeats = Repeats(Time())
    assert repeats.filter(record("aiokafka.conn", "one"))
    assert repeats.filter(record("aiokafka.conn", "two"))
    assert repeats.filter(record("aiokafka.cluster", "one"))
    assert not repeats.filter(record("aiokafka.cluster", "one"))


def test_ours_are_never_left_out() -> None:
    repeats = Repeats(Time())
    assert all(repeats.filter(record("worker", "assigned")) for _ in range(5))


def test_what_is_remembered_is_bounded() -> None:
    repeats = Repeats(Time())
    for number in range(10_000):
        repeats.filter(record("aiokafka", f"line {number}"))
    assert len(repeats._seen) == logs._TEMPLATES


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    target = io.StringIO()
    monkeypatch.setattr("sys.stderr", target)
    logs.set_up(Settings(log_format="json"), "test")
    yield target
    root.handlers[:] = before
    root.setLevel(level)


def test_a_process_writes_them_so(written: io.StringIO) -> None:
    for _ in range(50):
        logging.getLogger("aiokafka.conn").error("Unable to connect to node %s", 1)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["Unable to connect to node 1"]
    assert lines[0]["process"] == "test"
