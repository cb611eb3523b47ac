"""``localrules rules``: which learning rules there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from localrules.cli.completion import names_of
from localrules.cli.listing import ListCommand, print_entry, print_list
from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry

if TYPE_CHECKING:
    from localrules.registry.listing import ListedEntry

app = typer.Typer(cls=ListCommand)


@app.callback(invoke_without_command=True)
def rules(
    ctx: typer.Context,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """List the learning rules that are installed, or show one with its options.

    Use one with [bold]localrules run --rule NAME[/bold]; set its options with [bold]--set rule.OPTION=VALUE[/bold].
    """
    if ctx.invoked_subcommand is None:
        from localrules.core.locality import LOCALITY_LEVELS

        order: dict[str, int] = {level: place for place, level in enumerate(LOCALITY_LEVELS)}
        items = load_registry(plugin, no_plugin).entries("rule")
        if not as_json:
            items = sorted(items, key=lambda item: order.get(_class_of(item), len(order)))
        print_list(items, title="Learning rules, by class of locality", as_json=as_json, heading_of=_class_of)


def _class_of(item: ListedEntry) -> str:
    return getattr(item.entry, "locality", "") or "not declared"


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The rule, as NAME or DISTRIBUTION/NAME.", autocompletion=names_of("rule")),
    ],
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Show one rule: formula, class of locality, the networks that fit, the defaults that it brings, its options."""
    registry = load_registry(plugin, no_plugin)
    kind = registry.resolve("rule", name)
    from localrules.config.overrides import format_overrides, merge
    from localrules.core.locality import LOCALITY_DESCRIPTIONS
    from localrules.engine.compatibility import compatible_models

    models = compatible_models(kind, registry)
    fits = ", ".join(model["name"] for model in models if model["fits"])
    untried = [f"{item.entry.name}:NAME" for item in registry.entries("model") if item.entry.argument]
    # Keys of the second come first.
    brings = merge({"model": kind.info.model_defaults} if kind.info.model_defaults else {}, kind.info.run_defaults)
    facts = {
        "formula": kind.info.formula,
        "locality": f"{kind.info.locality}: {LOCALITY_DESCRIPTIONS[kind.info.locality]}",
        "trains": fits or "none of the installed networks",
        "trains not": "; ".join(f"{model['name']} ({model['why']})" for model in models if not model["fits"]),
        "not tried": ", ".join(untried),
        "brings": ", ".join(format_overrides(brings)),
        "presets": ", ".join(kind.info.presets),
    }
    known = {
        "formula": kind.info.formula,
        "locality": kind.info.locality,
        "brings": brings,
        "presets": list(kind.info.presets),
        "models": models,
    }
    print_entry(registry, "rule", name, as_json=as_json, facts=facts, more=known)
