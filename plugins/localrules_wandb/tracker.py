"""Runs on Weights & Biases: online for who is logged in, else kept here to look at and to send later."""

from __future__ import annotations

import os
import secrets
import string
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from localrules.callbacks.base import MetricsRow, Plot, RunInfo
from localrules.errors import describe_exception
from localrules.evaluation.charting import ChartingTracker
from localrules.tracking.charts import Chart
from localrules.tracking.kept_state import keep_now
from localrules.tracking.metric_names import AXES, named
from localrules.tracking.metrics_file import read_rows
from localrules.tracking.run_folder import METRICS
from localrules_wandb.background import BackgroundWork
from localrules_wandb.environment import LONGEST_TAG, from_environment, run_facts, run_tags
from localrules_wandb.login import Mode
from localrules_wandb.media import chart_media, histogram_media
from localrules_wandb.start import finish_run, open_run, say, start_run
from localrules_wandb.weights import pack_weights

if TYPE_CHECKING:
    from wandb import Run

    from localrules.callbacks.results import EpochResults
    from localrules.core.network import Network
    from localrules.core.rule import Rule

_ID = "wandb_id"
_ROW = "row_step"
"""The step of rows alone: charts, which come late and out of order, have a ``step``, too."""
_STOPPED = 255  # the exit code that W&B shows as killed, and has for Ctrl-C itself


