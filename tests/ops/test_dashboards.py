"""The committed dashboards are what the code builds, and every panel says what to do."""

import json
import re
from typing import Any

import pytest
import yaml

from ops.grafana.build import BOARDS, FOLDER, SOURCE, json_of
from ops.grafana.panels import Board, Panel

ROOT = FOLDER.parent.parent.parent
PANELS = [pytest.param(board, panel, id=f"{board.title}, {panel.title}") for board in BOARDS for panel in board.panels]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.title)
def test_the_committed_json_is_what_the_code_builds(board: Board) -> None:
    path = FOLDER / f"{board.uid.removeprefix('pricelink-')}.json"
    assert path.read_text("utf-8") == json_of(board), "run `make dashboards`"


def test_no_other_json_is_there() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {board.uid.removeprefix("pricelink-") for board in BOARDS}


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_every_panel_says_what_it_shows_and_what_to_do(board: Board, panel: Panel) -> None:
    assert len(panel.about.split(". ")) >= 2 or ":" in panel.about, "what it shows, then what to do"
    assert panel.about.endswith(".")
    assert panel.unit
    assert panel.queries
    assert [value for value, _ in panel.thresholds] == sorted(value for value, _ in panel.thresholds)
    named = set(re.findall(r"\$(\w+)", " ".join(query.expr for query in panel.queries)))
    assert named <= {variable.name for variable in board.variables}, "Grafana would leave it as it stands"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.title)
def test_panels_do_not_overlap_and_have_ids_of_their_own(board: Board) -> None:
    built: dict[str, Any] = json.loads(json_of(board))
    taken: set[tuple[int, int]] = set()
    for panel in built["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in built["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel.title for panel in board.panels]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.title)
def test_every_variable_is_used(board: Board) -> None:
    queries = " ".join(query.expr for panel in board.panels for query in panel.queries)
    assert all(f"${variable.name}" in queries for variable in board.variables)


def test_the_data_source_of_the_panels_is_provisioned() -> None:
    folder = ROOT / "ops" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    assert (source["type"], source["uid"]) == (SOURCE.type_val, SOURCE.uid)
    (provider,) = yaml.safe_load((folder / "dashboards" / "pricelink.yml").read_text("utf-8"))["providers"]
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    if "grafana:" in compose:
        assert f"./ops/grafana/dashboards:{provider['options']['path']}" in compose
