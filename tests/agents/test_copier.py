"""Whose topics an event goes to, as which settings say so; nothing is committed before it is written."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiokafka.structs import TopicPartition

from agents.copier import Copier, topics_by_supplier
from agents.exits import CONFIG
from agents.topics import MOST_COPIES, copies_of
from config.settings import Settings
from config.topics import ALERTS, PRICE_CHANGES

OURS, THEIRS, OTHERS = "91320000MA1XXXXX1A", "91320000MA1YYYYY2B", "91320000MA1ZZZZZ3C"
COPIES = {"big": OURS, "other": THEIRS}


def test_pairs_name_topics_and_suppliers() -> None:
    given = f" big={OURS}, other={THEIRS},,third.b-1_x={OURS} "
    copies = copies_of(Settings(copies=given))
    assert copies == {"big": OURS, "other": THEIRS, "third.b-1_x": OURS}
    assert topics_by_supplier(copies) == {OURS: ["events.big", "events.third.b-1_x"], THEIRS: ["events.other"]}
    assert copies_of(Settings()) == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("big", "'big' is no NAME=USCC"),
        (f"={OURS}", "is no NAME=USCC"),
        (f"*={OURS}", "is no NAME=USCC"),
        (f"a b={OURS}", "is no NAME=USCC"),
        (f"big={OURS[:-1]}", "is no NAME=USCC"),
        (f"big={OURS.lower()}", "is no NAME=USCC"),
        (f"big={OURS}={THEIRS}", "is no NAME=USCC"),
        (f"big={OURS};other={THEIRS}", "is no NAME=USCC"),
        (f"big={OURS},big={THEIRS}", "big is there twice"),
        (",".join(f"s{number}={OURS}" for number in range(MOST_COPIES + 1)), f"{MOST_COPIES} are the most"),
    ],
)
def test_what_is_none_is_a_fault_of_settings(given: str, says: str) -> None:
    with pytest.raises(RuntimeError, match="PRICELINK_COPIES") as raised:
        copies_of(Settings(copies=given))
    assert says in str(raised.value)


@pytest.mark.parametrize("given", ["", "big=nobody"])
def test_without_suppliers_the_process_ends_with_a_fault_of_settings(given: str) -> None:
    environment = os.environ | {"PRICELINK_COPIES": given, "PRICELINK_LOG_FORMAT": "json"}
    ended = subprocess.run([sys.executable, "-m", "cli", "copier"], env=environment, capture_output=True, check=False)
    assert ended.returncode == CONFIG
    last = orjson.loads(ended.stderr.splitlines()[-1])
    assert last["process"] == "copier"
    assert last["reason"] == "config"
    assert "PRICELINK_COPIES" in last["fault"]


def alert(number: int, supplier: str | None, **more: Any) -> bytes:
    fields = {
        "alert_id": f"price_adjustment:C{number}:320000:1",
        "revision": 1,
        "kind": "price_adjustment",
        "change": "opened",
    }
    return orjson.dumps(fields | {"supplier": supplier} | more)


def change(code: str) -> bytes:
    return orjson.dumps({"event_id": f"price.lowest.changed:{code}:1", "code": code, "province": None})


class Broker:
    """What members and the producer ask of it: each message of ``values`` once, and an ack for each copy.

    ``did``: copies and commits, in their order.
    """

    def __init__(self, topic: str, values: Sequence[bytes | None]) -> None:
        self._place = TopicPartition(topic, 1)
        self._values = list(values)
        self.stop = asyncio.Event()
        self.did: list[Any] = []

    async def getmany(self, **_bounds: Any) -> dict[TopicPartition, list[Any]]:
        values, self._values = self._values, []
        self.stop.set()
        return {
            self._place: [
                SimpleNamespace(
                    topic=self._place.topic, partition=1, offset=number, value=value, key=b"k%d" % number, timestamp=1_000 + number,
                    headers=(("ce_id", b"%d" % number),),
                )
                for number, value in enumerate(values, 7)
            ]
        }  # fmt: skip

    async def commit(self, reached: dict[TopicPartition, int]) -> None:
        self.did.append(reached[self._place])

    async def send(self, topic: str, value: bytes, **more: Any) -> Any:
        async def ack() -> None:
            await asyncio.sleep(0.01)
            self.did.append((topic, value, more))

        return asyncio.ensure_future(ack())


def copied(topic: str, values: Sequence[bytes | None], listed: dict[str, set[str]]) -> list[Any]:
    """What is done about messages of a topic: copies, then the commit."""

    async def listers(messages: Sequence[tuple[bytes, int]]) -> list[frozenset[str]]:
        return [frozenset(listed[orjson.loads(value)["code"]]) for value, _ in messages]

    async def scene() -> list[Any]:
        broker = Broker(topic, values)
        follower = Copier(Settings(), COPIES, listers, broker).followers[topic == PRICE_CHANGES.name]
        follower.member = broker
        await follower.run(broker.stop)
        return broker.did

    return asyncio.run(scene())


def written(number: int) -> dict[str, Any]:
    """What goes on of the message with this number beside its value."""
    return {"key": b"k%d" % number, "headers": [("ce_id", b"%d" % number)], "timestamp_ms": 1_000 + number}


def test_an_alert_goes_to_its_own_suppliers_topic_as_it_is() -> None:
    values = [
        alert(1, OURS),
        alert(2, OTHERS),
        alert(3, None),
        alert(4, THEIRS),
        b"{}",
        None,
        alert(5, OURS, more="价"),
    ]
    assert copied(ALERTS.name, values, {}) == [
        ("events.big", values[0], written(7)),
        ("events.other", values[3], written(10)),
        ("events.big", values[6], written(13)),
        14,
    ]


def test_a_price_change_goes_to_all_who_list_its_code() -> None:
    listed = {"C1": {OURS, THEIRS, OTHERS}, "C2": set(), "C3": {OTHERS}, "C4": {THEIRS}}
    values = [change(code) for code in listed] + [b"7"]
    assert copied(PRICE_CHANGES.name, values, listed) == [
        ("events.big", values[0], written(7)),
        ("events.other", values[0], written(7)),
        ("events.other", values[3], written(10)),
        12,
    ]


def test_what_belongs_to_nobody_is_committed_too() -> None:
    assert copied(ALERTS.name, [alert(1, OTHERS)], {}) == [8]
