"""Charts and histograms as W&B draws them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localrules.evaluation.charts import PREDICTIONS
from localrules.tracking.charts import Chart
from localrules.tracking.metric_names import histogram_name

if TYPE_CHECKING:
    import torch

    from localrules.callbacks.results import Histogram


def chart_media(chart: Chart, images: torch.Tensor | None = None) -> Any:
    """A chart as one of W&B's own, or as a table where W&B has none.

    W&B has no heat map that it draws without being told; ``localrules dashboard wandb`` makes one of these tables.

    Args:
        chart: The chart.
        images: Those of ``charts/predictions``, where they may be shown: uint8, shape (samples, channels, height,
            width).
    """
    import wandb

    columns: list[str | int] = [*chart.columns]
    rows = [list(row) for row in chart.rows]
    if chart.name == PREDICTIONS and images is not None:
        columns.append("image")
        shown = images.cpu().permute(0, 2, 3, 1).numpy()
        rows = [[*row, wandb.Image(image)] for row, image in zip(rows, shown, strict=True)]
    table = wandb.Table(columns=columns, data=rows)
    if chart.kind == "confusion":
        fields = dict(zip(("Actual", "Predicted", "nPredictions"), chart.columns, strict=True))
        return wandb.plot_table("wandb/confusion_matrix/v1", table, fields, {"title": chart.title}, split_table=True)
    draw: Any = {"bar": wandb.plot.bar, "line": wandb.plot.line, "scatter": wandb.plot.scatter}.get(chart.kind)
    if draw is not None:
        x, y = chart.axes[:2]
        return draw(table, x, y, title=chart.title, split_table=True)
    return table


def histogram_media(histograms: Mapping[str, Histogram]) -> dict[str, Any]:
    """Histograms by name, e.g. ``histograms/<layer>/weights``."""
    import numpy as np
    import wandb

    found = {}
    for name, histogram in histograms.items():
        counts = (np.array(histogram.counts), np.array(histogram.edges))
        found[histogram_name(name)] = wandb.Histogram(np_histogram=counts)
    return found
