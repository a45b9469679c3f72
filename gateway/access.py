"""Who may use a route: API keys in ``Authorization: Bearer``; the page without one, from this host itself."""

import base64
import binascii
import ipaddress
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from config.provinces import PROVINCE_INDEX
from gateway.key_ring import now_ms
from gateway.keys import CONSOLE_READ, Key
from gateway.problems import Problem
from gateway.sources import sources_of

bearer: Final = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="An API key: `Authorization: Bearer pl_…` (`pricelink keys create`)",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
_REMEDY: Final = "Send `Authorization: Bearer pl_…` with a key that is live; `pricelink keys create` makes one."
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="pricelink"'}


CONSOLE_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "A cursor of another list"},
    401: {"description": "From another host, without an operator's key"},
    403: {"description": "The key is not an operator's"},
    404: {"description": "Not known here"},
    422: {"description": "A parameter is unfit"},
    503: {"description": "Redis, the broker or the keys are away, or too many streams are open"},
}
"""What routes of the page may answer beside 200."""


async def key_of(request: Request, credentials: Credentials) -> Key:
    """Returns the live key of a request; raises Problem: 401 for none, 503 while the keys are not known."""
    if credentials is None or not credentials.credentials:
        raise Problem(401, "no_key", "this address needs an API key", request.url.path, _REMEDY, _CHALLENGE)
    return _live(request, credentials.credentials, _CHALLENGE)


Caller = Annotated[Key, Depends(key_of)]


def _live(request: Request, token: str, challenge: dict[str, str]) -> Key:
    ring = sources_of(request).keys
    key = ring.find(token, now_ms())
    if key is not None:
        return key
    if not ring.loaded:
        remedy = "Keys are kept in Kafka, topic pricelink.keys: is the broker up? Try again in a moment."
        raise Problem(503, "keys_unknown", f"the keys are not known yet: {ring.problem}", request.url.path, remedy)
    raise Problem(401, "bad_key", "this is no key, or not one that is live", request.url.path, _REMEDY, challenge)


def require(key: Key, scope: str, where: str) -> None:
    """Raises Problem 403 unless a key has a scope."""
    if scope not in key.scopes:
        remedy = f"It may {', '.join(key.scopes)}. Use a key with this scope."
        raise Problem(403, "no_scope", f"this key may not {scope}", where, remedy)


def require_province(key: Key, province: str, where: str) -> int:
    """Returns a province's index; raises Problem: 404 for none, 403 where the key is another province's."""
    if province not in PROVINCE_INDEX:
        remedy = "Provinces are six digits: the 31 of GB/T 2260, and 660000."
        raise Problem(404, "no_such_province", f"{province[:40]!r} is no province", where, remedy)
    if key.owner.kind == "province" and key.owner.name != province:
        remedy = f"Send to /v1/feeds/{key.owner.name}/…, or use that province's key."
        raise Problem(403, "other_province", f"this key is of {key.owner.name}", where, remedy)
    return PROVINCE_INDEX[province]


async def console(request: Request) -> None:
    """Lets the page's reader in: from this host itself without a key, else an operator's, also as a Basic password."""
    settings = sources_of(request).settings
    if settings.console_open or _is_loopback(request):
        return
    challenge = {"WWW-Authenticate": 'Basic realm="pricelink", charset="UTF-8"'}
    token = _token(request.headers.get("authorization", ""))
    if token is None:
        remedy = "From another host the page needs an operator's key: as password, or as `Authorization: Bearer`."
        raise Problem(401, "no_key", "the page is open to its own host only", request.url.path, remedy, challenge)
    require(_live(request, token, challenge), CONSOLE_READ, request.url.path)


def _is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _token(header: str) -> str | None:
    kind, _, rest = header.partition(" ")
    if kind.lower() == "bearer":
        return rest.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return None
    return None
