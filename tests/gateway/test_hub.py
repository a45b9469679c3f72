import asyncio
from typing import Any

import orjson
from structlog.testing import capture_logs

from gateway.cursors import PRICE_LANES
from gateway.filters import Filter
from gateway.hub import Hub, Repeats
from tests.gateway.fakes import event

EVERYTHING = Filter()


def a_hub(ring_events: int = 100) -> Hub:
    hub = Hub(ring_events)
    hub.begin({0: 5, 1: 0}, {0: 5, 1: 0})
    return hub


def publish(
    hub: Hub, offset: int, number: int = 1, revision: int = 1, partition: int = 0, **changed: str | None
) -> None:
    hub.publish(partition, offset, orjson.dumps(event(number, revision, **changed)))  # type: ignore[arg-type]


def ids(frames: bytes) -> list[str]:
    return [line[4:].decode() for line in frames.split(b"\n") if line.startswith(b"id: ")]


def test_a_client_gets_what_comes_after_it_subscribed() -> None:
    async def run() -> None:
        hub = a_hub()
        publish(hub, 5, 1)
        client = hub.subscribe(EVERYTHING)
        publish(hub, 6, 2)
        publish(hub, 0, 3, partition=1)
        assert client.start == {0: 6, 1: 0}
        assert ids(await client.take()) == ["0:7,1:0", "0:7,1:1"]

    asyncio.run(run())


def test_repeats_and_older_revisions_are_dropped_but_move_the_cursor() -> None:
    async def run() -> None:
        hub = a_hub()
        client = hub.subscribe(EVERYTHING)
        publish(hub, 5, 1, 1)
        publish(hub, 6, 1, 2)
        publish(hub, 7, 1, 1)
        publish(hub, 8, 1, 2)
        publish(hub, 9, 2, 1)
        publish(hub, 10, 1, 3)
        assert ids(await client.take()) == ["0:6,1:0", "0:7,1:0", "0:10,1:0"]
        assert hub.repeats_total == 3
        assert hub.positions == {0: 11, 1: 0}

    asyncio.run(run())


def test_what_cannot_be_read_is_said_and_passed_over() -> None:
    """Whatever is in it: nobody who listens, no filter and no later event of the slot trips over it."""

    async def run() -> None:
        hub = a_hub()
        hub.subscribe(Filter(provinces=frozenset({"320000"}), kinds=frozenset({"price_hold"})))
        hub.tap(EVERYTHING)
        good = event(1, 1)
        bad = [b"", b"not json", b"[]", b'{"alert_id":"x","revision":1}']
        changes: list[dict[str, Any]] = [
            {"kind": ["price_hold"]}, {"province": {}}, {"band": []}, {"code": 7}, {"supplier": {}}, {"revision": "1"},
            {"alert_id": "price_hold:x:one"}, {"alert_id": None},
        ]  # fmt: skip
        bad += [orjson.dumps(good | changed) for changed in changes]
        with capture_logs() as lines:
            for offset, value in enumerate(bad, 5):
                hub.publish(0, offset, value)
                hub.publish(PRICE_LANES + 1, offset, value)
        wanted = [("alerts", 0, offset) for offset in range(5, 5 + len(bad))]
        wanted += [("price-changes", 1, offset) for _, _, offset in wanted]
        assert sorted((line["topic"], line["partition"], line["offset"]) for line in lines) == wanted
        assert {line["reason"] for line in lines} == {"unreadable"}
        hub.publish(0, 50, orjson.dumps(good))
        assert (hub.events_total, hub.repeats_total) == (1, 0)
        assert hub.positions == {0: 51, 1: 0, PRICE_LANES + 1: 5 + len(bad)}

    asyncio.run(run())


def test_filters_look_at_province_kind_and_both_bands() -> None:
    async def run() -> None:
        hub = a_hub()
        jiangsu = hub.subscribe(Filter(provinces=frozenset({"320000"})))
        red = hub.subscribe(Filter(bands=frozenset({"red"})))
        holds = hub.subscribe(Filter(kinds=frozenset({"price_hold"})))
        publish(hub, 5, 1)
        publish(hub, 6, 1, 2, change="eased", band="yellow", previous_band="red")
        publish(hub, 7, 1, 3, change="resolved", band=None, previous_band="yellow")
        publish(hub, 8, 1, kind="price_hold", province="110000", band="blue")
        for client in (jiangsu, red, holds):
            client.close()
        assert len(ids(await jiangsu.take())) == 3
        assert len(ids(await red.take())) == 2
        assert len(ids(await holds.take())) == 1

    asyncio.run(run())


