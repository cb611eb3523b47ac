"""The image of a run's per-layer diagnostics: a panel each, a line a layer."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from localrules.config.schema import DIAGNOSTICS
from localrules.utils.plotting import INK, MUTED, TRAIN, depth_colours, new_figure, plain_axes, save_figure

_TITLES = {
    "gradient": "Norm of the gradient",
    "update": "Update, as a fraction of the weights",
    "angle": "Angle to back-propagation, degrees",
    "dead": "Dead units, share",
    "hsic-input": "Dependence on the input (nHSIC)",
    "hsic-labels": "Dependence on the labels (nHSIC)",
    "cka": "Likeness to the layer before (CKA)",
    "probe": "Accuracy of a linear probe",
}
_OF_STEP = ("gradient", "update", "angle")
_PLANE = ("hsic-input", "hsic-labels")


def plot_diagnostics(metrics_csv: Path, out: Path) -> Path:
    """Draw what was measured of every layer, from dark (shallow) to bright (deep).

    What is measured in steps is drawn against steps, a line a layer; what is measured at the end of epochs against
    depth, a line an epoch, the last one strong.

    With both dependences measured there is one more panel, the information plane: where each layer stands between
    input and labels, from the first epoch (small) to the last (large).

    Args:
        metrics_csv: A run's ``metrics.csv``.
        out: The PNG file.

    Returns:
        ``out``.
    """
    table = pd.read_csv(metrics_csv).apply(pd.to_numeric, errors="coerce")
    found = {
        name: [c for c in table.columns if c.startswith(f"{name}/") and table[c].notna().any()] for name in _TITLES
    }
    found = {name: found[name] for name in DIAGNOSTICS if found[name]}
    plane = all(name in found for name in _PLANE)
    count = max(1, len(found) + plane)
    columns = min(3, count)
    figure = new_figure(4.6 * columns, 3.4 * math.ceil(count / columns))
    panels = figure.subplots(math.ceil(count / columns), columns, squeeze=False).flatten()
    for panel, (name, layers) in zip(panels, found.items(), strict=False):
        if name in _OF_STEP:
            _against_steps(panel, table, name, layers)
        else:
            _against_depth(panel, table, name, layers)
    if plane:
        _information_plane(panels[len(found)], table, found)
    for panel in panels[len(found) + plane :]:
        panel.set_visible(False)
    deepest = max((len(names) for names in found.values()), default=1)
    depth = ScalarMappable(Normalize(0, deepest / 0.9), "viridis")
    bar = figure.colorbar(depth, ax=list(panels), fraction=0.02, pad=0.01)
    bar.set_label("layer, from the input", color=INK, fontsize=9)
    bar.ax.set_ylim(0, deepest)
    bar.ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    return save_figure(figure, out)


def _against_steps(panel: Axes, table: pd.DataFrame, name: str, layers: list[str]) -> None:
    """A line for each layer."""
    plain_axes(panel, _TITLES[name], x="step")
    for layer, colour in zip(layers, depth_colours(len(layers)), strict=True):
        points = table[["step", layer]].dropna()
        panel.plot(points["step"], points[layer], color=colour, linewidth=1.2, marker="." if len(points) < 8 else "")
    if name == "angle":
        panel.axhline(90, color=MUTED, linewidth=1, linestyle="--")
    else:
        panel.set_yscale("log")
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _against_depth(panel: Axes, table: pd.DataFrame, name: str, layers: list[str]) -> None:
    """A line for each epoch, the last one strong."""
    plain_axes(panel, _TITLES[name], x="layer, from the input")
    epochs = table[layers].dropna(how="all").to_numpy(float)
    first = 1 if name == "cka" else 0  # the first layer has none before it
    places = range(first, first + len(layers))
    for epoch in epochs[:-1]:
        panel.plot(places, epoch, color=MUTED, linewidth=0.8, alpha=0.6)
    panel.plot(places, epochs[-1], color=TRAIN, linewidth=1.8, marker=".")
    panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _information_plane(panel: Axes, table: pd.DataFrame, found: dict[str, list[str]]) -> None:
    plain_axes(panel, "Information plane", x="dependence on the input", y="on the labels")
    given, told = (found[name] for name in _PLANE)
    for x, y, colour in zip(given, told, depth_colours(len(given)), strict=False):
        points = table[[x, y]].dropna()
        sizes = [8 + 40 * (index + 1) / len(points) for index in range(len(points))]
        panel.plot(points[x], points[y], color=colour, linewidth=0.8, alpha=0.6)
        panel.scatter(points[x], points[y], s=sizes, color=[colour], zorder=3)
