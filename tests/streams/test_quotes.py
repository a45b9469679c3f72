"""Quotes take force, wait and end; items mask them (SPEC §3 ``quote``, ``item``)."""

import pytest

from tests.streams.timeline import CODE, DAY, DRUG, OTHER_CODE, SECOND, START_MS, SUPPLIER, Timeline, evidence, quote

OTHER_SUPPLIER = "91440000MA5YYYYY2B"


def test_a_quote_waits_until_it_is_effective_and_the_older_stays() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    assert log.quote("32", 900, effective_at=DAY) == []
    assert log.tick(DAY - 1) == []
    assert log.tick(DAY) == ["price_adjustment escalated reference_fell 37 yellow"]
    assert log.changes == [("900.0000", "1000.0000", "32", "900.0000")]


def test_a_quote_effective_by_the_clock_does_not_wait() -> None:
    log = Timeline()
    log.quote("32", 1000, at=DAY, effective_at=DAY)
    assert log.changes == [("1000.0000", None, "32", "1000.0000")]


def test_a_newer_quote_cancels_one_that_waits() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    log.quote("32", 900, effective_at=DAY)
    log.quote("32", 1000)
    assert log.tick(2 * DAY) == []
    log.quote("32", 900, effective_at=3 * DAY)
    log.quote("32", 950, effective_at=4 * DAY)
    assert log.tick(3 * DAY) == []
    log.tick(4 * DAY)
    assert log.changes == [("950.0000", "1000.0000", "32", "950.0000")]


def test_a_stale_quote_cancels_nothing() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    log.quote("32", 900, at=DAY, effective_at=2 * DAY)
    log.quote("32", 800, at=DAY)
    assert log.stale == 1
    assert log.tick(2 * DAY) == ["price_adjustment escalated reference_fell 37 yellow"]


@pytest.mark.parametrize("status", ["suspended", "withdrawn"])
def test_a_quote_that_is_not_active_waits_too(status: str) -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    assert log.quote("37", status=status, effective_at=DAY) == []
    assert log.tick(DAY) == ["price_adjustment resolved delisted 37 -"]


@pytest.mark.parametrize("status", ["suspended", "withdrawn"])
def test_a_suspended_or_withdrawn_quote_is_out_of_force(status: str) -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    assert log.quote("32", 1, status=status) == ["price_adjustment resolved reference_rose 37 -"]
    assert log.changes == [("1010.0000", "1000.0000", "37", "1000.0000")]
    log.quote("37", status=status)
    assert log.changes == [(None, "1010.0000", None, "1000.0000")]
    log.quote("37", status=status)
    assert log.changes == []
    log.quote("37", 1010)
    assert log.changes == [("1010.0000", None, "37", "1000.0000")]


def test_a_quote_is_out_of_force_from_valid_until_on() -> None:
    log = Timeline()
    log.quote("32", 1000)
    log.quote("37", 1010, valid_until=DAY)
    assert log.tick(DAY - 1) == []
    assert log.tick(DAY) == ["price_adjustment resolved expired 37 -"]


@pytest.mark.parametrize("valid_until", [3 * SECOND, 2 * SECOND, -DAY])
def test_a_quote_past_its_end_on_arrival_replaces_the_older_all_the_same(valid_until: int) -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    assert log.quote("37", 900, valid_until=valid_until) == ["price_adjustment resolved expired 37 -"]
    assert log.changes == []


def test_a_quote_past_its_end_when_effective_replaces_the_older_then() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    assert log.quote("37", 900, effective_at=DAY, valid_until=DAY) == []
    assert log.tick(DAY) == ["price_adjustment resolved expired 37 -"]
    assert log.changes == []


def test_a_quote_past_its_end_is_never_held() -> None:
    log = Timeline()
    log.quotes(p32=1000, p33=1000)
    assert log.quote("44", 100, valid_until=0) == []
    log.quote("44", 100, effective_at=DAY, valid_until=DAY)
    assert log.tick(DAY) == []


def test_a_newer_quote_takes_the_olders_end_away() -> None:
    log = Timeline()
    log.quote("32", 1000)
    log.quote("37", 1010, valid_until=DAY)
    log.quote("37", 1010)
    assert log.tick(2 * DAY) == []
    log.quote("37", 1010, valid_until=3 * DAY)
    assert log.tick(3 * DAY) == ["price_adjustment resolved expired 37 -"]


def test_kinds_are_all_in_the_lowest_but_not_all_in_references() -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    assert log.quote("11", 900, kind="emergency") == []
    assert log.changes == [("900.0000", "1000.0000", "11", "900.0000")]
    assert log.quote("12", 800, kind="filed") == []
    assert log.quote("13", 700, kind="selected") == [
        "price_adjustment opened reference_fell 12 yellow",
        "price_adjustment opened reference_fell 32 red",
        "price_adjustment escalated reference_fell 37 red",
    ]


