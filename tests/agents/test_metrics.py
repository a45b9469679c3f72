"""What Prometheus sees: every promised name, and no label without a bound."""

import asyncio
import time
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents.metrics import Metrics
from agents.metrics_server import DELAY_BOUNDS_S, LoopDelay, serve
from agents.record_batches import Chunk
from agents.topic_sizes import sizes_of
from config.settings import Settings
from tests.agents.fake_machine import FakeMachine
from tests.simulation.world import batch_of


def told() -> Metrics:
    found = Metrics(now_ms=lambda: 5_040)
    machine = FakeMachine(2)
    found.restored(2, machine, 10, 0.5)
    batch = batch_of(2, [(10, b'{"code":"C1","add":1}'), (11, b"{"), (12, b'{"code":"C1","add":1}')])
    batch.messages["broker_ts_ms"] = 5_000
    effects = machine.apply(batch)
    found.applied(Chunk("feeds", batch, 10, 13, 20), effects, 0.001)
    found.alerts_acked(effects.alerts)
    found.checkpointed(2, 13, machine.checkpoint(13), 0.01)
    return found


def samples(found: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    registry.register(found)
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts() -> None:
    seen = samples(told())
    assert seen["pricelink_records_total", (("outcome", "applied"), ("type", "quote"))] == 2
    assert seen["pricelink_dead_letters_total", (("reason", "not_json"),)] == 1
    assert seen["pricelink_dead_letters_total", (("reason", "bad_money"),)] == 0
    assert seen["pricelink_alerts_total", (("change", "opened"), ("kind", "price_adjustment"))] == 2
    assert seen["pricelink_alerts_total", (("change", "resolved"), ("kind", "price_adjustment"))] == 0
    assert seen["pricelink_lines_total", ()] == 3
    assert seen["pricelink_rebalances_total", ()] == 0
    assert seen["pricelink_lag_records", (("partition", "2"),)] == 7
    assert seen["pricelink_lag_seconds", (("partition", "2"),)] == 0.04
    assert seen["pricelink_ingest_to_alert_seconds_bucket", (("le", "0.03"),)] == 0
    assert seen["pricelink_ingest_to_alert_seconds_bucket", (("le", "0.05"),)] == 2
    assert seen["pricelink_ingest_to_alert_seconds_count", ()] == 2
    assert seen["pricelink_open_alerts", (("band", "red"), ("kind", "price_hold"))] == 0
    assert seen["pricelink_checkpoint_age_seconds", (("partition", "2"),)] >= 0
    rows = FakeMachine(2).checkpoint(13)
    assert seen["pricelink_checkpoint_rows_total", ()] == len(rows.spans) + 1, (
        "a code's row more than an empty machine's"
    )
    assert seen["pricelink_checkpoint_bytes_total", ()] > rows.spans[-1, 2] > 0


def test_labels_are_of_closed_lists() -> None:
    labels = {name for _, pairs in samples(told()) for name, _ in pairs}
    assert labels == {"type", "outcome", "reason", "kind", "change", "band", "le", "partition"}


def test_a_lost_partition_is_no_longer_shown() -> None:
    found = told()
    found.lost(2)
    assert not any(name == "pricelink_lag_records" for name, _ in samples(found))
    assert found.lag_records == 0


async def _served(settings: Settings) -> bytes:
    port = serve(settings, told())
    await asyncio.sleep(0.6)

    def get() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            return bytes(response.read())

    return await asyncio.to_thread(get)


def test_they_are_served_with_what_every_process_has() -> None:
    text = asyncio.run(_served(Settings(metrics_port=0)))
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert {"pricelink_records", "pricelink_build_info", "process_cpu_seconds"} <= families.keys()
    looks = [each for each in families["pricelink_loop_delay_seconds"].samples if each.name.endswith("_count")]
    assert looks[0].value >= 1


def test_a_port_that_is_taken_is_named() -> None:
    async def twice() -> None:
        port = serve(Settings(metrics_port=0))
        serve(Settings(metrics_port=port))

    with pytest.raises(OSError, match=r"no metrics at 127\.0\.0\.1:\d+"):
        asyncio.run(twice())


def test_a_loop_that_is_held_up_shows() -> None:
    async def held_up() -> LoopDelay:
        delay = LoopDelay(asyncio.get_running_loop())
        await asyncio.sleep(0)
        time.sleep(0.4)  # noqa: ASYNC251  what must never happen in a process of ours
        await asyncio.sleep(0.01)
        return delay

    (histogram, _) = asyncio.run(held_up()).collect()
    counts = {each.labels["le"]: each.value for each in histogram.samples if each.name.endswith("_bucket")}
    assert counts["0.1"] == 0
    assert counts["+Inf"] == 1
    assert [*counts][:-1] == [str(bound) for bound in DELAY_BOUNDS_S]


def test_sizes_of_topics_are_those_of_all_brokers() -> None:
    def folder(name: str, *sizes: int) -> dict[str, object]:
        return {"topics": [{"name": name, "partitions": [{"partition_size": size} for size in sizes]}]}

    described = [
        {"broker": 1, "log_dirs": [folder("feeds", 10, 20), folder("somebody.elses", 5)]},
        {"broker": 2, "log_dirs": [folder("feeds", 3)]},
    ]
    assert sizes_of(described) == {"feeds": 33}
