"""Every knob of every process, from ``PRICELINK_*`` environment variables: one frozen object."""

import os
import socket
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_DEFAULT_POLICY: Final = Path(__file__).resolve().parent / "policy.json"
_DEFAULT_SCORE_RULES: Final = Path(__file__).resolve().parent / "scorecards.json"
IDLE_HOLD_KAFKA: Final = 5
"""A worker's fetch that finds nothing is held for so many ``fetch_wait_ms``: Kafka answers at once when something comes."""
IDLE_HOLD_EMBEDDED: Final = 1.5
"""The same of the embedded broker, which answers no sooner: so much later comes what follows a pause."""

BrokerKind = Literal["embedded", "kafka"]


class Settings(BaseSettings):
    """Settings of a pricelink process. Names end in their unit; ``None`` means: as the kind of broker wants it."""

    # A fault of one setting shows none of the others: some are passwords.
    model_config = SettingsConfigDict(env_prefix="PRICELINK_", frozen=True, extra="ignore", hide_input_in_errors=True)

    # Kafka
    broker_kind: BrokerKind = "kafka"
    bootstrap: str = "localhost:9092"
    """Host and port pairs of brokers, comma-separated."""
    partitions: int = Field(default=4, ge=1, le=1000)
    """Of ``feeds`` and every topic beside it. Never changed afterwards: a code must stay where it is (SPEC §2)."""
    replication: int = Field(default=1, ge=1)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = Field(default="", repr=False)
    sasl_password_file: Path | None = None
    """File with the password, which goes before ``sasl_password``."""
    ssl_ca_file: Path | None = None
    """Certificates, in PEM, that Kafka's must come from; None: those of the operating system."""
    worker_group: str = "pricelink-worker"
    read_model_group: str = "pricelink-read-model"
    scorecards_group: str = "pricelink-scorecards"
    copier_group: str = "pricelink-copier"
    session_timeout_s: float | None = Field(default=None, gt=0)
    static_member: bool = False
    """Join the group under ``instance``: a worker that comes back by that name within its session has its partitions at
    once, and the others keep theirs. Only where no two processes of a group ever have one name; not for the embedded
    broker. A worker that is stopped for good is then missed only when its session is over."""
    request_timeout_s: float = Field(default=30.0, gt=0)
    compression: Literal["none", "lz4"] | None = None

    # The stream
    policy_file: Path = _DEFAULT_POLICY
    """Holds until a partition's first ``policy`` record (SPEC §3)."""
    fetch_wait_ms: int = Field(default=20, ge=1, le=1000)
    """How long the broker holds a fetch that finds nothing. Kafka answers at once when something comes of a partition
    that the fetch names; of one whose last chunk was still in hand then, only the next fetch brings more."""
    busy_fetch_wait_ms: int | None = Field(default=None, ge=1, le=1000)
    """The same while records come; see ``busy_wait_ms``."""
    chunk_records: int = Field(default=20_000, ge=1)
    """At most so many messages are one event of the stream."""
    chunk_bytes: int = Field(default=4_000_000, ge=1)
    fetch_bytes: int = Field(default=4_000_000, ge=1_000)
    """Of one partition in one fetch."""
    chunks_buffered: int = Field(default=4, ge=1)
    batch_bytes: int = Field(default=512_000, ge=1_000, le=900_000)
    """Largest record batch we write, before compression."""
    sink_bytes: int = Field(default=32_000_000, ge=1_000_000)
    """Rendered events of one partition that wait for the broker; more than these hold the stream back."""
    checkpoint_s: float = Field(default=1.0, gt=0)
    """Between two checkpoints of a partition, at least."""
    catchup_checkpoint_s: float = Field(default=5.0, gt=0)
    """The same while the partition is behind: every row changes all the time then, and is written whole."""
    checkpoint_share: float = Field(default=0.2, gt=0, le=1)
    """Share of a worker's time that checkpoints may take in a catch-up, where every row changes all the time."""
    drain_s: float = Field(default=4.0, gt=0)
    """SIGTERM and rebalances: at most so long for the last checkpoint."""
    stall_s: float = Field(default=60.0, gt=0)
    """The watchdog ends a process that lags and makes no progress for so long."""

    # Second stages
    scorecards_file: Path = _DEFAULT_SCORE_RULES
    """Thresholds of the scorecards' suggested steps, and of the inspection list."""
    max_silence_minutes: float = Field(default=60, gt=0)
    """A province from which no record was accepted for so long is silent (SPEC §8)."""

    copies: str = ""
    """Whose events go into topics of their own: ``NAME=USCC`` pairs, comma-separated. NAME reads topic ``events.NAME``."""

    # Around it
    instance: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)
    redis_password: str = Field(default="", repr=False)
    """Goes into ``redis_url``, unless that has one."""
    redis_password_file: Path | None = None
    """File with the password, which goes before ``redis_password``."""
    redis_ca_file: Path | None = None
    """Certificates, in PEM, that Redis's must come from, where the URL begins with ``rediss://``; goes into it, too."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """Port of Prometheus metrics; 0 takes a free one and logs it."""
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8000, ge=0, le=65_535)
    gateway_cert_file: Path | None = None
    """Certificate and those it comes from, in PEM: with ``gateway_key_file`` the gateway serves HTTPS, and no HTTP."""
    gateway_key_file: Path | None = None
    console_open: bool = False
    """The page and what it reads need no key from whoever reaches the port. Else only from this host itself."""
    profiles_folder: Path = Path("profiles")
    """Mapping profiles of price lists: ``{province}.toml``, ``{province}-{name}.toml``."""
    feeds_body_bytes: int = Field(default=256 << 20, ge=1 << 20)
    """Largest body of records, as it reads when decompressed."""
    feeds_list_bytes: int = Field(default=64 << 20, ge=1 << 20)
    """Largest price list, as it is sent."""
    feeds_in_flight_bytes: int = Field(default=64 << 20, ge=1 << 20)
    """Lines that one gateway has read and the broker has not acknowledged; more are not taken (429)."""
    feeds_answer_s: float = Field(default=20.0, gt=0)
    """How long a body's last line may wait for the broker before the answer is 503."""
    webhooks_allow_http: bool = False
    """Webhooks may go to ``http://``, too: for tests, or a network of one's own."""
    webhooks_allowed_networks: str = ""
    """Networks, comma-separated, where webhooks may go although they are not public: ``10.1.0.0/16``."""
    traces_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of the requests for feeds that OpenTelemetry's traces follow to their alerts, beside those that say in
    ``traceparent`` that they want to be. None: there are no traces, and nothing is done for any."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @model_validator(mode="before")
    @classmethod
    def _secrets(cls, given: Any) -> Any:
        """Reads passwords from their files, and puts into Redis's URL what it lacks."""
        if not isinstance(given, dict):
            return given
        values = dict(given)
        for name in ("sasl_password", "redis_password"):
            if file := values.get(f"{name}_file"):
                values[name] = _secret(f"PRICELINK_{name.upper()}_FILE", Path(file))
        password, ca_file = values.get("redis_password", ""), values.get("redis_ca_file")
        if password or ca_file:
            url = values.get("redis_url", cls.model_fields["redis_url"].default)
            values["redis_url"] = _completed(url, password, ca_file)
        return values

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.gateway_cert_file is None) != (self.gateway_key_file is None):
            raise ValueError("PRICELINK_GATEWAY_CERT_FILE and PRICELINK_GATEWAY_KEY_FILE go together")
        if self.security_protocol.startswith("SASL") and not self.sasl_username:
            raise ValueError(f"PRICELINK_SASL_USERNAME is empty, and {self.security_protocol} wants one")
        return self

    @property
    def embedded(self) -> bool:
        """Tells whether the broker is the embedded one: no idempotence, no transactions, quick sessions."""
        return self.broker_kind == "embedded"

    @property
    def session_s(self) -> float:
        """Returns seconds without a heartbeat after which a worker counts as dead.

        A static member has as long as a restart takes on a busy machine: one that is back later has its partitions move twice.
        """
        if self.session_timeout_s is not None:
            return self.session_timeout_s
        # The embedded broker holds a group's join for half of it; Kafka refuses less than 6 s by default.
        return 2.0 if self.embedded else 12.0 if self.static_member else 6.0

    @property
    def heartbeat_s(self) -> float:
        """Returns seconds between heartbeats: a member learns of a rebalance from the next one."""
        return min(self.session_s / 5, 1.0)

    @property
    def idle_wait_ms(self) -> int:
        """Returns how long the broker holds a worker's fetch when nothing has come for a while.

        By then the fetch names every partition, and Kafka answers it as soon as something comes; the embedded broker
        only when it is over.
        """
        return int(self.fetch_wait_ms * (IDLE_HOLD_EMBEDDED if self.embedded else IDLE_HOLD_KAFKA))

    @property
    def busy_wait_ms(self) -> int:
        """Returns how long the broker holds a fetch that finds nothing while records come."""
        if self.busy_fetch_wait_ms is not None:
            return self.busy_fetch_wait_ms
        # A fetch costs the embedded broker a millisecond and more: fewer of them make its answers come sooner.
        return self.fetch_wait_ms if self.embedded else 4

    @property
    def group_instance_id(self) -> str | None:
        """Returns the name under which the group knows this member for good, or None."""
        return self.instance if self.static_member and not self.embedded else None

    @property
    def idempotent(self) -> bool:
        """Tells whether producers are idempotent: wherever the broker can."""
        return not self.embedded

    @property
    def compression_type(self) -> str | None:
        """Returns the codec of what we write, as Kafka clients name it."""
        chosen = self.compression or ("none" if self.embedded else "lz4")
        return None if chosen == "none" else chosen

    @property
    def secured(self) -> bool:
        """Tells whether there are passwords or certificates, which may be wrong."""
        return (
            self.security_protocol != "PLAINTEXT"
            or self.redis_url.startswith("rediss:")
            or "@" in self.redis_url
            or self.gateway_cert_file is not None
        )

    @property
    def security(self) -> dict[str, Any]:
        """Returns keyword arguments that aiokafka's and kafka-python's clients both take."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = _ssl_context(self.ssl_ca_file)
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options

    def environment(self) -> dict[str, str]:
        """Returns the environment variables that give a child process these settings."""
        return {
            f"PRICELINK_{name.upper()}": str(getattr(self, name))
            for name in self.model_fields_set
            if getattr(self, name) is not None
        }


def _secret(name: str, file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"{name}: {file} cannot be read: {getattr(fault, 'strerror', None) or fault}") from fault
    if not text:
        raise ValueError(f"{name}: {file} is empty")
    return text


def _completed(url: str, password: str, ca_file: str | Path | None) -> str:
    """Returns Redis's URL with a password where it has none, and with the file of certificates."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    if password and ":" not in user:
        user, at = f"{user}:{quote(password, safe='')}", "@"
    query = parts.query
    if ca_file and parts.scheme == "rediss" and "ssl_ca_certs=" not in query:
        query = "&".join(filter(None, (query, urlencode({"ssl_ca_certs": str(ca_file)}))))
    return urlunsplit(parts._replace(netloc=f"{user}{at}{place}", query=query))


@lru_cache(maxsize=8)
def _ssl_context(ca_file: Path | None) -> Any:
    import ssl

    return ssl.create_default_context(cafile=ca_file)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Returns this process's settings, read once: from the environment, else from files of ``PRICELINK_SECRETS_DIR``.

    A file is named like the variable that it stands for, in lower case: ``pricelink_redis_password``.
    """
    return Settings(_secrets_dir=os.environ.get("PRICELINK_SECRETS_DIR"))  # type: ignore[call-arg, unused-ignore]
