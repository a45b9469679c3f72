import pytest

from notifier.schedule import Outcome, next_due_ms, why_disabled

HOUR_S = 3_600
FAILED = Outcome(500, "status_500", 3)


def test_the_waits_are_those_that_are_promised() -> None:
    waits = [next_due_ms(attempts, FAILED, 0, lambda: 0.0) for attempts in range(1, 11)]
    assert waits == [
        5_000, 300_000, 1_800_000, *(hours * HOUR_S * 1_000 for hours in (2, 5, 10, 14, 20, 24)), None,
    ]  # fmt: skip


def test_jitter_only_lengthens() -> None:
    assert next_due_ms(2, FAILED, 1_000, lambda: 0.999) == 1_000 + int(300 * 1.0999 * 1_000)


@pytest.mark.parametrize(("asked_s", "wait_s"), [(1, 5), (60, 60), (10**9, 86_400)])
def test_retry_after_lengthens_within_a_day(asked_s: float, wait_s: float) -> None:
    assert next_due_ms(1, Outcome(429, "status_429", 1, asked_s), 0, lambda: 0.0) == wait_s * 1_000


def test_what_disables() -> None:
    assert why_disabled(Outcome(410, "status_410", 1), None, 0) == "gone"
    assert why_disabled(FAILED, 0, 120 * HOUR_S * 1_000 - 1) is None
    assert why_disabled(FAILED, 0, 120 * HOUR_S * 1_000) == "failed_for_120_hours"


@pytest.mark.parametrize(("status", "problem", "good"), [(200, None, True), (204, None, True), (302, "status_302", False), (None, "timed_out", False)])  # fmt: skip
def test_success_is_2xx(status: int | None, problem: str | None, good: bool) -> None:
    assert Outcome(status, problem, 1).succeeded is good
