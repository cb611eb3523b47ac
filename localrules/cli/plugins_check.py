"""``localrules plugins check``: does a plugin's rule keep what every rule promises?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry
from localrules.cli.output import get_console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from localrules.registry.registry import ListedEntry, Registry

_STYLES = {"passed": "green", "failed": "bold red", "expected-failure": "yellow", "skipped": "dim"}


def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin, all of whose rules are checked, or one rule.")],
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Check that a plugin's rules keep what every rule promises, on small networks, in seconds.

    Among others: the declared class of locality holds; a resumed run equals one without a break; answers depend on no
    labels; hard batches and half precision stay finite; the rule learns scikit-learn's digits. Where several
    rules are checked, the name of each check begins with its rule's.

    Exit code 1 if a check fails.
    """
    registry = load_registry(plugin, no_plugin)
    rules = _rules(registry, name)
    console = get_console()
    results: list[dict[str, str]] = []
    for item in rules:
        results += _checked(registry, item, console, prefix=f"{item.entry.name}/" if len(rules) > 1 else "")
    if as_json:
        print_json(results)
    else:
        counts = {status: sum(result["status"] == status for result in results) for status in _STYLES}
        said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        console.print(f"\n{len(results)} checks: {said}")
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


def _checked(registry: Registry, item: ListedEntry, console: Console, prefix: str) -> list[dict[str, str]]:
    from rich.markup import escape

    from localrules.testing.conformance.kit import checks, run_check

    kind = registry.resolve("rule", item.full_name)
    console.print(f"[bold cyan]{escape(item.entry.name)}[/]  {escape(item.entry.summary)}")
    results = []
    for each in checks(kind):
        found = run_check(each)
        style = _STYLES[found["status"]]
        line = f"  [{style}]{found['status']:<16}[/] {each.name:<36} [dim]{escape(each.description)}[/]"
        console.print(line, no_wrap=True, overflow="ellipsis")
        if found["reason"]:
            console.print(f"  {'':<16} [{style}]{escape(found['reason'])}[/]", soft_wrap=True)
        results.append({"check": prefix + each.name, **found})
    return results
