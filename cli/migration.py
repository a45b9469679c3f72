"""`pricelink migration check`: an old export of a province against the state that the workers have written."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from agents.state_topic import KafkaStateStore
from cli.feed import FeedFault
from cli.kafka_log import partitions_of
from config.provinces import PROVINCE_INDEX
from config.settings import Settings
from config.topics import STATE
from gateway.key_ring import now_ms
from gateway.migrations import HEADER, compare, read_old, summary_of
from gateway.pricelists import open_list
from gateway.profiles import MappingFault, load_profile
from gateway.tables import csv_line
from schemas.policy import Policy, load_policy
from streams.listings import Listed
from streams.machine import Machine

_SAID: Final = 20
_NO_WRITER: Final[Any] = None


def read_state(settings: Settings, province: int) -> tuple[list[Listed], dict[str, str | None]]:
    """Returns a province's listings and the retired codes, as of the workers' last checkpoint; raises LogFault."""
    partitions = partitions_of(settings, STATE.name)
    policy = load_policy(b"{}")
    assert isinstance(policy, Policy)
    store = KafkaStateStore(_NO_WRITER, settings)
    listings: list[Listed] = []
    retired: dict[str, str | None] = {}
    for partition in range(partitions):
        machine = Machine(partition, partitions, policy)
        asyncio.run(store.restore(partition, machine))
        listings += machine.listings(province)
        retired |= machine.retired()
    return listings, retired


def check(
    settings: Settings, path: Path, mapping: Path, province: str, out: Path | None, say: Callable[[str], None]
) -> int:
    """Compares, says what is what, writes the findings; returns 0 where nothing differs, else 1. Raises FeedFault, LogFault."""
    if province not in PROVINCE_INDEX:
        raise FeedFault(f"{province!r} is no province: one of the 32 six-digit codes")
    try:
        profile = load_profile(mapping)
        with path.open("rb") as file:
            old = list(read_old(open_list(file, profile, now_ms(), province, str(path)), profile))
    except MappingFault as fault:
        raise FeedFault(str(fault)) from fault
    except (OSError, EOFError) as error:
        raise FeedFault(f"cannot read {path}: {error}") from error
    listings, retired = read_state(settings, PROVINCE_INDEX[province])
    counts: Counter[str] = Counter()
    lines = [csv_line(HEADER)]
    for finding in compare(old, listings, retired):
        counts[finding.what] += 1
        if finding.what != "same":
            lines.append(finding.csv_line())
            if out is None and len(lines) <= _SAID + 1:
                say(finding.csv_line().rstrip())
    say(f"{province}: {len(old):,} rows of {path.name} against {len(listings):,} listings of ours")
    say(summary_of(counts))
    if out is not None:
        out.write_text("".join(lines), "utf-8-sig", newline="")
        say(f"{len(lines) - 1:,} findings are in {out}")
    return 0 if counts.total() == counts["same"] else 1
