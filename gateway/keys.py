"""API keys: who may do what. Pure: how they are kept is ``gateway.key_ring``'s affair.

A key reads ``pl_{id}_{secret}``. The secret has 256 random bits, so its SHA-256 is kept: nothing of it can be guessed,
which is what slow hashes are for.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, Self

import orjson

from config.provinces import PROVINCE_INDEX
from gateway.typed_json import read_json
from schemas.codes import is_supplier

OwnerKind = Literal["supplier", "province", "operator"]

FEEDS_WRITE: Final = "feeds:write"
CATALOGUE_WRITE: Final = "catalogue:write"
POLICY_WRITE: Final = "policy:write"
CONSOLE_READ: Final = "console:read"
EVENTS_READ: Final = "events:read"
PRICES_READ: Final = "prices:read"
ALERTS_READ: Final = "alerts:read"
WEBHOOKS_WRITE: Final = "webhooks:write"

SCOPES: Final[dict[OwnerKind, tuple[str, ...]]] = {
    "province": (FEEDS_WRITE,),
    "supplier": (EVENTS_READ, PRICES_READ, ALERTS_READ, WEBHOOKS_WRITE),
    "operator": (
        FEEDS_WRITE, CATALOGUE_WRITE, POLICY_WRITE, CONSOLE_READ, EVENTS_READ, PRICES_READ, ALERTS_READ,
    ),
}  # fmt: skip
"""What a key of each kind may have; it has all of them unless some are named."""

LIVE_KEYS: Final = 2
"""Of one owner at a time: the old one and the new one while it is changed."""
DAY_MS: Final = 86_400_000
DEFAULT_DAYS: Final = 365
MOST_DAYS: Final = 1_100
_PREFIX: Final = "pl"
_LONGEST_TOKEN: Final = 200


class KeyFault(Exception):
    """A key that cannot be made; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a key is. ``name``: social credit code, province code, or a word for an operator."""

    kind: OwnerKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept. ``revoked_ms``: None while it is not."""

    id: str
    owner: Owner
    scopes: tuple[str, ...]
    secret_sha256: str
    created_ms: int
    expires_ms: int
    revoked_ms: int | None = None

    def is_live(self, now_ms: int) -> bool:
        """Tells whether it opens anything now."""
        return self.revoked_ms is None and now_ms < self.expires_ms

    def state(self, now_ms: int) -> str:
        """Returns a word for it: live, expired, revoked."""
        if self.revoked_ms is not None:
            return "revoked"
        return "live" if self.is_live(now_ms) else "expired"

    def to_bytes(self) -> bytes:
        """Returns it as it is written."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Reads what ``to_bytes`` wrote; raises ValueError."""
        return read_json(cls, raw)


def owner_of(supplier: str | None, province: str | None, operator: str | None) -> Owner:
    """Returns the owner that exactly one of the three names; raises KeyFault."""
    given: list[tuple[OwnerKind, str]] = []
    if supplier is not None:
        if not is_supplier(supplier):
            raise KeyFault(f"{supplier!r} is no social credit code: 18 of 0-9 and A-Z")
        given.append(("supplier", supplier))
    if province is not None:
        if province not in PROVINCE_INDEX:
            raise KeyFault(f"{province!r} is no province: one of the 32 six-digit codes")
        given.append(("province", province))
    if operator is not None:
        if not operator.isascii() or not operator.replace("-", "").isalnum() or len(operator) > 32:
            raise KeyFault("an operator is a word of letters, digits and hyphens, such as jiangsu-desk")
        given.append(("operator", operator))
    if len(given) != 1:
        raise KeyFault("name one owner: --supplier USCC, --province CODE or --operator NAME")
    kind, name = given[0]
    return Owner(kind, name)


def make_key(owner: Owner, scopes: Iterable[str], days: int, now_ms: int, others: Iterable[Key]) -> tuple[Key, str]:
    """Returns a new key and what its owner gets, which is shown once and kept nowhere.

    ``scopes``: none for all that the owner may have. ``others``: all keys there are. Raises KeyFault.
    """
    allowed = SCOPES[owner.kind]
    chosen = tuple(dict.fromkeys(scopes)) or allowed
    if unfit := [scope for scope in chosen if scope not in allowed]:
        raise KeyFault(f"a {owner.kind}'s key cannot have {unfit[0]}; it may have {', '.join(allowed)}")
    if not 1 <= days <= MOST_DAYS:
        raise KeyFault(f"a key lives 1 to {MOST_DAYS} days")
    live = [key for key in others if key.owner == owner and key.is_live(now_ms)]
    if len(live) >= LIVE_KEYS:
        ids = " and ".join(key.id for key in live)
        raise KeyFault(f"{owner} has {ids} already; revoke one: `pricelink keys revoke ID`")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = Key(key_id, owner, chosen, _digest(secret), now_ms, now_ms + days * DAY_MS)
    return key, f"{_PREFIX}_{key_id}_{secret}"


def revoked(key: Key, now_ms: int) -> Key:
    """Returns the key as it is once revoked."""
    return key if key.revoked_ms is not None else replace(key, revoked_ms=now_ms)


def parse_token(token: str) -> tuple[str, str] | None:
    """Returns id and secret of what an owner sent; None: it is no key."""
    parts = token.split("_", 2)
    if len(token) > _LONGEST_TOKEN or len(parts) != 3 or parts[0] != _PREFIX or not token.isascii():
        return None
    return parts[1], parts[2]


def fits(key: Key, secret: str) -> bool:
    """Tells whether a secret is the key's, in a time that does not depend on how wrong it is."""
    return hmac.compare_digest(key.secret_sha256, _digest(secret))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
