"""A chart as a Matplotlib figure, for trackers that draw no charts of their own."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from localrules.tracking.charts import Chart
from localrules.utils.palette import INK, MUTED, TRAIN
from localrules.utils.plotting import depth_colours, new_figure, plain_axes

_MOST_TICKS = 30
_DPI = 100


def draw_chart(chart: Chart) -> Figure | None:
    """The chart as a Matplotlib figure; ``None`` of a table, which is not drawn."""
    if chart.kind == "table" or not chart.rows:
        return None
    x, y, *rest = (_column(chart, axis) for axis in chart.axes)
    figure = new_figure(7.2, 4.4)
    axes = figure.subplots()
    plain_axes(axes, chart.title, x=chart.axes[0], y=chart.axes[1])
    if chart.kind in ("heat map", "confusion"):
        _heat_map(figure, axes, x, y, rest[0], chart.axes[2])
    elif chart.kind == "bar":
        axes.barh(x, y, color=TRAIN)
        axes.invert_yaxis()
        axes.set_xlabel(chart.axes[1], color=INK)
        axes.set_ylabel("")
    elif chart.kind == "line":
        axes.plot(x, y, "o-", color=TRAIN)
        axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1)
    else:
        axes.scatter(x, y, c=depth_colours(len(x)), zorder=3)
        for place, label in enumerate(rest[0] if rest and len(x) <= _MOST_TICKS else ()):
            axes.annotate(str(label), (x[place], y[place]), fontsize=7, color=INK)
    return figure


def chart_image(chart: Chart) -> np.ndarray | None:
    """The chart as pixels, uint8, shape (height, width, 3); ``None`` of a table, which is not drawn."""
    figure = draw_chart(chart)
    if figure is None:
        return None
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB")).copy()


def _column(chart: Chart, name: str) -> list[Any]:
    place = chart.columns.index(name)
    return [row[place] for row in chart.rows]


def _only_value(grid: np.ndarray) -> list[float] | None:
    """The one value of a grid without any other; ``None`` of other grids. NaN is not counted."""
    found = np.unique(grid[~np.isnan(grid)])
    return found.tolist() if found.size == 1 else None


def _heat_map(figure: Figure, axes: Axes, x: list[Any], y: list[Any], values: list[float], label: str) -> None:
    columns, rows = list(dict.fromkeys(x)), list(dict.fromkeys(y))
    grid = np.full((len(rows), len(columns)), np.nan)
    at_column, at_row = ({name: place for place, name in enumerate(names)} for names in (columns, rows))
    for column, row, value in zip(x, y, values, strict=True):
        grid[at_row[row], at_column[column]] = value
    image = axes.imshow(grid, aspect="auto", cmap="viridis", interpolation="nearest")
    axes.grid(False)
    for names, ticks in ((columns, axes.set_xticks), (rows, axes.set_yticks)):
        every = max(1, len(names) // _MOST_TICKS)
        ticks(range(0, len(names), every), [str(name) for name in names[::every]], parse_math=False)
    axes.tick_params(axis="x", rotation=90)
    figure.colorbar(image, ax=axes, label=label, ticks=_only_value(grid))
