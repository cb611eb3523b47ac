"""The request for a reproduction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from localrules.config.overrides import Tree
from localrules.config.settings import Settings, merge_settings
from localrules.errors import UsageError
from localrules.evaluation.metric import MetricFiles


@dataclass(frozen=True)
class ReproductionRequest:
    """The user's choices.

    Attributes:
        scale: The fraction of each case's published budget.
        seeds: How many runs of each case, with seeds from 0; ``None``: the case's own.
        cases: Patterns of the cases to run, ignoring case; without one, all. With patterns, an experiment without
            cases is left out.
        defaults: Settings for what cases leave open: ``model`` and ``data``.
        overrides: Settings that replace the cases' own.
        raw_overrides: ``defaults`` and ``overrides`` as a user typed them, but for names; with any, no
            run is as published.
        incidental: Settings that change no result, such as threads and trackers.
        data_path: The file of a case's data set, or a folder in which it lies under the data set's name.
        metrics: The files of plugins' metrics to compute, by name.
    """

    scale: float = 1.0
    seeds: int | None = None
    cases: tuple[str, ...] = ()
    defaults: Settings = field(default_factory=Settings)
    overrides: Settings = field(default_factory=Settings)
    raw_overrides: tuple[str, ...] = ()
    incidental: Tree = field(default_factory=dict)
    data_path: Path | None = None
    metrics: MetricFiles = field(default_factory=dict)

    def refuse_component(self, name: str, why: str, fix: str = "leave it out") -> None:
        """Refuse a model or data set where it would change nothing.

        Raises:
            UsageError: The user named one.
        """
        if name in self.defaults.tree:
            raise UsageError(f"--{name} changes nothing here", where=self.defaults.source_of(name), why=why, fix=fix)

    @property
    def selects_all(self) -> bool:
        """Whether all cases are to be run, and experiments without cases."""
        return not self.cases or "*" in self.cases

    def selects(self, *names: str) -> bool:
        """Whether a case that goes by any of these names is to be run."""
        return self.selects_all or any(_fits(pattern, names) for pattern in self.cases)

    def unused_patterns(self, names: Iterable[str]) -> list[str]:
        """The patterns that fit none of these names."""
        known = list(names)
        return [] if self.selects_all else [pattern for pattern in self.cases if not _fits(pattern, known)]


def _fits(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for name in names)


def parse_settings(words: tuple[str, ...], named: Settings) -> tuple[Settings, Settings]:
    """The user's settings: of the data set and the model, for cases that leave them open; and for all cases.

    Args:
        words: ``a.b=c``, as they were typed.
        named: The names of ``data`` and ``model``, where there were any.

    Raises:
        UsageError: A word sets what is not the user's to set here.
    """
    settings = Settings.from_overrides(words)
    for key, why in (
        ("rule", "each case has its own; that is what is compared"),
        ("steps", "--scale says how long"),
        ("epochs", "--scale says how long"),
        ("seed", "--seeds says how many; they count from 0"),
    ):
        if key in settings.tree:
            raise UsageError(
                f"{key!r} is not set for a reproduction", where=settings.source_of(key), why=why, fix="leave it out"
            )
    own = settings.without(*(key for key in settings.tree if key not in ("data", "model")))
    return merge_settings(own, named), settings.without("data", "model")
