"""Looks, before a process starts, whether Kafka and Redis let it in: faults that no restart cures, in a sentence.

What is away is not said here: processes wait for it, each in its way.
"""

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Any, Final

import aiokafka.conn
import redis
import structlog
from aiokafka import errors

from agents.exits import OK, REASONS, ConfigFault, InfrastructureFault, code_of
from config.settings import Settings

_ANSWER_S: Final = 5.0
_EXPIRED: Final = {9, 10}
"""OpenSSL's codes of a certificate that is not valid yet, and not any more."""
_NAMES: Final = {62, 64}
"""OpenSSL's codes of a certificate with another host's name, or address."""
_UNKNOWN_ISSUER: Final = {2, 18, 19, 20, 21}

_log = structlog.get_logger("preflight")


def check(settings: Settings, *, redis_is_vital: bool = False) -> int:
    """Returns the exit code for a login or a certificate that does not do, having logged what to change; 0 if all do.

    Kafka without security is not asked, nor is Redis without. Redis's fault is only logged unless it is vital: most
    processes go on without it.
    """
    looks = [(_check_own, True)]
    if settings.security_protocol != "PLAINTEXT":
        looks.append((check_kafka, True))
    if settings.redis_url.startswith("rediss:") or "@" in settings.redis_url:
        looks.append((check_redis, redis_is_vital))
    for look, vital in looks:
        try:
            look(settings)
        except (ConfigFault, InfrastructureFault) as fault:
            if vital:
                code = code_of(fault)
                _log.error(
                    "not started: Kafka or Redis does not let this process in; the fault says what to change",
                    reason=REASONS[code], fault=fault, exit_code=code,
                )  # fmt: skip
                return code
            _log.error(
                "going on without Redis, which does not let this process in; the fault says what to change",
                reason=REASONS[code_of(fault)], fault=fault,
            )  # fmt: skip
    return OK


def _check_own(settings: Settings) -> None:
    """Reads the gateway's own certificate, where it has one; raises ConfigFault."""
    certificate, key = settings.gateway_cert_file, settings.gateway_key_file
    if certificate is None or key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigFault(
            f"PRICELINK_GATEWAY_CERT_FILE={certificate} and PRICELINK_GATEWAY_KEY_FILE={key} are no certificate and its "
            f"key: {getattr(fault, 'reason', None) or getattr(fault, 'strerror', None) or fault}"
        ) from fault


def check_kafka(settings: Settings) -> None:
    """Logs in at the first broker that is there, and out again; raises ConfigFault or InfrastructureFault."""
    try:
        security = settings.security
    except (OSError, ssl.SSLError) as fault:
        raise _no_certificates("PRICELINK_SSL_CA_FILE", settings.ssl_ca_file, fault) from fault
    for place in settings.bootstrap.split(","):
        try:
            asyncio.run(_log_in(place, security))
        except ssl.SSLCertVerificationError as fault:
            raise _refused(f"Kafka at {place}", "PRICELINK_SSL_CA_FILE", settings.ssl_ca_file, fault) from fault
        except ssl.SSLError as fault:
            raise _no_tls(
                f"Kafka at {place}", f"PRICELINK_SECURITY_PROTOCOL={settings.security_protocol}", fault
            ) from fault
        except (errors.SaslAuthenticationFailed, errors.IllegalSaslStateError) as fault:
            raise ConfigFault(
                f"Kafka at {place} does not let {settings.sasl_username} in: wrong user or password. Look at "
                "PRICELINK_SASL_USERNAME and PRICELINK_SASL_PASSWORD_FILE; `pricelink principals set-password "
                f"{settings.sasl_username}` sets another"
            ) from fault
        except errors.UnsupportedSaslMechanismError as fault:
            raise ConfigFault(
                f"Kafka at {place} does not know PRICELINK_SASL_MECHANISM={settings.sasl_mechanism}: {fault}"
            ) from fault
        except (errors.KafkaError, OSError, TimeoutError):
            continue  # away: that is waited for
        return


async def _log_in(place: str, security: dict[str, Any]) -> None:
    host, _, port = place.strip().rpartition(":")
    async with asyncio.timeout(_ANSWER_S):
        connection = await aiokafka.conn.create_conn(
            host, int(port), client_id="pricelink-preflight", request_timeout_ms=int(_ANSWER_S * 1000), **security
        )
    connection.close()


def check_redis(settings: Settings) -> None:
    """Logs in at Redis, and out again; raises ConfigFault or InfrastructureFault."""
    place = settings.redis_url.partition("?")[0].rpartition("@")[2].removeprefix("rediss://").removeprefix("redis://")
    where = f"Redis at {place}"
    try:
        with contextlib.closing(
            redis.Redis.from_url(settings.redis_url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S)
        ) as client:
            client.ping()
    except redis.AuthenticationError as fault:
        raise ConfigFault(
            f"{where} does not let us in: wrong password, or none. Look at PRICELINK_REDIS_PASSWORD_FILE"
        ) from fault
    except (redis.RedisError, OSError) as fault:
        cause = _tls_fault(fault)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise _refused(where, "PRICELINK_REDIS_CA_FILE", settings.redis_ca_file, cause) from fault
        if isinstance(cause, ssl.SSLError):
            raise _no_tls(where, "PRICELINK_REDIS_URL=rediss://…", cause) from fault
        if isinstance(cause, FileNotFoundError) or "SSL" in type(cause).__name__:
            raise _no_certificates("PRICELINK_REDIS_CA_FILE", settings.redis_ca_file, cause) from fault


def _tls_fault(fault: BaseException) -> BaseException:
    """Returns what redis-py wrapped."""
    at: BaseException | None = fault
    while at is not None:
        if isinstance(at, ssl.SSLError | FileNotFoundError):
            return at
        at = at.__cause__ or at.__context__
    return fault


def _refused(where: str, setting: str, file: Path | None, fault: ssl.SSLCertVerificationError) -> Exception:
    said = fault.verify_message.rstrip(".")
    if fault.verify_code in _EXPIRED:
        return InfrastructureFault(
            f"{where} shows a certificate whose time is not now ({said}): renew it there, and look at both clocks"
        )
    if fault.verify_code in _UNKNOWN_ISSUER:
        return ConfigFault(
            f"{where} shows a certificate of an authority we do not know ({said}): {setting} must name the file with "
            f"that authority's certificate; it is {file or 'not set, which means those of the operating system'}"
        )
    if fault.verify_code in _NAMES:
        return ConfigFault(
            f"{where} shows a certificate for another name ({said}): connect by a name that is in it, or have one made for this"
        )
    return ConfigFault(f"{where} shows a certificate that does not do: {said}")


def _no_tls(where: str, setting: str, fault: Exception) -> ConfigFault:
    said = getattr(fault, "reason", None) or fault
    return ConfigFault(f"{where} and we do not agree on TLS ({said}): is {setting} what that port speaks?")


def _no_certificates(setting: str, file: Path | None, fault: BaseException) -> ConfigFault:
    return ConfigFault(
        f"{setting}: {file} has no certificates that can be read: {getattr(fault, 'strerror', None) or fault}"
    )
