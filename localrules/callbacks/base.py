"""Who watches a run: the run folder, the console, trackers. None of them can stop it."""

from __future__ import annotations

import contextlib
import shlex
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from localrules.core.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MetricsRow = dict[str, "float | int | str | None"]


@dataclass(frozen=True)
class Plot:
    """A picture that a run drew.

    Attributes:
        name: File name without suffix, e.g. ``curves``.
        path: The PNG file.
        shows_data: Whether pixels of the data set can be seen or guessed in it (a sample sheet, a feature map).
    """

    name: str
    path: Path
    shows_data: bool


@dataclass(frozen=True)
class RunInfo:
    """What an observer may know of a run when it starts.

    Attributes:
        directory: The run folder, absolute.
        rule: The rule's name as the user typed it.
        model: The model's name.
        data: The data set's name.
        config: The resolved configuration, with versions and seed, as in ``config.toml``.
        layers: The layer table's rows: name, inputs, in_shape, out_shape, parameters, macs, rule.
        classes: Label names.
        redistributable: Whether pictures of the data may leave the machine.
        total_steps: Steps of the whole run.
        steps_per_epoch: Steps of one pass over the training split.
        resumed_from_step: 0 for a fresh run.
        columns: Every column that a metrics row may have, in order.
        phases: Which layers learn when, and what a step of theirs costs.
        plugin_files: Files that ``--plugin`` named.
        state: Filled by observers that must find themselves again on resume (W&B's run id); saved in checkpoints.
    """

    directory: Path
    rule: str
    model: str
    data: str
    config: Mapping[str, Any]
    layers: list[dict[str, Any]]
    classes: tuple[str, ...]
    redistributable: bool
    total_steps: int
    steps_per_epoch: int
    resumed_from_step: int
    columns: tuple[str, ...]
    phases: tuple[Phase, ...]
    plugin_files: tuple[str, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)

    def command(self, subcommand: str, directory: Path | None = None) -> str:
        """The command line ``localrules <words> <run folder>``, with the plugin files that the run needs."""
        files = [word for file in self.plugin_files for word in ("--plugin", file)]
        return f"localrules {subcommand} {shlex.join([str(directory or self.directory), *files])}"


class Callback:
    """Watches a run. Every method may be left out; a :class:`Tracker` is one that a plugin supplies.

    The order is ``start``, then for each logged step ``step`` and, where it closes an evaluation, ``epoch``, with
    ``checkpoint`` between any two; then ``end`` unless an error stopped the run; and ``close``, always.
    """

    def on_run_start(self, run: RunInfo) -> None:
        """The run is about to take its first step."""

    def on_log(self, row: MetricsRow) -> None:
        """A logged step.

        Args:
            row: Keys are ``step``, ``epoch``, ``phase``, ``lr``, ``samples_per_second``, ``step_seconds``,
                ``memory_mib``; ``loss`` and ``accuracy`` of the batch, where the rule reports logits;
                ``objective/<layer>`` of each layer that learned; ``<metric>/<layer>`` of what the rule notes and the
                run diagnoses. A row that closes an epoch has ``valid_loss`` and ``valid_accuracy``, too, where there
                is a valid split: the evaluation at this step has been made.
        """

    def on_evaluate(self, row: MetricsRow) -> None:
        """An evaluation: the very row that ``step`` has just been given, with the valid split's figures."""

    def on_checkpoint(self) -> None:
        """A checkpoint is about to be written: bring ``RunInfo.state`` up to date, and what it speaks of to disk."""

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        """The run is over: done, or stopped by the user (``summary["status"]``)."""

    def close(self) -> None:
        """Let go of files, threads and the screen. Called once, also when the run was ended by an error."""


class Tracker(Callback):
    """An observer that a plugin supplies; its ``TrackerEntry`` names a subclass.

    ``Config`` is a pydantic model of the options, filled from ``--set <tracker>.<option>=...``. A tracker that fails
    is reported once and left out of the rest of the run. It imports what it needs inside its methods.
    """

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, config: BaseModel) -> None:
        self.config = config


class CallbackList(Callback):
    """Hands every event to each observer; one that fails is reported once and then left out."""

    def __init__(self, observers: Iterable[Callback], *, essential: Iterable[Callback] = ()) -> None:
        self._essential = list(essential)
        self._others = list(observers)

    def on_run_start(self, run: RunInfo) -> None:
        self._dispatch("on_run_start", run)

    def on_log(self, row: MetricsRow) -> None:
        self._dispatch("on_log", row)

    def on_evaluate(self, row: MetricsRow) -> None:
        self._dispatch("on_evaluate", row)

    def on_checkpoint(self) -> None:
        self._dispatch("on_checkpoint")

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        self._dispatch("on_run_end", summary, plots)

    def close(self) -> None:
        self._dispatch("close")

    def _dispatch(self, event: str, *args: object) -> None:
        for observer in self._essential:
            getattr(observer, event)(*args)
        for observer in list(self._others):
            try:
                getattr(observer, event)(*args)
            except Exception as error:  # a tracker must never stop training
                self._others.remove(observer)
                with contextlib.suppress(Exception):
                    observer.close()
                warnings.warn(
                    f"{type(observer).__name__} failed at {event!r} and is left out of the rest of this run: "
                    f"{type(error).__name__}: {error}",
                    stacklevel=2,
                )
