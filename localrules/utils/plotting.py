"""The style of all plots: colours, axes, and a way to save them that leaves no global state behind."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from localrules.utils.atomic_io import write_atomic
from localrules.utils.palette import GRID, INK, MUTED
from localrules.utils.text import printable

_DPI = 130


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """A white Matplotlib figure of that size in inches, without pyplot, so nothing is kept alive.

    Args:
        width, height: Inches.
        layout: ``None`` for axes that are placed by hand, which saves the time of the layout.
    """
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, out: Path, *, of: str = "") -> Path:
    """Write a Matplotlib figure as a PNG, atomically, and return its path.

    ``of`` says what it shows, such as rule, model, data and seed, in small print below it.
    """
    if of:
        figure.supxlabel(printable(of), x=0.01, ha="left", fontsize=7.5, color=MUTED, parse_math=False)
    # No metadata: the same plot is the same bytes.
    write_atomic(out, lambda path: figure.savefig(path, format="png", dpi=_DPI, metadata={"Software": None}))
    return out


def plain_axes(axes: Axes, title: str, *, x: str = "", y: str = "") -> None:
    """Axes with two sides, a faint grid and a heading at the left."""
    axes.set_title(printable(title), loc="left", fontsize=11, fontweight="bold", color=INK, parse_math=False)
    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_ylabel(y, color=INK, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def bare_axes(axes: Axes, title: str = "", colour: str = INK) -> None:
    """Axes that hold only an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(printable(title), fontsize=7.5, color=colour, pad=3, parse_math=False)


def depth_colours(count: int) -> list[tuple[float, float, float, float]]:
    """A colour for each layer, from dark (shallow) to bright (deep), equally readable without colour vision."""
    palette = colormaps["viridis"]
    return [palette(0.9 * index / max(1, count - 1)) for index in range(count)]
