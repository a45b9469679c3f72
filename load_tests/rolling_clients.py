"""Clients of a rolling restart, each a process of its own: a feeder behind two gateways, a live stream, a webhook receiver.

The feeder and the live stream do what a load balancer and an SSE library do: what one gateway does not answer is sent
to the other, and a stream that ended is resumed there with ``Last-Event-ID``.
"""

import asyncio
import bisect
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final

import aiohttp
import numpy as np
import numpy.typing as npt
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from load_tests.generate import Lines, Load, lines, messages_of

ANSWER_S: Final = 30.0
_CONNECT_S: Final = 2.0
_AGAIN_S: Final = 0.1
_LOOK_S: Final = 0.05
_EVERY_S: Final = 1.0
"""Each province sends what it has so often, at a phase of its own."""
_HEAD_LINES: Final = 5_000


def numbered(load: Load) -> Iterator[tuple[str, bytes]]:
    """Yields province and line of each record in log order; its ``id`` is its number, from 0."""
    number = 0
    for chunk in _chunks(load):
        turns = [
            ((place + 0.5) / len(run.ends), run.partition, line)
            for run in chunk
            for place, line in enumerate(messages_of(run, 1))
        ]
        for _, _, line in sorted(turns, key=lambda turn: turn[:2]):
            province = line.split(b'"province":"', 1)[1][:6].decode()
            yield province, b'%b,"id":"%d"}' % (line[:-1], number)
            number += 1


def _chunks(load: Load) -> Iterator[list[Lines]]:
    """Yields the runs of all partitions that lie beside each other in the log."""
    chunk: list[Lines] = []
    for run in lines(load):
        if chunk and run.partition <= chunk[-1].partition:
            yield chunk
            chunk = []
        chunk.append(run)
    yield chunk


@dataclass(frozen=True, slots=True)
class Feed:
    """What the feeder sends: the first ``head`` records as fast as it goes, then ``rate`` a second, to ``urls``.

    ``tokens``: by province.
    """

    load: Load
    head: int
    rate: float
    urls: tuple[str, ...]
    tokens: dict[str, str]


@dataclass(slots=True)
class Fed:
    """What became of it. ``sent``: records that were answered; ``accepted``: those counted in the answers.

    ``handed_ns``: by number, when a record of the steady part was due, epoch nanoseconds; 0: it was not.
    ``failures``: attempts that were repeated on the other gateway, by status or fault. ``answers``: when each request
    was due, and how many milliseconds passed until it was answered.
    """

    sent: int = 0
    accepted: int = 0
    handed_ns: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    failures: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[int, float]] = field(default_factory=list)


def feed(plan: Feed, pipe: Connection) -> None:
    """Sends the head when told ``head``, the rest from ``go`` until ``stop``; then says what became of it."""
    asyncio.run(_Feeder(plan).run(pipe))


class _Feeder:
    def __init__(self, plan: Feed) -> None:
        self._plan = plan
        self._records = list(numbered(plan.load))
        self._fed = Fed(handed_ns=np.zeros(len(self._records), np.int64))
        self._turns = itertools.count()
        self._session: Any = None
        self._stopped = False

    async def run(self, pipe: Connection) -> None:
        timeout = aiohttp.ClientTimeout(ANSWER_S, sock_connect=_CONNECT_S)
        async with aiohttp.ClientSession(timeout=timeout) as self._session:
            pipe.send("ready")
            await _told(pipe)
            numbers = self._by_province(0, self._plan.head)
            await asyncio.gather(*(self._send_head(province, own) for province, own in numbers.items()))
            pipe.send(self._fed.accepted)
            await _told(pipe)
            began_s, began_ns = time.monotonic(), time.time_ns()
            numbers = self._by_province(self._plan.head, len(self._records))
            sending = asyncio.gather(
                *(
                    self._send_steadily(province, own, phase * _EVERY_S / len(numbers), began_s, began_ns)
                    for phase, (province, own) in enumerate(numbers.items())
                )
            )
            await _told(pipe)
            self._stopped = True
            await sending
        pipe.send(self._fed)

    def _by_province(self, start: int, stop: int) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number in range(start, stop):
            found.setdefault(self._records[number][0], []).append(number)
        return found

    async def _send_head(self, province: str, numbers: list[int]) -> None:
        for first in range(0, len(numbers), _HEAD_LINES):
            await self._post(province, numbers[first : first + _HEAD_LINES], time.time_ns())

    async def _send_steadily(
        self, province: str, numbers: list[int], phase_s: float, began_s: float, began_ns: int
    ) -> None:
        """Sends bodies in turn. One that is late says when it was due: that others waited for it is not hidden."""
        sent = 0
        for turn in itertools.count(1):
            due_s = phase_s + turn * _EVERY_S
            await asyncio.sleep(max(0.0, began_s + due_s - time.monotonic()))
            if self._stopped or sent == len(numbers):
                return
            until = self._plan.head + due_s * self._plan.rate
            own = numbers[sent : bisect.bisect_left(numbers, until)]
            sent += len(own)
            if own:
                due_ns = began_ns + int(due_s * 1e9)
                self._fed.handed_ns[own] = due_ns
                await self._post(province, own, due_ns)

    async def _post(self, province: str, numbers: list[int], due_ns: int) -> None:
        body = b"\n".join(self._records[number][1] for number in numbers)
        headers = {"Authorization": f"Bearer {self._plan.tokens[province]}", "Content-Type": "application/x-ndjson"}
        first = next(self._turns)
        for attempt in itertools.count():
            if attempt and attempt % len(self._plan.urls) == 0:
                await asyncio.sleep(_AGAIN_S)
            url = self._plan.urls[(first + attempt) % len(self._plan.urls)]
            try:
                async with self._session.post(
                    f"{url}/v1/feeds/{province}/records", data=body, headers=headers
                ) as answer:
                    shown = await answer.json()
                    if answer.status == 200:
                        break
                    self._fed.failures[f"{answer.status} {shown['error']['code']}"] += 1
            except (aiohttp.ClientError, TimeoutError) as fault:
                self._fed.failures[type(fault).__name__] += 1
        self._fed.sent += len(numbers)
        self._fed.accepted += shown["accepted"]
        self._fed.answers.append((due_ns, (time.time_ns() - due_ns) / 1e6))


