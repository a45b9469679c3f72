"""The compose file and the image: their commands are ours, their ports are on the loopback, their variables are settings."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from cli.compose_file import read
from cli.main import app
from config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def test_every_process_is_a_service() -> None:
    assert OURS.keys() == {
        "secrets",
        "topics",
        "first-key",
        "worker",
        "clock",
        "read-model",
        "listings",
        "notifier",
        "copier",
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
    known = {f"PRICELINK_{field.upper()}" for field in Settings.model_fields} | {"PRICELINK_SECRETS_DIR"}
    assert OURS[name].get("environment", {}).keys() <= known


def test_the_file_is_one_of_compose() -> None:
    schema = json.loads((Path(__file__).parent / "schemas" / "compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    assert list(validator.iter_errors({"services": {"x": {"imagine": "this"}}}))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_bounded_pinned_and_can_be_seen_to_work(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w./-]+:(local|v?\d+\.\d+(\.\d+)?(-\w+)?)", service["image"]), "a tag that does not move"
    assert service["deploy"]["resources"]["limits"].keys() >= {"memory", "pids"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert "no-new-privileges:true" in service["security_opt"]
    if service["restart"] == "unless-stopped":
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert set(service["profiles"]) <= {"core", "monitoring", "demo", "copies"}


@pytest.mark.parametrize("profile", ["core", "monitoring", "demo"])
def test_each_profile_is_whole(profile: str) -> None:
    names = {service.name for service in read(ROOT / "docker-compose.yml", {}, [profile])}
    assert names == {name for name, service in SERVICES.items() if profile in service["profiles"]}


def test_a_plain_up_starts_everything_but_the_market_and_suppliers_topics() -> None:
    assert {service.name for service in read(ROOT / "docker-compose.yml", {})} == SERVICES.keys() - {"market", "copier"}


def test_suppliers_topics_are_filled_beside_the_core() -> None:
    given = {"PRICELINK_COPIES": "big=91320000MA1XXXXX1A"}
    found = {service.name: service for service in read(ROOT / "docker-compose.yml", given, ["core", "copies"])}
    core = {service.name for service in read(ROOT / "docker-compose.yml", {}, ["core"])}
    assert found.keys() - core == {"copier"}
    assert found["copier"].environment.items() >= given.items() <= found["topics"].environment.items()


def test_no_secret_is_in_the_file() -> None:
    for service in SERVICES.values():
        for variable in service.get("environment", {}):
            assert not re.search(r"PASSWORD$|SECRET$|TOKEN$|KEY$", variable), "by file alone"
    writers = [name for name, service in SERVICES.items() if "secrets:/run/pricelink" in service.get("volumes", [])]
    assert writers == ["secrets"]


def test_prometheus_scrapes_every_process() -> None:
    config = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert jobs >= {name for name, service in OURS.items() if service["restart"] == "unless-stopped"} - {"market"}


def test_ports_are_on_the_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_nobody_starts_before_what_it_needs() -> None:
    for name, service in SERVICES.items():
        needs = service.get("depends_on", {})
        assert needs.keys() <= SERVICES.keys()
        for other, how in needs.items():
            healthy = how["condition"] == "service_healthy"
            assert not healthy or "healthcheck" in SERVICES[other], f"{name} waits for the health of {other}"


def test_who_ends_is_waited_for() -> None:
    ended = {name for name, service in OURS.items() if service["restart"] == "on-failure"}
    waited_for = {
        other
        for service in SERVICES.values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    assert ended == waited_for, "`docker compose up --wait` would fail"


def test_what_is_to_last_has_a_volume() -> None:
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert {name for name in mounted if not name.startswith("./ops/")} == COMPOSE["volumes"].keys()
    assert "--appendonly" in SERVICES["redis"]["command"]


def test_the_image_has_every_package_and_no_root() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    packages = [
        path.parent.name
        for path in ROOT.glob("*/__init__.py")
        if path.parent.name not in {"tests", "load_tests", "ops"}
    ]
    assert all(f"COPY {package} {package}" in text for package in packages)
    assert "\nUSER pricelink\n" in text
    assert 'ENTRYPOINT ["pricelink"]' in text
    assert "# syntax=" not in text, "it would be fetched from Docker Hub at every build"
