"""Builds the kustomize base: `python -m ops.kubernetes.build` writes ops/kubernetes/base, which is committed.

Ten processes and a job differ in a command and a few words, and must not differ in how they are locked up. Kafka and
Redis are not here: they have operators of their own, and are named in ``settings``.
"""

from pathlib import Path
from typing import Any, Final

import yaml

Manifest = dict[str, Any]

BASE: Final = Path(__file__).resolve().parent / "base"
IMAGE: Final = "pricelink:0.1.0"
"""Whoever deploys names the registry: ``images`` of an overlay."""
UID: Final = 10001
METRICS_PORT: Final = 9100
GATEWAY_PORT: Final = 8000
FORGOTTEN_S: Final = 4
"""From when a pod is to go until no node sends it connections any more."""
SETTINGS: Final = {
    "PRICELINK_BROKER_KIND": "kafka",
    "PRICELINK_BOOTSTRAP": "kafka-bootstrap.kafka:9092",
    "PRICELINK_PARTITIONS": "100",
    "PRICELINK_COPIES": "",
    "PRICELINK_REPLICATION": "3",
    "PRICELINK_REDIS_URL": "redis://redis.redis:6379/0",
    "PRICELINK_SECRETS_DIR": "/run/pricelink",
    "PRICELINK_METRICS_HOST": "0.0.0.0",  # noqa: S104  a pod has one address, and the network policy says who reaches it
    "PRICELINK_METRICS_PORT": str(METRICS_PORT),
    "PRICELINK_LOG_FORMAT": "json",
}
PROCESSES: Final = {
    "gateway": (2, "500m", "512Mi", "1Gi"),
    "notifier": (1, "100m", "256Mi", "1Gi"),
    "read-model": (1, "250m", "512Mi", "1Gi"),
    "listings": (1, "250m", "512Mi", "1Gi"),
    "scorecards": (1, "250m", "1Gi", "2Gi"),
    "silence": (1, "100m", "256Mi", "1Gi"),
    "clock": (1, "50m", "128Mi", "512Mi"),
    "copier": (0, "100m", "256Mi", "1Gi"),
}
"""Deployments: how many, and the processor, memory asked for, most memory of each. No copier, until it is told what to copy."""
EXACTLY_ONE: Final = ("notifier", "read-model", "listings")
"""The old one ends before the new one starts."""


class _Whole(yaml.SafeDumper):
    """Writes what occurs twice twice: anchors are for machines."""

    def ignore_aliases(self, data: object) -> bool:
        """Has no anchors."""
        del data
        return True


def labels(name: str) -> dict[str, str]:
    """Returns what selects a process's pods."""
    return {"app.kubernetes.io/name": "pricelink", "app.kubernetes.io/component": name}


def named(kind: str, version: str, name: str, spec: Manifest | None = None, **others: Any) -> Manifest:
    """Returns a manifest of the process ``name``."""
    manifest: Manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels(name)}}
    return manifest | others | ({} if spec is None else {"spec": spec})


