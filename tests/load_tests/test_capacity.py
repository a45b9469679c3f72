"""The page of capacity: figures come from results where they are, assumptions are named, and the arithmetic is right."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from load_tests.capacity import SCALES, breaks_first, inputs, need, page, shares, write

MEASURED: dict[str, Any] = {
    "latest": {"packed": {"records": 1_000_000, "worker_cpu_us_per_record": 3.0, "mb": 200.0, "events_per_record": 0.05,
                          "mean_event_bytes": 500, "broker_cpu_us_per_record": 1.0}, "latency_2000": {"worker_cpu_share": 0.2}},
    "memory": {"grown": {"bytes_per_slot": 80.0}, "packed": {"slots": 8_000_000}, "restored": {"seconds": 4.0}},
    "life_cycle": {"records": 1000, "disk_bytes": {"feeds": 50_000, "alerts": 9_000}, "messages": {"alerts": 90}},
}  # fmt: skip


def test_inputs_are_measured_or_named_as_assumed() -> None:
    given = inputs(MEASURED)
    assert (given.worker_us.value, given.worker_us.source) == (3.0, "latest.json")
    assert (given.record_bytes.value, given.slot_bytes.value, given.restore_slots_per_s.value) == (200, 80, 2_000_000)
    assert (given.disk_record_bytes.value, given.disk_event_bytes.value) == (50, 100)
    assert given.gateway_us.source == "assumed"
    nothing = inputs({})
    assert {nothing.worker_us.source, nothing.slot_bytes.source, nothing.disk_record_bytes.source} == {"assumed"}
    both = inputs(MEASURED | {"kafka": {"packed": MEASURED["latest"]["packed"] | {"worker_cpu_us_per_record": 5}}})
    assert (both.worker_us.value, both.worker_us.source) == (5, "kafka.json"), (
        "Kafka's goes before the embedded broker's"
    )


def test_the_arithmetic_by_hand() -> None:
    nation = next(scale for scale in SCALES if scale.name == "the nation")
    found = need(nation, inputs(MEASURED))
    assert found.busy_per_s == pytest.approx(5_000_000 / 3600)
    assert found.burst_cores == pytest.approx(5_000_000 * 3e-6 / 60)
    assert found.worker_cores == pytest.approx(5_000_000 / 3600 / 2_000 * 0.2 * 2)
    hundred = need(SCALES[-1], inputs(MEASURED))
    assert hundred.worker_cores == pytest.approx((0.2 + (500e6 / 3600 - 2_000) * 3e-6) * 2)
    assert found.workers == 2
    assert found.worker_memory_gb == pytest.approx(15e6 * 80 / 1e9 + 0.6)
    assert found.restore_s == pytest.approx(15e6 / 2 / 2e6)
    assert found.log_gb_a_year == pytest.approx(5e6 * 365 * 50 / 1e9 * 3)
    assert found.events_gb_kept == pytest.approx(5e6 * 400 * 0.05 * 100 / 1e9 * 3)
    assert found.network_mb_per_s == pytest.approx(5e6 / 3600 * (200 * 6 + 25 * 8) / 1e6)


def test_larger_needs_more_and_breaks_sooner() -> None:
    given = inputs(MEASURED)
    needs = [need(scale, given) for scale in SCALES]
    assert [each.log_gb_a_year for each in needs] == sorted(each.log_gb_a_year for each in needs)
    worst = [max(shares(scale, each).values()) for scale, each in zip(SCALES, needs, strict=True)]
    assert worst == sorted(worst)
    assert worst[0] < 1 < worst[-1]
    assert breaks_first(SCALES[-1], needs[-1]).count("%") >= 2


def test_page_and_plot_are_written(tmp_path: Path) -> None:
    write(tmp_path / "page.md", tmp_path / "plot.svg")
    text = (tmp_path / "page.md").read_text()
    assert all(scale.name in text for scale in SCALES)
    assert ET.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")
    assert "not measured" not in "\n".join(page({}))
