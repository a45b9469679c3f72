"""Fuzzed bodies at a gateway of its own: no 5xx, no crash, memory flat; and what it counts as accepted is in the log.

``python -m load_tests.hostile_bodies --bodies 100000`` takes some minutes.
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
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
import xlsxwriter
import zstandard

from config.settings import Settings
from load_tests.harness import surroundings
from load_tests.ingest import PROVINCE, lines_in_log, new_token, ready, start_gateway

_PROFILE: Final = (
    '[columns]\ncode = "医保编码"\nprice = ["挂网价", "价格"]\nunit = "单位"\nsupplier = "企业"\nat = "时间"\n'
)
_TYPES: Final = ("application/x-ndjson", "text/csv", "application/json", "",
                 "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")  # fmt: skip
_CONNECTIONS: Final = 8
_LOOKS: Final = 20


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


class Bodies:
    """Makes fuzzed requests: path, headers, body."""

    def __init__(self, seed: int) -> None:
        self._made = random.Random(seed)
        self._books = [_workbook(self._made) for _ in range(20)]

    def next(self) -> tuple[str, dict[str, str], bytes]:
        """Returns the next one."""
        made = self._made
        what = made.randrange(10)
        if what < 6:
            path, media = "records", _TYPES[0]
            raw = b"\n".join(_record(made) for _ in range(made.choice((0, 1, 2, 5, 40))))
        elif what < 8:
            path, media = "price-lists", _TYPES[1]
            head = made.choice(("医保编码,挂网价,单位,企业,时间\n", "医保编码;价格\n", "x,y\n", ""))
            rows = "".join(
                f"C{made.randrange(10**6):026},{made.choice(('1', '1,5', '万元', '１'))},支\n" for _ in range(4)
            )
            raw = (head + rows).encode(made.choice(("utf-8", "gb18030", "utf-16", "utf-8-sig")))
        else:
            path, media = "price-lists", _TYPES[4]
            raw = made.choice(self._books)
        raw = _mutated(made, raw)
        encoding = made.choice(("identity", "identity", "gzip", "zstd", "br"))
        packed = {"gzip": lambda raw: gzip.compress(raw, 1), "zstd": zstandard.compress}.get(encoding, bytes)(raw)
        packed = _mutated(made, packed) if made.random() < 0.1 else packed
        headers = {"Content-Type": media if made.random() > 0.05 else made.choice(_TYPES), "Content-Encoding": encoding}
        if made.random() < 0.1:
            headers["Idempotency-Key"] = str(made.randrange(500))
        query = made.choice(("", "", "?dry_run=1", "?dry_run=x", "?profile=none", "?profile=%00"))
        return f"/v1/feeds/{PROVINCE}/{path}{query if path != 'records' else ''}", headers, packed


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


async def _send(base: str, token: str, gateway: "subprocess.Popen[bytes]", count: int, seed: int) -> dict[str, Any]:
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    rss_mb: list[float] = []
    accepted = sent = 0
    made = Bodies(seed)

    async with aiohttp.ClientSession(base, headers={"Authorization": f"Bearer {token}"}) as session:

        async def connection() -> None:
            nonlocal sent, accepted
            while sent < count and gateway.poll() is None:
                if sent % (count // _LOOKS or 1) == 0:
                    rss_mb.append(round(_rss_mb(gateway.pid), 1))
                sent += 1
                path, headers, body = made.next()
                try:
                    await one(path, headers, body)
                except aiohttp.ClientError as fault:
                    faults.append(f"{fault!r} {path} {headers} {body[:80]!r}")

        async def one(path: str, headers: dict[str, str], body: bytes) -> None:
            nonlocal accepted
            async with session.post(path, data=body, headers=headers, skip_auto_headers=["Content-Type"]) as answer:
                text = await answer.text()
                statuses[answer.status] += 1
                if answer.status >= 500:
                    faults.append(text[:300])
                elif (
                    answer.content_type == "application/json" and answer.headers.get("Idempotency-Status") != "repeated"
                ):
                    shown = json.loads(text)
                    accepted += 0 if shown.get("dry_run") else shown.get("accepted") or 0

        await asyncio.gather(*(connection() for _ in range(_CONNECTIONS)))
    return {
        "bodies": sent, "statuses": dict(sorted(statuses.items())), "server_faults": len(faults), "first_faults": faults[:3],
        "accepted": accepted, "alive": gateway.poll() is None, "rss_mb": rss_mb,
    }  # fmt: skip


def main() -> int:
    """Sends, prints; returns 1 on a 5xx, a crash, or an accepted record that is not in the log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ExitStack() as stack:
        settings: Settings = stack.enter_context(surroundings(None, 4, b"{}"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pricelink-profiles-")))
        (folder / f"{PROVINCE}.toml").write_text(_PROFILE)
        token = new_token(settings)
        gateway, base = start_gateway(settings, {"PRICELINK_PROFILES_FOLDER": str(folder)})
        stack.callback(gateway.wait)
        stack.callback(gateway.terminate)
        asyncio.run(ready(base, gateway, token))
        found = asyncio.run(_send(base, token, gateway, options.bodies, options.seed))
        found["in_log"] = asyncio.run(lines_in_log(settings))
    print(json.dumps(found, indent=1))
    return 1 if found["server_faults"] or not found["alive"] or found["in_log"] < found["accepted"] else 0


if __name__ == "__main__":
    sys.exit(main())
