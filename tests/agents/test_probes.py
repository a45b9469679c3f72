"""What a process tells over HTTP: its metrics, whether its loop responds, what it lacks to be ready."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from agents import probes
from agents.metrics import Metrics
from agents.metrics_server import serve
from config.settings import Settings


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def scene(ask: Callable[[int], Any], ready: Callable[[], Mapping[str, bool]] = dict, *, hang_s: float = 0.0) -> Any:
    async def process() -> Any:
        port = serve(Settings(metrics_port=0), Metrics(), ready=ready)
        asking = asyncio.get_running_loop().run_in_executor(None, ask, port)
        if hang_s:
            time.sleep(hang_s)  # noqa: ASYNC251  that is the fault
        return await asking

    return asyncio.run(process())


def test_metrics_are_the_process_s_own_and_its_cpu_and_memory() -> None:
    status, text = scene(lambda port: get(port, "/metrics"))
    assert status == 200
    assert b"pricelink_records_total" in text
    assert b"process_resident_memory_bytes" in text
    assert b"process_cpu_seconds_total" in text


@pytest.mark.parametrize("missing", [(), ("lag_known",), ("assigned", "recovered")])
def test_ready_is_when_nothing_is_missing(missing: tuple[str, ...]) -> None:
    checks = {name: name not in missing for name in ("assigned", "recovered", "lag_known")}
    status, text = scene(lambda port: get(port, "/readyz"), lambda: checks)
    assert status == (503 if missing else 200)
    assert json.loads(text) == {
        "status": "not_ready" if missing else "ready",
        "checks": checks,
    }


def test_a_loop_that_responds_is_healthy() -> None:
    status, text = scene(lambda port: get(port, "/healthz"))
    assert (status, json.loads(text)) == (200, {"status": "ok"})


def test_one_that_hangs_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "RESPONDS_S", 0.1)
    status, text = scene(lambda port: get(port, "/healthz"), hang_s=1.0)
    assert (status, json.loads(text)["status"]) == (503, "not_responding")


def test_there_is_nothing_else() -> None:
    assert scene(lambda port: get(port, "/state"))[0] == 404
