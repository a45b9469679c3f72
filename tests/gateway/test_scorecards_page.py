"""Rankings and cards in a real browser: ten minutes of the demo market, counted by the real agents."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
from aiokafka import AIOKafkaProducer

from config.topics import ALERTS
from market.simulator import Market
from schemas.codes import partition_of
from tests.gateway.chromium import Tab, browser
from tests.gateway.live import gateway
from tests.integration.cluster import Cluster, produce
from tests.integration.test_read_model import recount as alerts_of
from tests.integration.test_read_model import until_equal
from tests.integration.test_scorecards import shown
from tests.market.test_every_kind import ten_minutes

pytestmark = pytest.mark.integration

TEXT = "(document.querySelector('{}')?.innerText ?? '')"
PICTURES = os.environ.get("PRICELINK_TEST_PICTURES")
"""A folder for screenshots of what the test saw."""


async def fill(cluster: Cluster, events: list[dict[str, Any]]) -> None:
    now_ms = time.time_ns() // 1_000_000
    partitions = cluster.settings.partitions
    market = Market(1, 150)
    lines = [(line.code, line.value) for line in market.history(now_ms)]
    while market.backlog:
        lines += [(line.code, line.value) for line in market.lines(now_ms, 500)]
    records = [(partition_of(code, partitions), code.encode(), value, now_ms) for code, value in lines]
    ticks = [(place, None, b'{"type":"tick","at":%d}' % now_ms, now_ms) for place in range(partitions)]
    await produce(cluster.settings, [*records, *ticks])
    producer = AIOKafkaProducer(bootstrap_servers=cluster.settings.bootstrap, linger_ms=1)
    await producer.start()
    for event in events:
        await producer.send(ALERTS.name, orjson.dumps(event), key=(event.get("code") or event["province"]).encode())
    await producer.stop()


def until_counted(client: Any, values: list[bytes], within_s: float = 60) -> None:
    """Waits until the cards have every event: a number that still changes leads to other alerts than it did."""
    wanted: dict[str, Counter[tuple[str, str]]] = {}
    for event in map(orjson.loads, alerts_of([(ALERTS.name, b"", value) for value in values])["open"].values()):
        for dimension in ("supplier", "institution", "province"):
            if owner := event.get(dimension):
                wanted.setdefault(f"{dimension}:{owner}", Counter())[event["kind"], event["band"]] += 1
    deadline = time.monotonic() + within_s
    while (found := {owner: card["open"] for owner, card in shown(client).items() if card["open"]}) != wanted:
        if time.monotonic() > deadline:
            assert found == wanted
        time.sleep(0.2)


async def picture(tab: Tab, name: str) -> None:
    if PICTURES:
        await tab.picture(Path(PICTURES) / f"{name}.png")


async def look(cluster: Cluster) -> None:
    async with browser() as tab, gateway(cluster.settings) as client:
        url = str(client.base_url)
        await tab.size(1800, 1300)
        await tab.goto(f"{url}/scorecards?lang=zh")
        await tab.until("document.querySelectorAll('.panel.supplier tbody tr').length > 3", 60)
        await tab.until("document.querySelectorAll('.panel.province tbody tr').length > 10", 60)
        await tab.until("document.querySelectorAll('.inspections tbody tr').length > 0", 60)
        shown = await tab.evaluate("document.body.innerText")
        for expected in ("问题最多的企业", "回款最差的医疗机构", "随机复核", "并非官方标准"):
            assert expected in shown, expected
        await picture(tab, "scorecards-zh")
        ranked = await tab.evaluate(
            "[...document.querySelectorAll('.panel.institution tbody tr')].map((row) => Number(row.cells[4].innerText.replace(/[^0-9.]/g, '')))"
        )
        assert ranked == sorted(ranked, reverse=True)
        heads = "[...document.querySelectorAll('.panel.{} th')].map((head) => head.innerText).join()"
        assert "逾期货款" not in await tab.evaluate(heads.format("supplier")), "it is owed to them, not by them"
        assert "到货率" not in await tab.evaluate(heads.format("institution"))
        assert ranked[0] > 0

        await tab.goto(f"{url}/scorecards?lang=en")
        await tab.until("document.body.innerText.includes('Worst payers')")
        await picture(tab, "scorecards-en")
        owed = "document.querySelector('.panel.institution tbody tr td:nth-child(5) a')"
        await tab.evaluate(f"{owed}.click()")
        await tab.until("document.querySelectorAll('.panel.alerts tbody tr').length > 0")
        assert "kind=settlement_arrears" in await tab.evaluate("location.search")
        kinds = await tab.evaluate(
            "[...document.querySelectorAll('.alerts tbody tr')].map((row) => row.cells[1].innerText)"
        )
        assert all("Settlement arrears" in kind for kind in kinds)
        await picture(tab, "card-en")
        await tab.evaluate("document.querySelector('.alerts tbody tr a').click()")
        await tab.until(f"{TEXT.format('#detail')}.includes('Settlement arrears')")
        await tab.until(
            f"document.getElementById('scorecards').href.includes('lang=en') && {TEXT.format('#scorecards')} === 'Scorecards'"
        )
        assert not [error for error in tab.errors if "favicon" not in error]

        for dimension in ("supplier", "institution", "province"):
            cards = (await client.get("/api/scorecards", params={"dimension": dimension})).json()["cards"]
            for card in cards[:3]:
                answer = (await client.get(f"/api/scorecards/{dimension}/{card['key']}")).json()
                assert answer["matching"] == card["open_total"] + min(card["banded_orders"], 20)
        assert (await client.get("/api/scorecards", params={"dimension": "supplier", "by": "x"})).status_code == 400
        assert (await client.get("/scorecards/supplier/nobody")).status_code == 404


def test_every_number_leads_to_its_alerts() -> None:
    events, silences = ten_minutes()
    with Cluster.make() as cluster:
        cluster.start_read_model()
        cluster.start_process("agents.scorecards", "s")
        asyncio.run(fill(cluster, [*events, *silences]))
        values = [orjson.dumps(event) for event in (*events, *silences)]
        client = redis.Redis.from_url(cluster.settings.redis_url)
        until_counted(client, values)
        until_equal(client, alerts_of([(ALERTS.name, b"", value) for value in values]))
        asyncio.run(asyncio.wait_for(look(cluster), 150))
