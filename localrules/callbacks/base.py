"""Callbacks: the events of a run, and what they receive."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from localrules.core.phase import Phase
from localrules.utils.plugin_border import name_of
from localrules.utils.text import command_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from localrules.callbacks.results import EpochResults
    from localrules.core.network import Network
    from localrules.core.rule import Rule

MetricsRow = dict[str, "float | int | str | None"]
"""The metrics of a logged step by column; the keys are documented at :meth:`Callback.on_log`."""


class Stop(Exception):
    """Raised by a callback to end a run before its last step.

    All other callbacks still receive the event. The run then writes a checkpoint and ends as it would after its last
    step: ``status`` is ``done``, ``stop_reason`` is the reason, and ``--resume`` trains no further. A run that is
    stopped within an epoch closes it with the step that it took last: that is evaluated and logged, for the second time
    if it was logged already. Before a step is taken, after a start or a resumption, nothing is evaluated. It may be
    raised from ``on_run_start``, ``on_train_start``, ``on_measure``, ``on_log``, ``on_evaluate``, ``on_results`` and
    ``on_checkpoint``; in ``on_run_end`` and ``close`` there is nothing left to stop.

    Args:
        reason: Why, in a few words, e.g. ``"pruned"``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Plot:
    """A plot that a run drew.

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
    """The facts of a run that are known when it starts.

    Attributes:
        directory: The run folder, absolute.
        rule: The rule's name as the user typed it.
        model: The model's name.
        data: The data set's name.
        config: The resolved configuration, with versions and seed, as in ``config.toml``.
        layers: The rows of the layer table: name, inputs, in_shape, out_shape, parameters, macs, rule.
        classes: Label names.
        redistributable: Whether images of the data may leave the machine.
        total_steps: Steps of the whole run.
        steps_per_epoch: Steps of one pass over the training split.
        resumed_from_step: 0 for a fresh run.
        columns: The columns of a metrics row that are known before the first step, in order. What a rule logs adds
            columns when it is first logged.
        phases: Which layers learn when, and what a step of theirs costs.
        plugin_files: Files that ``--plugin`` named.
        locality: The rule's declared class of locality.
        state: The state of callbacks, saved in checkpoints and restored before ``on_run_start`` of a resumed run. A
            callback writes its own entry in ``on_checkpoint``: plain values only (numbers, text, lists, dicts). What
            must outlive a kill before the first checkpoint: :func:`localrules.tracking.kept_state.keep_now`.
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
    locality: str = ""
    state: dict[str, Any] = field(default_factory=dict)

    def command(self, subcommand: str, directory: Path | None = None) -> str:
        """The command line ``localrules <subcommand> <run folder>``, with the plugin files that the run needs.

        Files are absolute where the folder is, so that the command works in any folder.
        """
        folder = directory or self.directory
        return command_line([*subcommand.split(), folder], self.plugin_files, absolute=folder.is_absolute())


class Callback:
    """Receives the events of a run. Every method is optional.

    The order is ``on_run_start``, ``on_train_start``; then ``on_log`` for each logged step, between ``on_measure`` and
    ``on_evaluate`` and ``on_results`` where the step closes an epoch, and followed by ``on_checkpoint`` where a
    checkpoint is written; then ``on_run_end``, unless an error ended the run; and ``close``, always. Any event up to
    ``on_checkpoint`` may raise :class:`Stop`, after which the step closes an epoch, whole or not.

    Attributes:
        may_fail: Whether the run continues without this callback after it raised an exception, with a warning.
            ``False``: the exception ends the run, as in any other Python code.
        of_plugin: Whether its code is a plugin's: global state of the process that it changes is put back, with a
            warning.
    """

    may_fail: ClassVar[bool] = False
    of_plugin: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """The callback in messages."""
        return type(self).__name__

    def on_run_start(self, run: RunInfo) -> None:
        """The run folder exists, and everything is built or restored from the checkpoint."""

    def on_train_start(self, network: Network, rule: Rule) -> None:
        """The first step comes next.

        Args:
            network: As it is trained, on its device; ``network.model`` is the plain PyTorch module. At the end of an
                epoch and of the run it has the weights that the run keeps: with ``ema_decay`` their moving average, so
                that changes to it are undone there.
            rule: The rule that trains it.
        """

    def on_measure(self, row: MetricsRow) -> Mapping[str, float | Tensor]:
        """The end of an epoch, before it is logged: metrics of the callback's own.

        They become part of the row that all callbacks receive, and of ``metrics.csv``. It is called before the first
        step, too. Modules are put back into training or eval mode afterwards; weights and buffers must not be changed.

        Args:
            row: As :meth:`on_log` will receive it, without what callbacks measure.

        Returns:
            Numbers by new names, such as ``gap``, or ``<name>/<layer>`` for one of a layer.
        """
        return {}

    def on_log(self, row: MetricsRow) -> None:
        """A logged step.

        Args:
            row: Keys are ``step``, ``epoch``, ``phase``, ``lr``, ``samples_per_second``, ``step_seconds``,
                ``memory_mib``; ``loss`` and ``accuracy`` of the batch, where the rule reports logits;
                ``objective/<layer>`` of each layer that learned; ``loss/<name>/<layer>`` of its named losses;
                ``<name>/<layer>`` of what the rule logs and the run diagnoses. A row that closes an epoch has
                what callbacks measure, and ``valid_loss`` and ``valid_accuracy`` where there is a valid split. The row
                of step 0 has these of the untrained network, and nothing of a batch; :meth:`on_evaluate` does not
                follow it. In ``metrics.csv`` the second row of a step takes the place of the first, see :class:`Stop`.
        """

    def on_evaluate(self, row: MetricsRow) -> None:
        """The end of an epoch: the row that ``on_log`` has just received, with the metrics of the valid split."""

    def on_results(self, results: EpochResults) -> None:
        """The end of an epoch, after ``on_evaluate``: predictions for the valid split, and histograms if asked for."""

    def on_checkpoint(self) -> None:
        """A checkpoint is about to be written: update ``RunInfo.state``, and flush what it refers to."""

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        """The run is over: done, or interrupted by the user (``summary["status"]``)."""

    def close(self) -> None:
        """Release files, threads and the terminal. Called once, also when an error ended the run."""


class Tracker(Callback):
    """A callback that a plugin supplies; its ``TrackerEntry`` names a subclass.

    ``Config`` is a pydantic model of the options, filled from ``--set <tracker>.<option>=...``. A tracker that fails
    is reported once and left out of the rest of the run; what it changes in the process is put back. It imports what
    it needs inside its methods.
    """

    may_fail = True
    of_plugin = True

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, config: BaseModel) -> None:
        self.config = config

    @property
    def label(self) -> str:
        return name_of(type(self))
