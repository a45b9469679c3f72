"""`pricelink keys`: API keys made, listed and revoked, in topic ``pricelink.keys``."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from aiokafka.errors import KafkaError
from redis import Redis
from redis.exceptions import RedisError
from rich.table import Table

from agents.clients import new_producer
from cli.kafka_log import read_topic
from config.settings import Settings
from config.topics import KEYS
from gateway.key_ring import USED_KEY, now_ms
from gateway.keys import Key, KeyFault, Owner, make_key, owner_of, revoked
from schemas.codes import partition_of


def all_keys(settings: Settings) -> dict[str, Key]:
    """Returns every key there ever was, by id; raises LogFault."""
    found = {}
    for message in read_topic(settings, KEYS.name):
        try:
            key = Key.from_bytes(message.value)
        except ValueError:
            continue
        found[key.id] = key
    return found


def create(settings: Settings, owner: Owner, scopes: Iterable[str], days: int) -> tuple[Key, str]:
    """Makes a key; returns it and what its owner gets. Raises KeyFault, LogFault."""
    key, token = make_key(owner, scopes, days, now_ms(), all_keys(settings).values())
    _write(settings, key)
    return key, token


def create_first(settings: Settings, operator: str, days: int) -> tuple[Key, str] | None:
    """Makes an operator's key where no operator has ever had one; None otherwise. Raises KeyFault, LogFault."""
    if any(key.owner.kind == "operator" for key in all_keys(settings).values()):
        return None
    return create(settings, owner_of(None, None, operator), (), days)


def revoke(settings: Settings, key_id: str) -> Key:
    """Revokes a key; raises KeyFault, LogFault."""
    key = all_keys(settings).get(key_id)
    if key is None:
        raise KeyFault(f"there is no key {key_id}: `pricelink keys list` shows the ids")
    key = revoked(key, now_ms())
    _write(settings, key)
    return key


def _write(settings: Settings, key: Key) -> None:
    async def send() -> None:
        producer = new_producer(settings)
        await producer.start()
        try:
            count = len(await producer.partitions_for(KEYS.name))
            await producer.send_and_wait(
                KEYS.name, key.to_bytes(), key=key.id.encode(), partition=partition_of(key.id, count)
            )
        finally:
            await producer.stop()

    try:
        asyncio.run(send())
    except (KafkaError, OSError) as error:
        raise KeyFault(f"Kafka at {settings.bootstrap} did not take the key: {error}") from error


def table_of(settings: Settings, keys: Iterable[Key], *, ended: bool) -> Table:
    """Returns the keys as a table, the newest first. ``ended``: also those that are expired or revoked."""
    at_ms = now_ms()
    used = _last_used(settings)
    table = Table("id", "owner", "state", "scopes", "created", "expires", "last used")
    for key in sorted(keys, key=lambda key: (str(key.owner), -key.created_ms)):
        if ended or key.is_live(at_ms):
            last = "?" if used is None else _day(used[key.id]) if key.id in used else "never"
            table.add_row(
                key.id, str(key.owner), key.state(at_ms), " ".join(key.scopes), _day(key.created_ms),
                _day(key.expires_ms), last,
            )  # fmt: skip
    return table


def _last_used(settings: Settings) -> dict[str, int] | None:
    """Returns when keys were last used; None while Redis is away."""
    try:
        with Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2) as client:
            found = client.hgetall(USED_KEY)
            return {key_id.decode(): int(at) for key_id, at in found.items()}  # type: ignore[union-attr, unused-ignore]
    except (RedisError, OSError):
        return None


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"
