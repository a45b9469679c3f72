"""Figures from measurements: the table of bars, the projection, the plot, and what is counted of a log."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from load_tests import bars
from load_tests.bars import BARS, results, table, write_page
from load_tests.catchup import Counted
from load_tests.core import measure_machine
from load_tests.generate import Load, messages
from load_tests.latency import SplitLog
from load_tests.plot import Panel, svg
from load_tests.projection import projection

LOAD = Load(products=40, provinces=8, records=1_500, lines_per_message=7)


def rows(found: bars.Results) -> dict[str, list[str]]:
    return {line.split(" | ")[0][2:]: line.split(" | ") for line in table(found).splitlines()[2:]}


def test_a_bar_holds_or_does_not() -> None:
    found = {
        "latest": {"commit": "abc", "packed": {"records_per_s": 1_199_999}, "single": {"records_per_s": 700_000}},
        "idle": {"worker_cpu_share": 0.0501},
    }
    shown = rows(found)
    assert shown["catch-up, packed, calm; embedded broker"][2:4] == ["1,199,999 /s", "**no**"]
    assert shown["catch-up, a record a message, calm; embedded broker"][2:4] == ["700,000 /s", "yes"]
    assert shown["idle worker, share of a core; embedded broker"][2:4] == ["5.0 %", "**no**"]
    assert shown["kill −9 with 1 M products, first new alert"][2] == "not measured"


def test_outputs_that_differ_are_said_beside_the_figure() -> None:
    found = {"latest": {"outputs_exact": False, "packed": {"records_per_s": 9_000_000}}}
    assert "outputs differ" in table(found)


def test_odd_lines_and_scaling_are_compared_by_processor_time() -> None:
    found = {
        "odd": {"odd": {"worker_cpu_us_per_record": 1.05}, "packed": {"worker_cpu_us_per_record": 1.0}},
        "scaling": {
            "runs": [{"workers": n, "worker_cpu_us_per_record": us} for n, us in ((1, 1.0), (2, 1.1), (4, 1.2))]
        },
    }
    shown = rows(found)
    assert shown["1 % odd lines, cost in CPU"][2:4] == ["5 %", "yes"]
    assert shown["a record's CPU with 4 workers, against 1"][2:4] == ["20 % more", "**no**"]


def test_every_bar_has_one_limit() -> None:
    assert all((bar.least is None) != (bar.most is None) for bar in BARS)


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bars: by a command -->\nwhat was there\n<!-- end -->\nafter\n")
    write_page(page)
    text = page.read_text()
    assert text.startswith("before\n<!-- bars: by a command -->\n| what")
    assert text.endswith("|\n<!-- end -->\nafter\n")
    assert "what was there" not in text


def test_the_page_says_what_the_results_say() -> None:
    before = bars.PAGE.read_text()
    assert table(results()) in before, "python -m load_tests.bars --docs"


def test_a_projection_shows_its_arithmetic() -> None:
    packed = {"worker_cpu_us_per_record": 0.5, "broker_cpu_us_per_record": 0.1}
    shown = projection({"latest": {"packed": packed}, "memory": {"grown": {"bytes_per_slot": 64.0}}})
    assert "| slots a partition | 15,000,000 ÷ 100 | 150,000 |" in shown
    assert "| 15,000,000 × 64 bytes | 1.0 GB in all workers together |" in shown
    assert "| 5,000,000 ÷ 2,000,000/s | 2.5 s |" in shown


def test_a_plot_is_xml_with_every_point() -> None:
    lines = {"one": [(1.0, 5.0), (8.0, 3.0), (32.0, 1.0)]}
    document = ET.fromstring(svg([Panel("a & b", "x", "y", lines), Panel("c", "x", "y", lines)]))
    assert len(document.findall(".//{http://www.w3.org/2000/svg}circle")) == 6


def test_records_before_offsets_are_counted() -> None:
    counted = Counted()
    sent = list(counted.passing(messages(LOAD)))
    assert sent == list(messages(LOAD))
    assert counted.records == LOAD.records
    ends = {partition: sum(one == partition for one, _ in sent) for partition in range(LOAD.partitions)}
    assert counted.before(ends) == LOAD.records
    assert counted.before(dict.fromkeys(ends, 0)) == 0
    assert counted.before({0: 1}) == next(value for partition, value in sent if partition == 0).count(b"\n") + 1


@pytest.mark.parametrize("records", [100, 320, 1_500])
def test_listings_and_the_rest_are_the_log(records: int) -> None:
    load = Load(products=40, provinces=8, records=records, lines_per_message=7)
    log = SplitLog(load, records - 320)

    def both() -> Iterator[tuple[int, bytes]]:
        yield from log.head()
        yield from log.rest()

    assert list(both()) == list(messages(load))


def test_the_clock_of_the_machine_starts_after_what_is_not_counted() -> None:
    whole = measure_machine(LOAD)
    rest = measure_machine(LOAD, uncounted=320)
    assert whole["records"] == 1_500
    assert 0 < rest["records"] <= 1_180
