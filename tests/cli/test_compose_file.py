"""A compose file as it is read: variables, profiles, order, what is refused; and its places on the loopback."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.compose_file import COMPLETED, HEALTHY, ComposeFault, Service, interpolate, read
from cli.loopback import Loopback, paths

FILE: dict[str, Any] = {
    "services": {
        "gateway": {
            "build": ".",
            "image": "pricelink:local",
            "command": ["gateway"],
            "restart": "unless-stopped",
            "environment": {"PRICELINK_BOOTSTRAP": "kafka:9092", "PARTS": "${PARTS:-4}", "PRICELINK_GATEWAY_PORT": "8000"},
            "depends_on": {"topics": {"condition": COMPLETED}, "kafka": {"condition": HEALTHY}},
            "ports": ["127.0.0.1:8000:8000"],
            "volumes": ["secrets:/run/pricelink:ro", "./ops:/etc/ops"],
            "healthcheck": {"test": ["CMD-SHELL", "echo $$HOME"], "timeout": "1m5s"},
        },
        "topics": {"build": ".", "command": ["topics", "apply"], "depends_on": {"kafka": {"condition": HEALTHY}}},
        "kafka": {"image": "apache/kafka:4.3.1", "restart": "unless-stopped", "ports": ["127.0.0.1:19092:19092"]},
        "market": {"image": "pricelink:local", "profiles": ["demo"], "restart": "unless-stopped"},
    }
}  # fmt: skip


def written(folder: Path, whole: dict[str, Any], dotenv: str = "") -> Path:
    path = folder / "docker-compose.yml"
    path.write_text(yaml.safe_dump(whole))
    if dotenv:
        (folder / ".env").write_text(dotenv)
    return path


def named(services: list[Service]) -> dict[str, Service]:
    return {service.name: service for service in services}


def test_services_come_after_those_that_they_need(tmp_path: Path) -> None:
    assert [service.name for service in read(written(tmp_path, FILE), {})] == ["kafka", "topics", "gateway"]


def test_profiles_add_services_and_dotenv_names_them(tmp_path: Path) -> None:
    path = written(tmp_path, FILE, "# which\nCOMPOSE_PROFILES=core,demo\nPARTS=7\n")
    assert "market" in named(read(path, {}))
    assert "market" not in named(read(path, {"COMPOSE_PROFILES": ""}))
    assert "market" in named(read(path, {}, ["demo"]))
    assert named(read(path, {}))["gateway"].environment["PARTS"] == "7"
    assert named(read(path, {"PARTS": "9"}))["gateway"].environment["PARTS"] == "9"


def test_a_service_is_what_the_file_says(tmp_path: Path) -> None:
    gateway = named(read(written(tmp_path, FILE), {}))["gateway"]
    assert gateway.environment["PARTS"] == "4"
    assert gateway.published == {8000: 8000}
    assert gateway.health is not None
    assert (gateway.health.test, gateway.health.shell, gateway.health.timeout_s) == (("echo $HOME",), True, 65.0)
    assert [(mount.source, mount.target, mount.is_volume) for mount in gateway.mounts] == [
        ("secrets", "/run/pricelink", True),
        ("./ops", "/etc/ops", False),
    ]
    assert (gateway.ours, gateway.once, gateway.repository) == (True, False, "pricelink")


def changed(service: str, **values: Any) -> dict[str, Any]:
    return {"services": FILE["services"] | {service: FILE["services"][service] | values}}


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (changed("topics", depends_on={"market": {"condition": HEALTHY}}), "topics needs market"),
        (changed("kafka", depends_on={"gateway": {"condition": HEALTHY}}), "wait for each other"),
        (changed("topics", restart="always"), "others wait for the end of topics"),
        (changed("topics", command="topics apply"), "write the command as a list"),
        ({"service": {}}, "no compose file that can be read"),
    ],
)
def test_what_cannot_be_done_is_said(whole: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ComposeFault, match=said):
        read(written(tmp_path, whole), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("${A}", "1"), ("$A", "1"), ("${B:-x}", "x"), ("${A:-x}", "1"), ("$$A", "$A"), ("${B}", ""), ("a$$$A", "a$1")],
)
def test_variables_are_put_in_as_compose_does(text: str, expected: str) -> None:
    assert interpolate(text, {"A": "1"}) == expected


@pytest.fixture
def loopback(tmp_path: Path) -> Loopback:
    free = count(40_000)
    return Loopback(read(written(tmp_path, FILE), {}), lambda: next(free), lambda port: port == 8000)


def test_each_port_of_each_container_is_one_of_the_loopback(loopback: Loopback) -> None:
    kafka = loopback.text("gateway", "kafka:9092")
    assert kafka.startswith("127.0.0.1:4")
    assert loopback.text("topics", "PLAINTEXT://kafka:9092,x") == f"PLAINTEXT://{kafka},x"
    assert loopback.text("kafka", "localhost:9092") == kafka
    assert loopback.text("gateway", "http://localhost:9100/readyz") != loopback.text(
        "topics", "http://localhost:9100/readyz"
    )


def test_what_is_no_place_stays(loopback: Loopback) -> None:
    for text in ("kafka", "my-kafka:9092", "kafka.example:9092", "at 12:30", "redis://other:6379", "-Xmx768m"):
        assert loopback.text("gateway", text) == text


def test_published_ports_are_taken_where_they_are_free(loopback: Loopback) -> None:
    own = loopback.environment("gateway", {"PRICELINK_GATEWAY_PORT": "8000", "PRICELINK_GATEWAY_HOST": "0.0.0.0"})
    assert own == {"PRICELINK_GATEWAY_PORT": "8000", "PRICELINK_GATEWAY_HOST": "127.0.0.1"}
    assert loopback.port("kafka", 19092) != 19092  # not free here
    assert loopback.port("gateway-2", 8000) != 8000  # a copy has its own


def test_prometheus_scrapes_each_copy_and_nothing_that_does_not_run(loopback: Loopback) -> None:
    whole = {
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["gateway:9093"]}]}]},
        "scrape_configs": [
            {"job_name": "gateway", "dns_sd_configs": [{"names": ["gateway"], "type": "A", "port": 9100}]},
            {"job_name": "topics", "static_configs": [{"targets": ["topics:9100"]}]},
            {"job_name": "grafana", "static_configs": [{"targets": ["grafana:3000"]}]},
            {"job_name": "worker", "dns_sd_configs": [{"names": ["worker"], "type": "A", "port": 9100}]},
        ],
    }
    found = loopback.scrape_configs(whole, {"gateway": ["gateway", "gateway-2"], "topics": ["topics"]})
    jobs = {job["job_name"]: job["static_configs"] for job in found["scrape_configs"]}
    both = [f"127.0.0.1:{loopback.port(copy, 9100)}" for copy in ("gateway", "gateway-2")]
    assert jobs == {
        "gateway": [{"targets": both}],
        "topics": [{"targets": [f"127.0.0.1:{loopback.port('topics', 9100)}"]}],
    }
    assert found["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0].startswith("127.0.0.1:")


def test_paths_of_mounts_are_folders_of_here() -> None:
    places = {"/prometheus": Path("/d/volumes/prometheus"), "/etc/prometheus": Path("/d/mounts/ops")}
    assert paths("--config.file=/etc/prometheus/prometheus.yml", places) == "--config.file=/d/mounts/ops/prometheus.yml"
    assert paths("--storage.tsdb.path=/prometheus", places) == "--storage.tsdb.path=/d/volumes/prometheus"
    assert paths("/prometheus2 /x/prometheus", places) == "/prometheus2 /x/prometheus"
