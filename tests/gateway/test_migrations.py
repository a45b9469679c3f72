"""An old export against our listings: every kind of difference, and which of several rows counts."""

import csv
import io

from gateway.migrations import Finding, compare, read_old
from gateway.pricelists import open_list
from gateway.profiles import parse_profile
from streams.listings import Listed

CODES = ["C" + f"{number:026}" for number in range(20)]
SUPPLIER = "91320000MA1N4XXXX1"
PROFILE = parse_profile(
    {
        "columns": {"code": "编码", "price": "价格", "unit": "单位", "status": "状态"},
        "constants": {"supplier": SUPPLIER},
        "words": {"status": {"停": "suspended"}},
        "migration": {"registration": "注册证", "volume": "采购量", "listed_at": "挂网时间", "product": "产品编号"},
    }
)


def listed(number: int, price_e4: int, *, in_force: bool = True, waits: bool = False, held: bool = False) -> Listed:
    return Listed(CODES[number], price_e4, in_force, "listed", SUPPLIER, waits, held)


def findings(
    text: str, ours: list[Listed], retired: dict[str, str | None] | None = None
) -> list[tuple[int | None, str, str]]:
    return [(finding.line, finding.what, finding.detail) for finding in all_of(text, ours, retired or {})]


def all_of(text: str, ours: list[Listed], retired: dict[str, str | None]) -> list[Finding]:
    header = "编码,价格,单位,状态,注册证,采购量,挂网时间,产品编号\n"
    old = open_list(io.BytesIO((header + text).encode()), PROFILE, 1_767_225_600_000, "320000", "old")
    return list(compare(read_old(old, PROFILE), ours, retired))


def test_each_kind_of_difference() -> None:
    text = "\n".join(
        [
            f"{CODES[0]},100,10支/盒", f"{CODES[1]},7", f"{CODES[2]},7", f"{CODES[3]},7", f"{CODES[4]},7",
            f"{CODES[5]},面议", f"{CODES[6]},7,,停", "C1,7", f"{CODES[7]},7", f"{CODES[8]},7",
        ]
    )  # fmt: skip
    ours = [
        listed(0, 100_000), listed(1, 80_000, waits=True), listed(3, 0, in_force=False, held=True),
        listed(4, 70_000), listed(7, 70_000), listed(9, 10_000), listed(10, 10_000, in_force=False),
    ]  # fmt: skip
    assert findings(text, ours, {CODES[7]: CODES[17], CODES[8]: None}) == [
        (7, "unreadable", "price '面议' is no amount"),
        (9, "unreadable", "bad_code: code must be C and 26 digits, or X, Z or T and 22 of A-Z and 0-9"),
        (2, "same", ""),
        (3, "different_price", "a newer quote waits"),
        (4, "missing", "never listed"),
        (5, "missing", "held until somebody decides"),
        (6, "same", ""),
        (10, "moved", CODES[17]),
        (11, "disabled", ""),
        (None, "extra", "listed"),
    ]


def test_of_rows_that_are_the_same_listing_volume_time_and_code_decide() -> None:
    ours = [listed(0, 70_000)]
    base = f"{CODES[0]},7,,,r1"
    assert findings(f"{base},10,2024-01-01,a\n{base},20,2024-02-01,b", ours) == [
        (2, "duplicate", "line 3 is kept"),
        (3, "same", ""),
    ]
    assert findings(f"{base},10,2024-02-01,a\n{base},10,2024-01-01,b", ours)[0] == (2, "duplicate", "line 3 is kept")
    assert findings(f'{base},"1,000",2024-01-01,b\n{base},1000,2024-01-01,a', ours)[0] == (
        2,
        "duplicate",
        "line 3 is kept",
    )
    assert findings(f"{base},,,\n{base},,,", ours)[0] == (3, "duplicate", "line 2 is kept")


def test_rows_of_one_code_that_differ_are_told_apart() -> None:
    text = f"{CODES[0]},7,,,r1,10\n{CODES[0]},8,,,r1,90\n{CODES[0]},8,,,r2,20"
    assert findings(text, [listed(0, 80_000)]) == [
        (4, "several_prices", "line 3 is kept"),
        (2, "several_prices", "line 3 is kept"),
        (3, "same", ""),
    ]


def test_the_report_is_safe_to_open() -> None:
    line = Finding(2, CODES[0], "different_price", 12_500, 70_000, "=1+1").csv_line()
    assert next(csv.reader(io.StringIO(line))) == ["2", CODES[0], "different_price", "1.2500", "7.0000", "'=1+1"]
