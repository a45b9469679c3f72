"""Offsets are committed from the head of what was handed over, and never past what is not acked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.in_flight import InFlight


def test_commits_follow_acks_in_order() -> None:
    flight: InFlight[str] = InFlight()
    flight.start("p", 10)
    for last in (14, 19, 29):
        flight.hand_over("p", last, last + 1)
    assert flight.ack("p", 29)
    assert flight.reached("p") == 10  # acked, but not from the head
    assert flight.ack("p", 14)
    assert flight.reached("p") == 15
    assert flight.ack("p", 19)
    assert flight.reached("p") == 30
    assert flight.unacked("p") == 0


def test_a_gap_in_the_offsets_is_no_ack() -> None:
    flight: InFlight[str] = InFlight()
    flight.start("p", 0)
    flight.hand_over("p", 4, 9)  # offsets 5 to 8 were control records, or compacted away
    flight.hand_over("p", 12, 13)
    assert flight.ack("p", 12)
    assert flight.reached("p") == 0
    assert flight.ack("p", 4)
    assert flight.reached("p") == 13


def test_a_seek_forgets_what_is_in_flight() -> None:
    flight: InFlight[str] = InFlight()
    flight.start("p", 0)
    flight.hand_over("p", 4, 5)
    flight.start("p", 2)
    assert not flight.ack("p", 4)
    assert flight.reached("p") == 2
    flight.hand_over("p", 4, 5)
    assert flight.ack("p", 4)
    assert flight.reached("p") == 5


def test_a_revocation_forgets_all_of_a_partition_and_leaves_the_others() -> None:
    flight: InFlight[str] = InFlight()
    for name in ("p", "q"):
        flight.start(name, 0)
        flight.hand_over(name, 4, 5)
        assert flight.ack(name, 4)
    flight.forget(["p"])
    assert flight.committable() == {"q": 5}
    assert not flight.ack("p", 4)
    assert flight.reached("p") is None


def test_a_commit_counts_only_when_the_broker_confirmed() -> None:
    flight: InFlight[str] = InFlight()
    flight.start("p", 0)
    flight.hand_over("p", 4, 5)
    assert flight.ack("p", 4)
    assert flight.committable() == {"p": 5}
    assert flight.committable() == {"p": 5}  # it failed: again
    flight.committed({"p": 5})
    assert flight.committable() == {}
    flight.hand_over("p", 7, 8)
    assert flight.ack("p", 7)
    assert flight.committable() == {"p": 8}


def test_an_ack_counts_once() -> None:
    flight: InFlight[str] = InFlight()
    flight.start("p", 0)
    flight.hand_over("p", 4, 5)
    flight.hand_over("p", 9, 10)
    assert flight.ack("p", 9)
    assert not flight.ack("p", 9)
    assert not flight.ack("p", 6)


def test_chunks_that_go_back_are_refused() -> None:
    flight: InFlight[str] = InFlight()
    flight.hand_over("p", 4, 5)
    with pytest.raises(ValueError, match="after one up to 4"):
        flight.hand_over("p", 4, 5)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_whatever_the_order_of_acks_nothing_is_skipped(sizes: list[int], rng: object) -> None:
    flight: InFlight[str] = InFlight()
    flight.start("p", 0)
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    for end in ends:
        flight.hand_over("p", end - 1, end)
    acked: set[int] = set()
    order = ends.copy()
    rng.shuffle(order)  # type: ignore[attr-defined]
    for end in order:
        assert flight.ack("p", end - 1)
        acked.add(end)
        reached = flight.reached("p")
        assert reached is not None
        assert all(known in acked for known in ends if known <= reached)
        assert reached == max([0, *(known for known in ends if all(e in acked for e in ends if e <= known))])
    assert flight.reached("p") == ends[-1]
