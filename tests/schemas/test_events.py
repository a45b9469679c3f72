"""What readers of ``alerts`` and ``price-changes`` take for an event, and what they pass over."""

from typing import Any

import orjson
import pytest

from schemas.events import NotAnEvent, object_of, read_alert, read_event, read_price_change, slot_of

ALERT = {"event_id": "price_hold:C1:320000:12/2", "alert_id": "price_hold:C1:320000:12", "revision": 2, "kind": "price_hold",
         "change": "resolved", "code": "C1", "province": "320000", "band": None, "previous_band": "red", "at": "…"}  # fmt: skip
CHANGE = {"event_id": "price.lowest.changed:C1:3", "code": "C1", "lowest": "1.0000", "province": None}


def test_events_are_read_as_they_are_and_may_have_more_than_is_known() -> None:
    for event, read in ((ALERT, read_alert), (CHANGE, read_price_change)):
        more = event | {"later": [1]}
        assert read(orjson.dumps(more)) == read_event(orjson.dumps(more)) == more
    assert slot_of(str(ALERT["alert_id"])) == ("price_hold:C1:320000", 12)


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"[]", b"1", b'"alert_id"', b"null", b"[" * 5_000])
def test_what_is_no_object_is_none(value: bytes | None) -> None:
    for read in (object_of, read_alert, read_price_change, read_event):
        with pytest.raises(NotAnEvent):
            read(value)


@pytest.mark.parametrize(
    "changed",
    [
        {"alert_id": 1}, {"alert_id": "price_hold"}, {"alert_id": ":1"}, {"alert_id": "a:1_0"}, {"alert_id": "a:-1"},
        {"alert_id": "a:" + "9" * 16}, {"revision": "2"}, {"revision": 2.0}, {"revision": True}, {"revision": -1},
        {"revision": 2**53}, {"kind": None}, {"change": []}, {"code": 1}, {"province": {}}, {"band": []},
        {"previous_band": 0}, {"supplier": 1}, {"institution": False},
    ],
)  # fmt: skip
def test_an_alert_without_what_readers_rely_on_is_none(changed: dict[str, Any]) -> None:
    with pytest.raises(NotAnEvent, match=next(iter(changed))):
        read_alert(orjson.dumps(ALERT | changed))


@pytest.mark.parametrize("changed", [{"event_id": "x"}, {"event_id": None}, {"code": None}, {"province": 1}])
def test_a_price_change_without_what_readers_rely_on_is_none(changed: dict[str, Any]) -> None:
    with pytest.raises(NotAnEvent, match=next(iter(changed))):
        read_price_change(orjson.dumps(CHANGE | changed))
