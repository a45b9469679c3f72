"""Structured logs: one JSON object a line on standard error, or coloured lines for a person at a terminal.

Whoever warns says what is, where, and what becomes of it or is to be done, in one plain sentence that is always the
same, and beside it, by name:

    _log.warning("…", reason="redis_away", fault=fault, topic=…, partition=…, offset=…, line=…, code=…)

``reason`` is a word from the list in docs/operations.md and never changes; ``fault`` the exception, where there is one; the position
and the product's code where there are any. In JSON every warning and error then has ``position``, ``code`` and ``reason``,
and each of ours is counted by its reason (``Warnings``).
"""

import asyncio
import logging
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
import structlog.tracebacks
from prometheus_client.core import CounterMetricFamily, Metric

from config.settings import Settings

REPEAT_S: Final = 10.0
"""A line of a client library, or of an unreadable message, comes at most once in so long; the next one says how many were left out."""
UNREADABLE: Final = "unreadable"
"""Reason of a message of a topic of ours that is not what it should be: it is passed over. There may be millions of them."""
LIBRARY: Final = "library"
"""Reason of what a client library says by itself."""
_log = structlog.get_logger("topics")
_POSITION: Final = ("topic", "partition", "offset", "line")
_WARNS: Final = frozenset({"warning", "error", "critical"})
_LIBRARIES: Final = ("aiokafka", "kafka", "faust", "mode", "asyncio", "redis", "opentelemetry", "urllib3")
_LOOP_CLOSED: Final = "Event loop is closed"
_TEMPLATES: Final = 256
"""So many different lines are remembered."""
# Both of structlog's own ways show local variables: passwords are among those of a client that cannot log in.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


class Repeats(logging.Filter):
    """Leaves out what is said again and again: by client libraries while a broker is away, by us of unreadable messages."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tells whether a line is to be written. Lines are the same if their templates are."""
        ours: Any = record.msg if isinstance(record.msg, dict) else None
        if ours is not None and ours.get("reason") == UNREADABLE:
            key = record.name, record.levelno, f"{ours.get('topic')}: {ours['event']}"
        elif ours is None and record.name.split(".")[0] in _LIBRARIES:
            key = record.name, record.levelno, str(record.msg)
        else:
            return True
        left_out = self._left_out(key)
        if left_out and ours is not None:
            ours["left_out"] = left_out
        elif left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more like it)", ()
        return left_out is not None

    def _left_out(self, key: tuple[str, int, str]) -> int | None:
        """Returns how many lines like this one were left out before it; None if it is to be left out, too."""
        now = self._clock()
        said_at, left_out = self._seen.get(key, (-REPEAT_S, 0))
        if now - said_at < REPEAT_S:
            self._seen[key] = said_at, left_out + 1
            return None
        self._seen[key] = now, 0
        self._seen.move_to_end(key)
        if len(self._seen) > _TEMPLATES:
            self._seen.popitem(last=False)
        return left_out


class Warnings:
    """This process's own warnings and errors, counted whether they are written or not: a Prometheus collector.

    Reasons and topics are closed lists.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def describe(self) -> list[Metric]:
        """Returns nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yields the counts by reason and topic."""
        family = CounterMetricFamily(
            "pricelink_warnings",
            "Warnings and errors of the log, by reason; topic: what they are about",
            labels=["reason", "topic"],
        )
        for labels, count in sorted(self.counts.items()):
            family.add_metric(labels, count)
        yield family


WARNINGS: Final = Warnings()


def _named(process: str, instance: str) -> Callable[[Any, str, Any], Any]:
    """Returns what says in every line whose it is, in whichever thread."""

    def named(_logger: Any, _method: str, line: Any) -> Any:
        return line | {"process": process, "instance": instance}

    return named


def _in_words(_logger: Any, _method: str, line: Any) -> Any:
    """Puts a fault into words: what it says, and its name as the line's code, unless a product's is there."""
    fault = line.get("fault")
    if isinstance(fault, BaseException):
        line["fault"] = str(fault) or type(fault).__name__
        line.setdefault("code", type(fault).__name__)
    return line


def _counted(_logger: Any, _method: str, line: Any) -> Any:
    """Counts a line that warns."""
    if line["level"] in _WARNS:
        WARNINGS.counts[line.get("reason", ""), line.get("topic", "")] += 1
    return line


def _arranged(_logger: Any, _method: str, line: Any) -> Any:
    """Puts where a line is about into ``position``; gives one that warns all of position, code and reason."""
    place = {name: line.pop(name) for name in _POSITION if name in line}
    warns = line["level"] in _WARNS
    if place or warns:
        line["position"] = place or None
    if warns:
        line.setdefault("reason", LIBRARY)
        line.setdefault("code", _fault_name(line.get("exc_info")) or line["reason"])
    return line


def _fault_name(exc_info: Any) -> str:
    kind = exc_info[0] if isinstance(exc_info, tuple) else type(exc_info)
    return kind.__name__ if isinstance(kind, type) and issubclass(kind, BaseException) else ""


def pass_over(topic: str, partition: int, offset: int, fault: BaseException) -> None:
    """Says, and so counts, that a message of a topic of ours is not what it should be and is left out."""
    _log.warning(
        "a message is none of its topic and is passed over; whoever else writes there must not: look at the topic's ACLs",
        reason="unreadable", fault=fault, topic=topic, partition=partition, offset=offset,
    )  # fmt: skip


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    """Says that a thread ended by a fault, as a line like any other.

    Not where it only outlived the loop that it served: aiokafka's ``stop`` may end so while the broker is away.
    """
    fault = ended.exc_value
    if isinstance(fault, asyncio.CancelledError) or str(fault) == _LOOP_CLOSED:
        return
    name = ended.thread.name if ended.thread else ""
    _log.error(
        "a thread ended by a fault, and what it did is done no more: restart the process, and report it",
        reason="bug", fault=fault, exc_info=fault, thread=name,
    )  # fmt: skip


def set_up(settings: Settings, process: str) -> None:
    """Sets up structlog and the standard library's logging. ``process`` is what every line says it comes from."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[Any] = [
        _named(process, settings.instance),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    ours: list[Any] = [*shared, _in_words, _counted]
    last: list[Any] = (
        [_arranged, _TRACEBACKS, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if settings.log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[*ours, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(
            min(level, logging.WARNING)
        ),  # warnings are counted in any case
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Repeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    threading.excepthook = _thread_ended
