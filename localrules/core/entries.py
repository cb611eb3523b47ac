"""What a plugin hands over when it is listed: names and texts, no heavy import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that a plugin supplies.

    Attributes:
        name: The word users type, e.g. ``hsic``.
        target: ``"package.module:Name"``, imported only when the entry is used.
        summary: One line.
        reference: Paper with link, or empty.
    """

    name: str
    target: str
    summary: str
    reference: str = ""


class RuleEntry(Entry):
    """A learning rule: an :class:`~localrules.Objective` or :class:`~localrules.Rule` class."""


class ModelEntry(Entry):
    """A network: a class built from its ``Config``, see :class:`~localrules.Model`."""


class DataEntry(Entry):
    """A data set: a :class:`~localrules.DataSource` class."""


class TrackerEntry(Entry):
    """A place where metrics go: a :class:`~localrules.Tracker` class."""


@dataclass(frozen=True, kw_only=True)
class PresetEntry(Entry):
    """Named run settings; ``target`` names a ``dict`` shaped like the run's configuration."""


@dataclass(frozen=True, kw_only=True)
class ExperimentEntry(Entry):
    """An experiment from the literature; ``target`` names a function that returns an ``Experiment``.

    Attributes:
        suite: The word that runs it together with others, e.g. ``published``; empty for one that stands alone.
        also: Other words that mean it, e.g. the figure that shows a table's numbers.
    """

    suite: str = ""
    also: tuple[str, ...] = ()
