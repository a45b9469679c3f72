"""What the state says of a province's listings, also after a restart."""

from config.provinces import PROVINCE_INDEX
from streams.listings import Listed
from streams.machine import Machine
from tests.streams.logs import policy_of
from tests.streams.timeline import CODE, DAY, OTHER_CODE, SUPPLIER, Timeline

JIANGSU = PROVINCE_INDEX["320000"]
CODES = [f"C{number:026}" for number in range(6)]


def quote(code: str, province: str = "320000", price: str = "10", **changes: object) -> dict[str, object]:
    return {"type": "quote", "code": code, "province": province, "price": price, "supplier": SUPPLIER} | changes


def test_listings_of_a_province_and_retired_codes() -> None:
    timeline = Timeline()
    timeline.write(
        quote(CODES[0], pack_size=2),
        quote(CODES[1], "110000"), quote(CODES[1], kind="selected"),
        quote(CODES[2]), quote(CODES[2], status="withdrawn"),
        quote(CODES[3], effective_at=timeline.now + DAY),
        quote(CODES[4], "110000", "100"), quote(CODES[4], "120000", "100"), quote(CODES[4], "320000", "1"),
        quote(CODE), {"type": "item", "code": CODE, "moved_to": OTHER_CODE},
        {"type": "item", "code": OTHER_CODE, "status": "disabled"},
    )  # fmt: skip
    machine = timeline.machine

    def found(code: str, price_e4: int, kind: str = "listed", **marks: bool) -> Listed:
        marks = {"in_force": False, "waits": False, "held": False} | marks
        return Listed(code, price_e4, kind=kind, supplier=SUPPLIER, **marks)

    expected = {
        found(CODES[0], 50_000, in_force=True),
        found(CODES[1], 100_000, "selected", in_force=True),
        found(CODE, 100_000, in_force=True),
    }
    for each in (machine, again(machine)):
        listings = each.listings(JIANGSU)
        assert expected <= set(listings)
        others = {listing.code: listing for listing in listings if listing not in expected}
        assert others.keys() == {CODES[2], CODES[3], CODES[4]}
        assert not any(listing.in_force for listing in others.values())
        assert (others[CODES[3]].waits, others[CODES[4]].held) == (True, True)
        assert each.retired() == {CODE: OTHER_CODE, OTHER_CODE: None}
        assert each.listings(PROVINCE_INDEX["330000"]) == []


def again(machine: Machine) -> Machine:
    restored = Machine(0, 1, policy_of({}))
    restored.restore([machine.checkpoint(1)])
    return restored