async def _told(pipe: Connection) -> None:
    while not pipe.poll():  # noqa: ASYNC110  another process says it
        await asyncio.sleep(_LOOK_S)
    pipe.recv()


@dataclass(slots=True)
class Followed:
    """What came over a live stream. ``begin``: the cursor it began with; ``events``: their bytes, in order.

    ``streams``: how often it was opened; ``refused``: attempts that opened none, by status or fault.
    """

    begin: str = ""
    events: list[bytes] = field(default_factory=list)
    streams: int = 0
    resets: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def follow(urls: tuple[str, ...], token: str, pipe: Connection) -> None:
    """Follows ``/v1/events/stream`` from now on, on the other gateway whenever one ends it, until told to stop."""
    asyncio.run(_follow(urls, token, pipe))


async def _follow(urls: tuple[str, ...], token: str, pipe: Connection) -> None:
    found, last = Followed(), ""
    timeout = aiohttp.ClientTimeout(None, sock_connect=_CONNECT_S)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 20) as session:
        for turn in itertools.count():
            if pipe.poll():
                break
            headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last} if last else {})
            try:
                async with session.get(f"{urls[turn % len(urls)]}/v1/events/stream", headers=headers) as answer:
                    if answer.status == 200:
                        found.streams += 1
                        last = await _read_stream(answer.content, last, found, pipe)
                    else:
                        found.refused[str(answer.status)] += 1
            except (aiohttp.ClientError, TimeoutError) as fault:
                found.refused[type(fault).__name__] += 1
            await asyncio.sleep(_LOOK_S)
    pipe.send(found)


async def _read_stream(content: aiohttp.StreamReader, last: str, found: Followed, pipe: Connection) -> str:
    """Reads until it ends, or we are told to stop; returns the last id."""
    kind = b""
    reading = asyncio.ensure_future(content.readline())
    try:
        while not pipe.poll():
            if not (await asyncio.wait({reading}, timeout=_LOOK_S))[0]:
                continue
            line = reading.result()
            if not line:
                break
            reading = asyncio.ensure_future(content.readline())
            name, _, value = line.rstrip(b"\n").partition(b": ")
            if name == b"id":
                last = value.decode()
            elif name == b"event":
                kind = value
                found.resets += kind == b"reset"
                if kind == b"ready" and not found.begin:
                    found.begin = last
                    pipe.send("ready")
            elif name == b"data" and kind in {b"alert", b"price"}:
                found.events.append(value)
    except aiohttp.ClientError as fault:
        found.refused[type(fault).__name__] += 1  # it was cut, not ended
    finally:
        reading.cancel()
    return last


@dataclass(slots=True)
class Received:
    """What came over webhooks: bodies in order. ``unverified``: whose signature was not ours."""

    bodies: list[bytes] = field(default_factory=list)
    unverified: int = 0


def receive(port: int, secret: str, pipe: Connection) -> None:
    """Takes webhooks at this port until told to stop."""
    asyncio.run(_receive(port, secret, pipe))


async def _receive(port: int, secret: str, pipe: Connection) -> None:
    found, signed = Received(), Webhook(secret)

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        try:
            signed.verify(body, dict(request.headers))
        except WebhookVerificationError:
            found.unverified += 1
            return web.Response(status=401)
        found.bodies.append(body)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    pipe.send("ready")
    await _told(pipe)
    await runner.cleanup()
    pipe.send(found)


def event_id_of(body: bytes) -> str:
    """Returns the id of the event in a webhook's body."""
    return str(json.loads(body)["data"]["event_id"])
