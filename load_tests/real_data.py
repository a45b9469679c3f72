"""US hospitals' published device prices as a feed of many regions: ``python -m load_tests.real_data DATA.csv.gz OUT.ndjson``.

The file has columns ``observed_at, state, hospital_ccn, hcpcs, price_type (gross|cash), price_usd``. A state stands for a
province (the first 32 in alphabetical order, for the 32 province codes in theirs), a HCPCS code for a product (``C``, then
its letter as two digits and its digits, padded with zeros to 26), a dollar for a yuan. Of each day:

- ``item``: every code, class 3, so that what costs more than 2,000 counts as high value;
- ``quote``: a state's lowest gross price by then, where it is new or another than before;
- ``order``: every hospital's gross price of the day, quantity 1.

Prices go on as they are written, however odd.
"""

import argparse
import csv
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from config.provinces import PROVINCE_CODES

_SUPPLIER: Final = "91000000US00000000"
"""The file names no suppliers; the field is required."""


def product_code(hcpcs: str) -> str:
    """Returns a national code for a HCPCS code: C1713 is C and 031713 with 20 zeros before it."""
    letter = ord(hcpcs[0].upper()) - ord("A") + 1
    return f"C{f'{letter:02}{hcpcs[1:]}':0>26}"


def convert(rows: Iterator[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Yields records, day by day: items first, then quotes, then orders."""
    gross = [row for row in rows if row["price_type"] == "gross"]
    states = sorted({row["state"] for row in gross})[: len(PROVINCE_CODES)]
    province = dict(zip(states, PROVINCE_CODES, strict=False))
    kept = [row for row in gross if row["state"] in province]
    days = sorted({row["observed_at"] for row in kept})
    for code in sorted({row["hcpcs"] for row in kept}):
        yield {
            "type": "item",
            "code": product_code(code),
            "at": f"{days[0]}T00:00:00+08:00",
            "name": code,
            "device_class": 3,
        }
    lowest: dict[tuple[str, str], dict[str, str]] = {}
    for day in days:
        today = [row for row in kept if row["observed_at"] == day]
        fresh = _lowest_of(today)
        for slot in sorted(fresh):
            before = lowest.get(slot)
            if before is None or _amount(fresh[slot]) < _amount(before):
                lowest[slot] = fresh[slot]
                yield _quote(fresh[slot], province[slot[0]], day)
        for number, row in enumerate(today):
            yield _order(row, province[row["state"]], day, number)


def _lowest_of(rows: list[dict[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    by_slot: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_slot[row["state"], row["hcpcs"]].append(row)
    return {slot: min(found, key=_amount) for slot, found in by_slot.items()}


def _amount(row: dict[str, str]) -> Decimal:
    return Decimal(row["price_usd"])


def _quote(row: dict[str, str], province: str, day: str) -> dict[str, Any]:
    return {
        "type": "quote",
        "province": province,
        "code": product_code(row["hcpcs"]),
        "at": f"{day}T08:00:00+08:00",
        "id": f"{row['state']}/{row['hospital_ccn']}",
        "price": row["price_usd"],
        "supplier": _SUPPLIER,
    }


def _order(row: dict[str, str], province: str, day: str, number: int) -> dict[str, Any]:
    return {
        "type": "order",
        "province": province,
        "code": product_code(row["hcpcs"]),
        "at": f"{day}T09:00:00+08:00",
        "id": f"{row['state']}/{row['hospital_ccn']}",
        "order_id": f"{day}-{number}",
        "institution": row["hospital_ccn"],
        "supplier": _SUPPLIER,
        "price": row["price_usd"],
        "quantity": 1,
    }


def main() -> int:
    """Converts one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    counts: dict[str, int] = defaultdict(int)
    opened = gzip.open if options.data.suffix == ".gz" else open
    with opened(options.data, "rt", encoding="utf-8", newline="") as file, options.out.open("w") as out:
        for record in convert(csv.DictReader(file)):
            counts[record["type"]] += 1
            print(json.dumps(record, separators=(",", ":")), file=out)
    print(", ".join(f"{count:,} {name}s" for name, count in counts.items()), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
