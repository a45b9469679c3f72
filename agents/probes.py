"""What probes ask a process, on its metrics port: ``/healthz``, does its loop respond; ``/readyz``, does it do its work.

A thread of its own answers, so that a loop that hangs can be seen from outside.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

RESPONDS_S: Final = 3.0
"""A loop that does nothing for so long does not respond."""
_STATUS: Final = {True: "200 OK", False: "503 Service Unavailable"}

Ready = Callable[[], Mapping[str, bool]]
"""Returns what a process needs to be ready, and whether each of it is there; called from another thread."""


def with_probes(metrics: Any, ready: Ready, loop: asyncio.AbstractEventLoop) -> Any:
    """Returns a WSGI application that answers probes, and hands other paths to ``metrics``.

    ``/healthz`` says whether ``loop`` responds; ``/readyz`` whether all that ``ready`` names is there: 200, or 503 with
    what is missing.
    """

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        body: dict[str, Any]
        if path == "/healthz":
            good = _responds(loop)
            body = {"status": "ok" if good else "not_responding"}
        elif path == "/readyz":
            checks = dict(ready())
            good = all(checks.values())
            body = {"status": "ready" if good else "not_ready", "checks": checks}
        elif path in {"/", "/metrics"}:
            return metrics(environ, start_response)
        else:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics, /healthz, /readyz\n"]
        start_response(_STATUS[good], [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [orjson.dumps(body) + b"\n"]

    return answer


def _responds(loop: asyncio.AbstractEventLoop) -> bool:
    answered = threading.Event()
    try:
        loop.call_soon_threadsafe(answered.set)
    except RuntimeError:  # it is closed
        return False
    return answered.wait(RESPONDS_S)
