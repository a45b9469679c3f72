"""What a line of the log has, in JSON; what is said again and again is written once in a while, with a count."""

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

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
    assert all(repeats.filter(ours("redis_moved", "alerts")) for _ in range(5))


def ours(reason: str, topic: str) -> logging.LogRecord:
    line = record("read-model", "")
    line.msg = {"event": "passed over", "reason": reason, "topic": topic}  # as structlog does
    return line


def test_unreadable_messages_of_a_topic_are_said_once_in_a_while_however_many_there_are() -> None:
    time = Time()
    repeats = Repeats(time)
    shown: list[Any] = []
    for number in range(1_001):
        time.now = number * REPEAT_S / 1_000
        for topic in ("alerts", "price-changes"):
            line = ours("unreadable", topic)
            if repeats.filter(line):
                shown.append(line.msg)
    assert [(each["topic"], each.get("left_out")) for each in shown] == [
        ("alerts", None), ("price-changes", None), ("alerts", 999), ("price-changes", 999),
    ]  # fmt: skip


def test_what_is_remembered_is_bounded() -> None:
    repeats = Repeats(Time())
    for number in range(10_000):
        repeats.filter(record("aiokafka", f"line {number}"))
    assert len(repeats._seen) == logs._TEMPLATES


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level, hook = list(root.handlers), root.level, threading.excepthook
    target = io.StringIO()
    monkeypatch.setattr("sys.stderr", target)
    logs.set_up(Settings(log_format="json"), "test")
    structlog.configure(cache_logger_on_first_use=False)  # loggers are used by other tests, too
    yield target
    root.handlers[:] = before
    root.setLevel(level)
    threading.excepthook = hook
    structlog.reset_defaults()


def test_a_process_writes_them_so(written: io.StringIO) -> None:
    for _ in range(50):
        logging.getLogger("aiokafka.conn").error("Unable to connect to node %s", 1)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["Unable to connect to node 1"]
    assert lines[0]["process"] == "test"


def lines_of(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_warning_says_where_what_and_why(written: io.StringIO) -> None:
    log = structlog.get_logger("logs-of-tests")
    log.warning(
        "passed over", reason="unreadable", fault=ValueError("no revision"), topic="alerts", partition=3, offset=7
    )
    log.warning("dear", reason="held", code="C0910", topic="feeds", partition=0, offset=9, line=2)
    log.error("ended", reason="infrastructure", fault=OSError(), exit_code=74)
    log.warning("Redis does not answer", reason="redis_away")
    assert [(each["position"], each["code"], each["reason"], each.get("fault")) for each in lines_of(written)] == [
        ({"topic": "alerts", "partition": 3, "offset": 7}, "ValueError", "unreadable", "no revision"),
        ({"topic": "feeds", "partition": 0, "offset": 9, "line": 2}, "C0910", "held", None),
        (None, "OSError", "infrastructure", "OSError"),
        (None, "redis_away", "redis_away", None),
    ]
    assert {(each["process"], each["logger"]) for each in lines_of(written)} == {("test", "logs-of-tests")}


def test_a_line_of_another_thread_says_whose_it_is_too(written: io.StringIO) -> None:
    log = structlog.get_logger("logs-of-tests-in-threads")
    thread = threading.Thread(target=lambda: log.critical("stands still", reason="stalled"))
    thread.start()
    thread.join()
    assert [each["process"] for each in lines_of(written)] == ["test"]


def test_a_thread_that_ends_by_a_fault_is_a_line_but_not_one_that_outlived_its_loop(written: io.StringIO) -> None:
    def end(fault: BaseException) -> None:
        raise fault

    for fault in (asyncio.CancelledError(), RuntimeError("Event loop is closed"), LookupError("not there")):
        thread = threading.Thread(target=end, args=(fault,), name="consumer")
        thread.start()
        thread.join()
    (line,) = lines_of(written)
    assert (line["reason"], line["code"], line["fault"], line["thread"]) == (
        "bug",
        "LookupError",
        "not there",
        "consumer",
    )
    assert line["exception"]


def test_a_library_s_warning_has_them_too(written: io.StringIO) -> None:
    try:
        raise TimeoutError
    except TimeoutError:
        logging.getLogger("aiokafka").exception("oh")
    logging.getLogger("uvicorn.error").warning("no request")
    assert [(each["position"], each["code"], each["reason"]) for each in lines_of(written)] == [
        (None, "TimeoutError", "library"), (None, "library", "library"),
    ]  # fmt: skip


def test_what_informs_needs_no_reason(written: io.StringIO) -> None:
    structlog.get_logger("logs-of-tests-of-info").info("the topic is read", topic="alerts")
    (line,) = lines_of(written)
    assert line["position"] == {"topic": "alerts"}
    assert not {"reason", "code"} & line.keys()


def test_warnings_are_counted_even_where_they_are_not_written(written: io.StringIO) -> None:
    logs.set_up(Settings(log_format="json", log_level="error"), "test")
    before = logs.WARNINGS.counts["unreadable", "silence"]
    for _ in range(3):
        structlog.get_logger("logs-of-tests-of-counts").warning("passed over", reason="unreadable", topic="silence")
    assert logs.WARNINGS.counts["unreadable", "silence"] == before + 3
    assert not written.getvalue()
    samples = {tuple(each.labels.values()): each.value for family in logs.WARNINGS.collect() for each in family.samples}
    assert samples["unreadable", "silence"] == before + 3
