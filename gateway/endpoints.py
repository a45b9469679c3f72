"""Webhook endpoints: where a supplier's events are sent, what of them, and with which secrets they are signed.

They are messages of the compacted topic ``pricelink.webhooks``, by id, as API keys are of theirs.
"""

import base64
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self
from urllib.parse import urlsplit

import orjson

from config.settings import Settings
from config.topics import WEBHOOKS
from gateway.compacted import Compacted
from gateway.filters import Filter
from gateway.typed_json import read_json
from schemas.codes import partition_of

ENDPOINTS_OF_AN_OWNER: Final = 10
MOST_ENDPOINTS: Final = 2_000
"""Of all owners: each costs the notifier a few connections."""
SECRETS_KEPT: Final = 3
ROTATION_MS: Final = 86_400_000
"""A secret signs on for so long beside the one that replaced it."""
REPLAYS_KEPT: Final = 20
LONGEST_URL: Final = 2_000
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  what every secret begins with


class EndpointFault(ValueError):
    """What is asked of an endpoint cannot be; the text says why."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret as its owner has it, ``whsec_…``. ``until_ms``: when it stops signing; None: it is the current one."""

    value: str
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """An event that is to be sent again: the ``number``-th wish of this endpoint. ``lane``: see gateway.cursors."""

    number: int
    lane: int
    offset: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as it is kept. ``since_ms``, ``since_number``: send everything from then on, the n-th such wish.

    ``enabled_number``: how often it was enabled; what disabled it is void after that.
    """

    id: str
    supplier: str
    url: str
    description: str
    kinds: tuple[str, ...]
    codes: tuple[str, ...]
    provinces: tuple[str, ...]
    secrets: tuple[Secret, ...]
    enabled: bool
    created_ms: int
    since_ms: int
    since_number: int = 1
    enabled_number: int = 1
    replays: tuple[Replay, ...] = ()

    @property
    def wanted(self) -> Filter:
        """What of its supplier's events it gets."""
        return Filter(
            provinces=frozenset(self.provinces),
            kinds=frozenset(self.kinds),
            codes=frozenset(self.codes),
            supplier=self.supplier,
            prices=True,
        )

    def signing_secrets(self, now_ms: int) -> list[str]:
        """Returns the secrets that sign now, the current one first."""
        return [each.value for each in self.secrets if each.until_ms is None or now_ms < each.until_ms]

    def to_bytes(self) -> bytes:
        """Returns it as it is written."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Reads what ``to_bytes`` wrote; raises ValueError."""
        return read_json(cls, raw)


def new_secret() -> str:
    """Returns a secret of 256 random bits, as Standard Webhooks writes them."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def new_id() -> str:
    """Returns the id of a new endpoint."""
    return f"ep_{secrets.token_hex(8)}"


def check_url(url: str, *, allow_http: bool) -> str:
    """Returns the address if events may be sent there as far as it shows; raises EndpointFault.

    Where a name leads to is checked at every connection (notifier.guard).
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise EndpointFault(f"url: {error}") from error
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise EndpointFault(f"url: up to {LONGEST_URL} printable ASCII characters without spaces")
    if parts.scheme not in ({"https", "http"} if allow_http else {"https"}):
        raise EndpointFault("url: must begin with https://")
    if not parts.hostname or parts.username is not None or parts.password is not None or parts.fragment:
        raise EndpointFault("url: needs a host, and has no user, password or fragment")
    return url


def with_new_secret(endpoint: Endpoint, now_ms: int) -> Endpoint:
    """Returns it with a new secret; the one before signs on for a day."""
    kept = [each for each in endpoint.secrets if each.until_ms is None or now_ms < each.until_ms]
    old = [Secret(each.value, each.until_ms or now_ms + ROTATION_MS) for each in kept]
    return replace(endpoint, secrets=(Secret(new_secret()), *old)[:SECRETS_KEPT])


def with_replay(endpoint: Endpoint, lane: int, offset: int, event_id: str) -> Endpoint:
    """Returns it with the wish to send one event again."""
    number = max((each.number for each in endpoint.replays), default=0) + 1
    return replace(endpoint, replays=(*endpoint.replays, Replay(number, lane, offset, event_id))[-REPLAYS_KEPT:])


class EndpointBook(Compacted):
    """All endpoints by id."""

    def __init__(self, settings: Settings, new_producer: Callable[[Settings], Any]) -> None:
        super().__init__(settings, WEBHOOKS.name)
        self._new_producer = new_producer
        self.endpoints: dict[str, Endpoint] = {}
        self.changes = 0

    def take(self, key: bytes, value: bytes | None) -> None:
        """Takes an endpoint as it is now; None: it is deleted. To one that cannot be read nothing is sent: raises ValueError."""
        self.changes += 1
        if value is None or value == b"":
            self.endpoints.pop(key.decode(errors="replace"), None)
            return
        endpoint = Endpoint.from_bytes(value)
        if endpoint.id in self.endpoints or len(self.endpoints) < MOST_ENDPOINTS:
            self.endpoints[endpoint.id] = endpoint

    def of(self, supplier: str) -> list[Endpoint]:
        """Returns a supplier's endpoints, oldest first."""
        found = (each for each in self.endpoints.values() if each.supplier == supplier)
        return sorted(found, key=lambda each: (each.created_ms, each.id))

    def find(self, supplier: str, endpoint_id: str) -> Endpoint | None:
        """Returns a supplier's endpoint; None: there is none, or it is another's."""
        endpoint = self.endpoints.get(endpoint_id)
        return endpoint if endpoint is not None and endpoint.supplier == supplier else None

    async def put(self, endpoint: Endpoint) -> None:
        """Writes it, and takes it as it is now. Raises one of BROKER_FAULTS."""
        await self._write(endpoint.id, endpoint.to_bytes())

    async def drop(self, endpoint: Endpoint) -> None:
        """Deletes it. Raises one of BROKER_FAULTS."""
        await self._write(endpoint.id, None)

    async def _write(self, endpoint_id: str, value: bytes | None) -> None:
        producer = self._new_producer(self._settings)
        try:
            await producer.start()
            count = len(await producer.partitions_for(WEBHOOKS.name))
            place = partition_of(endpoint_id, count)
            await producer.send_and_wait(WEBHOOKS.name, value, key=endpoint_id.encode(), partition=place)
        finally:
            await producer.stop()
        self.take(endpoint_id.encode(), value)
