"""Tables of what ``localrules.testing`` measures: the locality of each rule, and the conformance checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from inspect import getdoc
from typing import Any

from localrules.auditing.audit import Audit
from localrules.core.locality import LOCALITY_LEVELS
from localrules.registry.registry import Registry
from localrules.testing.conformance.checks import CHECKS
from localrules.testing.conformance.checks.entry_checks import CHECKS as ENTRY_CHECKS
from localrules.testing.conformance.checks.locality_checks import audit_on
from localrules.testing.conformance.subject import Place, RuleUnderTest


@cache
def measured() -> tuple[str, ...]:
    """A table of our rules, from the most local to the most global: each is trained a few times on a tiny network."""
    registry, rows = Registry.load(allow=[]), []
    for item in registry.entries("rule"):
        name = item.entry.name
        subject = RuleUnderTest(registry.resolve("rule", name))
        network = subject.networks[0]
        found = audit_on(subject.rule, Place(network))
        verdict = "holds" if found.holds else "**does not hold**"
        cells = (f"[`{name}`](../rules/{name}.md)", f"`{found.measured}`", f"`{found.declared}`", verdict, network)
        rows.append((LOCALITY_LEVELS.index(found.measured), name, f"| {' | '.join(cells)} | {_pairs(found)} |"))
    head = ("| rule | measured | declared | | network | pairs |", "|---|---|---|---|---|---|")
    return (*head, *(line for *_, line in sorted(rows)), "")


def _pairs(found: Audit) -> str:
    """Number of pairs (layer, other layer that it does not read) in which the layer depends on the other."""
    size = range(len(found.dependence.layers))
    apart = sum(row != column and not found.dependence.allowed[row][column] for row in size for column in size)
    return f"{len(found.dependence.leaks)} of {apart}"


def rule_checks() -> Iterator[str]:
    """A table of the conformance kit's checks of a rule."""
    yield from ("| check | description |", "|---|---|")
    for name, check in CHECKS.items():
        yield f"| `{name}` | {_description(check)} |"
    yield ""


def entry_checks() -> Iterator[str]:
    """A table of the checks of entries of other kinds."""
    yield from ("| kind | check | description |", "|---|---|---|")
    for kind, checks in ENTRY_CHECKS.items():
        for name, check in checks.items():
            yield f"| {kind} | `{name}` | {_description(check)} |"
    yield ""


def _description(check: Callable[[Any], None]) -> str:
    """The first line of a check's docstring, in Markdown."""
    return (getdoc(check) or "").partition("\n")[0].replace("``", "`")
