"""The watchdog acts on standing still with work waiting, and on a process that does not respond; on nothing else."""

import threading

from agents import exits
from agents.watchdog import Watchdog, end_in_time


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


def test_a_part_that_stands_still_is_one_though_the_others_move() -> None:
    time = Time()
    dog = Watchdog(60, clock=time)
    for second in range(61):
        time.now = second
        dog.tell_parts({"feeds[0]": (second, 9), "feeds[1]": (5, 3), "feeds[2]": (7, 0)})
        assert dog.look() is None
    time.now = 62
    dog.tell_parts({"feeds[0]": (62, 9), "feeds[1]": (5, 3), "feeds[2]": (7, 0)})
    assert dog.look() == "records of feeds[1] wait and none is applied"


def test_a_part_that_came_back_has_its_time_again() -> None:
    time = Time()
    dog = Watchdog(60, clock=time)
    dog.tell_parts({1: (5, 3)})
    time.now = 50
    dog.tell_parts({})  # it was another's
    time.now = 70
    dog.tell_parts({1: (5, 3)})
    assert dog.look() is None
    time.now = 131
    dog.tell_parts({1: (5, 3)})
    assert dog.look() == "records of 1 wait and none is applied"


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


def test_a_process_that_does_not_stop_is_ended() -> None:
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    end_in_time(0.05, end)
    assert ended.wait(5)
    assert codes == [exits.STALLED]


def test_one_that_stops_is_not() -> None:
    codes: list[int] = []
    timer = end_in_time(60, codes.append)
    assert timer.daemon  # the end of the process does not wait for it
    timer.cancel()
    assert codes == []