@pytest.mark.parametrize(
    ("price", "pack_size", "per_piece"),
    [
        ("10", 3, "3.3333"),
        ("20", 3, "6.6667"),
        ("0.0001", 2, "0.0001"),
        ("0.0003", 2, "0.0002"),
        ("0.0249", 100, "0.0002"),
        ("0.0250", 100, "0.0003"),
        ("100000000", 1_000_000, "100.0000"),
        ("100000000", 1, "100000000.0000"),
    ],
)
def test_prices_are_compared_per_piece_rounded_half_up(price: str, pack_size: int, per_piece: str) -> None:
    log = Timeline()
    log.quote("32", price, pack_size=pack_size, unit="box")
    assert log.changes == [(per_piece, None, "32", per_piece)]


def test_the_supplier_is_of_the_own_quote_or_of_the_one_last_in_force() -> None:
    log = Timeline()
    log.quote("32", 1000)
    log.quote("37", 1010, supplier=OTHER_SUPPLIER)
    assert log.last["supplier"] == OTHER_SUPPLIER
    log.quote("37", status="withdrawn", supplier=SUPPLIER)
    assert log.last["supplier"] == OTHER_SUPPLIER
    log.quote("37", 1020, supplier=SUPPLIER)
    assert log.last["supplier"] == SUPPLIER
    log.quote("37", 1020, supplier=OTHER_SUPPLIER, valid_until=0)
    assert log.last["supplier"] == SUPPLIER


def test_evidence_is_the_trigger_then_the_own_then_the_references_none_twice() -> None:
    log = Timeline()
    log.quote("32", 1000)
    log.quote("37", 1010)
    assert evidence(log.last) == [(1, 0), (0, 0)]
    log.write(quote("31", 1020), quote("32", 900))
    assert evidence(log.alerts[0]) == [(2, 0), (0, 0)]
    assert [evidence(alert) for alert in log.alerts[1:]] == [[(2, 1), (2, 0)], [(2, 1), (1, 0)]]
    log.quote("37", status="withdrawn")
    assert evidence(log.last) == [(3, 0), (2, 1)]


# --- items mask quotes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [{"status": "disabled"}, {"moved_to": OTHER_CODE}])
def test_no_quote_of_a_disabled_or_moved_code_is_in_force(mask: dict[str, str]) -> None:
    log = Timeline()
    log.quotes(p32=1000, p37=1010)
    assert log.item(**mask) == ["price_adjustment resolved delisted 37 -"]
    assert log.changes == [(None, "1000.0000", None, "1000.0000")]
    assert log.item() == ["price_adjustment opened new_listing 37 blue"]
    assert log.changes == [("1000.0000", None, "32", "1000.0000")]
    assert log.last["alert_id"] == f"price_adjustment:{CODE}:370000:2"


def test_a_quote_that_ends_behind_the_mask_does_not_come_back() -> None:
    log = Timeline()
    log.quote("32", 1000)
    log.quote("37", 1010, valid_until=DAY)
    log.item(status="disabled")
    assert log.tick(DAY) == []
    assert log.item() == []


def test_waiting_quotes_take_force_behind_the_mask_unheld() -> None:
    log = Timeline()
    log.quotes(p32=1000, p33=1000, p37=1010)
    log.quote("44", 100, effective_at=DAY)
    log.quote("32", status="withdrawn", effective_at=DAY)
    log.item(status="disabled")
    assert log.tick(DAY) == []
    assert log.item() == [
        "price_adjustment opened new_listing 33 red",
        "price_adjustment opened new_listing 37 red",
    ]
    assert log.changes == [("100.0000", None, "44", "100.0000")]


def test_items_replace_one_another_whole() -> None:
    log = Timeline()
    log.item(device_class=3, name="支架")
    log.quote("32", 3000)
    log.quote("37", 3100)
    assert log.last["high_value"] is True
    log.item(name="支架")
    log.quote("37", 3200)
    assert log.last["high_value"] is False


@pytest.mark.parametrize(
    ("device_class", "price", "high_value"),
    [(1, "5000", False), (2, "2000.0001", True), (3, "2000.0001", True), (2, "2000", False), (None, "5000", False)],
)
def test_high_value_is_class_2_or_3_above_2000_yuan(device_class: int | None, price: str, high_value: bool) -> None:
    log = Timeline()
    log.item(device_class=device_class)
    log.quote("32", 1900)
    log.quote("37", price)
    assert log.last["high_value"] is high_value


def test_drugs_link_as_consumables_do() -> None:
    log = Timeline()
    log.quote("32", 1000, code=DRUG)
    assert log.quote("37", 1010, code=DRUG) == ["price_adjustment opened new_listing 37 blue"]
    assert log.last["code"] == DRUG
    assert log.last["alert_id"] == f"price_adjustment:{DRUG}:370000:1"


def test_codes_do_not_meet() -> None:
    log = Timeline()
    log.quote("32", 1000)
    assert log.quote("37", 2000, code=OTHER_CODE) == []
    assert log.machine.clock_ms == START_MS + 2 * SECOND
