"""Runs in TensorBoard: event files in the run folder."""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from localrules.callbacks.base import MetricsRow, Plot, RunInfo
from localrules.evaluation.charting import ChartingTracker
from localrules.evaluation.charts import PREDICTIONS
from localrules.tracking.charts import Chart
from localrules.tracking.layer_metrics import HEADINGS
from localrules.tracking.metric_names import histogram_name, scalars
from localrules.tracking.plots.charts import chart_image
from localrules.utils.extras import require_extra
from localrules.utils.text import shell_quote

if TYPE_CHECKING:
    import torch
    from torch.utils.tensorboard import SummaryWriter

    from localrules.callbacks.results import EpochResults, Histogram
    from localrules.core.network import Network
    from localrules.core.rule import Rule

_LAYOUT = {
    "Accuracy": {"accuracy": ["Multiline", ["train/accuracy", "valid/accuracy"]]},
    "Loss": {"loss": ["Multiline", ["train/loss", "valid/loss"]]},
    "All layers": {name: ["Multiline", [rf"layer/.*/{name}$"]] for name in HEADINGS},
}
_HPARAMS = ("rule", "model", "data", "seed", "batch_size", "optimizer.lr", "granularity")
_CURVES = 12  # classes with a precision-recall curve


class TensorBoardTracker(ChartingTracker):
    """Writes metrics, charts, histograms and images to ``<run folder>/tensorboard``.

    Event files never leave the machine by themselves, but people send them; so the rule for images that show the
    data is the same as for W&B.

    Raises:
        UsageError: The package ``tensorboard`` is not installed.
    """

    class Config(ChartingTracker.Config):
        pass

    config: Config

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        require_extra("tensorboard", ("tensorboard",), "tracker tensorboard", title="TensorBoard")
        self._writer: SummaryWriter | None = None

    def on_run_start(self, run: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        super().on_run_start(run)
        resumed, folder = run.resumed_from_step, run.directory / "tensorboard"
        # What the killed run wrote after its last checkpoint, or before its first, is written again, so the first
        # writing is dropped.
        kept = resumed + 1 if resumed else 0
        self._writer = SummaryWriter(str(folder), purge_step=kept if folder.exists() else None)
        if not resumed:
            text = json.dumps(run.config, indent=2, default=str)
            self._writer.add_text("config", "\n".join("    " + line for line in text.splitlines()))
            self._writer.add_custom_scalars(_LAYOUT)

    def on_train_start(self, network: Network, rule: Rule) -> None:
        import torch

        assert self._writer is not None
        shape = tuple(self.info.config.get("trained_on", {}).get("shape") or ())
        if not shape or self.info.resumed_from_step:
            return
        device = next(network.model.parameters()).device
        was_training = [module for module in network.model.modules() if module.training]
        try:
            network.model.eval()
            # Of a network that it cannot trace, torch says so on standard output, and raises the error as well.
            with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")  # of torch's tracer, for shapes that are read in Python
                self._writer.add_graph(network.model, torch.zeros(2, *shape, device=device))
        except Exception:  # a network that cannot be traced has no graph, and trains as well
            pass
        finally:
            for module in was_training:
                module.training = True

    def on_log(self, row: MetricsRow) -> None:
        super().on_log(row)
        assert self._writer is not None
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, int(row["step"] or 0))

    def log_charts(self, charts: list[Chart], results: EpochResults | None) -> None:
        assert self._writer is not None
        step = results.step if results is not None else self.info.total_steps
        for chart in charts:
            image = chart_image(chart)
            if image is not None:
                self._writer.add_image(chart.name, image, step, dataformats="HWC")
            elif chart.name == PREDICTIONS:
                self._writer.add_text(chart.name, _markdown(chart), step)
        if results is None:
            return
        if results.images is not None and self.may_show_data and self.config.charts:
            self._writer.add_images("charts/images", results.images, step)
        if results.logits is not None and results.labels is not None and self.config.charts:
            probabilities = results.logits.float().softmax(1)
            for label, name in list(enumerate(self.info.classes))[:_CURVES]:
                of_class = results.labels == label
                self._writer.add_pr_curve(f"precision_recall/{name}", of_class, probabilities[:, label], step)
        for name, histogram in results.histograms.items():
            self._add_histogram(name, histogram, step)

    def on_checkpoint(self) -> None:
        assert self._writer is not None
        self._writer.flush()

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        assert self._writer is not None
        self.log_last_charts(summary)
        step = int(summary.get("steps") or 0)
        for plot in plots:
            if self.may_show(plot):
                self._writer.add_image(f"plots/{plot.name}", _pixels(plot), step, dataformats="HWC")
        metrics = {
            f"summary/{name}": float(summary[name])
            for name in ("valid_accuracy", "train_accuracy", "step_seconds", "peak_memory_mib")
            if summary.get(name) is not None
        }
        if metrics:
            # In this run's own event file: TensorBoard's helper would make a run of its own of them.
            from torch.utils.tensorboard.summary import hparams

            for part in hparams(_hyperparameters(self.info), metrics):
                self._writer._get_file_writer().add_summary(part)
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)
        self._writer.flush()
        folder = shell_quote(self.info.directory / "tensorboard")
        print(f"TensorBoard: look at it: tensorboard --logdir {folder}", file=sys.stderr)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _add_histogram(self, name: str, histogram: Histogram, step: int) -> None:
        assert self._writer is not None
        edges, counts = histogram.edges, histogram.counts
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        pairs = list(zip(middles, counts, strict=True))
        self._writer.add_histogram_raw(
            histogram_name(name),
            min=histogram.low,
            max=histogram.high,
            num=sum(counts),
            sum=sum(middle * count for middle, count in pairs),
            sum_squares=sum(middle**2 * count for middle, count in pairs),
            bucket_limits=edges[1:],
            bucket_counts=list(counts),
            global_step=step,
        )


def _hyperparameters(info: RunInfo) -> dict[str, Any]:
    found: dict[str, Any] = {"rule": info.rule, "model": info.model, "data": info.data, "locality": info.locality}
    for path in _HPARAMS:
        value: Any = info.config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float | str | bool):
            found[path] = value
    return found


def _markdown(chart: Chart) -> str:
    lines = [chart.columns, ["---"] * len(chart.columns), *chart.rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _pixels(plot: Plot) -> torch.Tensor:
    import numpy as np
    import torch
    from PIL import Image

    with Image.open(plot.path) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy())
