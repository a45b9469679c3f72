"""Secrets come from files, and are shown nowhere; what does not fit together is said."""

from pathlib import Path

import pytest
import redis
from pydantic import ValidationError

from config.settings import Settings
from gateway.summary import without_password

HUSH = "hu/sh@1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{HUSH}\n")
    return path


def test_passwords_come_from_files(file: Path) -> None:
    settings = Settings(sasl_password="other", sasl_password_file=file, redis_password_file=file)
    assert settings.sasl_password == HUSH
    assert redis.Redis.from_url(settings.redis_url).get_connection_kwargs()["password"] == HUSH


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("rediss://host:1/0", None, HUSH),
        ("rediss://me@host:1/0", "me", HUSH),
        ("rediss://me:mine@host:1/0", "me", "mine"),
        ("rediss://:mine@host:1/0?db=3", None, "mine"),
    ],
)
def test_a_url_gets_what_it_lacks(file: Path, url: str, user: str | None, password: str) -> None:
    settings = Settings(redis_url=url, redis_password_file=file, redis_ca_file=Path("/ca files/ca.pem"))
    found = redis.Redis.from_url(settings.redis_url).get_connection_kwargs()
    assert (found.get("username") or None, found["password"]) == (user, password)
    assert (found["host"], found["ssl_ca_certs"]) == ("host", "/ca files/ca.pem")
    given = {name.removeprefix("PRICELINK_").lower(): text for name, text in settings.environment().items()}
    again = Settings.model_validate(given)
    assert again.redis_url == settings.redis_url


def test_plain_redis_needs_no_certificates() -> None:
    assert Settings(redis_ca_file=Path("/ca.pem")).redis_url == Settings().redis_url


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_file_without_a_password_is_said(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "password"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValidationError, match=rf"PRICELINK_REDIS_PASSWORD_FILE: {path} (cannot be read|is empty)"):
        Settings(redis_password_file=path)


def test_nothing_shows_a_password(file: Path) -> None:
    settings = Settings(sasl_password_file=file, redis_password=HUSH)
    for text in (repr(settings), str(settings), without_password(settings.redis_url)):
        assert HUSH not in text
        assert "hu%2Fsh" not in text
    with pytest.raises(ValidationError) as fault:
        Settings(sasl_password=HUSH, redis_password=HUSH, partitions=0)
    assert HUSH not in str(fault.value)


def test_what_goes_together_is_wanted_together() -> None:
    with pytest.raises(ValidationError, match="go together"):
        Settings(gateway_cert_file=Path("cert.pem"))
    with pytest.raises(ValidationError, match="PRICELINK_SASL_USERNAME is empty"):
        Settings(security_protocol="SASL_SSL")
