"""A busy `pricelink run` and a Prometheus that scrapes it by the repository's own configuration and rules.

The market is the demo's; a webhook endpoint that fails at first, two live streams and some nonsense in ``feeds`` come beside it.
"""

import asyncio
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from agents.clients import new_producer
from agents.embedded import free_port
from config.settings import BrokerKind, Settings
from config.topics import FEEDS

ROOT: Final = Path(__file__).resolve().parent.parent
PROMETHEUS: Final = ROOT / "ops" / "prometheus"
JOBS: Final = {
    "worker": "worker-1", "gateway": "gateway", "notifier": "notifier", "read-model": "read-model", "listings": "listings",
    "scorecards": "scorecards", "silence": "silence", "clock": "clock",
}  # fmt: skip
"""Jobs of the scrape configuration, and what `pricelink run` calls them."""
RATE: Final = 300
NONSENSE: Final = 300
FAILS_FIRST: Final = 3
"""Webhooks that the receiver refuses before it takes them."""
_PATIENCE_S: Final = 240.0
_SCRAPE: Final = "1s"

EditRule = Callable[[dict[str, Any]], object]


class NotReady(RuntimeError):
    """Something did not come up; the message holds what it said."""


@dataclass(slots=True)
class Scene:
    """What runs. ``pid``: of `pricelink run`; ``page``: the gateway's address; ``prometheus``: Prometheus's."""

    pid: int
    page: str
    broker: BrokerKind
    bootstrap: str
    prometheus: str
    logs: Path

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Returns an instant query's samples; raises ``ValueError`` with what Prometheus says of a wrong one."""
        return self._get("query", query=query)

    def ask_range(self, query: str, start_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
        """Returns a range query's series."""
        return self._get("query_range", query=query, start=str(start_s), end=str(end_s), step=str(step_s))

    def _get(self, what: str, **parameters: str) -> list[dict[str, Any]]:
        url = f"{self.prometheus}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            raise ValueError(f"{parameters['query']}: {error.read().decode()}") from error


class _Receiver(http.server.BaseHTTPRequestHandler):
    """Takes webhooks, but not the first ones."""

    got = 0

    def do_POST(self) -> None:
        """Answers one webhook."""
        self.rfile.read(int(self.headers["content-length"]))
        _Receiver.got += 1
        self.send_response(503 if _Receiver.got <= FAILS_FIRST else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def wait_for(condition: Callable[[], Any], what: str, seconds: float = _PATIENCE_S) -> Any:
    """Returns what ``condition`` returns once it is true; raises NotReady."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise NotReady(what)
        time.sleep(0.2)
    return found


@contextmanager
def scene(
    folder: Path,
    edit_rule: EditRule = lambda _: None,
    *,
    options: Sequence[str] = (),
    every: str | None = _SCRAPE,
    **environment: str,
) -> Iterator[Scene]:
    """Starts it all, with logs and data in ``folder``, and ends it. Needs ``prometheus`` in PATH; raises NotReady.

    ``edit_rule``: may change each rule before Prometheus gets it; ``options``: more of `pricelink run`; ``every``: how
    often Prometheus scrapes and evaluates, None: as the repository's configuration says.
    """
    with ExitStack() as stack:
        hook = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Receiver))
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        stack.callback(hook.shutdown)
        logs = folder / "logs"
        said = folder / "run.log"
        pid = stack.enter_context(_started([*_run_command(logs), *options], said, **_ENVIRONMENT | environment))
        page = _found(r"pricelink is running: (\S+)/", said)
        bootstrap = _found(r"--kafka (\S+)", said)
        targets = {
            job: _found(r"http://(127\.0\.0\.1:\d+)/metrics", logs / f"{name}.log") for job, name in JOBS.items()
        }
        prometheus = f"127.0.0.1:{free_port()}"
        config = _config(folder, targets | {"prometheus": prometheus}, edit_rule, every)
        command = [
            shutil.which("prometheus") or "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={prometheus}", "--log.level=warn",
        ]  # fmt: skip
        stack.enter_context(_started(command, folder / "prometheus.log"))
        broker: BrokerKind = "kafka" if "--kafka" in options else "embedded"
        running = Scene(pid, page, broker, bootstrap, f"http://{prometheus}", logs)
        stack.enter_context(_stream(f"{page}/events"))
        _subscribe(running, stack, hook.server_port)
        wait_for(lambda: len(running.ask("up == 1")) > len(JOBS), "Prometheus does not reach all processes", 30)
        asyncio.run(send_nonsense(running, NONSENSE))
        yield running


_ENVIRONMENT: Final = {"PRICELINK_WEBHOOKS_ALLOW_HTTP": "1", "PRICELINK_WEBHOOKS_ALLOWED_NETWORKS": "127.0.0.0/8"}


def _run_command(logs: Path) -> list[str]:
    return [sys.executable, "-m", "cli", "run", "--port", "0", "--rate", str(RATE), "--logs", str(logs)]


@contextmanager
def _started(command: list[str], log: Path, **environment: str) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment, cwd=ROOT)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _found(pattern: str, log: Path) -> str:
    def look() -> re.Match[str] | None:
        return re.search(pattern, log.read_text("utf-8", "replace")) if log.exists() else None

    match: re.Match[str] = wait_for(look, f"{log} does not say {pattern}")
    return match[1]


def _config(folder: Path, targets: dict[str, str], edit_rule: EditRule, every: str | None) -> Path:
    """Writes the repository's configuration with targets of ours; ``every`` so often, if it says how often."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    if every:
        config["global"] |= {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    config["alerting"] = {}
    # What `pricelink run` does not start, as a copier, has no target.
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in targets]
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    (folder / "rules").mkdir()
    for path in (PROMETHEUS / "rules").iterdir():
        rules = yaml.safe_load(path.read_text("utf-8"))
        for group in rules["groups"]:
            if every:
                group["interval"] = every
            for rule in group["rules"]:
                edit_rule(rule)
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules), "utf-8")
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


