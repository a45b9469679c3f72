"""Fuzzed bodies at a gateway of its own: no 5xx, no crash, memory flat; and what it counts as accepted is in the log.

``python -m load_tests.hostile_bodies`` takes some minutes: a hundred thousand records, price lists and workbooks, spoilt in
one place or another, and some that were made to hurt (``load_tests.hostile_files``).
"""

import argparse
import asyncio
import gzip
import io
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import xlsxwriter
import zstandard

from config.settings import Settings
from load_tests import hostile_files
from load_tests.harness import BenchFault, surroundings, usage
from load_tests.ingest import PROVINCE, lines_in_log, new_token, ready, start_gateway
from load_tests.report import RESULTS, heading, save

_PROFILE: Final = (
    '[columns]\ncode = "医保编码"\nprice = ["挂网价", "价格"]\nunit = "单位"\nsupplier = "企业"\nat = "时间"\n'
)
_TYPES: Final = ("application/x-ndjson", "text/csv", "application/json", "",
                 "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")  # fmt: skip
_CONNECTIONS: Final = 8
_LOOKS: Final = 20
"""Times that memory is looked at."""
_WARM: Final = 0.2
"""Memory is called flat against what it was after this share of the bodies: by then every path was taken."""
_HURTING: Final = 0.002
"""Share of bodies that were made to hurt."""


def _record(made: random.Random) -> bytes:
    record: dict[str, Any] = {
        "type": made.choice(("quote", "quote", "quote", "order", "item", "policy", "tick", "ceiling", "x", None, 3)),
        "province": made.choice((PROVINCE, PROVINCE, "110000", "1", None)), "code": f"C{made.randrange(10**6):026}",
        "at": made.choice((1_767_225_600_000, "2026-01-01T00:00:00Z", -1, "x", 10**30, 1.5)),
        "price": made.choice((1, "1.50", "1e3", 0, -1, 10**25, "9" * 200, None, True, [[]])),
        "supplier": made.choice(("91320000MA1N4XXXX1", "x", None)), "pack_size": made.choice((1, 10, 0, "3", None)),
        "id": made.choice(("a", "é" * 40, "\ud800", "\x00", "x" * 300)),
    }  # fmt: skip
    if made.random() < 0.7:
        record |= {
            "type": "quote", "province": PROVINCE, "at": 1_767_225_600_000 + made.randrange(10**6), "price": "1.5",
            "supplier": "91320000MA1N4XXXX1", "pack_size": 1, "id": "é",
        }  # fmt: skip
    return json.dumps({name: value for name, value in record.items() if made.random() > 0.01}).encode()


def _mutated(made: random.Random, raw: bytes) -> bytes:
    data = bytearray(raw)
    for _ in range(made.choice((0, 0, 1, 3, 30))):
        at = made.randrange(len(data) + 1)
        match made.randrange(5):
            case 0:
                data[at : at + 1] = bytes([made.randrange(256)])
            case 1:
                del data[at : at + made.randrange(1, 40)]
            case 2:
                data[at:at] = made.randbytes(made.randrange(1, 20))
            case 3:
                data[at:at] = data[at : at + made.randrange(1, 200)]
            case _:
                data[at:at] = made.choice((b"\n", b"\r\n", b"\x00", b"\xff\xfe", b"[" * 50, b'"', b",", "，".encode()))
    return bytes(data)


def _workbook(made: random.Random) -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ("医保编码", "挂网价", "单位"))
    for row in range(1, 6):
        sheet.write_row(row, 0, (f"C{made.randrange(10**6):026}", made.choice((1.5, "面议", 1e300, "=1")), "10支/盒"))
    book.close()
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Sent:
    """A request. ``kind``: what it is, for the figures; ``cut``: bytes of a piece, 0: it is sent whole, with its length."""

    kind: str
    path: str
    headers: dict[str, str]
    body: bytes
    cut: int = 0

    def data(self) -> bytes | AsyncIterator[bytes]:
        """Returns the body as aiohttp wants it."""
        return self._pieces() if self.cut else self.body

    async def _pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), self.cut):
            yield self.body[start : start + self.cut]