def test_a_slow_client_is_cut_and_the_others_are_not() -> None:
    async def run() -> None:
        hub = a_hub()
        slow, quick = hub.subscribe(EVERYTHING, limit=3), hub.subscribe(EVERYTHING)
        for number in range(4):
            publish(hub, 5 + number, number + 1)
        assert await slow.take() == b""
        assert len(ids(await quick.take())) == 4
        hub.clients.remove(slow)
        assert hub.clients.cut_total == 1
        assert list(hub.clients) == [quick]

    asyncio.run(run())


def test_counters_are_left_as_the_latest_only() -> None:
    async def run() -> None:
        hub = a_hub()
        client = hub.subscribe(EVERYTHING, limit=1, counted=True)
        for number in range(5):
            hub.clients.notify([("summary", b"%d" % number)])
        assert await client.take() == b"4"

    asyncio.run(run())


def test_a_cursor_is_in_the_ring_in_the_log_or_unknown() -> None:
    hub = a_hub(ring_events=3)
    for number in range(5):
        publish(hub, 5 + number, number + 1)
    assert hub.locate({0: 7, 1: 0}) == "ring"
    assert len(list(hub.since({0: 7, 1: 0}, {0: 10, 1: 0}, EVERYTHING))) == 3
    assert hub.locate({0: 10, 1: 0}) == "ring"
    assert list(hub.since({0: 10, 1: 0}, {0: 10, 1: 0}, EVERYTHING)) == []
    assert hub.locate({0: 6, 1: 0}) == "log"
    assert hub.locate({1: 0}) == "log"
    assert hub.locate({0: 11, 1: 0}) == "unknown"
    assert hub.locate({0: 7, 2: 1}) == "unknown"


def test_what_comes_again_from_the_ring_ends_where_a_queue_began_and_moves_the_clients_own_cursor() -> None:
    hub = a_hub()
    publish(hub, 0, 1, partition=1)  # another gateway read partition 0 first: the client has all of that
    for number in range(3):
        publish(hub, 5 + number, 2 + number)
    start = dict(hub.positions or {})
    publish(hub, 1, 9, partition=1)  # it is in the queue
    assert ids(b"".join(hub.since({0: 8, 1: 0}, start, EVERYTHING))) == ["0:8,1:1"]
    assert ids(b"".join(hub.since({0: 7, 1: 0}, start, EVERYTHING))) == ["0:7,1:1", "0:8,1:1"]
    assert len(hub.latest(10, start, EVERYTHING)) == 4


def test_a_hub_has_caught_up_once_both_topics_are_read_to_where_they_ended() -> None:
    hub = Hub()
    seen = [hub.caught_up]
    hub.begin({0: 5, 1: 0}, {0: 6, 1: 0})
    seen.append(hub.caught_up)
    hub.begin({PRICE_LANES: 2}, {PRICE_LANES: 2})
    seen.append(hub.caught_up)
    publish(hub, 5)
    seen.append(hub.caught_up)
    hub.begin({0: 0, 1: 0}, {0: 1})
    seen.append(hub.caught_up)
    assert seen == [False, False, False, True, False]


def test_a_log_that_began_anew_makes_clients_start_over() -> None:
    async def run() -> None:
        hub = a_hub()
        publish(hub, 5, 1)
        client = hub.subscribe(EVERYTHING)
        publish(hub, 0, 1)
        taken = await client.take()
        assert b"event: reset" in taken
        assert ids(taken) == ["0:1"]
        assert len(hub.latest(10, {0: 1}, EVERYTHING)) == 1

    asyncio.run(run())


def test_what_is_remembered_of_slots_is_bounded() -> None:
    repeats = Repeats(limit=2)
    assert not repeats.is_repeat("a:1", 1)
    assert not repeats.is_repeat("b:1", 1)
    assert not repeats.is_repeat("c:1", 1)
    assert repeats.is_repeat("c:1", 1)
    assert not repeats.is_repeat("a:1", 1)


def test_closing_ends_every_stream_after_what_waits() -> None:
    async def run() -> None:
        hub = a_hub()
        client = hub.subscribe(EVERYTHING)
        publish(hub, 5, 1)
        hub.clients.close()
        assert len(ids(await client.take())) == 1
        assert await client.take() == b""

    asyncio.run(run())
