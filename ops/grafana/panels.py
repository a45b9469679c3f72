"""What a dashboard is made of, before it becomes Grafana's JSON: plain values that tests can ask."""

from dataclasses import dataclass
from typing import Final, Literal

GREEN: Final = "green"
AMBER: Final = "orange"
RED: Final = "red"

Draw = Literal["lines", "stacked", "bars", "figure"]


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL query and how its series are named: Grafana's ``{{label}}``."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel. ``about``: what it shows and what to do. ``unit``: Grafana's id. ``thresholds``: from which value which colour.

    ``none_yet``: why a market of half a minute on the embedded broker gives the queries no data; empty: it must.
    """

    title: str
    about: str
    unit: str
    queries: tuple[Query, ...]
    draw: Draw = "lines"
    width: int = 8
    thresholds: tuple[tuple[float, str], ...] = ()
    decimals: int | None = None
    most: float | None = None
    none_yet: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice above the panels: all values of ``label`` of ``metric``. Queries name it ``$name``."""

    name: str
    title: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard. ``uid``: part of its address, never changed. Rows of panels have a title."""

    uid: str
    title: str
    about: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Returns all panels."""
        return tuple(panel for _, panels in self.rows for panel in panels)


PROVINCE: Final = Variable("province", "Province", "pricelink_province_quiet_seconds", "province")
PARTITION: Final = Variable("partition", "Partition", "pricelink_applied_offset", "partition")
JOB: Final = Variable("job", "Process", "pricelink_build_info", "job")
