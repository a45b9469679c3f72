"""``POST /v1/feeds/{province}/records``: NDJSON in, answered when the broker has it on all replicas."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from gateway import repeats
from gateway.access import Caller, require, require_province
from gateway.bodies import ENCODINGS, PIECE_BYTES, BadBody, Lines, Piece, TooLarge, inflater_of
from gateway.feed_log import BrokerAway, Receipt
from gateway.ingest import Intake, Tally, broker_away, sender_of
from gateway.key_ring import now_ms
from gateway.keys import FEEDS_WRITE, Key
from gateway.problems import Problem
from gateway.sources import sources_of
from gateway.traces import followed
from schemas.packets import Checked, Sender, check_lines

IDLE_S: Final = 30.0
"""A body of which nothing comes for so long is given up."""
WHOLE_S: Final = 900.0
"""A body that takes longer than this is given up."""
_ROUTE: Final = "/v1/feeds/{province}/records"
_NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

router = APIRouter(prefix="/v1/feeds", tags=["feeds"])


class Item(BaseModel):
    """A rejected line: its number in the body, from 1; the reason, as a word; the field; what is wrong, in words."""

    line: int
    reason: str
    field: str | None
    message: str


class Written(BaseModel):
    """What became of a body. ``items``: the first 1,000 rejected lines."""

    took_ms: int
    accepted: int
    rejected: int
    items: list[Item]


class Fault(BaseModel):
    """What went wrong, in a word and in words, where, and what to do."""

    code: str
    what: str
    where: str
    remedy: str


class Failed(BaseModel):
    """An answer that is an error. ``accepted``: lines that are in the log all the same, where a body was read in part."""

    error: Fault
    accepted: int | None = None


def _failed(description: str, **headers: str) -> dict[str, Any]:
    shown = {
        name.replace("_", "-"): {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }
    return {"model": Failed, "description": description} | ({"headers": shown} if shown else {})


_LATER: Final = "seconds after which to send again"
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": Written | Failed, "description": "No line was good, or the body is not what it says it is"},
    401: _failed("No key, or none that is live", WWW_Authenticate="the scheme"),
    403: _failed("The key may not do this, or is another province's"),
    404: _failed("No such province"),
    408: _failed("The body did not come"),
    409: _failed("A request with this Idempotency-Key is at work", Retry_After=_LATER),
    413: _failed("The body is over its bound"),
    415: _failed("A Content-Type or Content-Encoding that is not taken"),
    422: _failed("This Idempotency-Key came with another body before, or a parameter is unfit"),
    429: _failed("Too much is on its way to the broker, or too many bodies of this key", Retry_After=_LATER),
    503: _failed("The broker does not acknowledge, or the keys are not known yet", Retry_After=_LATER),
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "One record a line (docs/spec.md §2 to §7); Content-Encoding gzip, zstd or none.",
        "content": {"application/x-ndjson": {"schema": {"type": "string", "format": "binary"}}},
    }
}
OnceKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", max_length=repeats.LONGEST_KEY, description="Any text; a repeat gets the first answer"
    ),
]


@router.post("/{province}/records", response_model=Written, responses=RESPONSES, openapi_extra=_BODY)
async def records(request: Request, province: str, key: Caller, once: OnceKey = None) -> JSONResponse:
    """Takes records as NDJSON. 200: what is counted as accepted is in the log, on all replicas.

    Any other answer may follow a body that was written in part: send it again whole, repeated records change nothing.
    """
    where = request.url.path
    require(key, FEEDS_WRITE, where)
    index = require_province(key, province, where)
    if (media := media_type(request)) not in _NDJSON:
        remedy = "Send `Content-Type: application/x-ndjson`; price lists go to …/price-lists."
        raise Problem(415, "bad_type", f"{media[:80] or 'no Content-Type'} is not taken here", where, remedy)
    intake = sources_of(request).intake
    most = sources_of(request).settings.feeds_body_bytes
    encoding = encoding_of(request, where)
    refuse_large(request, most, where)
    sender = sender_of(key, index)

    with intake.admit(key, where), followed(sources_of(request).tracer, request, _ROUTE, province) as trace:

        async def write(body: "Body") -> tuple[int, dict[str, Any]]:
            lines = Lines(inflater_of(encoding, most), most)
            return await _write(body, lines, sender, intake, _origin(province, key), Receipt(trace))

        return await answer_once(request, key, once, Body(request, most), write)


class Body:
    """A request's body as it comes, with its fingerprint. Raises Problem: 408 when it stops coming, 413 when it does not end.

    ``most_bytes``: as sent. What unpacks to nothing has a bound by this alone.
    """

    def __init__(self, request: Request, most_bytes: int) -> None:
        self._stream = request.stream().__aiter__()
        self._most_bytes = self._left = most_bytes
        self.where = request.url.path
        self._hash = hashlib.blake2b(digest_size=16)
        self._until_s = asyncio.get_running_loop().time() + WHOLE_S

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields its bytes."""
        while True:
            left_s = self._until_s - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(min(IDLE_S, left_s)):
                    chunk = await anext(self._stream, None)
            except TimeoutError:
                remedy = "Send the body without pauses, or in smaller parts."
                raise Problem(408, "no_body", "the body did not come", self.where, remedy) from None
            if chunk is None:
                return
            self._left -= len(chunk)
            if self._left < 0:
                raise too_large(f"more than {self._most_bytes:,} bytes", self._most_bytes, self.where)
            if chunk:
                self._hash.update(chunk)
                yield chunk

    async def fingerprint(self) -> str:
        """Reads what is left, and returns the fingerprint of the whole."""
        async for _ in self.chunks():
            pass
        return self._hash.hexdigest()


