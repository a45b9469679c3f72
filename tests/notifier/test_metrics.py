"""What Prometheus sees of the notifier: outcomes, attempts, states of endpoints, and how long events wait."""

import time
from dataclasses import dataclass, field

import pytest

from notifier.metrics import OUTCOMES, AttemptCounts, NotifierMetrics, name_of
from notifier.progress import Delivery, Progress
from notifier.schedule import Outcome


@dataclass
class FakeCourier:
    progress: Progress = field(default_factory=Progress)
    is_on: bool = True
    is_wanted: bool = True


@dataclass
class FakeNotifier:
    attempts: AttemptCounts = field(default_factory=AttemptCounts)
    couriers: dict[str, FakeCourier] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)


def samples(notifier: FakeNotifier) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = NotifierMetrics(notifier).collect()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (Outcome(204, None, 1), "delivered"),
        (Outcome(302, "status_302", 1), "status_3xx"),
        (Outcome(503, "status_503", 1), "status_5xx"),
        (Outcome(None, "timed_out", 1), "timed_out"),
        (Outcome(None, "something new", 1), "bad_answer"),
        (Outcome(700, "status_700", 1), "bad_answer"),
    ],
)
def test_every_outcome_has_one_of_few_names(outcome: Outcome, name: str) -> None:
    assert name_of(outcome) == name
    assert name in OUTCOMES


def test_attempts_are_counted_by_outcome_and_number() -> None:
    notifier = FakeNotifier()
    for number, outcome in (
        (1, Outcome(None, "timed_out", 1)),
        (2, Outcome(200, None, 1)),
        (99, Outcome(200, None, 1)),
    ):
        notifier.attempts.note(number, outcome)
    seen = samples(notifier)
    name = "pricelink_webhook_attempts_total"
    assert seen[name, (("attempt", "1"), ("outcome", "timed_out"))] == 1
    assert seen[name, (("attempt", "2"), ("outcome", "delivered"))] == 1
    assert seen[name, (("attempt", "10"), ("outcome", "delivered"))] == 1
    assert seen[name, (("attempt", "1"), ("outcome", "delivered"))] == 0, (
        "there from the start, so that rates are right"
    )


def test_what_waits_counts_where_it_can_be_sent() -> None:
    old_ms = int(time.time() * 1_000) - 60_000
    waiting = [
        Delivery(0, 7, "", "C1", 0, taken_ms=old_ms, attempts=1),
        Delivery(0, 8, "", "C1", 0, taken_ms=old_ms + 1_000),
        Delivery(0, 9, "", "C2", 0, taken_ms=old_ms + 40_000),
    ]
    ancient = [Delivery(0, 1, "", "C1", 0, taken_ms=1)]
    notifier = FakeNotifier(
        couriers={
            "works": FakeCourier(Progress({0: 9, 1: 4}, outstanding=waiting)),
            "fails": FakeCourier(Progress({0: 10, 1: 5}, outstanding=[waiting[1]], failing_since_ms=1)),
            "disabled": FakeCourier(Progress({}, outstanding=ancient), is_on=False),
            "off": FakeCourier(is_on=False, is_wanted=False),
        },
        positions={0: 10, 1: 5},
    )
    seen = samples(notifier)
    states = {pairs[0][1]: value for (name, pairs), value in seen.items() if name == "pricelink_webhook_endpoints"}
    assert states == {"working": 1, "failing": 1, "disabled": 1, "off": 1}
    assert seen["pricelink_webhook_outstanding", ()] == 4
    assert seen["pricelink_webhook_unread_events", ()] == 2
    assert 59 < seen["pricelink_webhook_oldest_seconds", (("waits_for", "anybody"),)] < 90
    assert 19 < seen["pricelink_webhook_oldest_seconds", (("waits_for", "us"),)] < 50, (
        "its code is free: only ours to send"
    )
    assert seen["pricelink_dependency_up", (("dependency", "kafka"),)] == 1


def test_a_broker_that_is_away_shows() -> None:
    seen = samples(FakeNotifier())
    assert seen["pricelink_dependency_up", (("dependency", "kafka"),)] == 0
    assert seen["pricelink_webhook_oldest_seconds", (("waits_for", "us"),)] == 0
