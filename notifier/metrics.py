"""The notifier's Prometheus metrics. Labels never name an endpoint or a supplier: their number has no bound."""

import time
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from notifier.progress import Delivery, Progress
from notifier.schedule import DELAYS_S, Outcome

OUTCOMES: Final = (
    "delivered", "status_2xx", "status_3xx", "status_4xx", "status_5xx", "timed_out", "address_refused", "tls_failed", "no_connection",
    "connection_lost", "bad_answer",
)  # fmt: skip
"""What may become of an attempt."""
STATES: Final = ("working", "failing", "disabled", "off")


class AttemptCounts:
    """Attempts by what became of them and by their number, which is at most that of the schedule."""

    def __init__(self) -> None:
        self.counts = {(outcome, number): 0 for outcome in OUTCOMES for number in range(1, len(DELAYS_S) + 1)}

    def note(self, number: int, outcome: Outcome) -> None:
        """Counts an attempt. ``number``: 1 for an event's first."""
        self.counts[name_of(outcome), min(number, len(DELAYS_S))] += 1


def name_of(outcome: Outcome) -> str:
    """Returns one of OUTCOMES."""
    if outcome.succeeded:
        return "delivered"
    name = f"status_{outcome.status // 100}xx" if outcome.status is not None else outcome.problem
    return name if name in OUTCOMES else "bad_answer"


class CourierLike(Protocol):
    """What is asked of an endpoint's courier."""

    progress: Progress

    @property
    def is_on(self) -> bool:
        """Tells whether anything is to be sent."""

    @property
    def is_wanted(self) -> bool:
        """Tells whether its owner wants it on."""


class NotifierLike(Protocol):
    """What is asked of the notifier. ``positions``: how far the logs are read, by lane; empty while they cannot be."""

    attempts: AttemptCounts

    @property
    def couriers(self) -> Mapping[str, CourierLike]:
        """Returns the couriers by endpoint."""

    @property
    def positions(self) -> dict[int, int]:
        """Returns the positions."""


class NotifierMetrics:
    """A collector over a notifier that works."""

    def __init__(self, notifier: NotifierLike) -> None:
        self._notifier = notifier

    def describe(self) -> list[Metric]:
        """Returns nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yields everything for Prometheus."""
        attempts = CounterMetricFamily("pricelink_webhook_attempts", "Webhooks sent", labels=["outcome", "attempt"])
        for (outcome, number), count in self._notifier.attempts.counts.items():
            if count or number == 1:
                attempts.add_metric([outcome, str(number)], count)
        yield attempts
        couriers = list(self._notifier.couriers.values())
        states = dict.fromkeys(STATES, 0)
        for courier in couriers:
            states[state_of(courier)] += 1
        endpoints = GaugeMetricFamily("pricelink_webhook_endpoints", "Endpoints by state", labels=["state"])
        for state, count in states.items():
            endpoints.add_metric([state], count)
        yield endpoints
        sending = [courier for courier in couriers if courier.is_on]
        count = sum(len(courier.progress.outstanding) for courier in sending)
        yield GaugeMetricFamily("pricelink_webhook_outstanding", "Events read and not delivered", count)
        oldest = GaugeMetricFamily(
            "pricelink_webhook_oldest_seconds", "Since the oldest undelivered event was read", labels=["waits_for"]
        )
        ours = [waits_for_us(courier) for courier in sending]
        oldest.add_metric(["us"], oldest_s(chain.from_iterable(ours)))
        everything = chain.from_iterable(list(courier.progress.outstanding) for courier in sending)
        oldest.add_metric(["anybody"], oldest_s(everything))
        yield oldest
        positions = self._notifier.positions
        unread = max((_behind(courier.progress.cursor, positions) for courier in sending), default=0)
        yield GaugeMetricFamily("pricelink_webhook_unread_events", "Of the endpoint furthest behind", unread)
        up = GaugeMetricFamily("pricelink_dependency_up", "1: it answers", labels=["dependency"])
        up.add_metric(["kafka"], int(bool(positions)))
        yield up


def state_of(courier: CourierLike) -> str:
    """Returns one of STATES."""
    if not courier.is_wanted:
        return "off"
    if not courier.is_on:
        return "disabled"
    return "working" if courier.progress.failing_since_ms is None else "failing"


def waits_for_us(courier: CourierLike) -> list[Delivery]:
    """Returns the events that were never tried although nothing is in their way: their endpoint works, their code is free."""
    if courier.progress.failing_since_ms is not None:
        return []
    outstanding = list(courier.progress.outstanding)
    held_up = {delivery.code for delivery in outstanding if delivery.attempts}
    return [delivery for delivery in outstanding if delivery.code not in held_up]


def oldest_s(waiting: Iterable[Delivery]) -> float:
    """Returns how long ago the oldest was read; 0 where none waits."""
    taken_ms = [delivery.taken_ms for delivery in waiting if delivery.taken_ms]
    return max(0.0, time.time() - min(taken_ms) / 1_000) if taken_ms else 0.0


def _behind(cursor: Mapping[int, int], positions: Mapping[int, int]) -> int:
    return sum(max(0, end - cursor.get(lane, 0)) for lane, end in positions.items())
