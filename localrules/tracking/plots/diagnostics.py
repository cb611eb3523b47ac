"""The image of a run's per-layer diagnostics: a panel each, a line a layer."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from localrules.tracking.layer_metrics import KNOWN, Diagnostic
from localrules.tracking.metrics_table import Curve, MetricsTable
from localrules.utils.palette import INK, MUTED, TRAIN
from localrules.utils.plotting import depth_colours, new_figure, plain_axes, save_figure

_PLANE = ("hsic-input", "hsic-labels")
_NAMED_LAYERS = 30  # more names than this do not fit below a panel


def plot_diagnostics(metrics_csv: Path, out: Path, *, of: str = "") -> Path:
    """Draw what was measured of every layer, from dark (shallow) to bright (deep).

    What is measured in steps is drawn against steps, a line a layer; what is measured at evaluations against
    depth, a line an evaluation, the last one strong.

    With both dependences measured there is one more panel, the information plane: where each layer stands between
    input and labels, from the first evaluation (small) to the last (large).

    Args:
        metrics_csv: A run's ``metrics.csv``.
        out: The PNG file.
        of: Rule, model, data and seed, in small print.

    Returns:
        ``out``.
    """
    found = MetricsTable(metrics_csv).diagnostics()
    plane = all(name in found for name in _PLANE)
    count = max(1, len(found) + plane)
    columns = min(3, count)
    figure = new_figure(4.6 * columns, 3.6 * math.ceil(count / columns))
    panels = figure.subplots(math.ceil(count / columns), columns, squeeze=False).flatten()
    for panel, (name, layers) in zip(panels, found.items(), strict=False):
        if KNOWN[name].of_step:
            _against_steps(panel, KNOWN[name], layers, right_angle=name == "angle")
        else:
            _against_depth(panel, KNOWN[name], layers)
    if plane:
        _information_plane(panels[len(found)], *(found[name] for name in _PLANE))
    for panel in panels[len(found) + plane :]:
        panel.set_visible(False)
    deepest = max((len(names) for names in found.values()), default=1)
    depth = ScalarMappable(Normalize(0, deepest / 0.9), "viridis")
    bar = figure.colorbar(depth, ax=list(panels), fraction=0.02, pad=0.01)
    bar.set_label("layer, from the input", color=INK, fontsize=9)
    bar.ax.set_ylim(0, deepest)
    bar.ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    return save_figure(figure, out, of=of)


def _against_steps(panel: Axes, shown: Diagnostic, layers: dict[str, Curve], *, right_angle: bool) -> None:
    """A line for each layer."""
    plain_axes(panel, shown.title, x="step", y=shown.unit)
    for curve, colour in zip(layers.values(), depth_colours(len(layers)), strict=True):
        panel.plot(curve.steps, curve.values, color=colour, linewidth=1.2, marker="." if len(curve.steps) < 8 else "")
    if right_angle:
        panel.axhline(90, color=MUTED, linewidth=1, linestyle="--")
    if shown.log:
        panel.set_yscale("log")
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _against_depth(panel: Axes, shown: Diagnostic, layers: dict[str, Curve]) -> None:
    """A line for each evaluation, the last one strong."""
    plain_axes(panel, shown.title, y=shown.unit if not shown.percent else f"fraction {shown.unit}")
    evaluations = list(zip(*(curve.values for curve in layers.values()), strict=False))
    places = range(len(layers))
    for values in evaluations[:-1]:
        panel.plot(places, values, color=MUTED, linewidth=0.8, alpha=0.6)
    panel.plot(places, evaluations[-1], color=TRAIN, linewidth=1.8, marker=".", label="last evaluation")
    if len(evaluations) > 1:
        panel.lines[0].set_label("the one before" if len(evaluations) == 2 else f"the {len(evaluations) - 1} before")
        panel.legend(frameon=False, fontsize=7, labelcolor=INK)
    if len(layers) <= _NAMED_LAYERS:
        panel.set_xticks(list(places), list(layers), rotation=60, ha="right", rotation_mode="anchor", fontsize=6)
    else:
        panel.set_xlabel("layer, from the input", color=INK, fontsize=9)
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _information_plane(panel: Axes, given: dict[str, Curve], told: dict[str, Curve]) -> None:
    plain_axes(panel, "Information plane", x="dependence on the input, nHSIC", y="on the labels, nHSIC")
    for layer, colour in zip(given, depth_colours(len(given)), strict=True):
        x, y = given[layer].values, told[layer].values
        sizes = [8 + 40 * (index + 1) / len(x) for index in range(len(x))]
        panel.plot(x, y, color=colour, linewidth=0.8, alpha=0.6)
        panel.scatter(x, y, s=sizes, color=[colour], zorder=3)
