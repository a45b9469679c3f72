"""The kustomize base and its overlay: every manifest fits Kubernetes' own schema, and what refers to something finds it."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml

from agents.watchdog import DRAIN_S
from cli.main import app
from config.settings import Settings
from ops.kubernetes import build

OVERLAY = build.BASE.parent / "overlays" / "keda"
VERSIONS = ("1.31", "1.34")
DEPLOYED = ["worker", *build.PROCESSES]


def resources(folder: Path) -> list[dict[str, Any]]:
    """What ``kubectl kustomize`` would read, without its patches; files beside it that it does not name are a fault."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    named = [name for name in kustomization["resources"] if not (folder / name).is_dir()]
    assert {*named, "kustomization.yaml"} == {path.name for path in folder.glob("*.yaml")}
    found = [each for name in named for each in yaml.safe_load_all((folder / name).read_text())]
    for name in kustomization["resources"]:
        if (folder / name).is_dir():
            found += resources(folder / name)
    return found


BASE = resources(build.BASE)


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [each for each in BASE if each["kind"] in kinds]


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in of_kind(kind) if each["metadata"]["name"] == name]
    return found


def pods() -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each["spec"]["template"] for each in of_kind("StatefulSet", "Deployment", "Job")}


def test_the_files_are_what_the_code_builds() -> None:
    for name, text in build.texts().items():
        assert (build.BASE / name).read_text() == text, f"{name}: python -m ops.kubernetes.build"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_fits_the_schema(version: str) -> None:
    for manifest in BASE:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_manifest_that_does_not_fit_is_found() -> None:
    worker = named("StatefulSet", "worker")
    worker["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(worker, VERSIONS[-1], strict=True)
    del worker["spec"]["template"]["spec"]["containers"][0]["readinesProbe"]


def test_every_process_of_the_compose_file_is_deployed_by_a_command_that_there_is() -> None:
    compose = yaml.safe_load((build.BASE.parent.parent.parent / "docker-compose.yml").read_text())
    ours = {name for name, service in compose["services"].items() if "pricelink" in str(service.get("image", ""))}
    assert ours - {"secrets", "first-key", "market"} == pods().keys()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, pod in pods().items():
        (container,) = pod["spec"]["containers"]
        assert container["args"] == compose["services"][name]["command"]
        assert container["args"][0] in commands


def test_every_variable_is_a_setting_and_takes_its_value() -> None:
    values = dict(named("ConfigMap", "pricelink")["data"])
    for pod in pods().values():
        for variable in pod["spec"]["containers"][0]["env"]:
            values[variable["name"]] = variable.get("value", "worker-0")
    del values["PRICELINK_SECRETS_DIR"], values["PRICELINK_CACHE"]
    fields = {name.removeprefix("PRICELINK_").lower(): value for name, value in values.items()}
    assert fields.keys() <= Settings.model_fields.keys()
    settings = Settings.model_validate(fields)
    assert settings.group_instance_id == "worker-0"


def test_workers_are_members_for_good_under_their_pods_names() -> None:
    assert named("StatefulSet", "worker")["spec"]["serviceName"] == named("Service", "worker")["metadata"]["name"]
    environment = {each["name"]: each for each in pods()["worker"]["spec"]["containers"][0]["env"]}
    assert environment["PRICELINK_STATIC_MEMBER"]["value"] == "true"
    assert environment["PRICELINK_INSTANCE"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    for name, pod in pods().items():
        others = {each["name"] for each in pod["spec"]["containers"][0]["env"]}
        assert name == "worker" or "PRICELINK_STATIC_MEMBER" not in others


@pytest.mark.parametrize("name", [*DEPLOYED, "topics"])
def test_a_pod_may_do_nothing_but_its_work(name: str) -> None:
    spec = pods()[name]["spec"]
    assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] >= 1_000
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert not container["image"].endswith(":latest")


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_process_is_asked_how_it_is(name: str) -> None:
    (container,) = pods()[name]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for kind, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        probe = container[kind]["httpGet"]
        assert (probe["path"], probe["port"] in ports) == (path, True)
        assert probe["port"] == ("http" if name == "gateway" else "metrics")
    assert ports["metrics"] == int(build.SETTINGS["PRICELINK_METRICS_PORT"])


def test_a_gateway_serves_until_its_service_has_forgotten_it() -> None:
    spec = pods()["gateway"]["spec"]
    sleeps_s = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleeps_s > 0
    assert sleeps_s + DRAIN_S < spec["terminationGracePeriodSeconds"]


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_what_selects_pods_finds_them() -> None:
    every = {name: pod["metadata"]["labels"] for name, pod in pods().items()}
    for each in of_kind("Service"):
        name = each["metadata"]["name"]
        assert [found for found, labels in every.items() if selects(each["spec"]["selector"], labels)] == [name]
        there = {port["name"] for port in pods()[name]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= there
    for each in of_kind("StatefulSet", "Deployment", "PodDisruptionBudget"):
        name = each["metadata"]["name"]
        selector = each["spec"]["selector"]["matchLabels"]
        assert [found for found, labels in every.items() if selects(selector, labels)] == [name]
    assert {each["metadata"]["name"] for each in of_kind("PodDisruptionBudget")} == {"worker", "gateway"}


def test_nobody_speaks_with_anybody_unless_a_policy_says_so() -> None:
    every = {name: pod["metadata"]["labels"] for name, pod in pods().items()}
    nobody = named("NetworkPolicy", "nobody")["spec"]
    assert nobody["policyTypes"] == ["Ingress", "Egress"]
    assert nobody["ingress"] == nobody["egress"] == []
    assert all(selects(nobody["podSelector"]["matchLabels"], labels) for labels in every.values())
    outside = named("NetworkPolicy", "webhooks")["spec"]
    assert [name for name, labels in every.items() if selects(outside["podSelector"]["matchLabels"], labels)] == [
        "notifier"
    ]
    block = outside["egress"][0]["to"][0]["ipBlock"]
    assert "10.0.0.0/8" in block["except"]
    reached = named("NetworkPolicy", "requests")["spec"]["ingress"][0]["ports"][0]["port"]
    assert reached == pods()["gateway"]["spec"]["containers"][0]["ports"][1]["containerPort"]


def test_the_overlay_scales_the_workers_by_lag() -> None:
    """KEDA's schema comes with no package: what its documentation requires of a ScaledObject is looked at by hand."""
    kustomization = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())
    (scaled,) = [each for each in resources(OVERLAY) if each["kind"] == "ScaledObject"]
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    target = scaled["spec"]["scaleTargetRef"]
    worker = named(target["kind"], target["name"])
    assert worker["apiVersion"] == target["apiVersion"]
    assert (
        1
        <= scaled["spec"]["minReplicaCount"]
        <= scaled["spec"]["maxReplicaCount"]
        <= int(build.SETTINGS["PRICELINK_PARTITIONS"])
    )
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "kafka"
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes text alone"
    assert trigger["metadata"]["bootstrapServers"] == build.SETTINGS["PRICELINK_BOOTSTRAP"]
    assert trigger["metadata"]["consumerGroup"] == Settings().worker_group
    assert trigger["metadata"]["topic"] == "feeds"
    (patch,) = kustomization["patches"]
    assert patch["target"]["kind"] == "StatefulSet"
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]
    assert "replicas" in worker["spec"]
    behaviour = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    autoscaler = {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "worker"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 10, "behavior": behaviour},
    }  # fmt: skip
    kubernetes_validate.validate(autoscaler, VERSIONS[-1], strict=True)
