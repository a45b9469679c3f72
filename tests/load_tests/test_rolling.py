"""What a rolling restart is judged by: each loss, invention, repeat and delay is seen."""

import json
from collections import Counter

import numpy as np
import orjson

from load_tests.generate import Load
from load_tests.rolling_clients import Fed, Followed, Received, numbered
from load_tests.rolling_judge import Logs, Seconds, judge_records, judge_stream, judge_webhooks

SMALL = Load(products=20, provinces=4, records=300, market="mixed", lines_per_message=1)
BEGAN_NS = 1_000_000_000_000


def event(number: int, source_id: str = "") -> bytes:
    return orjson.dumps({"event_id": f"e/{number}", "source_id": source_id})


def logs(lines: list[bytes], events: int = 4) -> Logs:
    return Logs(
        lines, {0: [0, 1_000, 2_000]}, {0: [(number, event(number)) for number in range(events)], 1_000_000: []}
    )


def test_records_have_their_number_and_come_in_the_order_of_the_log() -> None:
    lines = [line for _, line in numbered(SMALL)]
    assert [json.loads(line)["id"] for line in lines] == [str(number) for number in range(300)]
    assert all(province == json.loads(line)["province"] for province, line in numbered(SMALL))
    at: dict[str, list[int]] = {}
    for line in map(json.loads, lines):
        if line["type"] == "order":
            at.setdefault(line["code"], []).append(line["at"])
    assert at
    assert all(times == sorted(times) for times in at.values())


def test_a_lost_an_invented_and_a_repeated_record_are_seen() -> None:
    lines = [line for _, line in numbered(SMALL)]
    fed = Fed(sent=300, accepted=300, failures=Counter({"503": 1}))
    good = judge_records(fed, lines, logs(lines))
    assert [good[what] for what in ("lost", "invented", "written_twice", "in_feeds")] == [0, 0, 0, 300]
    bad = judge_records(fed, lines, logs([*lines[2:], lines[5], lines[7].replace(b"at", b"as"), b"{}"]))
    assert [bad[what] for what in ("lost", "invented", "written_twice", "in_feeds")] == [2, 2, 1, 298]


def test_a_missing_a_repeated_and_a_changed_event_are_seen() -> None:
    begin = "0:1,p0:0"
    events = [event(number) for number in (1, 2, 3)]
    found = judge_stream(Followed(begin=begin, events=events, streams=2), logs([]))
    assert [found[what] for what in ("wanted", "missing", "repeats", "differ")] == [3, 0, 0, 0]
    found = judge_stream(Followed(begin=begin, events=[events[0], events[0], event(2, "other")]), logs([]))
    assert [found[what] for what in ("wanted", "missing", "repeats", "differ")] == [3, 1, 1, 1]
    bodies = [b'{"id":"x","data":%b}' % each for each in events]
    found = judge_webhooks(Received(bodies), logs([]), begin)
    assert [found[what] for what in ("missing", "repeats", "differ", "unverified")] == [0, 0, 0, 0]
    found = judge_webhooks(Received([b'{"data":{"event_id":"e/1" }}']), logs([]), begin)
    assert [found[what] for what in ("missing", "repeats", "differ")] == [2, 0, 1]


def test_a_second_is_not_normal_whose_events_are_late_and_the_last_of_them_says_when_it_is_over() -> None:
    due_ns = BEGAN_NS + np.arange(200, dtype=np.int64) * 100_000_000  # ten a second
    late_ms = np.where((np.arange(200) >= 105) & (np.arange(200) < 130), 900, 20)
    arrivals = [
        (int(at_ns + late * 1_000_000), event(number, str(number)))
        for number, (at_ns, late) in enumerate(zip(due_ns, late_ms, strict=True))
    ]
    seconds = Seconds(Fed(handed_ns=due_ns), [*arrivals, (BEGAN_NS, event(0)), (BEGAN_NS, event(0, "desk"))])
    assert seconds.baseline_ms(BEGAN_NS + 10_000_000_000) == (20.0, 20.0, 70)
    over = list(seconds.over(250, BEGAN_NS + 10_200_000_000, BEGAN_NS + 20_000_000_000))
    assert [round(back_s, 1) for back_s, _ in over] == [0.8, 1.8, 2.8]
    assert all(round(p99_ms) == 900 for _, p99_ms in over[1:])
