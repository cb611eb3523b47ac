"""Entries that a plugin registers: names and texts, no heavy import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that a plugin supplies.

    Attributes:
        name: The word users type, e.g. ``hsic``.
        target: ``"package.module:Name"``, imported only when the entry is used.
        summary: One line.
        reference: Paper with link, or empty.
        argument: The option that ``NAME:VALUE`` sets, such as ``dataset`` for ``torchvision:Flowers102``; empty: none.
    """

    name: str
    target: str
    summary: str
    reference: str = ""
    argument: str = ""


@dataclass(frozen=True, kw_only=True)
class RuleEntry(Entry):
    """A learning rule: an :class:`~localrules.Objective` or :class:`~localrules.Rule` class.

    Attributes:
        locality: The class of locality that its ``RuleInfo`` declares, for lists, which import no rule; empty: lists
            say nothing of it.
    """

    locality: str = ""


@dataclass(frozen=True, kw_only=True)
class KitNetwork:
    """A model as the conformance kit and the audit use it: small, trained in seconds.

    Attributes:
        kind: Its role: fully connected; feature maps that are concatenated, pooled and normalised; a chain of
            convolutions. Of several models of one kind, the first is used.
        options: Options of the model for runs of a few steps on images of 16 x 16.
        digits_options: Options for learning scikit-learn's digits.
        digits_scale: Side of the square that each pixel of the digits' 8 x 8 becomes.
    """

    kind: Literal["perceptron", "dense maps", "chain of maps"]
    options: Mapping[str, Any] = field(default_factory=dict)
    digits_options: Mapping[str, Any] = field(default_factory=dict)
    digits_scale: int = 1


@dataclass(frozen=True, kw_only=True)
class ModelEntry(Entry):
    """A network: a class built from its ``Config``, see :class:`~localrules.Model`.

    Attributes:
        default_priority: Where a command names no model, the one with the highest priority is used; ``None``: never.
        suits_cpu: Whether training it on a CPU takes hours, not days. ``reproduce`` on a CPU prefers such a model.
        kit_network: How the conformance kit uses it; ``None``: not at all.
    """

    default_priority: int | None = None
    suits_cpu: bool = False
    kit_network: KitNetwork | None = None


@dataclass(frozen=True, kw_only=True)
class DataEntry(Entry):
    """A data set: a :class:`~localrules.DataSource` class.

    Attributes:
        default_priority: Where a command names no data set, the one with the highest priority that is found, or that
            needs no file, is used; ``None``: never.
    """

    default_priority: int | None = None


