"""One attempt to hand a message to its receiver."""

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from notifier.guard import Network, RefusedAddress, guarded_sockets
from notifier.schedule import Outcome

ANSWER_S: Final = 15.0
CONNECT_S: Final = 5.0
ANSWER_BYTES: Final = 65_536
"""Of an answer no more is read."""


class Sender:
    """Sends over guarded sockets: no redirects, no proxy, no cookies, answers read up to a bound."""

    def __init__(self, allowed: Sequence[Network] = (), answer_s: float = ANSWER_S) -> None:
        # Each endpoint has its own bound of attempts at once; a bound for all would let those that hang hold up others.
        connector = aiohttp.TCPConnector(socket_factory=guarded_sockets(allowed), limit=0, ttl_dns_cache=10)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=answer_s, connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "pricelink-webhooks/1"},
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()

    async def send(self, url: str, headers: dict[str, str], body: bytes) -> Outcome:
        """Sends a message once; what goes wrong is in the outcome."""
        began_s = time.monotonic()

        def outcome(status: int | None, problem: str | None, retry_after_s: float | None = None) -> Outcome:
            return Outcome(status, problem, int((time.monotonic() - began_s) * 1_000), retry_after_s)

        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                left = ANSWER_BYTES
                while left > 0 and (read := await answer.content.read(left)):
                    left -= len(read)
                if left <= 0:
                    answer.close()  # whatever else it has to say
                problem = None if 200 <= answer.status < 300 else f"status_{answer.status}"
                return outcome(answer.status, problem, _retry_after_s(answer.headers.get("retry-after")))
        except TimeoutError:
            return outcome(None, "timed_out")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return outcome(None, _problem(error))


def _problem(error: BaseException) -> str:
    seen: BaseException | None = error
    while seen is not None:
        found = getattr(seen, "os_error", None)
        if isinstance(seen, RefusedAddress) or isinstance(found, RefusedAddress) or "is no public address" in str(seen):
            return "address_refused"
        seen = seen.__cause__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "tls_failed"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no_connection"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError | aiohttp.ClientOSError):
        return "connection_lost"
    return "bad_answer"


def _retry_after_s(text: str | None) -> float | None:
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
