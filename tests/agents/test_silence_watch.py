"""When a province is silent: timelines, two processes, restarts, and which records count."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from agents.record_batches import batch_of
from agents.silence_watch import Decision, Newest, Watch, silence_event
from schemas.events import NotAnEvent
from schemas.scanner import admit, scan

HOUR = 3_600_000
T0 = 1_767_225_600_000
JIANGSU, TIBET = "320000", "540000"


class Topic:
    """Topic ``silence``: what anybody writes is read by all, in one order."""

    def __init__(self, *watches: Watch) -> None:
        self.watches = list(watches)
        self.events: list[dict[str, object]] = []

    def write(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            counted = [watch.take(decision) for watch in self.watches]
            assert len(set(counted)) == 1
            if counted[0] and decision.event:
                self.events.append(json.loads(decision.event))


def told(topic: Topic) -> list[tuple[object, object]]:
    return [(event["event_id"], event["at"]) for event in topic.events]


def test_a_silence_is_opened_once_and_ends_with_the_next_record() -> None:
    watch = Watch(HOUR, "a")
    topic = Topic(watch)
    watch.heard({JIANGSU: T0})
    topic.write(watch.due(T0))
    for now in range(T0, T0 + HOUR, 600_000):
        assert not watch.due(now)
    topic.write(watch.due(T0 + HOUR))
    assert not watch.due(T0 + 5 * HOUR)
    watch.heard({JIANGSU: T0 + 6 * HOUR})
    topic.write(watch.due(T0 + 6 * HOUR + 1))
    assert not watch.due(T0 + 6 * HOUR + 2)
    topic.write(watch.due(T0 + 7 * HOUR + 5))
    assert told(topic) == [
        ("feed_silence:320000:1/1", "2026-01-01T01:00:00.000Z"),
        ("feed_silence:320000:1/2", "2026-01-01T06:00:00.000Z"),
        ("feed_silence:320000:2/1", "2026-01-01T07:00:00.000Z"),
    ]


def test_who_never_sent_anything_is_not_silent() -> None:
    watch = Watch(HOUR, "a")
    assert watch.due(T0 + 100 * HOUR) == []


def test_of_two_processes_one_opens_an_alert() -> None:
    one, other = Watch(HOUR, "one"), Watch(HOUR, "other")
    topic = Topic(one, other)
    for watch in (one, other):
        watch.heard({JIANGSU: T0, TIBET: T0 + 5})
    topic.write(one.due(T0) + other.due(T0))
    both = one.due(T0 + 2 * HOUR), other.due(T0 + 2 * HOUR)
    assert [len(found) for found in both] == [2, 2]
    topic.write([both[1][0], both[0][0], both[0][1], both[1][1]])
    assert len(topic.events) == 2
    assert one.decided[JIANGSU].by == other.decided[JIANGSU].by == "other"
    assert one.decided[TIBET].by == other.decided[TIBET].by == "one"


@pytest.mark.parametrize("heard_again", [False, True])
def test_numbers_go_on_after_a_restart(heard_again: bool) -> None:
    watch = Watch(HOUR, "a")
    topic = Topic(watch)
    watch.heard({JIANGSU: T0})
    topic.write(watch.due(T0))
    topic.write(watch.due(T0 + HOUR))
    again = Watch(HOUR, "a")
    topic.watches = [again]
    for decision in watch.decided.values():
        assert again.take(Decision.from_bytes(decision.as_bytes()))
    if heard_again:
        again.heard({JIANGSU: T0 + 3 * HOUR})
    topic.write(again.due(T0 + 3 * HOUR))
    assert len(topic.events) == 1 + heard_again
    assert topic.events[-1]["event_id"] == f"feed_silence:320000:1/{1 + heard_again}"


def test_a_known_province_that_was_not_heard_since_the_start_is_silent() -> None:
    watch = Watch(HOUR, "a")
    topic = Topic(watch)
    topic.write([Decision(JIANGSU, 0, 0, is_open=False, event=b"", by="b", sent=True)])
    topic.write(watch.due(T0))
    assert told(topic) == [("feed_silence:320000:1/1", "2026-01-01T00:00:00.000Z")]


def test_a_decision_that_is_sent_replaces_the_one_that_is_not() -> None:
    watch = Watch(HOUR, "a")
    event = silence_event(JIANGSU, 1, 1, opened=True, at_ms=T0)
    assert watch.take(Decision(JIANGSU, 1, 1, is_open=True, event=event, by="b", sent=False))
    assert not watch.take(Decision(JIANGSU, 1, 1, is_open=True, event=event, by="a", sent=False))
    assert watch.take(Decision(JIANGSU, 1, 1, is_open=True, event=event, by="b", sent=True))
    assert watch.decided[JIANGSU].sent


def test_the_event_has_the_keys_of_the_contract_in_their_order() -> None:
    opened = silence_event(JIANGSU, 3, 1, opened=True, at_ms=T0)
    assert opened == (
        b'{"event_id":"feed_silence:320000:3/1","alert_id":"feed_silence:320000:3","revision":1,"kind":"feed_silence",'
        b'"change":"opened","province":"320000","band":"yellow","previous_band":null,"at":"2026-01-01T00:00:00.000Z",'
        b'"evidence":[]}'
    )
    ended = json.loads(silence_event(JIANGSU, 3, 2, opened=False, at_ms=T0))
    assert (ended["change"], ended["band"], ended["previous_band"]) == ("resolved", None, "yellow")


def heard(newest: Newest, *lines: str, broker_ms: int = T0) -> dict[str, int]:
    scanned = scan(
        batch_of(
            0,
            [
                SimpleNamespace(offset=number, timestamp=broker_ms, value=line.encode())
                for number, line in enumerate(lines)
            ],
        )
    )
    admit(scanned.records, 0, 1)
    return newest.accepted(scanned.records)


def quote(at: int, province: str = JIANGSU, price: str = "1") -> str:
    return f'{{"type":"quote","province":"{province}","code":"C{7:026d}","at":{at},"price":{price},"supplier":"91320000MA1XXXXX1A"}}'


def test_records_that_may_be_stale_do_not_count() -> None:
    newest = Newest()
    assert heard(newest, quote(T0)) == {JIANGSU: T0}
    assert heard(newest, quote(T0), quote(T0 - 5), broker_ms=T0 + 9) == {}
    assert heard(newest, quote(T0 + 1), broker_ms=T0 + 9) == {JIANGSU: T0 + 9}
    assert heard(newest, quote(T0, TIBET), broker_ms=T0 + 9) == {TIBET: T0 + 9}


def test_dead_letters_and_ticks_are_no_sign_of_life() -> None:
    newest = Newest()
    assert heard(newest, "{", quote(T0, price='"-"'), quote(T0 + 400_000), f'{{"type":"tick","at":{T0}}}') == {}


def test_what_is_remembered_is_bounded() -> None:
    newest = Newest(limit=100)
    for number in range(50):
        heard(newest, *(quote(T0).replace(f"{7:026d}", f"{number * 50 + each:026d}") for each in range(50)))
    assert len(newest._newest) <= 150


def test_a_decision_that_is_none_is_told_apart() -> None:
    """What passes can be decided upon later: an open silence has a time."""
    good = {"province": JIANGSU, "number": 1, "revision": 1, "open": True, "by": "a", "sent": True,
            "event": silence_event(JIANGSU, 1, 1, opened=True, at_ms=T0).decode()}  # fmt: skip
    watch = Watch(HOUR, "b")
    assert watch.take(Decision.from_bytes(json.dumps(good).encode()))
    watch.heard({JIANGSU: T0 + HOUR})
    assert len(watch.due(T0 + HOUR)) == 1
    changes: list[dict[str, Any]] = [
        {"province": "999999"}, {"province": 1}, {"number": "1"}, {"number": -1}, {"revision": None}, {"open": 1},
        {"by": []}, {"sent": None}, {"event": ""}, {"event": "{}"}, {"event": '{"at":"noon"}'}, {"event": None},
        {"number": 0, "event": ""},
    ]  # fmt: skip
    bad = [b"", b"{", b"[]", *(json.dumps(good | changed).encode() for changed in changes)]
    for value in bad:
        with pytest.raises(NotAnEvent):
            Decision.from_bytes(value)