class Bodies:
    """Makes fuzzed requests."""

    def __init__(self, seed: int) -> None:
        self._made = random.Random(seed)
        self._books = [_workbook(self._made) for _ in range(20)]
        self._files = list(hostile_files.all_of(_TYPES[0], _TYPES[1], _TYPES[4]))

    def next(self) -> Sent:
        """Returns the next one."""
        made = self._made
        if made.random() < _HURTING:
            kind, path, headers, body = made.choice(self._files)
            return Sent(kind, f"/v1/feeds/{PROVINCE}/{path}", headers, body, made.choice((0, 60_000)))
        what = made.randrange(10)
        if what < 6:
            kind, path, media = "records", "records", _TYPES[0]
            raw = b"\n".join(_record(made) for _ in range(made.choice((0, 1, 2, 5, 40))))
        elif what < 8:
            kind, path, media = "csv", "price-lists", _TYPES[1]
            head = made.choice(("医保编码,挂网价,单位,企业,时间\n", "医保编码;价格\n", "x,y\n", ""))
            rows = "".join(
                f"C{made.randrange(10**6):026},{made.choice(('1', '1,5', '万元', '１'))},支\n" for _ in range(4)
            )
            raw = (head + rows).encode(made.choice(("utf-8", "gb18030", "utf-16", "utf-8-sig")))
        else:
            kind, path, media = "workbook", "price-lists", _TYPES[4]
            raw = made.choice(self._books)
        raw = _mutated(made, raw)
        encoding = made.choice(("identity", "identity", "gzip", "zstd", "br"))
        packed = {"gzip": lambda raw: gzip.compress(raw, 1), "zstd": zstandard.compress}.get(encoding, bytes)(raw)
        packed = _mutated(made, packed) if made.random() < 0.1 else packed
        headers = {"Content-Type": media if made.random() > 0.05 else made.choice(_TYPES), "Content-Encoding": encoding}
        if made.random() < 0.1:
            headers["Idempotency-Key"] = str(made.randrange(500))
        query = made.choice(("", "", "?dry_run=1", "?dry_run=x", "?profile=none", "?profile=%00"))
        address = f"/v1/feeds/{PROVINCE}/{path}{query if path != 'records' else ''}"
        return Sent(kind, address, headers, packed, made.choice((0, 0, 0, 0, 1 if len(packed) < 100 else 211, 700)))


