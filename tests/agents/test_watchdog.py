"""The watchdog acts on standing still with work waiting, and on a process that does not respond; on nothing else."""

import threading

from agents import exits
from agents.watchdog import Watchdog


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_standing_still_without_lag_is_no_fault() -> None:
    time = Time()
    dog = Watchdog(60, clock=time)
    for second in range(200):
        time.now = second
        dog.tell({0: 5}, lag=0)
        assert dog.look() is None


def test_lag_with_progress_is_no_fault() -> None:
    time = Time()
    dog = Watchdog(60, clock=time)
    for second in range(0, 600, 50):
        time.now = second
        dog.tell({0: second}, lag=1_000)
        assert dog.look() is None


def test_lag_without_progress_is_one() -> None:
    time = Time()
    dog = Watchdog(60, clock=time)
    for second in range(61):
        time.now = second
        dog.tell({0: 5}, lag=3)
        assert dog.look() is None
    time.now = 62
    dog.tell({0: 5}, lag=3)
    assert dog.look() == "records wait and none is applied"


def test_silence_is_one() -> None:
    time = Time()
    dog = Watchdog(60, clock=time)
    dog.tell({0: 5}, lag=0)
    time.now = 61
    assert dog.look() == "the process does not respond"


def test_it_ends_the_process() -> None:
    codes: list[int] = []
    ended = threading.Event()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    dog = Watchdog(0.05, end=end)
    dog.start()
    assert ended.wait(5)
    assert codes == [exits.STALLED]
