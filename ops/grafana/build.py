"""Builds the dashboards' JSON: ``python -m ops.grafana.build`` writes ``ops/grafana/dashboards/*.json``."""

from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphDrawStyle,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from ops.grafana.delivery import DELIVERY
from ops.grafana.market import MARKET
from ops.grafana.panels import Board, Panel, Query, Variable
from ops.grafana.process import PROCESS
from ops.grafana.stream import STREAM

BOARDS: Final = (MARKET, STREAM, DELIVERY, PROCESS)
FOLDER: Final = Path(__file__).resolve().parent / "dashboards"
SOURCE: Final = DataSourceRef("prometheus", "pricelink-prometheus")
"""The data source of ``provisioning/datasources``."""
_HEIGHT: Final = 8
_COLUMNS: Final = 24
_ALL: Final = ".*"
_NO_THRESHOLD: Final = "blue"

PanelBuilder = timeseries.Panel | stat.Panel


def expr_of_all(query: Query) -> str:
    """Returns a query as Grafana asks it with all variables at *All*."""
    expr = query.expr
    for variable in {variable.name for board in BOARDS for variable in board.variables}:
        expr = expr.replace(f"${variable}", _ALL)
    return expr


def json_of(board: Board) -> str:
    """Returns a dashboard as Grafana takes it."""
    built = (
        boards.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["pricelink"])
        .editable()
        .time("now-6h", "now")
        .refresh("10s")
        .timezone("browser")
        .link(
            boards.DashboardLink("pricelink")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["pricelink"])
            .keep_time(True)
            .include_vars(True)
        )
    )
    for variable in board.variables:
        built = built.with_variable(_variable(variable))
    y = number = 0
    for title, panels in board.rows:
        number += 1
        built = built.with_row(boards.Row(title).id(number).grid_pos(GridPos(1, _COLUMNS, 0, y)))
        y, x = y + 1, 0
        for panel in panels:
            if x + panel.width > _COLUMNS:
                x, y = 0, y + _HEIGHT
            number += 1
            built = built.with_panel(_panel(panel, number).grid_pos(GridPos(_HEIGHT, panel.width, x, y)))
            x += panel.width
        y += _HEIGHT
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def _variable(variable: Variable) -> boards.QueryVariable:
    return (
        boards.QueryVariable(variable.name)
        .label(variable.title)
        .datasource(SOURCE)
        .query(f"label_values({variable.metric}, {variable.label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NUMERICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(_ALL)
        .current(VariableOption(True, "All", "$__all"))
    )


def _panel(panel: Panel, number: int) -> PanelBuilder:
    built: PanelBuilder = stat.Panel() if panel.draw == "figure" else _lines(panel)
    built = built.id(number).title(panel.title).description(panel.about).unit(panel.unit).datasource(SOURCE).min(0)
    if panel.decimals is not None:
        built = built.decimals(panel.decimals)
    if panel.most is not None:
        built = built.max(panel.most)
    steps = panel.thresholds or ((0, _NO_THRESHOLD),)
    # Grafana's first step has no value: it holds from minus infinity.
    thresholds = [
        Threshold(None if index == 0 else float(value), colour) for index, (value, colour) in enumerate(steps)
    ]
    built = built.thresholds(boards.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(thresholds))
    if panel.none_yet:
        built = built.no_value(f"none yet: {panel.none_yet}")
    for index, query in enumerate(panel.queries):
        letter = chr(ord("A") + index)
        built = built.with_target(prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter))
    return built


def _lines(panel: Panel) -> timeseries.Panel:
    stacked = panel.draw == "stacked"
    built = (
        timeseries.Panel()
        .draw_style(GraphDrawStyle.BARS if panel.draw == "bars" else GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(30 if stacked else 0)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL if stacked else StackingMode.NONE))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.RIGHT)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
    )
    if panel.thresholds:
        built = built.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    return built


def main() -> None:
    """Writes them all."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        path = FOLDER / f"{board.uid.removeprefix('pricelink-')}.json"
        path.write_text(json_of(board), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
