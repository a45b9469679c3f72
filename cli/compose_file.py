"""What a compose file says, as far as a machine without Docker can do it: services in the order in which they start."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final

import yaml

_VARIABLE: Final = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::?-(?P<default>[^}]*))?\}|(?P<bare>\w+))")
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

COMPLETED: Final = "service_completed_successfully"
HEALTHY: Final = "service_healthy"


class ComposeFault(ValueError):
    """The file cannot be read, or says something that is not understood here; the message says what."""


@dataclass(frozen=True, slots=True)
class Health:
    """A health check: ``test`` is a command without CMD; ``shell``: one text for a shell."""

    test: tuple[str, ...]
    shell: bool
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of a container. ``source``: a volume's name, or a path beside the file, which begins with a dot."""

    source: str
    target: str

    @property
    def is_volume(self) -> bool:
        """Tells whether it is a named volume."""
        return not self.source.startswith((".", "/"))


@dataclass(frozen=True, slots=True)
class Service:
    """A service.

    ``needs``: the condition that each other service must fulfil first; ``published``: host port by container port;
    ``ours``: built from this repository; ``once``: it ends by itself, and others wait for that.
    """

    name: str
    image: str
    ours: bool
    command: tuple[str, ...]
    environment: Mapping[str, str]
    needs: Mapping[str, str]
    health: Health | None
    mounts: tuple[Mount, ...]
    published: Mapping[int, int]
    profiles: frozenset[str]
    once: bool

    @property
    def repository(self) -> str:
        """Returns the image without its tag."""
        return self.image.rpartition(":")[0] or self.image


def read(path: Path, environment: Mapping[str, str], profiles: Collection[str] | None = None) -> list[Service]:
    """Reads a compose file; returns the services of the profiles, each after those that it needs.

    Args:
        path: the file; a file ``.env`` beside it gives variables that ``environment`` lacks.
        environment: variables for ``${NAME:-default}``.
        profiles: of which services are wanted; None: those in the variable ``COMPOSE_PROFILES``.

    Raises:
        ComposeFault: the file is none, or needs what is not there.
    """
    variables = {**_dotenv(path.parent / ".env"), **environment}
    try:
        whole = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = [_service(name, body, variables) for name, body in whole["services"].items()]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as fault:
        raise ComposeFault(f"{path} is no compose file that can be read: {fault!r}") from fault
    wanted = set(variables.get("COMPOSE_PROFILES", "").split(",") if profiles is None else profiles) - {""}
    chosen = {service.name: service for service in found if not service.profiles or service.profiles & wanted}
    missing = {f"{service.name} needs {need}" for service in chosen.values() for need in service.needs.keys() - chosen}
    if missing:
        raise ComposeFault(f"{path}: {', '.join(sorted(missing))}, which is in none of the profiles {sorted(wanted)}")
    awaited = {need for service in chosen.values() for need, how in service.needs.items() if how == COMPLETED}
    try:
        order = list(TopologicalSorter({name: service.needs for name, service in chosen.items()}).static_order())
    except CycleError as fault:
        raise ComposeFault(f"{path}: services wait for each other: {fault.args[1]}") from fault
    for name in awaited:
        if not chosen[name].once:
            raise ComposeFault(f"{path}: others wait for the end of {name}, which is started again whenever it ends")
    return [chosen[name] for name in order]


def _dotenv(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _service(name: str, body: Mapping[str, Any], variables: Mapping[str, str]) -> Service:
    def text(value: Any) -> str:
        return interpolate(str(value), variables)

    command = body.get("command", [])
    if isinstance(command, str):
        raise ComposeFault(f"{name}: write the command as a list")
    needs = body.get("depends_on", {})
    return Service(
        name=name,
        image=text(body.get("image", "")),
        ours="build" in body,
        command=tuple(map(text, command)),
        environment={key: text(value) for key, value in body.get("environment", {}).items()},
        needs={need: how["condition"] for need, how in needs.items()},
        health=_health(body.get("healthcheck"), text),
        mounts=tuple(_mounts(body.get("volumes", []))),
        published={int(text(port).split(":")[-1]): int(text(port).split(":")[-2]) for port in body.get("ports", [])},
        profiles=frozenset(body.get("profiles", [])),
        once=body.get("restart") in {None, "no", "on-failure"},
    )


def _health(body: Mapping[str, Any] | None, text: Any) -> Health | None:
    if body is None or body.get("disable"):
        return None
    kind, *test = body["test"]
    return Health(tuple(map(text, test)), kind == "CMD-SHELL", _seconds(body.get("timeout", "30s")))


def _seconds(span: str) -> float:
    return sum(float(count) * _UNITS_S[unit] for count, unit in _SPAN.findall(span))


def _mounts(volumes: list[str]) -> Iterator[Mount]:
    for volume in volumes:
        source, target, *_options = volume.split(":")
        yield Mount(source, target)


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Puts variables in, as compose does: ``${NAME}``, ``${NAME:-default}``, ``$$`` for a dollar."""

    def put(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        name = found["name"] or found["bare"]
        return variables.get(name) or found["default"] or ""

    return _VARIABLE.sub(put, text)
