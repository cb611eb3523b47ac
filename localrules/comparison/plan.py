"""The plan of a comparison: every rule with every seed, checked before any of them trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localrules.config.overrides import Tree
from localrules.config.schema import RunConfig
from localrules.config.settings import Settings, merge_settings
from localrules.core.windows import split_granularity
from localrules.engine.builder import load_run_dataset
from localrules.engine.environment import providers
from localrules.engine.resolve import resolve_run
from localrules.engine.resolved_run import ResolvedRun
from localrules.engine.session import Session
from localrules.errors import UsageError

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

SEEDS = 3
"""Runs of each rule, unless another number is asked for."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that the comparison needs.

    Attributes:
        rule: The rule as the user typed it.
        run: The run, resolved.
        supplied_by: The distributions of rule, model and data set.
        fingerprint: Of the data set.
    """

    rule: str
    run: ResolvedRun
    supplied_by: dict[str, str]
    fingerprint: str

    @property
    def config(self) -> RunConfig:
        """The settings of the run."""
        return self.run.config


def parse_rules(text: str) -> list[str]:
    """The rules that ``a,b,c`` names; with a semicolon between them where one is a mixture, which has commas itself.

    Raises:
        UsageError: There are fewer than two, or one is named twice.
    """
    rules = [name.strip() for name in text.split(";" if ";" in text else ",") if name.strip()]
    if ";" not in text and "=" in text:
        raise UsageError(
            "a mixture of rules has commas of its own",
            where=f"--rules {text}",
            why="it cannot be seen where one rule ends",
            fix="put semicolons between the rules: --rules 'backprop; blocks.0.*=hsic,*=local-ce'",
        )
    check_rules(rules, f"--rules {text}")
    return rules


def check_rules(rules: Sequence[str], where: str) -> None:
    """Refuse fewer than two rules, and one that is named twice.

    Raises:
        UsageError: The rules cannot be compared; it names ``where`` they are given.
    """
    if len(rules) < 2:
        raise UsageError(
            "a comparison needs at least two rules",
            where=where,
            why=f"it names {len(rules)}",
            fix=f"add the control: --rules {rules[0] if rules else 'hsic'},backprop",
        )
    if twice := sorted({name for name in rules if rules.count(name) > 1}):
        raise UsageError(f"rule {twice[0]!r} is named twice", where=where, fix="name each rule once")


def plan(rules: Sequence[str], settings: Settings | Tree, seeds: int, registry: Registry) -> list[PlannedRun]:
    """Every run of the comparison: all rules with the first seed, then with the second, ...

    Each rule's network is built once, so that what cannot run is known before anything has run.

    Args:
        rules: From :func:`parse_rules`.
        settings: Of all runs. A table called like a rule has options of that rule alone; ``seed`` is the first seed.
        seeds: How many.
        registry: Where names are looked up.

    Raises:
        UsageError: An unknown rule or option, or a rule that cannot train the model.
    """
    given = settings if isinstance(settings, Settings) else Settings.from_tree(settings)
    if "rule" in given.tree:
        raise UsageError(
            "options of a rule are given under its own name",
            where=given.source_of("rule") or "rule",
            why="the rules of a comparison have different options",
            fix=f"e.g. --set {rules[0]}.OPTION=VALUE",
        )
    shared = given.without(*rules)
    resolved = {rule: _resolve(rule, given, shared, registry) for rule in rules}
    first = next(iter(resolved.values()))
    assert first.data is not None
    data = load_run_dataset(first.config, first.data)
    for run in resolved.values():
        Session.build(run, data)
    return [
        PlannedRun(rule, run.with_settings(seed=seed), providers(run.config, registry), data.fingerprint)
        for seed in range(first.config.seed, first.config.seed + seeds)
        for rule, run in resolved.items()
    ]


def _resolve(rule: str, given: Settings, shared: Settings, registry: Registry) -> ResolvedRun:
    """The run of one rule: what all share, and the options under the rule's own name."""
    named = {"rule": {"name": rule}, **_granularity_of_control(rule, shared.tree.get("granularity"), registry)}
    own = Settings.from_tree(named, f"--rules {rule}")
    return resolve_run(merge_settings(shared, given.sub(rule).under("rule"), own), registry)


def _granularity_of_control(rule: str, granularity: object, registry: Registry) -> Tree:
    """The granularity of a rule whose gradients cross all borders anyway: windows are left out, the cut stays."""
    if not isinstance(granularity, str) or "=" in rule:  # a mixture
        return {}
    cut, window = split_granularity(granularity)
    if window == 1 or registry.resolve("rule", rule).info.locality != "backprop":
        return {}
    return {"granularity": cut}
