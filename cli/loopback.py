"""Host names, ports and paths of containers, as they are on one machine: pure rewriting, nothing is started here."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cli.compose_file import Service

HOST: Final = "127.0.0.1"
_SELF: Final = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104  what a container calls itself


class Loopback:
    """Which port of the loopback stands for which port of which container.

    A port is chosen when it is first asked for: where ``publish`` says so the one that the file publishes, if it is
    free, else one of ``free_port``. Copies of a service (``worker``, ``worker-2``) have ports of their own.
    """

    def __init__(
        self,
        services: Iterable[Service],
        free_port: Callable[[], int],
        is_free: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._services = {service.name: service for service in services}
        self._free_port = free_port
        self._is_free = is_free
        self._ports: dict[tuple[str, int], int] = {}
        names = "|".join(map(re.escape, sorted((*self._services, *_SELF), key=len, reverse=True)))
        self._places = re.compile(rf"(?<![\w.-])(?P<host>{names}):(?P<port>\d{{2,5}})(?!\d)")

    def port(self, name: str, container_port: int) -> int:
        """Returns the port that stands for one of a container's; ``name``: of a service, or of a copy of one."""
        key = name, container_port
        if key not in self._ports:
            service = self._services.get(name)
            usual = service.published.get(container_port) if service else None
            self._ports[key] = usual if usual and self._is_free(usual) else self._free_port()
        return self._ports[key]

    def alias(self, name: str, container_port: int, other: int) -> None:
        """Lets a port of a container be the same as another one of its."""
        self._ports[name, container_port] = self.port(name, other)

    def text(self, name: str, text: str) -> str:
        """Rewrites every ``host:port`` of a text that a container called ``name`` reads."""

        def put(found: re.Match[str]) -> str:
            host = name if found["host"] in _SELF else found["host"]
            return f"{HOST}:{self.port(host, int(found['port']))}"

        return self._places.sub(put, text)

    def environment(self, name: str, environment: Mapping[str, str]) -> dict[str, str]:
        """Rewrites a container's variables: where others are, and where it listens itself."""
        found = {}
        for variable, value in environment.items():
            if variable.endswith("_PORT") and value.isdigit():
                found[variable] = str(self.port(name, int(value)))
            elif variable.endswith("_HOST") and value in _SELF:
                found[variable] = HOST
            else:
                found[variable] = self.text(name, value)
        return found

    def scrape_configs(self, whole: dict[str, Any], copies: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Rewrites a Prometheus configuration: targets are on the loopback, names that DNS would answer are written out.

        ``copies``: the names of each service's copies. Jobs of services that do not run are left out.
        """
        jobs = []
        for job in whole.get("scrape_configs", []):
            groups = [self._static(group, copies) for group in job.get("static_configs", [])]
            groups += [
                {"targets": [f"{HOST}:{self.port(copy, found['port'])}" for copy in copies[name]]}
                for found in job.get("dns_sd_configs", [])
                for name in found["names"]
                if name in copies
            ]
            groups = [group for group in groups if group["targets"]]
            if groups:
                kept = {key: value for key, value in job.items() if key not in {"static_configs", "dns_sd_configs"}}
                jobs.append({**kept, "static_configs": groups})
        alerting = whole.get("alerting", {})
        managers = [
            {**manager, "static_configs": [self._static(group, copies) for group in manager.get("static_configs", [])]}
            for manager in alerting.get("alertmanagers", [])
        ]
        return {
            **whole,
            "scrape_configs": jobs,
            **({"alerting": {**alerting, "alertmanagers": managers}} if managers else {}),
        }

    def _static(self, group: dict[str, Any], copies: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        targets = []
        for target in group["targets"]:
            host, _, port = target.rpartition(":")
            if host in copies:
                targets += [f"{HOST}:{self.port(copy, int(port))}" for copy in copies[host]]
            elif host in _SELF:
                targets.append(self.text("prometheus", target))
        return {**group, "targets": targets}


def paths(text: str, places: Mapping[str, Path]) -> str:
    """Rewrites paths of a container, given the folder that stands for each of its mounts."""
    for target in sorted(places, key=len, reverse=True):
        text = re.sub(rf"(?<![\w/.-]){re.escape(target)}(?![\w.-])", str(places[target]), text)
    return text
