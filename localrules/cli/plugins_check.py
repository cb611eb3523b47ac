"""``localrules plugins check``: whether a plugin's entries keep what entries of their kind promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from inspect import getdoc
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry
from localrules.cli.output import get_console, print_json
from localrules.registry.entries import KINDS

if TYPE_CHECKING:
    from localrules.registry.listing import ListedEntry
    from localrules.registry.registry import Registry
    from localrules.testing.conformance.kit import Check

_STYLES = {"passed": "green", "failed": "bold red", "expected-failure": "yellow", "skipped": "dim"}


def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A plugin, whose entries are all checked, or one rule, model, data set, ..."
        ),
    ],
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="Run only this check. May be repeated.")
    ] = None,
    expect_failure: Annotated[
        list[str] | None,
        typer.Option("--expect-failure", metavar="CHECK", help="A check that is known to fail. May be repeated."),
    ] = None,
    digits_bound: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that a rule has to reach on scikit-learn's digits.")
    ] = 0.9,
    maps_bound: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="The same, through feature maps. \\[default: that of --digits-bound]"),
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Check the rules, models, data sets and other entries of a plugin, in seconds.

    For a rule, among others: the declared class of locality holds; a resumed run equals one without a break;
    predictions depend on no labels; hard batches and half precision stay finite; the rule learns scikit-learn's digits.
    Where several entries are checked, the name of each check begins with its entry's.

    Exit code 1 if a check fails.
    """
    from localrules.testing.conformance.kit import checks as checks_of_rule
    from localrules.testing.conformance.subject import Bounds

    registry = load_registry(plugin, no_plugin)
    expected = dict.fromkeys(expect_failure or (), "--expect-failure")
    of_rule = partial(checks_of_rule, bounds=Bounds(digits_bound, maps_bound))
    items = _entries(registry, name)
    console = get_console()
    found = [(item, list(_checks(registry, kind, item, of_rule))) for kind, item in items]
    known = [each.name for _, checks in found for each in checks]
    _check_names(only or [], known, "--only")
    _check_names(expect_failure or [], known, "--expect-failure")
    results: list[dict[str, str]] = []
    for item, checks in found:
        prefix = f"{item.entry.name}/" if len(items) > 1 else ""
        chosen = [each for each in checks if not only or each.name in only]
        results += _run(item, [replace(each, xfail_reason=expected.get(each.name, "")) for each in chosen], prefix)
    if as_json:
        print_json(results)
    else:
        counts = {status: sum(result["status"] == status for result in results) for status in _STYLES}
        total = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        console.print(f"\n{len(results)} checks: {total}")
    if any(result["status"] == "failed" for result in results):
        raise typer.Exit(1)


def _entries(registry: Registry, name: str) -> list[tuple[str, ListedEntry]]:
    """The entries of the plugin of that name, or the one entry of that name, each with its kind.

    Raises:
        LocalRulesError: There is neither, the plugin cannot be used, or it has nothing to check.
    """
    from localrules.errors import LocalRulesError, UsageError

    found = [(kind, item) for kind in KINDS for item in registry.entries_of(name, kind)]
    if found:
        return found
    named = [item for item in registry.plugins() if item.entry.name == name]
    if named and named[0].status != "ok":
        raise LocalRulesError(f"plugin {name!r} cannot be used", where=named[0].distribution, why=named[0].cause or "")
    if named:
        raise UsageError(
            f"plugin {name!r} has nothing to check",
            where=f"localrules plugins check {name}",
            why=named[0].entry.summary,
            fix="`localrules plugins` lists what each plugin supplies",
        )
    bare = name.rpartition("/")[2]
    kinds = [kind for kind in KINDS if any(item.entry.name == bare for item in registry.entries(kind))]
    return [(kind, registry.find(kind, name)) for kind in kinds or ["rule"]]


def _checks(
    registry: Registry, kind: str, item: ListedEntry, of_rule: Callable[[Any], Iterator[Check]]
) -> Iterator[Check]:
    from localrules.testing.conformance.checks.entry_checks import CHECKS
    from localrules.testing.conformance.kit import Check

    target = registry.resolve(kind, item.full_name)
    if kind == "rule":
        yield from of_rule(target)
        return
    for word, function in CHECKS[kind].items():
        description = (getdoc(function) or "").partition("\n")[0]
        more = {"registry": registry} if kind == "preset" else {}
        yield Check(item.entry.name, word, description, partial(function, target, **more))


def _run(item: ListedEntry, checks: list[Check], prefix: str) -> list[dict[str, str]]:
    from rich.markup import escape

    from localrules.testing.conformance.kit import run_check

    console = get_console()
    console.print(f"[bold cyan]{escape(item.entry.name)}[/]  {escape(item.entry.summary)}")
    results = []
    for each in checks:
        found = run_check(each)
        style = _STYLES[found["status"]]
        line = f"  [{style}]{found['status']:<16}[/] {each.name:<36} [dim]{escape(each.description)}[/]"
        console.print(line, no_wrap=True, overflow="ellipsis")
        if found["reason"]:
            console.print(f"  {'':<16} [{style}]{escape(found['reason'])}[/]", soft_wrap=True)
        results.append({"check": prefix + each.name, **found})
    return results


def _check_names(names: list[str], known: list[str], option: str) -> None:
    from localrules.errors import UsageError, suggest_names

    for name in names:
        if name not in known:
            raise UsageError(f"there is no check {name!r}", where=option, fix=suggest_names(name, known))