Write = Callable[[Body], Awaitable[tuple[int, dict[str, Any]]]]


async def answer_once(request: Request, key: Key, once: str | None, body: Body, write: Write) -> JSONResponse:
    """Answers with what ``write`` returns, or with what an earlier request of the same Idempotency-Key was answered."""
    if once is None:
        status, shown = await write(body)
        return JSONResponse(shown, status)
    address = request.url.path + "?" + request.url.query
    ticket = repeats.ticket_of(sources_of(request).redis, str(key.owner), address, once)
    try:
        kept = await ticket.take()
    except repeats.AtWork:
        remedy = "Wait for the first request's answer, or send this one again later."
        raise Problem(
            409, "at_work", "a request with this key is at work", "Idempotency-Key", remedy, {"Retry-After": "5"}
        ) from None
    except repeats.REDIS_FAULTS:
        status, shown = await write(body)
        return JSONResponse(shown, status, {"Idempotency-Status": "not-kept"})
    if kept is not None:
        if await body.fingerprint() != kept.fingerprint:
            remedy = "Use a new key for another body."
            raise Problem(422, "key_reused", "this key came with another body before", "Idempotency-Key", remedy)
        return JSONResponse(kept.body, kept.status, {"Idempotency-Status": "repeated"})
    return await _first(ticket, body, write)


async def _first(ticket: repeats.Ticket, body: Body, write: Write) -> JSONResponse:
    try:
        status, shown = await write(body)
        fingerprint = await body.fingerprint()
    except BaseException:
        with suppress(*repeats.REDIS_FAULTS):
            await asyncio.shield(ticket.leave())
        raise
    try:
        await ticket.keep(repeats.Answer(fingerprint, status, shown))
    except repeats.REDIS_FAULTS:
        return JSONResponse(shown, status, {"Idempotency-Status": "not-kept"})
    return JSONResponse(shown, status, {"Idempotency-Status": "kept"})


async def _write(
    body: Body, lines: Lines, sender: Sender, intake: Intake, origin: list[tuple[str, bytes]], receipt: Receipt
) -> tuple[int, dict[str, Any]]:
    tally = Tally()

    async def _put(pieces: Iterator[Piece], size: int) -> None:
        while found := await intake.work(size, partial(_check, pieces, sender, intake)):
            for checked in found:
                await intake.put(checked, receipt, tally, origin)

    async with settled(body.where, intake, receipt, tally):
        async for chunk in body.chunks():
            await _put(lines.put(chunk), len(chunk))
        await _put(lines.end(), 0)
    return outcome(receipt, tally)


def outcome(receipt: Receipt, tally: Tally) -> tuple[int, dict[str, Any]]:
    """Returns status and body for a request whose lines are all in the log."""
    accepted = receipt.acked_lines
    status = 200 if accepted else 400
    if receipt.trace is not None:
        receipt.trace.answered(status, accepted, tally.rejected)
    return status, tally.body(accepted)


def _check(pieces: Iterator[Piece], sender: Sender, intake: Intake) -> list[Checked]:
    """Checks about PIECE_BYTES of what there is; returns nothing at its end."""
    found = []
    size = 0
    for piece in pieces:
        if piece.too_large:
            found.append(Checked([], 0, piece.too_large))
        if piece.data:
            found.append(check_lines(piece.data, piece.first_line, sender, now_ms(), intake.log.partitions))
        size += len(piece.data)
        if size >= PIECE_BYTES:
            break
    return found


@asynccontextmanager
async def settled(where: str, intake: Intake, receipt: Receipt, tally: Tally) -> AsyncIterator[None]:
    """Sees to it that what was put is in the log before an answer is given, whichever; makes Problems of faults."""
    fault: Problem | None = None
    try:
        try:
            yield
        except BadBody as error:
            fault = Problem(400, "bad_body", str(error), where, "Is Content-Encoding what the body is?")
        except TooLarge:
            fault = Problem(413, "too_large", "the body is over its bound", where, "Send it in several parts.")
        except Problem as problem:
            fault = problem
        await intake.settle(receipt)
    except BrokerAway as away:
        raise broker_away(away, where, {"accepted": receipt.acked_lines}) from away
    except (ClientDisconnect, asyncio.CancelledError):
        intake.log.flush(receipt)
        raise
    if fault is not None:
        fault.more = tally.body(receipt.acked_lines) | fault.more
        raise fault


def _origin(province: str, key: Key) -> list[tuple[str, bytes]]:
    return origin_of("records", province, key)


def origin_of(what: str, province: str, key: Key) -> list[tuple[str, bytes]]:
    """Returns the headers that say where a dead letter of the gateway comes from."""
    return [
        ("source", f"gateway:{what}".encode()),
        ("province", province.encode()),
        ("owner", str(key.owner).encode()),
        ("request", secrets.token_hex(8).encode()),
    ]


def media_type(request: Request) -> str:
    """Returns the Content-Type without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def encoding_of(request: Request, where: str) -> str:
    """Returns the Content-Encoding; raises Problem 415 for one that is not taken."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if encoding not in ENCODINGS:
        what = f"Content-Encoding {encoding[:40]} is not taken"
        raise Problem(415, "bad_encoding", what, where, f"Use {', '.join(ENCODINGS)}.")
    return encoding


def refuse_large(request: Request, most_bytes: int, where: str) -> None:
    """Raises Problem 413 for a body that says itself that it is over the bound."""
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:18]) > most_bytes:
        raise too_large(f"{length[:18]} bytes", most_bytes, where)


def too_large(what: str, most_bytes: int, where: str) -> Problem:
    """The body is over its bound."""
    remedy = f"Send at most {most_bytes:,} bytes at once; the rest in another request."
    return Problem(413, "too_large", f"{what} are over the bound", where, remedy)
