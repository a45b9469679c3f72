"""The inspection list from a log on a broker: written once a day, not again after a restart; and shares in the cards."""

import asyncio
import signal
import time
from typing import Any

import orjson
import pytest
import redis

from config.topics import INSPECTIONS
from schemas.codes import partition_of
from tests.integration.cluster import Cluster, produce, read, stop
from tests.integration.test_scorecards import write

pytestmark = pytest.mark.integration

DAY_MS = 86_400_000
HOSPITALS = [f"江苏第{number}医院" for number in range(5)]
SUPPLIER = "91320000MA1XXXXX1A"
CODE = f"C{7:026d}"
PARTITIONS = 2


def log(midnight: int) -> list[tuple[int, dict[str, Any]]]:
    """Five hospitals order the same each month, the first ten times as much lately; then the day begins everywhere."""
    place = partition_of(CODE, PARTITIONS)
    records: list[tuple[int, dict[str, Any]]] = [(p, {"type": "tick", "at": midnight - 1}) for p in range(PARTITIONS)]
    records.append((place, {"type": "item", "code": CODE, "at": midnight - 2, "category": "骨科材料"}))
    for number, hospital in enumerate(HOSPITALS):
        for month in range(4):
            quantity = 1_000 if number == month == 0 else 100
            order = {
                "type": "order", "province": "320000", "code": CODE, "at": midnight - (5 + 30 * month) * DAY_MS,
                "order_id": f"{number}-{month}", "institution": hospital, "supplier": SUPPLIER, "price": "1",
                "quantity": quantity,
            }  # fmt: skip
            records += [(place, order), (place, order)]
    return records + [(p, {"type": "tick", "at": midnight}) for p in range(PARTITIONS)]


def bargain(number: int) -> bytes:
    alert_id = f"bargain:{CODE}:320000:{number}-0:1"
    return orjson.dumps(
        {"event_id": f"{alert_id}/1", "alert_id": alert_id, "revision": 1, "kind": "bargain", "change": "observed",
         "code": CODE, "province": "320000", "supplier": SUPPLIER, "institution": HOSPITALS[number], "band": "red",
         "at": "2026-01-01T00:00:00.000Z"}
    )  # fmt: skip


def rows(cluster: Cluster) -> list[dict[str, Any]]:
    found = asyncio.run(read(cluster.settings, INSPECTIONS.name))
    return [orjson.loads(message.value) for messages in found.values() for message in messages]


def until(cluster: Cluster, dimension: str, key: str, orders: int) -> dict[str, Any]:
    client = redis.Redis.from_url(cluster.settings.redis_url)
    deadline = time.monotonic() + 60
    while True:
        value = client.hget(f"pl:cards:{dimension}", key)
        card: dict[str, Any] = orjson.loads(value) if value else {}
        if card.get("orders") == orders:
            return card
        assert time.monotonic() < deadline, card
        time.sleep(0.2)


def test_a_day_has_one_list_and_cards_have_shares() -> None:
    now_ms = time.time_ns() // 1_000_000
    midnight = (now_ms + 8 * 3_600_000) // DAY_MS * DAY_MS - 8 * 3_600_000
    messages = [(place, None, orjson.dumps(record), now_ms) for place, record in log(midnight)]
    with Cluster.make(partitions=PARTITIONS) as cluster:
        asyncio.run(produce(cluster.settings, messages))
        asyncio.run(_write_alerts(cluster))
        process = cluster.start_process("agents.scorecards", "s")
        card = until(cluster, "institution", HOSPITALS[0], 4)
        assert (card["banded_orders"], card["banded_share_bp"]) == (1, 2_500)
        assert until(cluster, "supplier", SUPPLIER, 20)["banded_share_bp"] == 1_000
        first = rows(cluster)
        assert [
            (row["institution"], row["recent"], row["before"], row["own_bp"], row["peers_bp"]) for row in first
        ] == [(HOSPITALS[0], 1_000, 300, 100_000, 100_000)]
        process.send_signal(signal.SIGKILL)
        process.wait()

        again = cluster.start_process("agents.scorecards", "s")
        late = {"type": "order", "province": "320000", "code": CODE, "at": now_ms - 9, "order_id": "late", "price": "1",
                "institution": HOSPITALS[1], "supplier": SUPPLIER, "quantity": 5}  # fmt: skip
        asyncio.run(produce(cluster.settings, [(partition_of(CODE, PARTITIONS), None, orjson.dumps(late), now_ms)]))
        until(cluster, "supplier", SUPPLIER, 21)
        assert rows(cluster) == first, "the list of the day was there already"
        assert stop(again)[0] == 0


async def _write_alerts(cluster: Cluster) -> None:
    await write(cluster, [bargain(0), bargain(1), bargain(0)])
