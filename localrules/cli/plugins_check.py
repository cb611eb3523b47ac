"""``localrules plugins check``: run the conformance kit on a plugin's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry
from localrules.cli.output import get_console, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from localrules.registry.registry import ListedEntry, Registry
    from localrules.testing import Check

_STYLES = {"passed": "green", "failed": "bold red", "expected-failure": "yellow", "skipped": "dim"}


def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin, all of whose rules are checked, or one rule.")],
    as_json: JsonOption = False,
    expect_failure: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="A check that the rules are known to fail; may be repeated."),
    ] = None,
    digits_bound: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that a rule has to reach on scikit-learn's digits.")
    ] = 0.9,
    maps_bound: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="The same, through feature maps. [default: that of --digits-bound]"),
    ] = None,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Run the conformance kit on a plugin's rules, on small networks, in seconds.

    Among others: the declared class of locality holds; a resumed run equals an uninterrupted one; predictions do not
    depend on labels; hard batches and half precision stay finite; the rule learns scikit-learn's digits. Where several
    rules are checked, the name of each check begins with its rule's.

    Exit code 1 if a check fails.
    """
    from rich.markup import escape

    from localrules.testing.conformance.kit import checks
    from localrules.testing.conformance.subject import Bounds

    registry = load_registry(plugin, no_plugin)
    rules = _rules(registry, name)
    console = get_console()
    known = dict.fromkeys(expect_failure or (), "--expect-failure")
    results: list[dict[str, str]] = []
    for item in rules:
        console.print(f"[bold cyan]{escape(item.entry.name)}[/]  {escape(item.entry.summary)}")
        rule_class = registry.resolve("rule", item.full_name)
        found = checks(rule_class, expected_failures=known, bounds=Bounds(digits_bound, maps_bound))
        results += _run(found, console, prefix=f"{item.entry.name}/" if len(rules) > 1 else "")
    if as_json:
        print_json(results)
    else:
        counts = {status: sum(result["status"] == status for result in results) for status in _STYLES}
        summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        console.print(f"\n{len(results)} checks: {summary}")
    if any(result["status"] == "failed" for result in results):
        raise typer.Exit(1)


def _rules(registry: Registry, name: str) -> list[ListedEntry]:
    """The rules of the plugin of that name, or the rule of that name.

    Raises:
        LocalRulesError: There is neither, the plugin cannot be used, or it has no rules.
    """
    from localrules.errors import LocalRulesError, UsageError

    rules = registry.entries_of(name, "rule")
    if rules:
        return rules
    named = [item for item in registry.plugins() if item.entry.name == name]
    if named and named[0].status != "ok":
        raise LocalRulesError(f"plugin {name!r} cannot be used", where=named[0].distribution, why=named[0].cause or "")
    if named:
        raise UsageError(
            f"plugin {name!r} has no rules to check",
            where=f"localrules plugins check {name}",
            why=named[0].entry.summary,
            fix="`localrules plugins` lists what each plugin supplies",
        )
    return [registry.find("rule", name)]


def _run(found: Iterable[Check], console: Console, prefix: str) -> list[dict[str, str]]:
    """Run checks and print each result."""
    from rich.markup import escape

    from localrules.testing.conformance.kit import run_check

    results = []
    for check in found:
        result = run_check(check)
        style = _STYLES[result["status"]]
        line = f"  [{style}]{result['status']:<16}[/] {check.name:<36} [dim]{escape(check.description)}[/]"
        console.print(line, no_wrap=True, overflow="ellipsis")
        if result["reason"]:
            console.print(f"  {'':<16} [{style}]{escape(result['reason'])}[/]", soft_wrap=True)
        results.append({"check": prefix + check.name, **result})
    return results
