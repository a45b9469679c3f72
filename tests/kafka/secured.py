"""Kafka and Redis as they are run where others reach them: TLS, passwords, and rights for each role."""

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from agents.embedded import free_port, redis_binary
from agents.real_kafka import RealKafka
from config.settings import Settings
from tests.integration.cluster import ROOT

HOST: Final = "127.0.0.1"
ADMIN: Final = "admin"
SECRETS: Final = {
    "admin": "admin-hush-6Tq",
    "redis": "redis-hush-9Kd",
    "roles": "role-hush-2Vz",
    "wrong": "wrong-hush-4Lm",
}
"""Every password there is: none of them may be in any log."""


@dataclass(frozen=True)
class Certificates:
    """Files, in PEM: our authority, a stranger, and keys with certificates of ours, one of which has expired."""

    ca: Path
    stranger: Path
    good: Path
    expired: Path

    @classmethod
    def make(cls, folder: Path) -> "Certificates":
        authority, stranger = trustme.CA(), trustme.CA()
        found = cls(*(folder / f"{name}.pem" for name in ("ca", "stranger", "good", "expired")))
        authority.cert_pem.write_to_path(found.ca)
        stranger.cert_pem.write_to_path(found.stranger)
        yesterday = datetime.now(UTC) - timedelta(days=1)
        for path, until in ((found.good, None), (found.expired, yesterday)):
            issued = authority.issue_cert(HOST, "localhost", not_after=until)
            key = load_pem_private_key(issued.private_key_pem.bytes(), None)
            # Kafka reads keys as PKCS 8 alone.
            text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path.write_bytes(text + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return found


class SecuredKafka(RealKafka):
    """SASL_SSL with SCRAM-SHA-512, an authorizer, and a second listener whose certificate has expired."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        ports = free_port(), free_port(), free_port()
        super().__init__(folder, _properties(certificates, *ports), port=ports[0])
        self._controller_port = ports[2]
        self._certificates = certificates
        self.expired_bootstrap = f"{HOST}:{ports[1]}"
        self.format_options = ("--add-scram", f"SCRAM-SHA-512=[name={ADMIN},password={SECRETS['admin']}]")

    @property
    def client_options(self) -> dict[str, Any]:
        return {
            "security_protocol": "SASL_SSL",
            "ssl_context": ssl.create_default_context(cafile=self._certificates.ca),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": ADMIN,
            "sasl_plain_password": SECRETS["admin"],
        }


def _properties(certificates: Certificates, port: int, expired_port: int, controller_port: int) -> dict[str, str]:
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    login = f'username="{ADMIN}" password="{SECRETS["admin"]}"'
    return {
        "listeners": f"SASL_SSL://{HOST}:{port},EXPIRED://{HOST}:{expired_port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"SASL_SSL://{HOST}:{port},EXPIRED://{HOST}:{expired_port}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,EXPIRED:SASL_SSL,CONTROLLER:SASL_SSL",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{scram} {login};",
        "listener.name.expired.scram-sha-512.sasl.jaas.config": f"{scram};",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": f'{plain} {login} user_{ADMIN}="{SECRETS["admin"]}";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.good),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
        "listener.name.expired.ssl.keystore.type": "PEM",
        "listener.name.expired.ssl.keystore.location": str(certificates.expired),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN}",
    }


class SecuredRedis:
    """Redis that speaks TLS alone, and wants a password. A context manager."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self.port = free_port()
        self._folder = folder
        self._certificates = certificates
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "SecuredRedis":
        conf = self._folder / "redis.conf"
        good = self._certificates.good
        conf.write_text(
            f"requirepass {SECRETS['redis']}\nbind {HOST}\nport 0\ntls-port {self.port}\ntls-auth-clients no\n"
            f'tls-cert-file {good}\ntls-key-file {good}\ntls-ca-cert-file {self._certificates.ca}\nsave ""\ndir {self._folder}\n'
        )
        with (self._folder / "redis.log").open("wb") as log:
            self._process = subprocess.Popen([str(redis_binary()), str(conf)], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while socket.socket().connect_ex((HOST, self.port)):
            assert time.monotonic() < deadline, (self._folder / "redis.log").read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_fault: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)


class Place:
    """Broker, Redis, certificates, and processes of ours that log into ``folder``."""

    def __init__(self, folder: Path, certificates: Certificates, kafka: SecuredKafka, redis: SecuredRedis) -> None:
        self.folder = folder
        self.certificates = certificates
        self.kafka = kafka
        self.redis = redis
        self.processes: list[subprocess.Popen[bytes]] = []
        self.logs: list[Path] = []
        for name, secret in SECRETS.items():
            (folder / f"{name}.password").write_text(f"{secret}\n")

    def variables(self, principal: str, secret: str = "roles", **more: object) -> dict[str, str]:
        """Returns the environment of a process that logs in as ``principal``."""
        chosen: dict[str, object] = {
            "bootstrap": self.kafka.bootstrap,
            "security_protocol": "SASL_SSL",
            "ssl_ca_file": self.certificates.ca,
            "sasl_username": principal,
            "sasl_password_file": self.folder / f"{secret}.password",
            "redis_url": f"rediss://{HOST}:{self.redis.port}/0",
            "redis_ca_file": self.certificates.ca,
            "redis_password_file": self.folder / "redis.password",
            "instance": principal,
            **more,
        }
        return {f"PRICELINK_{name.upper()}": str(value) for name, value in chosen.items()}

    def settings(self, principal: str, secret: str = "roles", **more: object) -> Settings:
        """Returns the settings that these variables give."""
        variables = self.variables(principal, secret, **more)
        return Settings.model_validate(
            {name.removeprefix("PRICELINK_").lower(): text for name, text in variables.items()}
        )

    def start(self, command: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Starts `pricelink COMMAND`; what it says goes into a file."""
        log = self.folder / f"{len(self.logs)}-{command.split(maxsplit=1)[0]}.log"
        self.logs.append(log)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", *command.split()],
                env={**os.environ, **variables, "PYTHONPATH": str(ROOT)}, cwd=ROOT, stdout=output, stderr=output,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def run(self, command: str, variables: Mapping[str, str], within_s: float = 60.0) -> tuple[int, str]:
        """Runs it to its end; returns its exit code and what it said."""
        process = self.start(command, variables)
        log = self.logs[-1]
        code = process.wait(within_s)
        return code, log.read_text()

    def stop(self) -> None:
        """Ends what runs."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(15)
