"""Every panel's query, asked of a Prometheus that scraped a busy run: each has data, or says why there is none yet."""

import math
import time
from collections.abc import Iterator

import pytest

from load_tests.monitored import NONSENSE, Scene, scene, wait_for
from ops.grafana.build import BOARDS, expr_of_all
from ops.grafana.panels import Panel
from tests.ops.tools import tool

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
"""From when Prometheus is up: rules, rates and the first webhook's second attempt need some of it."""
PANELS = [panel for board in BOARDS for panel in board.panels]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    tool("prometheus")
    with scene(tmp_path_factory.mktemp("monitored")) as running:
        yield running


def has_data(busy: Scene, panel: Panel) -> bool:
    """Every query of it gives a number."""
    return all(
        any(math.isfinite(float(sample["value"][1])) for sample in busy.ask(expr_of_all(query)))
        for query in panel.queries
    )


def test_every_panel_has_data_or_says_why_not(busy: Scene) -> None:
    wanted = [panel for panel in PANELS if not panel.none_yet]
    deadline = time.monotonic() + PATIENCE_S
    while (missing := [panel for panel in wanted if not has_data(busy, panel)]) and time.monotonic() < deadline:
        time.sleep(1)
    assert [panel.title for panel in missing] == []
    assert [panel.title for panel in PANELS if panel.none_yet and has_data(busy, panel)] == [], "its reason is gone"


def test_what_was_done_to_the_run_shows(busy: Scene) -> None:
    """The panels' numbers are those of what happens, not of something else."""

    def number(query: str) -> float:
        return sum(float(sample["value"][1]) for sample in busy.ask(query))

    def grows_to(query: str, least: int) -> None:
        wait_for(lambda: number(query) >= least, f"{query} stays under {least}", PATIENCE_S)

    grows_to('sum(pricelink_dead_letters_total{reason="not_json"})', NONSENSE)
    grows_to("sum(pricelink_sse_clients)", 2)
    grows_to('sum(pricelink_webhook_attempts_total{outcome="status_5xx"})', 1)
    assert number("sum(up == 1)") == 9
    assert number("count(pricelink_lag_records)") == 4
    firing = busy.ask('ALERTS{alertstate="firing"}')
    assert {sample["metric"]["alertname"] for sample in firing} <= {"DeadLetterShare", "ProvinceSilent"}
