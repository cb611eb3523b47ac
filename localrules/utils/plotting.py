"""The style of all plots: colours, axes, and a way to save them that leaves no global state behind."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from localrules.utils.atomic_io import write_atomic
from localrules.utils.text import printable

INK = "#1f2a36"
MUTED = "#8a94a0"
TRAIN = "#2f6fb0"
VALID = "#d1602b"
GRID = "#e6e9ed"
RIGHT, WRONG = "#2c7a4b", "#c0392b"
# Okabe and Ito's colours, which stay apart without colour vision; their yellow is too faint on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
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


def save_figure(figure: Figure, out: Path) -> Path:
    """Write a Matplotlib figure as a PNG, atomically, and return its path."""
    # No metadata: the same plot is the same bytes.
    write_atomic(out, lambda path: figure.savefig(path, format="png", dpi=_DPI, metadata={"Software": None}))
    return out


def plain_axes(axes: Axes, title: str, *, x: str = "", y: str = "") -> None:
    """Axes with two sides, a faint grid and a heading at the left."""
    axes.set_title(printable(title), loc="left", fontsize=11, fontweight="bold", color=INK)
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
        axes.set_title(printable(title), fontsize=7.5, color=colour, pad=3)


def depth_colours(count: int) -> list[tuple[float, float, float, float]]:
    """A colour for each layer, from dark (shallow) to bright (deep), equally readable without colour vision."""
    palette = colormaps["viridis"]
    return [palette(0.9 * index / max(1, count - 1)) for index in range(count)]
