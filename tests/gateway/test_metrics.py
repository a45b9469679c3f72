"""What Prometheus sees of the gateway: open alerts by province, holds, live streams, what it depends on."""

import asyncio
import time

from gateway.filters import Filter
from gateway.metrics import GatewayMetrics
from schemas.times import format_ms
from tests.gateway.fakes import Parts, event

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(measured: GatewayMetrics) -> Samples:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in measured.collect()
        for sample in family.samples
    }


def look(parts: Parts) -> Samples:
    async def ask() -> Samples:
        measured = GatewayMetrics(parts.sources)
        await parts.summary.refresh()
        measured.holds.since_ms = await measured.holds.ask()
        return samples(measured)

    return asyncio.run(ask())


def test_open_alerts_are_counted_by_kind_band_and_province() -> None:
    parts = Parts()
    parts.write(event(1))
    parts.write(event(2, code=f"C{2:026}"))
    cells = {labels: value for (name, labels), value in look(parts).items() if name == "pricelink_province_open_alerts"}
    first = event(1)
    assert cells == {(first["kind"], first["band"], first["province"]): 2}


def test_the_oldest_hold_of_a_province_is_told() -> None:
    parts = Parts()
    now_ms = int(time.time() * 1_000)
    for number, age_ms in ((1, 60_000), (2, 7_200_000), (3, 5_000)):
        code = f"C{number:026}"
        hold = event(number, code=code) | {
            "alert_id": f"price_hold:{code}:110000:1", "kind": "price_hold", "band": "red", "province": "110000",
            "at": format_ms(now_ms - age_ms),
        }  # fmt: skip
        parts.write(hold)
    ages = {labels: value for (name, labels), value in look(parts).items() if name == "pricelink_oldest_hold_seconds"}
    assert ages.keys() == {("110000",)}
    assert 7_199 < ages["110000",] < 7_300


def test_streams_and_what_is_away_are_told() -> None:
    parts = Parts()

    async def happen() -> None:
        anything = Filter()
        parts.hub.subscribe(anything)
        parts.hub.subscribe(anything, owner="supplier:X", key_id="k1")
        slow = parts.hub.subscribe(anything, limit=0)
        parts.write(event(1))
        parts.hub.clients.remove(slow)

    asyncio.run(happen())
    seen = look(parts)
    assert seen["pricelink_sse_clients", ("page",)] == 1
    assert seen["pricelink_sse_clients", ("suppliers",)] == 1
    assert seen["pricelink_sse_cuts_total", ()] == 1
    assert seen["pricelink_dependency_up", ("redis",)] == 1
    parts.topic.problem = "no broker"
    assert look(parts)["pricelink_dependency_up", ("kafka",)] == 0
