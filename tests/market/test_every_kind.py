"""Ten minutes of the demo market, through the slow twin: every kind of alert of the contract, each beginning and ending."""

import json
from collections import Counter
from functools import cache
from types import SimpleNamespace
from typing import Any

from agents.record_batches import batch_of
from agents.silence_watch import Newest, Watch
from cli.run import MARKET_SILENCE_MINUTES
from market.simulator import Market
from market.supply import HISTORY_MS
from schemas.columns import BANDS, KINDS
from schemas.scanner import admit, scan
from tests.naive import Message, NaiveMachine

OPENS_MS = 1_767_225_600_000
MINUTES = 10
RATE = 10
MAX_SILENCE_MS = int(float(MARKET_SILENCE_MINUTES) * 60_000)


@cache
def ten_minutes(seed: int = 1) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The machine's alert events, and those of silence."""
    market = Market(seed, 150)
    machine = NaiveMachine(0, 1, {})
    watch, newest = Watch(MAX_SILENCE_MS, "me"), Newest()
    events: list[dict[str, Any]] = []
    silences: list[dict[str, Any]] = []
    offset = 0

    def send(values: list[bytes], now_ms: int) -> None:
        nonlocal offset
        for value in values:
            machine.apply(Message(0, offset, now_ms, value))
            offset += 1
        messages = [SimpleNamespace(offset=n, timestamp=now_ms, value=value) for n, value in enumerate(values)]
        scanned = scan(batch_of(0, messages))
        admit(scanned.records, 0, 1)
        watch.heard(newest.accepted(scanned.records))
        for decision in watch.due(now_ms):
            watch.take(decision)
            silences.extend([json.loads(decision.event)] if decision.event else [])
        for raw in machine.alerts[len(events) :]:
            events.append(json.loads(raw))
            market.observe(events[-1], now_ms)

    send([line.value for line in market.history(OPENS_MS)], OPENS_MS)
    assert not machine.dead_letters
    while market.backlog:
        send([line.value for line in market.lines(OPENS_MS, 500)], OPENS_MS)
    for second in range(MINUTES * 60):
        now_ms = OPENS_MS + second * 1000
        send([b'{"type":"tick","at":%d}' % now_ms, *(line.value for line in market.lines(now_ms, RATE))], now_ms)
    return events, silences


def test_every_kind_of_the_contract_is_there() -> None:
    events, silences = ten_minutes()
    kinds = Counter(event["kind"] for event in [*events, *silences])
    assert set(kinds) == set(KINDS), set(KINDS) - set(kinds)


def test_supply_and_settlement_begin_and_end_before_ones_eyes() -> None:
    events, _ = ten_minutes()
    live = Counter((event["kind"], event["change"]) for event in events if event["evidence"][0]["offset"] > 500)
    for kind in ("supply_shortfall", "settlement_arrears", "channel_gap"):
        assert live[kind, "resolved"] > 0, (kind, live)
    assert live["supply_shortfall", "opened"] > 0
    assert live["settlement_arrears", "revised"] > 0
    changes = Counter((event["kind"], event["change"]) for event in events)
    assert changes["purchase_shortfall", "closed"] > 0
    assert changes["purchase_shortfall", "opened"] > changes["purchase_shortfall", "closed"]


def test_late_supply_has_every_band() -> None:
    events, _ = ten_minutes()
    assert {event["band"] for event in events if event["kind"] == "supply_shortfall"} >= set(BANDS[1:])
    assert {event["band"] for event in events if event["kind"] == "settlement_arrears"} >= {"yellow", "red"}


def test_feeds_stop_and_come_back() -> None:
    _, silences = ten_minutes()
    changes = [(event["province"], event["change"]) for event in silences]
    assert (changes[0][0], "resolved") in changes
    assert changes[0][1] == "opened"


def test_the_past_is_in_the_order_of_its_times_and_older_than_the_opening() -> None:
    market = Market(3, 50)
    clock = 0
    for line in market.history(OPENS_MS):
        record = json.loads(line.value)
        machine = NaiveMachine(0, 1, {})
        machine.apply(Message(0, 0, OPENS_MS, line.value))
        assert not machine.dead_letters, record
        assert machine.clock >= clock
        clock = machine.clock
        if record["type"] == "contract":
            assert machine.clock == OPENS_MS - HISTORY_MS
    assert clock <= OPENS_MS
