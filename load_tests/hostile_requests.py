"""Requests made from /openapi.json, right and wrong, against a gateway over stand-ins: no 5xx, no undocumented status.

``python -m load_tests.hostile_requests --seconds 300``. Schemathesis makes the requests; live streams are left out, as they
do not end. Faults of Redis and the broker are not part of it: nothing is away.
"""

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

from gateway.keys import Owner
from tests.gateway.test_matrix import full
from tests.gateway.test_subscriber_stream import OURS, key_of

LEFT_OUT = "^(/v1/events/stream|/events|/v1/feeds/.*/records)$"
"""Streams do not end; records are fuzzed by ``load_tests.hostile_bodies``."""
CHECKS = "not_a_server_error,status_code_conformance"


async def run(options: argparse.Namespace) -> int:
    """Serves and asks; returns the exit code of Schemathesis."""
    parts = full()
    owner = Owner("supplier", OURS) if options.as_ == "supplier" else Owner("operator", "desk")
    if options.as_ == "province":
        owner = Owner("province", "320000")
    _, headers = key_of(parts, owner)
    await parts.summary.refresh()
    await parts.intake.warm_up()
    async with parts.client() as client:
        writing = asyncio.create_task(parts.intake.log.run())
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.1)
        arguments = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{client.base_url}/openapi.json", "--checks", CHECKS,
            "--header", f"Authorization: {headers['Authorization']}", "--exclude-path-regex", LEFT_OUT,
            "--max-examples", str(options.examples), "--max-time", str(int(options.seconds)), "--request-timeout", "20", "--no-color", "--generation-database", "none",
        ]  # fmt: skip
        child = await asyncio.create_subprocess_exec(*arguments, stdout=None if options.verbose else subprocess.PIPE)
        try:
            said, _ = await asyncio.wait_for(child.communicate(), options.seconds + 60)
        except TimeoutError:
            child.terminate()
            said, _ = await child.communicate()
        writing.cancel()
        print((said or b"").decode()[-6_000:])
        return child.returncode or 0


def main() -> None:
    """Reads the command line, asks, prints what Schemathesis says."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--examples", type=int, default=200)
    options.add_argument("--as", dest="as_", choices=("supplier", "province", "operator"), default="supplier")
    options.add_argument("--verbose", action="store_true")
    raise SystemExit(asyncio.run(run(options.parse_args())))


if __name__ == "__main__":
    main()
