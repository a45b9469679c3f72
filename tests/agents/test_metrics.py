"""What Prometheus sees: every promised name, and no label without a bound."""

import urllib.request

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents import metrics
from agents.metrics import Metrics
from agents.record_batches import Chunk
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
    found.checkpointed(2, 13, 4, 0.01)
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
    assert seen["pricelink_alerts_total", (("kind", "price_adjustment"),)] == 2
    assert seen["pricelink_lag_records", (("partition", "2"),)] == 7
    assert seen["pricelink_lag_seconds", (("partition", "2"),)] == 0.04
    assert seen["pricelink_ingest_to_alert_seconds_bucket", (("le", "0.03"),)] == 0
    assert seen["pricelink_ingest_to_alert_seconds_bucket", (("le", "0.05"),)] == 2
    assert seen["pricelink_ingest_to_alert_seconds_count", ()] == 2
    assert seen["pricelink_open_alerts", (("band", "red"), ("kind", "price_hold"))] == 0
    assert seen["pricelink_build_info", (("version", metrics.version()),)] == 1
    assert seen["pricelink_checkpoint_age_seconds", (("partition", "2"),)] >= 0
    assert seen["pricelink_checkpoint_rows_total", ()] == 4


def test_labels_are_of_closed_lists() -> None:
    labels = {name for _, pairs in samples(told()) for name, _ in pairs}
    assert labels == {"type", "outcome", "reason", "kind", "band", "le", "partition", "version"}


def test_a_lost_partition_is_no_longer_shown() -> None:
    found = told()
    found.lost(2)
    assert not any(name == "pricelink_lag_records" for name, _ in samples(found))
    assert found.lag_records == 0


def test_they_are_served_on_a_port_of_their_own() -> None:
    port = metrics.serve(told(), "127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        assert b"pricelink_records_total" in response.read()