@dataclass(frozen=True, kw_only=True)
class MetricColumn:
    """One value of a metric, as tables show it.

    Attributes:
        title: The row's or column's title.
        key: Its key in what the metric computes.
        is_fraction: Whether it is a fraction, shown in percent.
        note: More to say beside it, a format string over what the metric computes: ``"of {rows:,} rows"``.
    """

    title: str
    key: str
    is_fraction: bool = True
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class MetricEntry(Entry):
    """An evaluation against a file of the user's: a :class:`~localrules.evaluation.metric.Metric` class.

    ``eval``, ``compare`` and ``reproduce`` compute it with ``--metric NAME=FILE``, or ``--NAME FILE``; its values stand
    under its name in the JSON output.

    Attributes:
        help: The help of its flag.
        metavar: What the flag's value is called.
        columns: The values that tables show.
    """

    help: str
    metavar: str = "FILE"
    columns: tuple[MetricColumn, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExporterEntry(Entry):
    """A file format for ``localrules data export --format NAME``.

    ``target`` names a function that takes a :class:`~localrules.Dataset` and a path, writes the file, and returns how
    many samples it wrote.
    """


@dataclass(frozen=True, kw_only=True)
class ExecutorEntry(Entry):
    """A place where runs of ``compare``, ``reproduce`` and ``sweep`` execute: an :class:`~localrules.Executor` class.

    Attributes:
        default_priority: Where a command has several workers and names no executor, the one with the highest priority
            is used; ``None``: never.
    """

    default_priority: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrackerEntry(Entry):
    """A place where metrics go: a :class:`~localrules.Tracker` class.

    Attributes:
        service: ``"package.module:Name"`` of a :class:`~localrules.tracking.service.TrackerService`, for what the
            tracker offers beside runs: results of other commands, a dashboard, stored weights; empty: nothing.
    """

    service: str = ""


@dataclass(frozen=True, kw_only=True)
class PresetEntry(Entry):
    """Named run settings; ``target`` names a ``dict`` shaped like the run's configuration."""


@dataclass(frozen=True, kw_only=True)
class ExperimentEntry(Entry):
    """An experiment from the literature; ``target`` names a function that returns an ``Experiment``.

    Attributes:
        suite: The word that runs it together with others, e.g. ``published``; empty for one that stands alone.
        aliases: Other words that mean it, e.g. the plot that shows a table's numbers.
    """

    suite: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class EntryKind:
    """One kind of thing that plugins supply.

    Attributes:
        name: What messages call one of them.
        plural: What lists call them; in capitals, the name of a plugin file's table of them.
        hook: The registration hook.
        entry: The class of its entries.
        bases: Classes of which a target must be a subclass, as ``module:Name``; without any, a target is not a class.
        function: Whether a target that is not a class is a function, and not a ``dict``.
    """

    name: str
    plural: str
    hook: str
    entry: type[Entry]
    bases: tuple[str, ...]
    function: bool = False


KINDS = {
    "rule": EntryKind(
        "rule",
        "rules",
        "localrules_rules",
        RuleEntry,
        ("localrules.core.objective:Objective", "localrules.core.rule:Rule"),
    ),
    "model": EntryKind("model", "models", "localrules_models", ModelEntry, ("localrules.core.model:Model",)),
    "data": EntryKind("data set", "data", "localrules_data", DataEntry, ("localrules.data.dataset:DataSource",)),
    "tracker": EntryKind(
        "tracker", "trackers", "localrules_trackers", TrackerEntry, ("localrules.callbacks.base:Tracker",)
    ),
    "executor": EntryKind(
        "executor", "executors", "localrules_executors", ExecutorEntry, ("localrules.runs.executor:Executor",)
    ),
    "preset": EntryKind("preset", "presets", "localrules_presets", PresetEntry, ()),
    "metric": EntryKind(
        "metric", "metrics", "localrules_metrics", MetricEntry, ("localrules.evaluation.metric:Metric",)
    ),
    "exporter": EntryKind("export format", "exporters", "localrules_exporters", ExporterEntry, (), function=True),
    "experiment": EntryKind("experiment", "experiments", "localrules_experiments", ExperimentEntry, (), function=True),
}


RUN_HOOKS = ("localrules_run_start", "localrules_run_step", "localrules_run_epoch", "localrules_run_end")
"""The hooks by which a plugin watches runs."""


class PluginError(Exception):
    """A plugin does not keep to the hooks."""


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_entry(kind: EntryKind, entry: Entry) -> None:
    """Raises PluginError when an entry could not be listed or used."""
    if not isinstance(entry.name, str) or not _NAME.fullmatch(entry.name):
        raise PluginError(f"a {kind.name} is named {entry.name!r}: letters, digits and any of - _ . + are allowed")
    called = f"{kind.name} {entry.name!r}"
    if not isinstance(entry.target, str) or not _TARGET.fullmatch(entry.target):
        raise PluginError(f"the target of {called} is {entry.target!r}, and must look like 'package.module:Name'")
    if not isinstance(entry.summary, str) or not entry.summary.strip() or "\n" in entry.summary:
        raise PluginError(f"the summary of {called} must be one line of text")
    if not isinstance(entry.reference, str):
        raise PluginError(f"the reference of {called} must be text, and is of type {type(entry.reference).__name__}")
