"""``ceiling_breach``: prices above the highest valid one (SPEC §3)."""

from typing import Any

import pytest

from tests.streams.timeline import CODE, DAY, Timeline, evidence


def capped(price: int | str = 1000) -> Timeline:
    """Jiangsu alone, at a price under a ceiling of 1000 yuan."""
    log = Timeline()
    log.ceiling("32", 1000)
    log.quote("32", price)
    return log


def test_opened_when_a_ceiling_comes_or_falls_below_the_price() -> None:
    log = Timeline()
    log.quote("32", 1000)
    assert log.ceiling("32", 1000) == []
    assert log.ceiling("32", "999.9999", id="src") == ["ceiling_breach opened reference_fell 32 red"]
    assert log.last == {
        "event_id": f"ceiling_breach:{CODE}:320000:1/1",
        "alert_id": f"ceiling_breach:{CODE}:320000:1",
        "revision": 1,
        "kind": "ceiling_breach",
        "change": "opened",
        "reason": "reference_fell",
        "source_id": "src",
        "code": CODE,
        "province": "320000",
        "supplier": "91320000MA1XXXXX1A",
        "band": "red",
        "previous_band": None,
        "price": "1000.0000",
        "reference": {"price": "999.9999", "rule": "ceiling", "provinces": ["320000"]},
        "target_price": "999.9999",
        "excess_bp": 0,
        "high_value": False,
        "at": "2026-01-01T00:00:03.000Z",
        "evidence": [{"partition": 0, "offset": 2, "line": 0}, {"partition": 0, "offset": 0, "line": 0}],
        "policy_version": "44136fa355b3678a",
    }
    assert log.open_alerts == {"ceiling_breach red": 1}


def test_opened_when_a_first_ceiling_comes() -> None:
    log = Timeline()
    log.quote("32", 1000)
    assert log.ceiling("32", 900) == ["ceiling_breach opened reference_fell 32 red"]


def test_opened_for_a_new_listing_or_a_price_that_rose() -> None:
    log = capped(1001)
    assert log.quote("32", 900) == ["ceiling_breach resolved own_price_fell 32 -"]
    assert log.quote("32", 1100) == ["ceiling_breach opened own_price_rose 32 red"]
    log = Timeline()
    log.ceiling("32", 1000)
    assert log.quote("32", 1001) == ["ceiling_breach opened new_listing 32 red"]
    assert evidence(log.last) == [(1, 0), (0, 0)]


def test_opened_as_a_hold_was_released() -> None:
    log = Timeline()
    log.quotes(p11=1000, p12=1000)
    log.ceiling("32", 50)
    log.quote("32", 100)
    assert "ceiling_breach opened hold_released 32 red" in log.decide("32", "confirm")


def test_revised_when_the_ceiling_moves_below_the_price() -> None:
    log = capped(2000)
    assert log.ceiling("32", 1500) == ["ceiling_breach revised reference_rose 32 red"]
    assert (log.last["previous_band"], log.last["target_price"], log.last["revision"]) == ("red", "1500.0000", 2)
    assert log.ceiling("32", 1200) == ["ceiling_breach revised reference_fell 32 red"]
    assert log.ceiling("32", 1200) == []
    assert log.quote("32", 1900) == []


def test_resolved_when_the_ceiling_rises_or_is_lifted() -> None:
    log = capped(2000)
    assert log.ceiling("32", 2000) == ["ceiling_breach resolved reference_rose 32 -"]
    assert (log.last["previous_band"], log.last["reference"]["price"]) == ("red", "2000.0000")
    assert log.ceiling("32", 1000) == ["ceiling_breach opened reference_fell 32 red"]
    assert log.last["alert_id"] == f"ceiling_breach:{CODE}:320000:2"
    assert log.ceiling("32") == ["ceiling_breach resolved reference_rose 32 -"]
    assert not {"reference", "target_price", "excess_bp"} & log.last.keys()
    assert log.last["price"] == "2000.0000"
    assert log.quote("32", 3000) == []
    assert log.open_alerts == {}


@pytest.mark.parametrize("fields", [{"status": "suspended"}, {"status": "withdrawn"}])
def test_resolved_as_the_quote_was_delisted(fields: dict[str, Any]) -> None:
    log = capped(2000)
    assert log.quote("32", **fields) == ["ceiling_breach resolved delisted 32 -"]
    assert not {"price", "excess_bp", "high_value", "due_at"} & log.last.keys()
    assert log.last["target_price"] == "1000.0000"
    assert evidence(log.last) == [(2, 0), (0, 0)]


def test_resolved_as_the_quote_expired_or_the_code_went() -> None:
    log = capped(2000)
    log.quote("32", 2000, valid_until=DAY)
    assert log.tick(DAY) == ["ceiling_breach resolved expired 32 -"]
    log.quote("32", 2000)
    assert log.item(status="disabled") == ["ceiling_breach resolved delisted 32 -"]
    assert log.item() == ["ceiling_breach opened new_listing 32 red"]


@pytest.mark.parametrize("kind", ["listed", "selected", "filed", "emergency"])
def test_every_kind_has_a_ceiling(kind: str) -> None:
    log = Timeline({"default": {"own_kinds": [], "high_value_only": True, "exclude_prefixes": ["C"]}})
    log.ceiling("32", 1000)
    assert log.quote("32", 1001, kind=kind) == ["ceiling_breach opened new_listing 32 red"]


def test_a_ceiling_is_of_its_province_alone() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1000)
    assert log.ceiling("37", 900) == ["ceiling_breach opened reference_fell 37 red"]
    assert log.ceiling("44", 900) == []
    assert log.quote("44", 1000) == ["ceiling_breach opened new_listing 44 red"]


def test_breaches_come_after_adjustments() -> None:
    log = Timeline()
    log.ceiling("37", 1000)
    log.quote("32", 1000)
    assert log.quote("37", 1100) == [
        "price_adjustment opened new_listing 37 yellow",
        "ceiling_breach opened new_listing 37 red",
    ]