@contextmanager
def _stream(url: str, token: str = "") -> Iterator[None]:
    """Holds a live stream open."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_PATIENCE_S) as answer:

        def read() -> None:
            try:
                while answer.read1(65_536):
                    pass
            except (OSError, ValueError, AttributeError):
                return  # it ends with the gateway, or with us

        threading.Thread(target=read, daemon=True).start()
        yield


def _subscribe(running: Scene, stack: ExitStack, port: int) -> None:
    """Gives the supplier of some open alert a key, a webhook and a live stream."""

    def suppliers() -> list[str]:
        with urllib.request.urlopen(f"{running.page}/api/alerts", timeout=10) as answer:
            alerts = json.load(answer)["alerts"]
        return [alert["supplier"] for alert in alerts if alert.get("supplier")]

    first = wait_for(suppliers, "no alert opened")
    supplier = max(set(first), key=first.count)
    command = [sys.executable, "-m", "cli", "keys", "create", "--supplier", supplier]
    where = ["--kafka", running.bootstrap, *(["--embedded"] if running.broker == "embedded" else [])]
    made = subprocess.run([*command, *where], cwd=ROOT, capture_output=True, text=True, check=True)
    token = made.stdout.split()[-1]
    body = json.dumps({"url": f"http://127.0.0.1:{port}/hook"}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def subscribed() -> bool:
        request = urllib.request.Request(f"{running.page}/v1/webhooks", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bool(answer.status < 300)
        except urllib.error.HTTPError as error:
            if error.code not in {401, 503}:
                raise NotReady(error.read().decode()) from error
            return False  # the key is not known yet

    wait_for(subscribed, "no webhook can be made", 20)
    stack.enter_context(_stream(f"{running.page}/v1/events/stream", token))


async def send_nonsense(running: Scene, lines: int, topic: str = FEEDS.name) -> None:
    """Puts so many messages into a topic that are no JSON."""
    producer = new_producer(Settings(broker_kind=running.broker, bootstrap=running.bootstrap))
    await producer.start()
    try:
        sent = [await producer.send(topic, b'{"type":"quote","code":%d' % number) for number in range(lines)]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
