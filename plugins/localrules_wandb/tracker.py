"""Runs on Weights & Biases: online for who is logged in, else kept here to look at and to send later."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from localrules.callbacks.base import MetricsRow, Plot, RunInfo, Tracker
from localrules.utils.text import shell_join, shell_quote
from localrules_wandb.environment import from_environment, own_settings, run_facts, run_tags
from localrules_wandb.login import Decided, Mode, decide_mode
from localrules_wandb.metric_names import AXES, named

if TYPE_CHECKING:
    from wandb import Run

_ID = "wandb_id"


class WandbTracker(Tracker):
    """Sends configuration, metrics, images and the final checkpoint to W&B.

    Nothing is ever asked and nothing is printed to stdout. Images in which the data can be seen are left out where
    the data set may not be passed on, unless ``media`` says otherwise.
    """

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        mode: Mode = Field("auto", description="auto (online if logged in, else offline), online, or offline.")
        project: str | None = Field(None, description="W&B project; WANDB_PROJECT or localrules if unset.")
        entity: str | None = Field(None, description="W&B user or team; WANDB_ENTITY or your default one if unset.")
        group: str | None = Field(
            None, description="Runs to be seen together; WANDB_RUN_GROUP or <rule>-<model>-<data> if unset."
        )
        name: str | None = Field(None, description="The run's name; WANDB_NAME or that of its folder if unset.")
        tags: list[str] = Field(
            default_factory=list,
            description="Words to find the run by, beside rule, model, data, class and those of WANDB_TAGS.",
        )
        media: bool = Field(False, description="Log images of data that may not be redistributed, as FER2013.")
        timeout: float = Field(15.0, gt=0, description="Seconds to wait for the server at the start.")

    config: Config

    def on_run_start(self, run: RunInfo) -> None:
        self._info = run
        self._run: Run | None = None
        mode = decide_mode(self.config.mode)
        try:
            self._run = self._init(mode)
        except Exception as error:
            if self.config.mode != "auto" or mode != "online":
                raise
            # Logged in but not connected: better kept here than lost.
            _say(f"no connection, so the run is kept here ({type(error).__name__})")
            _forget_attempt()
            self._run = self._init("offline")
        run.state[_ID] = self._run.id
        _define_axes(self._run)

    def on_log(self, row: MetricsRow) -> None:
        # Without a step of ours: W&B counts the rows of all who log to this run, code of a plugin too, and drops each
        # whose step is lower. The axes of the charts are columns.
        self._with_run(lambda run: run.log(named(row), commit=True))

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        import wandb

        assert self._run is not None
        withheld = [plot for plot in plots if not self._may_show(plot)]
        shown = {f"plots/{plot.name}": wandb.Image(str(plot.path)) for plot in plots if plot not in withheld}
        if shown:
            self._with_run(lambda run: run.log(shown))
        known = {key: value for key, value in summary.items() if value is not None}
        self._with_run(lambda run: run.summary.update(known))
        if summary.get("status", "done") == "done":
            self._log_weights(summary)
        self._finish(exit_code=0)
        if withheld:
            names = ", ".join(plot.name for plot in withheld)
            _say(f"{names} not logged: the data may not be redistributed (--set wandb.media=true if you may)")

    def close(self) -> None:
        if self._run is not None:
            self._finish(exit_code=1)

    def _with_run(self, send: Callable[[Run], object]) -> None:
        """Send something to the run; one that code of a plugin has finished meanwhile goes on under its id."""
        import wandb

        assert self._run is not None
        try:
            send(self._run)
        except wandb.errors.UsageError:  # of wandb.finish(), or of an init that finishes others
            self._run = self._init(self._mode)
            _define_axes(self._run)
            send(self._run)

    def _init(self, mode: Decided) -> Run:
        import wandb

        info, config = self._info, self.config
        known = info.state.get(_ID)
        self._mode = mode
        _leave_service_of_others()
        return wandb.init(
            mode=mode,
            project=config.project or from_environment("WANDB_PROJECT", "localrules"),
            entity=config.entity,
            group=config.group or from_environment("WANDB_RUN_GROUP", f"{info.rule}-{info.model}-{info.data}"),
            job_type=from_environment("WANDB_JOB_TYPE", "train"),
            name=config.name or from_environment("WANDB_NAME", info.directory.name),
            tags=run_tags(info, config.tags),
            notes=os.environ.get("WANDB_NOTES"),
            dir=from_environment("WANDB_DIR", str(info.directory)),
            config={**info.config, **run_facts(info)},
            id=known,
            # "allow", since a run that was offline until now is not known to the server. Offline, the same id is what
            # joins the parts when they are sent.
            resume="allow" if known and mode == "online" else None,
            # A run that code of a plugin has started stays as it is, beside ours.
            reinit=None if wandb.run is None else "create_new",
            settings=wandb.Settings(init_timeout=self.config.timeout, **own_settings()),
        )

    def _may_show(self, image: Plot) -> bool:
        return not image.shows_data or self._info.redistributable or self.config.media

    def _log_weights(self, summary: Mapping[str, Any]) -> None:
        import wandb

        assert self._run is not None
        weights = self._info.directory / "checkpoints" / "last.safetensors"
        if not weights.is_file():
            return
        described = ("rule", "model", "data", "seed", "steps", "valid_accuracy", "weights_sha256")
        artifact = wandb.Artifact(
            f"{self._run.id}-weights", type="model", metadata={key: summary[key] for key in described if key in summary}
        )
        # Not copied: the weights stay in the run folder, and are not written again once the run is over.
        artifact.add_file(str(weights), policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact, aliases=["latest"])

    def _finish(self, exit_code: int) -> None:
        run, self._run = self._run, None
        assert run is not None
        folder = Path(run.dir).parent
        # Asked before finishing, and only online: W&B warns of the question otherwise.
        url = None if run.offline or run.disabled else run.url
        run.finish(exit_code=exit_code)
        if url:
            _say(f"look at it: {url}")
        # A resumed run is in parts, which W&B joins by their id.
        elif parts := sorted(folder.parent.glob(f"offline-run-*-{run.id}*")):
            _say(f"look at it: wandb leet {shell_quote(folder)}")
            _say("send it:    wandb sync " + shell_join(parts))


def _define_axes(run: Run) -> None:
    run.define_metric("step", hidden=True)
    run.define_metric("epoch", hidden=True)
    for metrics, axis in AXES.items():
        run.define_metric(metrics, step_metric=axis)


def _leave_service_of_others() -> None:
    import wandb

    # A process shares the W&B service of the one that started it, if that has one. Such a service outlives us, and
    # after a kill it holds on to the run's id for good: the resumed run would not be tracked. Our own dies with us.
    os.environ.pop(wandb.env.SERVICE, None)


def _forget_attempt() -> None:
    import wandb

    # W&B's service holds on to the id of the run that it failed to start.
    wandb.teardown()


def _say(text: str) -> None:
    print(f"W&B: {text}", file=sys.stderr)