class WandbTracker(ChartingTracker):
    """Sends configuration, metrics, charts, images and the final checkpoint to W&B.

    Nothing is ever asked and nothing is printed to stdout. Images in which the data can be seen are left out where
    the data set may not be passed on, unless ``media`` says otherwise.
    """

    class Config(ChartingTracker.Config):
        mode: Mode = Field("auto", description="auto (online if logged in, else offline), online, or offline.")
        project: str | None = Field(None, description="W&B project; WANDB_PROJECT or localrules if unset.")
        entity: str | None = Field(None, description="W&B user or team; WANDB_ENTITY or your default one if unset.")
        group: str | None = Field(
            None, description="Runs to be seen together; WANDB_RUN_GROUP or <rule>-<model>-<data> if unset."
        )
        name: str | None = Field(None, description="The run's name; WANDB_NAME or that of its folder if unset.")
        tags: list[Annotated[str, Field(min_length=1, max_length=LONGEST_TAG)]] = Field(
            default_factory=list,
            description="Words to find the run by, beside rule, model, data, class and those of WANDB_TAGS.",
        )
        weights_every: int | None = Field(
            None, gt=0, description="Epochs between logged weights, with the alias epoch-N; only at the end if unset."
        )
        timeout: float = Field(15.0, gt=0, le=1e6, description="Seconds to wait for the server at the start.")

    config: Config

    def on_run_start(self, run: RunInfo) -> None:
        super().on_run_start(run)
        self._run: Run | None = None
        self._trained: tuple[Network, Rule] | None = None
        self._background, self._opening = BackgroundWork(), threading.Lock()
        self._known = _ID in run.state
        if not self._known:  # kept before W&B hears of it: a kill in between would leave an empty run there
            keep_now(run, _ID, from_environment("WANDB_RUN_ID", "") or _new_id())
        self._run, self._mode = start_run(self.config.mode, self.config.timeout, **self._options())
        _define_axes(self._run)
        self._known_until, self._last = -1, -1
        if self._known and self._mode == "online":
            summary = self._run.summary
            self._known_until = int(summary.get(_ROW, summary.get("step", -1)))
            self._send_missing(self._run)
        self._known = True

    def on_train_start(self, network: Network, rule: Rule) -> None:
        self._trained = (network, rule)

    def on_log(self, row: MetricsRow) -> None:
        super().on_log(row)
        step = int(row["step"] or 0)
        is_again, self._last = step == self._last, step  # the last row of a run that stops, once it is evaluated
        if step <= self._known_until and not is_again:
            return  # came before the run was killed
        # Without a step of ours: W&B counts the rows of all who log to this run, code of a plugin too, and drops each
        # whose step is lower. The axes of the charts are columns.
        self._with_run(lambda run: _log_row(run, row))

    def on_evaluate(self, row: MetricsRow) -> None:
        epoch, every = float(row.get("epoch") or 0), self.config.weights_every
        if every and epoch % every == 0:
            facts = {"steps": row["step"], "valid_accuracy": row.get("valid_accuracy")}
            self._log_weights({**self._named_facts(), **facts}, f"epoch-{round(epoch)}")

    @property
    def ready_for_charts(self) -> bool:
        return not self._background.waiting  # for a server that is slow

    def log_charts(self, charts: list[Chart], results: EpochResults | None) -> None:
        images = results.images if results is not None and self.may_show_data else None

        def send() -> None:
            logged = {chart.name: chart_media(chart, images) for chart in charts}
            if results is not None:
                logged |= {"step": results.step, "epoch": results.epoch, **histogram_media(results.histograms)}
            self._with_run(lambda run: run.log(logged))

        self._background.add(send)

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        import wandb

        assert self._run is not None
        self.log_last_charts(summary)
        withheld = [plot for plot in plots if not self.may_show(plot)]
        shown = {f"plots/{plot.name}": wandb.Image(str(plot.path)) for plot in plots if plot not in withheld}
        if shown:
            self._with_run(lambda run: run.log(shown))
        known = {key: value for key, value in summary.items() if value is not None}
        known |= {axis: summary[name] for axis, name in (("step", "steps"), ("epoch", "epochs")) if name in summary}
        is_done = summary.get("status", "done") == "done"
        if is_done:
            self._log_weights(summary, "latest")
        self._finish(exit_code=0 if is_done else _STOPPED, summary=known)
        if withheld:
            names = ", ".join(plot.name for plot in withheld)
            say(f"{names} not logged: the data may not be redistributed (--set wandb.media=true if you may)")

    def close(self) -> None:
        if getattr(self, "_run", None) is not None:
            self._finish(exit_code=1, wait=False)

    def _with_run(self, send: Callable[[Run], object]) -> None:
        """Send something to the run; one that code of a plugin has finished meanwhile goes on under its id."""
        import wandb

        run = self._run
        assert run is not None
        try:
            send(run)
        except wandb.errors.UsageError:  # of wandb.finish(), or of an init that finishes others
            with self._opening:
                if self._run is run:
                    self._run = open_run(self._mode, self.config.timeout, **self._options())
                    _define_axes(self._run)
                run = self._run
            assert run is not None
            send(run)

    def _options(self) -> dict[str, Any]:
        """The arguments of ``wandb.init``."""
        info, config = self.info, self.config
        return {
            "project": config.project or from_environment("WANDB_PROJECT", "localrules"),
            "entity": config.entity,
            "group": config.group or from_environment("WANDB_RUN_GROUP", f"{info.rule}-{info.model}-{info.data}"),
            "job_type": from_environment("WANDB_JOB_TYPE", "train"),
            "name": config.name or from_environment("WANDB_NAME", info.directory.name),
            "tags": run_tags(info, config.tags),
            "notes": os.environ.get("WANDB_NOTES"),
            "dir": from_environment("WANDB_DIR", str(info.directory)),
            "config": {**info.config, **run_facts(info)},
            "id": info.state[_ID],
            "resume": "allow" if self._known else None,
        }

    def _named_facts(self) -> dict[str, Any]:
        info = self.info
        return {"rule": info.rule, "model": info.model, "data": info.data, "seed": info.config.get("seed")}

    def _log_weights(self, facts: Mapping[str, Any], alias: str) -> None:
        if self._trained is None or self._run is None:
            return
        artifact = pack_weights(self._run, self.info, *self._trained, facts, alias)  # now: the network goes on learning
        self._background.add(lambda: self._with_run(lambda run: run.log_artifact(artifact, aliases=[alias])))

    def _send_missing(self, run: Run) -> None:
        """Send the rows from before the checkpoint that a killed process had not sent."""
        for row in read_rows(self.info.directory / METRICS):
            if int(row["step"] or 0) > self._known_until:
                _log_row(run, row)

    def _finish(self, exit_code: int, wait: bool = True, summary: Mapping[str, Any] | None = None) -> None:
        if not self._background.finish(self.config.timeout if wait else 0.0) or self._background.failed:
            reason = "the server does not answer" if wait else "the run ended before"
            if self._background.error:
                reason = describe_exception(self._background.error)
            say(f"some charts or weights were not sent: {reason}")
        if summary:  # after the charts, whose steps are earlier
            self._with_run(lambda run: run.summary.update(dict(summary)))
        run, self._run = self._run, None
        if run is not None:
            finish_run(run, exit_code)


def _new_id() -> str:
    """An id such as W&B's own."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def _log_row(run: Run, row: MetricsRow) -> None:
    run.log({**named(row), _ROW: row["step"]}, commit=True)


def _define_axes(run: Run) -> None:
    run.define_metric(_ROW, hidden=True)
    run.define_metric("step", hidden=True)
    run.define_metric("epoch", hidden=True)
    for metrics, axis in AXES.items():
        run.define_metric(metrics, step_metric=axis)
