"""`pricelink secrets make`: the passwords of a compose file's services, made at the first start, as files."""

import os
import secrets
from pathlib import Path
from typing import Final

REDIS_PASSWORD: Final = "pricelink_redis_password"  # noqa: S105  a file's name
REDIS_CONF: Final = "redis.conf"
GRAFANA_PASSWORD: Final = "grafana_password"  # noqa: S105
_BYTES: Final = 24
_MODE: Final = 0o444
"""Whoever mounts the volume reads it; the images of Redis and Grafana have users of their own."""


def make(folder: Path) -> list[str]:
    """Writes the files that are missing into ``folder``; returns their names. What is there stays. Raises OSError."""
    made = []
    for name in (REDIS_PASSWORD, GRAFANA_PASSWORD):
        made += _write(folder / name, secrets.token_urlsafe(_BYTES))
    password = (folder / REDIS_PASSWORD).read_text(encoding="ascii").strip()
    made += _write(folder / REDIS_CONF, f"requirepass {password}\n")
    return made


def _write(path: Path, text: str) -> list[str]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except FileExistsError:
        return []
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    return [path.name]
