"""Every hook that a plugin may implement. This file is the whole contract.

A plugin is a distribution with an entry point in the group ``localrules``. The module that it names must be light
(no torch, numpy or pydantic at import): it implements hooks with :data:`hookimpl`, and each entry names its class as
``"package.module:Name"``, which is imported only when somebody uses it::

    from localrules import RuleEntry, hookimpl

    API_VERSION = 1

    @hookimpl
    def localrules_rules() -> list[RuleEntry]:
        return [RuleEntry(name="mine", target="localrules_mine.rule:Mine", summary="One line.", reference="A paper")]

A registration hook takes no arguments and does no work. Hooks never lose an argument; where they gain one, plugins
that do not name it go on working. ``API_VERSION`` grows only when a plugin made for the earlier one could not work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from localrules.callbacks.base import MetricsRow, Plot, RunInfo
    from localrules.registry.entries import (
        DataEntry,
        ExecutorEntry,
        ExperimentEntry,
        ExporterEntry,
        MetricEntry,
        ModelEntry,
        PresetEntry,
        RuleEntry,
        TrackerEntry,
    )

API_VERSION = 1
"""The version of these hooks. A plugin declares the one that it was written for; without a declaration, 1."""

hookspec = pluggy.HookspecMarker("localrules")

hookimpl = pluggy.HookimplMarker("localrules")
"""Marks a function of a plugin as the implementation of the hook of that name."""


# What a plugin supplies.


@hookspec
def localrules_rules() -> list[RuleEntry]:  # type: ignore[empty-body]
    """Learning rules, for ``--rule NAME``.

    Returns:
        One entry a rule; its target is a subclass of :class:`localrules.Objective` or :class:`localrules.Rule`.
    """


@hookspec
def localrules_models() -> list[ModelEntry]:  # type: ignore[empty-body]
    """Networks, for ``--model NAME``.

    Returns:
        One entry a network; its target is a subclass of :class:`localrules.Model`.
    """


@hookspec
def localrules_data() -> list[DataEntry]:  # type: ignore[empty-body]
    """Data sets, for ``--data NAME``.

    Returns:
        One entry a data set; its target is a subclass of :class:`localrules.DataSource`.
    """


@hookspec
def localrules_trackers() -> list[TrackerEntry]:  # type: ignore[empty-body]
    """Places where metrics go besides the run folder, such as Weights & Biases.

    Returns:
        One entry a tracker; its target is a subclass of :class:`localrules.Tracker`.
    """


@hookspec
def localrules_executors() -> list[ExecutorEntry]:  # type: ignore[empty-body]
    """Places where runs execute, for ``--executor NAME`` of compare, reproduce and sweep.

    Returns:
        One entry an executor; its target is a subclass of :class:`localrules.Executor`.
    """


@hookspec
def localrules_presets() -> list[PresetEntry]:  # type: ignore[empty-body]
    """Named settings of a whole run, such as a paper's.

    Returns:
        One entry a preset; its target is a ``dict`` shaped like the run's configuration.
    """


@hookspec
def localrules_metrics() -> list[MetricEntry]:  # type: ignore[empty-body]
    """Evaluations against a file of the user's, for ``--metric NAME=FILE`` of eval, compare and reproduce.

    Returns:
        One entry a metric; its target is a subclass of :class:`localrules.evaluation.metric.Metric`.
    """


@hookspec
def localrules_exporters() -> list[ExporterEntry]:  # type: ignore[empty-body]
    """File formats, for ``localrules data export --format NAME``.

    Returns:
        One entry a format; its target is a function of a :class:`localrules.Dataset` and a path that returns how many
        rows it wrote.
    """


@hookspec
def localrules_experiments() -> list[ExperimentEntry]:  # type: ignore[empty-body]
    """Experiments from the literature, for ``localrules reproduce NAME``.

    Returns:
        One entry an experiment; its target is a function without arguments that returns an
        :class:`~localrules.reproduce.spec.Experiment`. Those of one suite run together under the suite's name.
    """


# What a plugin may watch. An implementation that fails is reported once and left out of the rest of the run; one that
# raises localrules.Stop ends the run.


@hookspec
def localrules_run_start(run: RunInfo) -> None:
    """A run is about to take its first step, or its first after a resume.

    Args:
        run: The run's folder, resolved configuration, layer table, and length.
    """


@hookspec
def localrules_run_step(row: MetricsRow) -> None:
    """A step was logged.

    Args:
        row: The step's metrics, as in ``metrics.csv``; the keys are documented at ``Callback.on_log``.
    """


@hookspec
def localrules_run_epoch(row: MetricsRow) -> None:
    """The network was evaluated at the end of an epoch.

    Args:
        row: The metrics of the epoch's last step with those of the evaluation.
    """


@hookspec
def localrules_run_end(summary: Mapping[str, Any], plots: list[Plot]) -> None:
    """The run is over: done, or stopped by the user.

    Args:
        summary: What ``summary.json`` holds.
        plots: What the run drew; those with ``shows_data`` may show pixels of the data set.
    """
