"""The compose file and the image: their commands are ours, their ports are on the loopback, their variables are settings."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def test_every_process_is_a_service() -> None:
    assert OURS.keys() == {
        "topics",
        "worker",
        "clock",
        "read-model",
        "listings",
        "notifier",
        "scorecards",
        "silence",
        "gateway",
        "market",
    }


@pytest.mark.parametrize("name", OURS)
def test_the_command_exists(name: str) -> None:
    assert CliRunner().invoke(app, [*OURS[name]["command"], "--help"]).exit_code == 0


def test_a_command_that_is_none_would_be_seen() -> None:
    assert CliRunner().invoke(app, ["nonsense", "--help"]).exit_code != 0


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    known = {f"PRICELINK_{field.upper()}" for field in Settings.model_fields}
    assert OURS[name]["environment"].keys() <= known


def test_ports_are_on_the_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_nobody_starts_before_what_it_needs() -> None:
    for name, service in OURS.items():
        needs = service["depends_on"]
        assert needs.keys() <= SERVICES.keys()
        for other, how in needs.items():
            healthy = how["condition"] == "service_healthy"
            assert not healthy or "healthcheck" in SERVICES[other], f"{name} waits for the health of {other}"


def test_what_is_to_last_has_a_volume() -> None:
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert mounted == COMPOSE["volumes"].keys()
    assert "--appendonly" in SERVICES["redis"]["command"]


def test_the_image_has_every_package_and_no_root() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    packages = [
        path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in {"tests", "load_tests"}
    ]
    assert all(f"COPY {package} {package}" in text for package in packages)
    assert "\nUSER pricelink\n" in text
    assert 'ENTRYPOINT ["pricelink"]' in text
