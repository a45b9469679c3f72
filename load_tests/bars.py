"""The bars, their figures and whether they hold: ``python -m load_tests.bars``, from the files in load_tests/results.

``--docs`` writes the table into docs/performance.md as well, and docs/capacity.md, so that the pages say what was measured last.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load_tests.harness import PROJECT
from load_tests.report import RESULTS

PAGE: Final = PROJECT / "docs" / "performance.md"
PLOT: Final = PROJECT / "docs" / "growth.svg"
"""What ``load_tests.growth`` draws."""
_BLOCK: Final = re.compile(r"(<!-- (\w+): [^>]*-->\n).*?(<!-- end -->)", re.DOTALL)

Results = dict[str, Any]
"""By name of the file: its content."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the table. ``figure``: from the results, None where it was not measured, or not by that file.

    ``least`` or ``most``: what it must reach; ``stretch``: what would be better yet.
    """

    about: str
    file: str
    figure: Callable[[Any], float | None]
    unit: str
    least: float | None = None
    most: float | None = None
    stretch: float | None = None

    @property
    def wanted(self) -> str:
        """Returns the bar in words."""
        limit, sign = (self.least, "≥") if self.least is not None else (self.most, "≤")
        assert limit is not None
        stretch = f" (stretch {_number(self.stretch)})" if self.stretch is not None else ""
        return f"{sign} {_number(limit)}{stretch} {self.unit}".rstrip()

    def holds(self, figure: float) -> bool:
        """Tells whether a figure reaches the bar."""
        if self.least is not None:
            return figure >= self.least
        assert self.most is not None
        return figure <= self.most


def _at(*path: str) -> Callable[[Any], float | None]:
    def look(result: Any) -> float | None:
        for name in path:
            if not isinstance(result, dict) or name not in result:
                return None
            result = result[name]
        return float(result) if isinstance(result, int | float) else None

    return look


def _odd_cost_percent(result: Any) -> float | None:
    """What 1 % odd lines add to a worker's processor time a record."""
    odd, plain = _at("odd", "worker_cpu_us_per_record")(result), _at("packed", "worker_cpu_us_per_record")(result)
    return None if odd is None or plain is None else 100 * (odd / plain - 1)


def _scaling_percent(result: Any) -> float | None:
    """What a record costs more with four workers than with one, in processor time."""
    costs = {run["workers"]: run["worker_cpu_us_per_record"] for run in result.get("runs", [])}
    return 100 * (costs[4] / costs[1] - 1) if {1, 4} <= costs.keys() else None


def _idle_percent(result: Any) -> float | None:
    share = _at("worker_cpu_share")(result)
    return None if share is None else 100 * share


def _unanswered(result: Any) -> float | None:
    """Bodies that got 5xx or no answer, where there were a hundred thousand."""
    whole = (_at("bodies")(result) or 0) >= 100_000
    return result["server_faults"] + result["no_answer"] if whole else None


