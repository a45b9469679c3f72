"""A plot of a few measured points as SVG: two panels side by side, logarithmic to the right, linear from 0 upwards."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 380
_HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 18, 44, 52
_TICKS: Final = 5
_COLOURS: Final = ("#1f6feb", "#bf5b04")
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}.g{stroke:#d0d7de}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.g{stroke:#444c56}}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``lines``: by name, its points (x, y); x > 0, y ≥ 0."""

    title: str
    across: str
    up: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def svg(panels: Sequence[Panel]) -> str:
    """Returns the panels as an SVG document."""
    width = _WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" role="img">',
        f"<style>{_STYLE}</style>",
    ]
    parts += [line for number, panel in enumerate(panels) for line in _panel(panel, number * _WIDTH)]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: int) -> list[str]:
    points = [point for line in panel.lines.values() for point in line]
    columns = sorted({x for x, _ in points})
    low, high = math.log(columns[0]), math.log(columns[-1])
    top = _round_up(max(y for _, y in points))

    def across(x: float) -> float:
        share = (math.log(x) - low) / (high - low) if high > low else 0.5
        return left + _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text class="t" x="{left + _LEFT}" y="18">{escape(panel.title)}</text>']
    parts.append(f'<text x="{left + _LEFT}" y="{_TOP - 10}">{escape(panel.up)}</text>')
    for tick in range(_TICKS + 1):
        y = top * tick / _TICKS
        ends = f'x1="{left + _LEFT}" x2="{left + _WIDTH - _RIGHT}" y1="{up(y):.1f}" y2="{up(y):.1f}"'
        parts.append(f'<line class="g" {ends}/>')
        parts.append(f'<text x="{left + _LEFT - 6}" y="{up(y) + 4:.1f}" text-anchor="end">{_short(y)}</text>')
    for x in columns:
        place = f'x="{across(x):.1f}" y="{_HEIGHT - _BOTTOM + 18}"'
        parts.append(f'<text {place} text-anchor="middle">{_short(x)}</text>')
    middle = left + (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(panel.across)}</text>')
    for (name, line), colour in zip(panel.lines.items(), _COLOURS, strict=False):
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in line]
        x, y = line[-1]
        below = f'x="{across(x):.1f}" y="{up(y) + 18:.1f}" text-anchor="end"'
        parts.append(f'<text {below} style="fill:{colour}">{escape(name)}</text>')
    return parts


def _round_up(value: float) -> float:
    size = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(step * size for step in (1, 2, 5, 10) if step * size >= value)


def _short(value: float) -> str:
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
