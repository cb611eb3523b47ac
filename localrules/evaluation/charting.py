"""A tracker that also receives charts: of the layers over the steps, and of the predictions."""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from localrules.auditing.in_run import FILE as AUDIT
from localrules.callbacks.base import MetricsRow, Plot, RunInfo, Tracker
from localrules.engine.scores import Scores
from localrules.evaluation.charts import charts_of_scores, prediction_table
from localrules.tracking.charts import Chart, LayerHistory, dependence_chart
from localrules.tracking.run_folder import METRICS

if TYPE_CHECKING:
    from localrules.callbacks.results import EpochResults


_MOST_OF_TIME = 0.01  # that charts take


class ChartingTracker(Tracker):
    """Collects what charts are made of, and hands them to :meth:`log_charts` when they are due.

    They are due at the end of an epoch, but not more often than every ``charts_every`` seconds, nor so often that they
    take more than a hundredth of the time; and at the end.
    """

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        media: bool = Field(False, description="Log images of data that may not be redistributed, as FER2013.")
        charts: bool = Field(True, description="Log heat maps of layers, confusion matrix, calibration and more.")
        charts_every: float = Field(
            30.0, ge=0, description="Seconds between charts, at least; 0: at the end of every epoch (ours)."
        )

    config: Config

    def on_run_start(self, run: RunInfo) -> None:
        self.info = run
        self._history = LayerHistory([layer["name"] for layer in run.layers])
        self._results: EpochResults | None = None  # not logged yet
        self._due_at = time.monotonic() + self.config.charts_every
        if run.resumed_from_step:
            self._history.add_file(run.directory / METRICS)

    def on_log(self, row: MetricsRow) -> None:
        self._history.add(row)

    def on_results(self, results: EpochResults) -> None:
        self._results = results
        if time.monotonic() >= self._due_at and self.ready_for_charts:
            self._log(results)

    def log_last_charts(self, summary: Mapping[str, Any]) -> None:
        """Log the charts of the last epoch, if they are not logged yet, and the locality that the run measured."""
        if self._results is not None:
            self._log(self._results)
        if self.config.charts and "locality" in summary:
            audit = json.loads((self.info.directory / AUDIT).read_text(encoding="utf-8"))
            self.log_charts([dependence_chart(audit)], None)

    def may_show(self, plot: Plot) -> bool:
        """Whether a plot may be logged."""
        return not plot.shows_data or self.may_show_data

    @property
    def may_show_data(self) -> bool:
        """Whether images of the data may be logged."""
        return self.info.redistributable or self.config.media

    @property
    def ready_for_charts(self) -> bool:
        """Whether charts may be logged now; those that are not are logged with the next ones, or at the end."""
        return True

    @abstractmethod
    def log_charts(self, charts: list[Chart], results: EpochResults | None) -> None:
        """Log charts.

        Args:
            charts: What to draw. Images of the samples in ``charts/predictions`` are ``results.images``, where
                :attr:`may_show_data`.
            results: Of the epoch; ``None`` of charts that are of no epoch.
        """

    def _log(self, results: EpochResults) -> None:
        self._results = None
        if not self.config.charts and not results.histograms:
            return
        began = time.monotonic()
        charts = self._history.charts() if self.config.charts else []
        if self.config.charts and results.logits is not None and results.labels is not None:
            charts += charts_of_scores(Scores(results.logits, results.labels), self.info.classes)
            charts.append(prediction_table(results, self.info.classes))
        self.log_charts(charts, results)
        now, every = time.monotonic(), self.config.charts_every
        self._due_at = now + (max(every, (now - began) / _MOST_OF_TIME) if every else 0.0)
