"""Runs in MLflow."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field

from localrules.callbacks.base import MetricsRow, Plot, RunInfo
from localrules.config.diff import flatten
from localrules.evaluation.charting import ChartingTracker
from localrules.tracking.charts import Chart
from localrules.tracking.kept_state import keep_now
from localrules.tracking.metric_names import scalars
from localrules.tracking.plots.charts import chart_image
from localrules.utils.extras import require_extra
from localrules.utils.text import shell_quote

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from localrules.callbacks.results import EpochResults

T = TypeVar("T")

_ID = "mlflow_id"
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # how MLflow names experiments that train models
_PARAMETERS, _METRICS, _LENGTH = 100, 1000, 500  # that MLflow takes at a time; characters of a value


class MlflowTracker(ChartingTracker):
    """Writes settings, metrics, charts, images and the final checkpoint to MLflow.

    The place is MLflow's own: ``MLFLOW_TRACKING_URI``, else a database in the working directory.

    Raises:
        UsageError: The package ``mlflow`` is not installed.
    """

    class Config(ChartingTracker.Config):
        uri: str | None = Field(None, description="Where runs go; MLFLOW_TRACKING_URI or MLflow's default if unset.")
        experiment: str = Field("localrules", description="MLflow's experiment.")
        name: str | None = Field(None, description="The run's name; that of its folder if unset.")

    config: Config

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        require_extra("mlflow", ("mlflow",), "tracker mlflow", title="MLflow")
        self._client: MlflowClient | None = None

    def on_run_start(self, run: RunInfo) -> None:
        from mlflow import MlflowClient

        super().on_run_start(run)
        self._client = client = MlflowClient(tracking_uri=self.config.uri)
        self._known_until, self._last = -1, -1
        known = run.state.get(_ID)
        if known is None:
            name = self.config.name or run.directory.name
            self._run = client.create_run(self._experiment(), run_name=name).info.run_id
            keep_now(run, _ID, self._run)
        else:
            self._run = str(known)
            client.update_run(self._run, status="RUNNING")
            self._known_until = max((each.step for each in client.get_metric_history(self._run, "epoch")), default=-1)
        self._log_settings(run)

    def on_log(self, row: MetricsRow) -> None:
        super().on_log(row)
        step = int(row["step"] or 0)
        is_again, self._last = step == self._last, step  # the last row of a run that stops, once it is evaluated
        if step > self._known_until or is_again:  # else it came before the run was killed
            self._log_metrics(scalars(row), step)

    def log_charts(self, charts: list[Chart], results: EpochResults | None) -> None:
        assert self._client is not None
        step = results.step if results is not None else self.info.total_steps
        for chart in charts:
            image = chart_image(chart)
            if image is not None:
                self._client.log_image(self._run, image, key=chart.name.replace("/", "-"), step=step)
            columns = {name: [row[place] for row in chart.rows] for place, name in enumerate(chart.columns)}
            self._client.log_dict(self._run, columns, f"{chart.name}.json")

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        assert self._client is not None
        self.log_last_charts(summary)
        numbers = {f"summary/{name}": value for name, value in summary.items() if isinstance(value, int | float)}
        self._log_metrics(numbers, int(summary.get("steps") or 0))
        for plot in plots:
            if self.may_show(plot):
                self._client.log_artifact(self._run, str(plot.path), "plots")
        folder = self.info.directory
        for path in (folder / "config.toml", folder / "checkpoints" / "last.safetensors"):
            if path.is_file():
                self._client.log_artifact(self._run, str(path), "weights")
        self._finish("FINISHED" if summary.get("status", "done") == "done" else "KILLED")
        print(f"MLflow: look at it: {_how_to_look(self.config.uri)}", file=sys.stderr)

    def close(self) -> None:
        if self._client is not None:
            self._finish("FAILED")

    def _finish(self, status: str) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.set_terminated(self._run, status)

    def _experiment(self) -> str:
        assert self._client is not None
        found = self._client.get_experiment_by_name(self.config.experiment)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(self.config.experiment, tags=_KIND))

    def _log_settings(self, run: RunInfo) -> None:
        """Write the settings and tags, but for those that came before the run was killed."""
        from mlflow.entities import Param, RunTag

        assert self._client is not None
        known = self._client.get_run(self._run).data.params
        settings = {_name(key): str(value)[:_LENGTH] for key, value in flatten(run.config).items()}
        missing = [Param(key, value) for key, value in settings.items() if key not in known]
        for some in _in_parts(missing, _PARAMETERS):
            self._client.log_batch(self._run, params=some)
        tags = {"rule": run.rule, "model": run.model, "data": run.data, "locality": run.locality}
        self._client.log_batch(self._run, tags=[RunTag(key, value) for key, value in tags.items() if value])

    def _log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        assert self._client is not None
        now = int(time.time() * 1000)
        found = [Metric(_name(name), float(value), now, step) for name, value in metrics.items()]
        for some in _in_parts(found, _METRICS):
            self._client.log_batch(self._run, metrics=some)


def _in_parts(items: list[T], size: int) -> Iterator[list[T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _name(name: str) -> str:
    """A name without characters that MLflow refuses, as patterns of layers have: ``optimizer.lr_scale.blocks.0._``."""
    return re.sub(r"[^\w. /:-]", "_", name)


def _how_to_look(uri: str | None) -> str:
    """The command that shows the runs of a store, or the address of a server."""
    if uri is None:
        return "mlflow ui"
    return uri if uri.startswith(("http://", "https://")) else f"mlflow ui --backend-store-uri {shell_quote(uri)}"
