"""Specification of a league: the grounds, the search, and how long each rule trains."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from localrules.config.overrides import Tree
from localrules.core.search_space import learning_rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from localrules.core.search_space import SearchValues


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A network and a data set on which all rules are run.

    Attributes:
        name: In tables and file names.
        settings: Of every run: ``model`` and ``data``, and whatever is not a default; neither rule nor length.
        steps: Of a run of the control, at scale 1.
        trial_steps: Of the control in a trial of the search.
    """

    name: str
    settings: Tree
    steps: int
    trial_steps: int


@dataclass(frozen=True, kw_only=True)
class League:
    """Every rule on every ground, with equal search and equal time.

    Time is counted in steps of the control: a rule whose step takes twice as long takes half as many. The ratio is
    measured beside the control in one process, so that a busy machine does not change it, and rows that were made on
    different machines belong together.

    Attributes:
        grounds: In the order of the tables.
        controls: Rules that are run with all seeds whatever their place; times and memory are ratios to the first.
        trials: Runs of the search. The first has the rule's own settings.
        holdout_fraction: Of the training split, on which the search compares; tests are not read for it.
        best: Rules of each ground that are run with all seeds.
        seeds: Of the best and of the controls; the others have the first alone.
        notes: A sentence or two each, for the page.
    """

    grounds: tuple[Ground, ...]
    controls: tuple[str, ...]
    trials: int = 4
    holdout_fraction: float = 0.1
    best: int = 10
    seeds: int = 3
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """Settings that the search tries.

    Attributes:
        lr: The learning rate.
        options: Of the rule; empty for its own.
    """

    lr: float
    options: Tree

    def settings(self, rule: str) -> Tree:
        """As settings of a run."""
        return {"rule": {"name": rule, **self.options}, "optimizer": {"lr": self.lr}}


def candidates(
    rule: str, ground: str, lr: float, search_space: Mapping[str, SearchValues], trials: int
) -> list[Candidate]:
    """The settings that are tried: the rule's own, then random ones, always the same.

    Args:
        rule: The rule's name, which seeds the draws together with the ground's.
        ground: The ground's name.
        lr: The rule's own learning rate.
        search_space: What the rule declares; its first option is searched beside the learning rate.
        trials: How many.
    """
    draws = Random(f"{ground}/{rule}")
    found = [Candidate(lr, {})]
    while len(found) < trials:
        tried = learning_rates(lr).sample(draws)
        option = next(iter(search_space.items()), None)
        options = {} if option is None else {option[0]: option[1].sample(draws)}
        found.append(Candidate(float(f"{tried:.3g}"), {key: _rounded(value) for key, value in options.items()}))
    return found


def _rounded(value: object) -> object:
    return float(f"{value:.3g}") if isinstance(value, float) else value