BARS: Final = (
    Bar("catch-up, packed, calm; embedded broker", "latest", _at("packed", "records_per_s"), "/s",
        least=1_200_000, stretch=2_000_000),
    Bar("the same on Kafka", "kafka", _at("packed", "records_per_s"), "/s", least=1_000_000, stretch=1_500_000),
    Bar("catch-up, a record a message, calm; embedded broker", "latest", _at("single", "records_per_s"), "/s",
        least=700_000, stretch=1_000_000),
    Bar("the same on Kafka", "kafka", _at("single", "records_per_s"), "/s", least=500_000),
    Bar("catch-up, packed, storm; embedded broker", "latest", _at("storm", "records_per_s"), "/s", least=300_000),
    Bar("the same on Kafka", "kafka-markets", _at("storm", "records_per_s"), "/s", least=300_000),
    Bar("catch-up, 70 % quotes, 20 % orders, 8 % deliveries, 2 % payments; embedded broker", "latest",
        _at("mixed", "records_per_s"), "/s", least=400_000),
    Bar("the same on Kafka", "kafka-markets", _at("mixed", "records_per_s"), "/s", least=400_000),
    Bar("catch-up, orders, deliveries and payments alone; embedded broker", "latest",
        _at("orders", "records_per_s"), "/s", least=300_000),
    Bar("the same on Kafka", "kafka-markets", _at("orders", "records_per_s"), "/s", least=300_000),
    Bar("1 % odd lines, cost in CPU", "odd", _odd_cost_percent, "%", most=10),
    Bar("append → alerts, 2,000/s, p50; embedded broker", "latest", _at("latency_2000", "p50_ms"), "ms", most=12),
    Bar("p99", "latest", _at("latency_2000", "p99_ms"), "ms", most=30, stretch=20),
    Bar("append → alerts, 2,000/s, p50; Kafka", "kafka", _at("latency_2000", "p50_ms"), "ms", most=12),
    Bar("p99", "kafka", _at("latency_2000", "p99_ms"), "ms", most=30, stretch=20),
    Bar("append → alerts, 20,000/s, p99; embedded broker", "latest", _at("latency_20000", "p99_ms"), "ms", most=80),
    Bar("the same on Kafka", "kafka", _at("latency_20000", "p99_ms"), "ms", most=80),
    Bar("append → SSE client, 2,000/s, p99; embedded broker", "delivery", _at("sse", "p99_ms"), "ms", most=100),
    Bar("append → Redis, p99", "delivery", _at("redis", "p99_ms"), "ms", most=100),
    Bar("append → SSE client, 2,000/s, p99; Kafka", "delivery-kafka", _at("sse", "p99_ms"), "ms", most=100),
    Bar("append → Redis, p99", "delivery-kafka", _at("redis", "p99_ms"), "ms", most=100),
    Bar("feeds over HTTP with gzip, one gateway process; embedded broker", "ingest", _at("records_per_s"), "/s",
        least=150_000),
    Bar("append → one of 1,000 clients of suppliers, 100/s, p99; embedded broker", "sse_clients", _at("p99_ms"), "ms",
        most=250),
    Bar("append → a good webhook of 20 beside 80 bad ones, p99; embedded broker", "webhooks", _at("p99_ms"), "ms",
        most=2_000),
    Bar("100,000 fuzzed bodies at one gateway, answers of 5xx or none; embedded broker", "hostile_bodies",
        _unanswered, "", most=0),
    Bar("its memory after them, against after a fifth", "hostile_bodies", _at("growth_percent"), "% more", most=5),
    Bar("idle worker, share of a core; embedded broker", "idle", _idle_percent, "%", most=5),
    Bar("the same on Kafka", "idle-kafka", _idle_percent, "%", most=5),
    Bar("memory a live slot, 1 M products × 8 provinces, between checkpoints' batches", "memory",
        _at("packed", "bytes_per_slot"), "bytes", most=96, stretch=64),
    Bar("kill −9 with 1 M products, first new alert", "recovery", _at("first_alert_s"), "s", most=10),
    Bar("rolling restart of every process under load: p99 back to normal; Kafka", "rolling", _at("most_back_s"), "s",
        most=10),
    Bar("records and events lost in it", "rolling", _at("lost"), "", most=0),
    Bar("a record's CPU with 4 workers, against 1", "scaling", _scaling_percent, "% more", most=10),
)  # fmt: skip
"""In the order of the table."""


def results(folder: Path = RESULTS) -> Results:
    """Returns the content of every file of results."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def table(found: Results | None = None) -> str:
    """Returns the table in Markdown: each bar, its figure, whether it holds, and where the figure is from."""
    return "\n".join(_rows(results() if found is None else found))


def _rows(found: Results) -> Iterator[str]:
    yield "| what | bar | figure | holds | measured |"
    yield "|---|---|---|---|---|"
    for bar in BARS:
        result = found.get(bar.file, {})
        figure = bar.figure(result)
        if figure is None:
            yield f"| {bar.about} | {bar.wanted} | not measured | | |"
            continue
        where = (
            f"{bar.file}.json, {result.get('commit', '?')}, load {result.get('machine', {}).get('load_before', '?')}"
        )
        exact = "" if result.get("outputs_exact", True) else ", **outputs differ**"
        holds = "yes" if bar.holds(figure) else "**no**"
        yield f"| {bar.about} | {bar.wanted} | {_number(figure)} {bar.unit} | {holds}{exact} | {where} |"


def _number(figure: float | None) -> str:
    assert figure is not None
    figure = round(figure, 6)
    return f"{figure:,.0f}" if abs(figure) >= 100 or figure == int(figure) else f"{figure:.1f}"


def write_page(page: Path = PAGE) -> None:
    """Writes what the results say between the marks of the page."""
    from load_tests.peers.report import table as table_of_peers
    from load_tests.projection import projection

    found = results()
    plot = f"![Refreshes a second by number of products and of provinces]({PLOT.name})"
    blocks = {
        "bars": table(found),
        "projection": projection(found),
        "peers": table_of_peers(found["peers"]) if "peers" in found else "Not measured yet: `make peers`.",
        "growth": plot if PLOT.exists() else "Not measured yet: `python -m load_tests.growth`.",
    }
    text = page.read_text()
    page.write_text(_BLOCK.sub(lambda mark: mark[1] + blocks[mark[2]] + "\n" + mark[3], text))


def main() -> int:
    """Prints the table; returns 1 where a bar that was measured does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md and docs/capacity.md, too")
    options = parser.parse_args()
    found = results()
    print(table(found))
    if options.docs:
        from load_tests import capacity

        write_page()
        capacity.write()
    figures = [(bar, bar.figure(found.get(bar.file, {}))) for bar in BARS]
    return int(any(figure is not None and not bar.holds(figure) for bar, figure in figures))


if __name__ == "__main__":
    sys.exit(main())