def probe(path: str, port: str, period_s: int, failures: int) -> Manifest:
    """Returns a probe by HTTP."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def container(name: str, command: list[str], cpu: str, memory: str, most: str) -> Manifest:
    """Returns a process's container: it writes nowhere but to an empty /tmp, and may do nothing else."""
    return {
        "name": name,
        "image": IMAGE,
        "args": command,
        "envFrom": [{"configMapRef": {"name": "pricelink"}}],
        "env": [
            {"name": "PRICELINK_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": most}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "secrets", "mountPath": "/run/pricelink", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def service_container(name: str, cpu: str, memory: str, most: str) -> Manifest:
    """Returns the container of a process that goes on: with probes and a port of metrics."""
    made = container(name, [name], cpu, memory, most)
    port = "http" if name == "gateway" else "metrics"
    made["ports"] = [{"name": "metrics", "containerPort": METRICS_PORT}]
    made["env"].append({"name": "PRICELINK_CACHE", "value": "/cache"})
    made["volumeMounts"].append({"name": "cache", "mountPath": "/cache"})
    made["startupProbe"] = probe("/healthz", port, 5, 60)
    made["livenessProbe"] = probe("/healthz", port, 10, 3)
    made["readinessProbe"] = probe("/readyz", port, 5, 2)
    if name == "gateway":
        made["ports"].append({"name": "http", "containerPort": GATEWAY_PORT})
        made["env"] += [
            {"name": "PRICELINK_GATEWAY_HOST", "value": "0.0.0.0"},  # noqa: S104
            {"name": "PRICELINK_GATEWAY_PORT", "value": str(GATEWAY_PORT)},
        ]
        # A gateway that is asked to stop takes no more connections; until then the service must have forgotten it.
        made["lifecycle"] = {"preStop": {"sleep": {"seconds": FORGOTTEN_S}}}
    if name == "worker":
        made["env"].append({"name": "PRICELINK_STATIC_MEMBER", "value": "true"})
    return made


def copy_of_kernels(made: Manifest) -> Manifest:
    """Returns what copies the image's compiled kernels to where they can be used: numba reads none where it may not write."""
    return {
        "name": "kernels",
        "image": made["image"],
        "command": ["cp", "-a", "/var/cache/pricelink/.", "/cache"],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": made["securityContext"],
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    }


def pod(name: str, made: Manifest, *, restart: str = "Always") -> Manifest:
    """Returns the template of a process's pods."""
    spec: Manifest = {
        "containers": [made],
        "restartPolicy": restart,
        "automountServiceAccountToken": False,
        # Kubernetes would set PRICELINK_GATEWAY_PORT=tcp://… for a service of that name, which is a setting of ours.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 20,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "secrets", "secret": {"secretName": "pricelink", "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }
    if name != "topics":
        spec["volumes"].append({"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}})
        spec["initContainers"] = [copy_of_kernels(made)]
    if name in ("worker", "gateway"):
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels(name)},
            }
        ]
    return {"metadata": {"labels": labels(name)}, "spec": spec}


def worker() -> list[Manifest]:
    """Returns the workers: named for good, so that one that comes back has its partitions at once."""
    spec = {
        "serviceName": "worker",
        "replicas": 3,
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "selector": {"matchLabels": labels("worker")},
        "template": pod("worker", service_container("worker", "1", "1Gi", "4Gi")),
    }
    ports = [{"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics"}]
    service = {"clusterIP": "None", "selector": labels("worker"), "ports": ports, "publishNotReadyAddresses": True}
    return [
        named("Service", "v1", "worker", service),
        named("StatefulSet", "apps/v1", "worker", spec),
        budget("worker"),
    ]


def budget(name: str) -> Manifest:
    """Returns how many may be away at once when nodes are emptied: one."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": labels(name)}, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    return named("PodDisruptionBudget", "policy/v1", name, spec)


def process(name: str) -> list[Manifest]:
    """Returns a process's Deployment."""
    replicas, cpu, memory, most = PROCESSES[name]
    strategy: Manifest = {"type": "Recreate"}
    if name not in EXACTLY_ONE:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    spec = {
        "replicas": replicas,
        "strategy": strategy,
        "selector": {"matchLabels": labels(name)},
        "template": pod(name, service_container(name, cpu, memory, most)),
    }
    made = [named("Deployment", "apps/v1", name, spec)]
    if name == "gateway":
        ports = [{"name": "http", "port": 80, "targetPort": "http"}]
        made += [named("Service", "v1", name, {"selector": labels(name), "ports": ports}), budget(name)]
    return made


def topics() -> list[Manifest]:
    """Returns the job that makes the topics; the others wait for them by failing."""
    made = container("topics", ["topics", "apply"], "100m", "128Mi", "512Mi")
    spec = {"backoffLimit": 20, "ttlSecondsAfterFinished": 3600, "template": pod("topics", made, restart="OnFailure")}
    return [named("Job", "batch/v1", "topics", spec)]


def network() -> list[Manifest]:
    """Returns who may speak with whom: nobody, but for names, Kafka, Redis, metrics, the gateway, webhooks."""
    everybody = {"matchLabels": {"app.kubernetes.io/name": "pricelink"}}

    def policy(name: str, selector: Manifest, **rules: Any) -> Manifest:
        kinds = [kind.capitalize() for kind in rules]
        return named(
            "NetworkPolicy", "networking.k8s.io/v1", name, {"podSelector": selector, "policyTypes": kinds} | rules
        )

    def space(name: str) -> Manifest:
        return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}

    def tcp(*ports: int) -> list[Manifest]:
        return [{"protocol": "TCP", "port": port} for port in ports]

    names = [{"protocol": "UDP", "port": 53}, *tcp(53)]
    private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"]
    outside = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": private}}]
    return [
        policy("nobody", everybody, ingress=[], egress=[]),
        policy("names", everybody, egress=[{"to": [space("kube-system")], "ports": names}]),
        policy("kafka-and-redis", everybody, egress=[
            {"to": [space("kafka")], "ports": tcp(9092, 9093)}, {"to": [space("redis")], "ports": tcp(6379)}]),
        policy("metrics", everybody, ingress=[{"from": [space("monitoring")], "ports": tcp(METRICS_PORT)}]),
        policy("requests", {"matchLabels": labels("gateway")}, ingress=[
            {"from": [space("ingress-nginx")], "ports": tcp(GATEWAY_PORT)}]),
        policy("webhooks", {"matchLabels": labels("notifier")}, egress=[{"to": outside, "ports": tcp(443)}]),
    ]  # fmt: skip


def files() -> dict[str, list[Manifest]]:
    """Returns the base's files, but for kustomization.yaml, with what is in them."""
    space = {"pod-security.kubernetes.io/enforce": "restricted"}
    made: dict[str, list[Manifest]] = {
        "namespace.yaml": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pricelink", "labels": space}}
        ],
        "settings.yaml": [named("ConfigMap", "v1", "pricelink", data=SETTINGS)],
        "network.yaml": network(),
        "topics.yaml": topics(),
        "worker.yaml": worker(),
    }
    return made | {f"{name}.yaml": process(name) for name in PROCESSES}


def texts() -> dict[str, str]:
    """Returns the text of every file of the base."""
    made = files()
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "pricelink",
        "resources": list(made),
    }
    head = "# Written by `python -m ops.kubernetes.build`: change it there, or in an overlay.\n"
    return {
        name: head + yaml.dump_all(manifests, Dumper=_Whole, sort_keys=False, width=120)
        for name, manifests in (made | {"kustomization.yaml": [kustomization]}).items()
    }


if __name__ == "__main__":
    for file, text in texts().items():
        (BASE / file).write_text(text)