def _rss_mb(pid: int) -> float:
    """Returns the memory of a process and of its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(_own_rss_mb(each) for each in (str(pid), *children))


def _own_rss_mb(pid: str) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended meanwhile
        return 0.0
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


@dataclass(slots=True)
class Found:
    """What came of it. ``took_ms``: of each answer, by kind; ``rss_mb``: by bodies sent."""

    bodies: int = 0
    accepted: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    of_kind: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    took_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)
    rss_mb: dict[int, float] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """Returns it as it is kept."""
        by_status = dict(sorted(self.statuses.items()))
        warm_mb = [mb for sent, mb in self.rss_mb.items() if sent >= _WARM * self.bodies]
        return {
            "bodies": self.bodies, "statuses": by_status, "accepted": self.accepted,
            "server_faults": sum(count for status, count in by_status.items() if status >= 500),
            "no_answer": self.bodies - self.statuses.total(), "first_faults": self.faults[:3],
            "rss_mb": {str(sent): round(mb, 1) for sent, mb in self.rss_mb.items()},
            "growth_percent": round(100 * (warm_mb[-1] / warm_mb[0] - 1), 1) if warm_mb else None,
            "kinds": {kind: self._of_kind(kind) for kind in sorted(self.of_kind)},
        }  # fmt: skip

    def _of_kind(self, kind: str) -> dict[str, Any]:
        took_ms = sorted(self.took_ms[kind])
        return {
            "bodies": len(took_ms), "statuses": dict(sorted(self.of_kind[kind].items())),
            "p50_ms": round(took_ms[len(took_ms) // 2], 1), "most_ms": round(took_ms[-1], 1),
        }  # fmt: skip


async def _send(base: str, token: str, gateway: "subprocess.Popen[bytes]", count: int, seed: int) -> Found:
    found, made = Found(), Bodies(seed)

    async with aiohttp.ClientSession(base, headers={"Authorization": f"Bearer {token}"}) as session:

        async def connection() -> None:
            while found.bodies < count and gateway.poll() is None:
                if found.bodies % (count // _LOOKS or 1) == 0:
                    found.rss_mb[found.bodies] = _rss_mb(gateway.pid)
                found.bodies += 1
                sent = made.next()
                try:
                    await one(sent)
                except (aiohttp.ClientError, ConnectionError) as fault:
                    found.faults.append(f"{fault!r} {sent.kind} {sent.path} {sent.headers} {sent.body[:80]!r}")

        async def one(sent: Sent) -> None:
            began_s = time.perf_counter()
            async with session.post(
                sent.path, data=sent.data(), headers=sent.headers, skip_auto_headers=["Content-Type"]
            ) as answer:
                text = await answer.text()
                found.took_ms[sent.kind].append((time.perf_counter() - began_s) * 1_000)
                found.statuses[answer.status] += 1
                found.of_kind[sent.kind][answer.status] += 1
                if answer.status >= 500:
                    found.faults.append(f"{sent.kind} {text[:300]}")
                elif (
                    answer.content_type == "application/json" and answer.headers.get("Idempotency-Status") != "repeated"
                ):
                    shown = json.loads(text)
                    found.accepted += 0 if shown.get("dry_run") else shown.get("accepted") or 0

        await asyncio.gather(*(connection() for _ in range(_CONNECTIONS)))
        if gateway.poll() is None:
            found.rss_mb[found.bodies] = _rss_mb(gateway.pid)
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Sends; returns the figures."""
    with ExitStack() as stack:
        settings: Settings = stack.enter_context(surroundings(options.kafka, 4, b"{}"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pricelink-profiles-")))
        (folder / f"{PROVINCE}.toml").write_text(_PROFILE)
        token = new_token(settings)
        log = stack.enter_context(tempfile.TemporaryFile())
        gateway, base = start_gateway(settings, {"PRICELINK_PROFILES_FOLDER": str(folder)}, log)
        stack.callback(gateway.wait)
        stack.callback(gateway.terminate)
        asyncio.run(ready(base, gateway, token))
        before, began_s = usage(gateway.pid), time.monotonic()
        found = asyncio.run(_send(base, token, gateway, options.bodies, options.seed))
        seconds = time.monotonic() - began_s
        if gateway.poll() is not None:
            log.seek(0)
            raise BenchFault(
                f"the gateway ended with {gateway.returncode}: {found.faults[-1:]}\n{log.read()[-4000:]!r}"
            )
        after = usage(gateway.pid)
        in_log = asyncio.run(lines_in_log(settings))
    return found.shown() | {
        "in_log": in_log, "lost": max(0, found.accepted - in_log), "seconds": round(seconds, 1),
        "bodies_per_s": round(found.bodies / seconds, 1), "gateway_cpu_s": round(after.cpu_s - before.cpu_s, 1),
        "peak_mb": round(after.peak_mb, 1),
    }  # fmt: skip


def main() -> int:
    """Sends, prints, writes load_tests/results/hostile_bodies.json; returns 1 on a 5xx, a crash, or a lost record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a Kafka without topics of ours; default: embedded broker")
    parser.add_argument("--out", type=Path, default=RESULTS / "hostile_bodies.json")
    options = parser.parse_args()
    about = heading("kafka" if options.kafka else "embedded")
    result = about | {"seed": options.seed} | run(options)
    save(options.out, result)
    return 1 if result["server_faults"] or result["no_answer"] or result["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
