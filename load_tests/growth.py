"""How the cost of a record grows with the market: ``python -m load_tests.growth``; draws docs/growth.svg.

Scanner and machine alone, by processor time: records a second of one core at 10 k, 100 k and 1 M products (8 provinces),
and at 1, 8 and 32 provinces a product (100 k products). Every slot is listed first; then the same number of refreshes is
timed. ``--end-to-end`` catches up with some of these sizes through a broker as well, outputs compared.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import config.jit  # noqa: F401  (before the first kernel)
from load_tests.bars import PLOT
from load_tests.bench import add_broker_argument, started_now
from load_tests.catchup import catchup
from load_tests.core import add_load_arguments, load_of, measure_machine
from load_tests.generate import Load
from load_tests.harness import BenchFault
from load_tests.plot import Panel, svg
from load_tests.report import RESULTS, heading, save, say

_PROVINCES: Final = 8
_PRODUCTS: Final = 100_000


def alone(load: Load, refreshes: int) -> dict[str, Any]:
    """Returns what a refresh costs the scanner and the machine, everything listed beforehand."""
    slots = load.products * load.provinces
    say(f"growth: {load.products:,} products × {load.provinces} provinces")
    found = measure_machine(replace(load, records=slots + refreshes), uncounted=slots)
    return {
        "products": load.products,
        "provinces": load.provinces,
        "slots": slots,
        "records": found["records"],
        "records_per_cpu_s": found["records_per_cpu_s"],
        "cpu_us_per_record": round(1e6 / found["records_per_cpu_s"], 3),
        "events_per_record": found["events_per_record"],
    }


def end_to_end(load: Load, kafka: str | None, refreshes: int) -> dict[str, Any]:
    """Returns the same through a broker."""
    say(f"growth: end to end, {load.products:,} products × {load.provinces} provinces")
    records = load.products * load.provinces + refreshes
    found = catchup(started_now(replace(load, records=records)), kafka, "lz4")
    return {"products": load.products, "provinces": load.provinces, **found}


def draw(result: dict[str, Any]) -> str:
    """Returns the plot as SVG."""
    panels = []
    for name, about in (("products", f"{_PROVINCES} provinces each"), ("provinces", "of each product")):
        lines = {"machine alone, one core": [(row[name], row["records_per_cpu_s"]) for row in result[name]]}
        through = [(row[name], row["records_per_s"]) for row in result["end_to_end"] if row["varied"] == name]
        if through:
            lines["end to end"] = through
        panels.append(Panel(f"Refreshes by number of {name}", f"{name}, {about}", "records/s", lines))
    return svg(panels)


def main() -> int:
    """Measures, prints, draws, writes load_tests/results/growth.json; returns 1 where outputs are not exact."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_load_arguments(parser)
    add_broker_argument(parser)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], help="products")
    parser.add_argument("--spans", type=int, nargs="*", default=[1, 8, 32], help="provinces a product")
    parser.add_argument("--span-products", type=int, default=_PRODUCTS, help="products for --spans")
    parser.add_argument("--refreshes", type=int, default=2_000_000, help="records that are timed")
    parser.add_argument("--end-to-end", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "growth.json")
    parser.add_argument("--plot", type=Path, default=PLOT)
    options = parser.parse_args()
    load = load_of(options)
    sizes = [replace(load, products=products, provinces=_PROVINCES) for products in options.sizes]
    spans = [replace(load, products=options.span_products, provinces=provinces) for provinces in options.spans]
    result = heading("kafka" if options.kafka else "embedded")
    through: list[dict[str, Any]] = []
    result |= {
        "products": [alone(size, options.refreshes) for size in sizes],
        "provinces": [alone(span, options.refreshes) for span in spans],
        "end_to_end": through,
    }
    try:
        for varied, loads in (("products", sizes), ("provinces", spans)) if options.end_to_end else ():
            through += [{"varied": varied, **end_to_end(one, options.kafka, options.refreshes)} for one in loads]
    except BenchFault as fault:
        print(fault, file=sys.stderr)
        return 2
    result["outputs_exact"] = all(run["difference"] is None for run in through)
    save(options.out, result)
    options.plot.write_text(draw(result))
    return int(not result["outputs_exact"])


if __name__ == "__main__":
    sys.exit(main())
