"""An image of calibration."""

from __future__ import annotations

from pathlib import Path

from localrules.evaluation.metrics import Calibration
from localrules.utils.palette import INK, MUTED, TRAIN, VALID
from localrules.utils.plotting import new_figure, plain_axes, save_figure


def plot_calibration(calibration: Calibration, out: Path, *, of: str = "") -> Path:
    """Draw accuracy against confidence, bin by bin, and under it how many images each bin has.

    Args:
        calibration: What was measured.
        out: The PNG file.
        of: Rule, model, data, seed and split, in small print.

    Returns:
        ``out``.
    """
    figure = new_figure(4.8, 5.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    plain_axes(above, f"Calibration error {calibration.error:.3f}", y="accuracy")
    plain_axes(below, "", x="confidence", y="images")
    for item in calibration.bins:
        width = item.high - item.low
        middle = item.low + width / 2
        below.bar(middle, item.n, width * 0.92, color=MUTED)
        if item.accuracy is None or item.confidence is None:
            continue
        above.bar(middle, item.accuracy, width * 0.92, color=TRAIN, label="accuracy")
        gap = (item.confidence, item.confidence), (item.accuracy, item.confidence)
        above.plot(*gap, color=VALID, linewidth=2.2, label="distance to confidence")
    above.plot([0, 1], [0, 1], "--", color=INK, linewidth=1, label="as often right as it says")
    above.set_xlim(0, 1)
    above.set_ylim(0, 1)
    named = dict(zip(*reversed(above.get_legend_handles_labels()), strict=True))
    above.legend(named.values(), named.keys(), frameon=False, fontsize=8.5, labelcolor=INK, loc="upper left")
    return save_figure(figure, out, of=of)
