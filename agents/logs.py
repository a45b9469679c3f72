"""Structured logs: one JSON object a line on standard error, or coloured lines for a person at a terminal."""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import structlog
import structlog.tracebacks

from config.settings import Settings

REPEAT_S: Final = 10.0
"""A line of a client library comes at most once in so long; the next one says how many were left out."""
_LIBRARIES: Final = ("aiokafka", "kafka", "faust", "mode", "asyncio", "redis")
_TEMPLATES: Final = 256
"""So many different lines are remembered."""
# Both of structlog's own ways show local variables: passwords are among those of a client that cannot log in.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


class Repeats(logging.Filter):
    """Leaves out what client libraries say again and again: dozens of lines a second while a broker is away."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tells whether a line is to be written. Lines are the same if their templates are."""
        if record.name.split(".")[0] not in _LIBRARIES or not isinstance(record.msg, str):
            return True
        key = record.name, record.levelno, record.msg
        now = self._clock()
        said_at, left_out = self._seen.get(key, (-REPEAT_S, 0))
        if now - said_at < REPEAT_S:
            self._seen[key] = said_at, left_out + 1
            return False
        self._seen[key] = now, 0
        self._seen.move_to_end(key)
        if len(self._seen) > _TEMPLATES:
            self._seen.popitem(last=False)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more like it)", ()
        return True


def set_up(settings: Settings, process: str) -> None:
    """Sets up structlog and the standard library's logging. ``process`` is what every line says it comes from."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Any] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if settings.log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
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
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process=process, instance=settings.instance)
