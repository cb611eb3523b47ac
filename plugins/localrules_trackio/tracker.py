"""Runs in trackio: a database on this machine, with a dashboard in the browser."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from localrules.callbacks.base import MetricsRow, Plot, RunInfo
from localrules.config.diff import flatten
from localrules.evaluation.charting import ChartingTracker
from localrules.evaluation.charts import PREDICTIONS
from localrules.tracking.charts import Chart
from localrules.tracking.kept_state import keep_now
from localrules.tracking.metric_names import histogram_name, scalars
from localrules.tracking.plots.charts import chart_image
from localrules.utils.extras import require_extra
from localrules.utils.text import shell_quote

if TYPE_CHECKING:
    from localrules.callbacks.results import EpochResults

_NAME = "trackio_name"


class TrackioTracker(ChartingTracker):
    """Writes metrics, charts, histograms, images and tables to trackio's database.

    It stays on this machine, unless ``space`` names a Space of Hugging Face, or trackio's own variables do.

    Raises:
        UsageError: The package ``trackio`` is not installed.
    """

    class Config(ChartingTracker.Config):
        project: str = Field("localrules", description="trackio's project.")
        name: str | None = Field(None, description="The run's name; that of its folder if unset.")
        space: str | None = Field(None, description="A Space of Hugging Face to log to; on this machine if unset.")

    config: Config

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        require_extra("trackio", ("trackio",), "tracker trackio", title="trackio")
        self._run: Any = None

    def on_run_start(self, run: RunInfo) -> None:
        import trackio

        super().on_run_start(run)
        known = run.state.get(_NAME)
        if known is None:
            keep_now(run, _NAME, _free_name(self.config, run.directory.name))
        group = f"{run.rule}-{run.model}-{run.data}"
        facts = {"rule.name": run.rule, "model.name": run.model, "data.name": run.data, "locality": run.locality}
        with redirect_stdout(sys.stderr):
            self._run = trackio.init(
                project=self.config.project,
                name=run.state[_NAME],
                group=group,
                space_id=self.config.space,
                config={**_plain(run.config), **facts},
                resume="allow" if known else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def on_log(self, row: MetricsRow) -> None:
        super().on_log(row)
        self._run.log(scalars(row), step=int(row["step"] or 0))

    def log_charts(self, charts: list[Chart], results: EpochResults | None) -> None:
        import trackio

        logged: dict[str, Any] = {}
        for chart in charts:
            image = chart_image(chart)
            if image is not None:
                logged[chart.name] = trackio.Image(image, caption=chart.title)
            elif chart.name == PREDICTIONS:
                logged[chart.name] = self._table(chart, results)
        if results is not None:
            for name, histogram in results.histograms.items():
                counts = (list(histogram.counts), histogram.edges)
                logged[histogram_name(name)] = trackio.Histogram(np_histogram=counts)
        self._run.log(logged, step=results.step if results is not None else self.info.total_steps)

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        import trackio

        self.log_last_charts(summary)
        step = int(summary.get("steps") or 0)
        logged: dict[str, Any] = {
            f"plots/{plot.name}": trackio.Image(str(plot.path)) for plot in plots if self.may_show(plot)
        }
        numbers = {f"summary/{name}": value for name, value in summary.items() if isinstance(value, int | float)}
        self._run.log({**logged, **numbers}, step=step)
        self._finish()
        project = shell_quote(self.config.project)
        print(f"trackio: look at it: trackio show --project {project}", file=sys.stderr)

    def close(self) -> None:
        if self._run is not None:
            self._finish()

    def _finish(self) -> None:
        import trackio

        self._run = None
        with redirect_stdout(sys.stderr):
            trackio.finish()

    def _table(self, chart: Chart, results: EpochResults | None) -> Any:
        import trackio

        columns, rows = list(chart.columns), [list(row) for row in chart.rows]
        if results is not None and results.images is not None and self.may_show_data:
            columns.append("image")
            images = results.images.cpu().permute(0, 2, 3, 1).numpy()
            shown = [image.repeat(3, axis=2) if image.shape[2] == 1 else image for image in images]
            rows = [[*row, trackio.Image(image)] for row, image in zip(rows, shown, strict=True)]
        return trackio.Table(columns=columns, data=rows)


def _free_name(config: TrackioTracker.Config, folder: str) -> str:
    """The name that a run takes in its project: that of the options, with the folder's where another run has it.

    trackio goes on with a run by its name, so that of two runs with one name the later would be continued.
    """
    import trackio

    try:
        taken = {run.name for run in trackio.Api().runs(config.project)}
    except ValueError:  # there is no such project yet
        taken = set()
    wanted = config.name or folder
    return f"{wanted}-{folder}" if wanted in taken else wanted


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with dotted names: trackio shows nested ones as text."""
    return {
        name: value if isinstance(value, int | float | str | bool) else str(value)
        for name, value in flatten(config).items()
    }
