"""``bargain``: traded prices against listed ones (SPEC §4)."""

import pytest

from tests.streams.timeline import CODE, DAY, SUPPLIER, Timeline, evidence


def market() -> Timeline:
    """Jiangsu at 1000 yuan, Shandong at 1100, in messages 0 and 1."""
    log = Timeline()
    log.quotes(p32=1000, p37=1100)
    return log


@pytest.mark.parametrize(
    ("price", "event"),
    [
        ("999.9999", None),
        ("1000", None),
        ("1000.0001", "bargain observed above_lowest 44 blue"),
        ("1050", "bargain observed above_lowest 44 yellow"),
        ("1200", "bargain observed above_lowest 44 red"),
    ],
)
def test_an_order_is_scored_against_the_national_lowest(price: str, event: str | None) -> None:
    assert market().order("44", price) == ([event] if event else [])


@pytest.mark.parametrize(
    ("price", "event"),
    [
        ("1100.0001", "bargain observed above_listing 37 red"),
        ("1100", "bargain observed above_lowest 37 yellow"),
        ("1049", "bargain observed above_lowest 37 blue"),
        ("1000", None),
    ],
)
def test_an_order_above_the_provinces_own_listing_is_red(price: str, event: str | None) -> None:
    assert market().order("37", price) == ([event] if event else [])


def test_a_bargain_whole() -> None:
    log = market()
    log.order("44", 1100, "o-1", supplier="9" * 18, institution="省立医院", id="src", bargained_by="consortium")
    assert log.last == {
        "event_id": f"bargain:{CODE}:440000:o-1:1/1",
        "alert_id": f"bargain:{CODE}:440000:o-1:1",
        "revision": 1,
        "kind": "bargain",
        "change": "observed",
        "reason": "above_lowest",
        "source_id": "src",
        "code": CODE,
        "province": "440000",
        "supplier": "9" * 18,
        "institution": "省立医院",
        "band": "yellow",
        "previous_band": None,
        "price": "1100.0000",
        "reference": {"price": "1000.0000", "rule": "lowest", "provinces": ["320000"]},
        "target_price": "1000.0000",
        "excess_bp": 1000,
        "high_value": False,
        "at": "2026-01-01T00:00:03.000Z",
        "evidence": [{"partition": 0, "offset": 2, "line": 0}, {"partition": 0, "offset": 0, "line": 0}],
        "policy_version": "44136fa355b3678a",
    }
    assert "bargain yellow" not in log.open_alerts


def test_the_reference_of_above_listing_is_that_listing() -> None:
    log = market()
    log.order("37", 1200)
    assert log.last["reference"] == {"price": "1100.0000", "rule": "listing", "provinces": ["370000"]}
    assert log.last["target_price"] == "1100.0000"
    assert log.last["excess_bp"] == 909
    assert evidence(log.last) == [(2, 0), (1, 0)]


def test_the_lowest_itself_may_be_the_listing() -> None:
    log = market()
    assert log.order("32", 1001) == ["bargain observed above_listing 32 red"]
    assert log.order("32", 1000, "p") == []


def test_the_price_is_per_piece() -> None:
    log = market()
    assert log.order("44", 10_000, pack_size=10) == []
    assert log.order("44", 10_001, pack_size=10, at=9_000) == ["bargain observed above_lowest 44 blue"]
    assert log.last["price"] == "1000.1000"


def test_the_bands_are_the_orders_provinces() -> None:
    log = Timeline({"provinces": {"440000": {"bands": {"blue": 2000}}}})
    log.quotes(p32=1000)
    assert log.order("44", 1199) == ["bargain observed above_lowest 44 yellow"]
    assert log.order("44", 1040, "p") == []
    assert log.order("45", 1040, "p") == ["bargain observed above_lowest 45 blue"]


def test_an_order_that_cancels_is_not_scored() -> None:
    log = market()
    assert log.order("44", 1100, quantity=0) == []
    assert log.stale == 0


def test_each_accepted_version_of_an_order_is_scored_anew() -> None:
    log = market()
    log.order("44", 1100)
    assert log.order("44", 1300) == ["bargain observed above_lowest 44 red"]
    assert log.last["event_id"] == f"bargain:{CODE}:440000:o:2/1"
    assert log.order("44", 1000) == []
    assert log.order("44", 1400, at=0) == []
    assert log.stale == 1
    log.order("44", 1100, at=DAY)
    assert log.last["event_id"] == f"bargain:{CODE}:440000:o:3/1"
    log.order("45", 1100)
    assert log.last["event_id"] == f"bargain:{CODE}:450000:o:1/1"


def test_an_order_is_scored_at_its_point_of_the_log_and_never_again() -> None:
    log = Timeline()
    assert log.order("44", 1100) == []
    log.quotes(p32=1000)
    assert log.alerts == []
    assert log.order("44", 1100, "p", at=0) == ["bargain observed above_lowest 44 yellow"]


def test_listings_of_any_kind_count() -> None:
    log = Timeline()
    log.quote("32", 1000, kind="emergency")
    log.quote("37", 1100, kind="selected")
    assert log.order("44", 1001) == ["bargain observed above_lowest 44 blue"]
    assert log.order("37", 1101) == ["bargain observed above_listing 37 red"]


def test_what_is_not_in_force_does_not_count() -> None:
    log = market()
    log.quote("37", status="suspended")
    assert log.order("37", 1200) == ["bargain observed above_lowest 37 red"]
    log.item(status="disabled")
    assert log.order("37", 1200, "p") == []
    assert log.order("32", 1200, "p") == []


def test_a_high_value_order() -> None:
    log = market()
    log.item(device_class=2)
    log.order("44", 2001)
    assert log.last["high_value"] is True


@pytest.mark.parametrize("order_id", ["合同:3", 'a"b\\c\n\x01\u2028\x7f', "😀", ":", "x" * 64])
def test_any_order_id(order_id: str) -> None:
    log = market()
    log.order("44", 1100, order_id, institution=order_id, id=order_id, supplier=SUPPLIER)
    assert log.last["alert_id"] == f"bargain:{CODE}:440000:{order_id}:1"
    assert log.last["institution"] == log.last["source_id"] == order_id
