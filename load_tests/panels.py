"""Draws the dashboards' panels from the data of a busy run, for the docs: ``python -m load_tests.panels [--minutes 5]``."""

import argparse
import math
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter

from load_tests.monitored import ROOT, NotReady, Scene, scene
from ops.grafana.build import BOARDS, expr_of_all
from ops.grafana.panels import Board, Panel

FOLDER: Final = ROOT / "docs" / "dashboards"
COLUMNS: Final = 3
SERIES_NAMED: Final = 8
_STEP_S: Final = 2.0
_UNITS: Final = {"s": "s", "bytes": "bytes", "Bps": "bytes/s", "cps": "/s", "percentunit": "share", "short": ""}
_DPI: Final = 72

Series = tuple[str, list[float]]
"""Name, and a value for each step; not a number where there was none."""


def series_of(running: Scene, panel: Panel, steps_s: Sequence[float]) -> list[Series]:
    """Returns the panel's series as Grafana would draw them, the largest last value first."""
    found: list[Series] = []
    for query in panel.queries:
        for each in running.ask_range(expr_of_all(query), steps_s[0], steps_s[-1], _STEP_S):
            name = query.legend
            for label, value in each["metric"].items():
                name = name.replace("{{" + label + "}}", value)
            values = {round(at, 1): float(value) for at, value in each["values"]}
            numbers = [values.get(round(at, 1), math.nan) for at in steps_s]
            if any(map(math.isfinite, numbers)):
                found.append((name, numbers))
    return sorted(found, key=lambda series: -_last(series[1]))


def _last(numbers: list[float]) -> float:
    return next(number for number in reversed(numbers) if math.isfinite(number))


def draw(board: Board, data: Sequence[tuple[Panel, list[Series]]], minutes: Sequence[float], path: Path) -> None:
    """Draws a dashboard into a PNG."""
    rows = math.ceil(len(data) / COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(5.6 * COLUMNS, 2.7 * rows), squeeze=False, layout="constrained")
    figure.suptitle(board.title, fontsize=14, fontweight="bold")
    for place in axes.flat[len(data) :]:
        place.axis("off")
    for place, (panel, series) in zip(axes.flat, data, strict=False):
        _draw_panel(place, panel, series, minutes)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _draw_panel(place: Any, panel: Panel, series: list[Series], minutes: Sequence[float]) -> None:
    place.set_title(panel.title, fontsize=10)
    place.grid(alpha=0.3)
    place.tick_params(labelsize=8)
    place.set_ylabel(_UNITS[panel.unit], fontsize=8)
    if panel.none_yet:
        why = textwrap.fill(f"None here: {panel.none_yet}.", 40)
        place.text(0.5, 0.5, why, ha="center", va="center", fontsize=9, transform=place.transAxes, in_layout=False)
        return
    shown = series[:SERIES_NAMED]
    if panel.draw == "stacked":
        heights = [[number if math.isfinite(number) else 0.0 for number in numbers] for _, numbers in series]
        labels = [name if number < SERIES_NAMED else "" for number, (name, _) in enumerate(series)]
        place.stackplot(minutes, heights, labels=labels, alpha=0.8)
    else:
        for number, (name, numbers) in enumerate(series):
            label = name if number < SERIES_NAMED else None
            place.plot(minutes, numbers, label=label, linewidth=1.2, alpha=1 if label else 0.35)
    top = max((value for _, numbers in series for value in numbers if math.isfinite(value)), default=1.0)
    for value, colour in panel.thresholds[1:]:
        if value <= top * 2:
            place.axhline(value, color=colour, linestyle="--", linewidth=0.8)
    place.set_xlim(0, minutes[-1])
    place.set_ylim(0, max(place.get_ylim()[1], top * 1.1) if top else 1)
    place.yaxis.set_major_formatter(EngFormatter(sep=""))
    more = f"{len(series)} in all" if len(series) > SERIES_NAMED else None
    handles, labels = place.get_legend_handles_labels()
    place.legend(
        handles[: len(shown)],
        labels[: len(shown)],
        fontsize=7,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.02),
        frameon=False,
        title=more,
        title_fontsize=7,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, waits, draws; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the market runs")
    minutes: float = parser.parse_args(arguments).minutes
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with scene(Path(folder)) as running:
                start_s = time.time()
                time.sleep(minutes * 60)
                steps_s = [start_s + _STEP_S * step for step in range(int((time.time() - start_s) / _STEP_S))]
                for board in BOARDS:
                    data = [(panel, series_of(running, panel, steps_s)) for panel in board.panels]
                    path = FOLDER / f"{board.uid.removeprefix('pricelink-')}.png"
                    draw(board, data, [(at - start_s) / 60 for at in steps_s], path)
                    print(path)
        except NotReady as fault:
            print(fault, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
