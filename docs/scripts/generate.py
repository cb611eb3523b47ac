"""Write the parts of the documentation that are generated from the code and from measured results.

    python docs/scripts/generate.py            # updates every page
    python docs/scripts/generate.py --check    # changes nothing; fails if a page is out of date

A generated part stands between ``<!-- generated: WHAT -->`` and ``<!-- end of generated -->``. WHAT is a key of
``PARTS``; a key of ``PARTS_OF``, ``of`` and a rule's name; ``options KIND NAME`` for one rule, model or data set; or
``table FILE`` for a CSV below ``docs/``.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from benchmarks import all_runs, one_run, published, table
from conformance import entry_checks, measured, rule_checks
from league import league_commands, league_protocol, league_table
from pydantic import BaseModel
from reference import localities, summary_keys
from typer.models import OptionInfo

from localrules.cli.app import COMMANDS
from localrules.cli.options import JsonOption, NoPluginOption, PluginOption
from localrules.config.overrides import format_overrides
from localrules.config.schema import RunConfig
from localrules.core.base import RuleBase
from localrules.core.locality import LOCALITY_LEVELS
from localrules.engine.compatibility import compatible_models
from localrules.registry.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
SHARED = (JsonOption, PluginOption, NoPluginOption)  # of every command; the page names them once
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
NAMES = {str: "text", Path: "path", float: "number", int: "whole number", dict: "table", type(None): "none"}
PART = re.compile(r"(<!-- generated: (.+?) -->\n)(.*?)(<!-- end of generated -->)", re.DOTALL)


def page(path: Path) -> str:
    """A page with its generated parts as they should be."""
    text = path.read_text(encoding="utf-8")
    return PART.sub(lambda found: f"{found[1]}\n{part(found[2], path)}\n{found[4]}", text)


def part(what: str, path: Path) -> str:
    """One generated part of a page, by the words of its marker."""
    word, _, argument = what.partition(" of " if " of " in what else " ")
    if what == "rules":
        lines = _rules(os.path.relpath(ROOT / "docs" / "rules", path.parent))
    elif what in PARTS:
        lines = PARTS[what]()
    elif word in PARTS_OF:
        lines = PARTS_OF[word](argument)
    else:
        raise ValueError(f"{path}: no generated part is named {what!r}")
    return "\n".join(lines)


def _options(what: str) -> Iterator[str]:
    """A table of the options of one rule, model or data set."""
    kind, name = what.split()
    found = Registry.load(allow=[]).resolve(kind, name)
    rows = [*_fields(found.Config, f"{kind}."), *(_brought(found) if kind == "rule" else ())]
    yield from _table(iter(rows)) if rows else ("It has no options.", "")


def _brought(rule: type[RuleBase]) -> Iterator[tuple[str, str, str, str]]:
    """A row for each default of the run or of the network that a rule brings."""
    plain = {row[0]: row for row in _settings(RunConfig)}
    for word in format_overrides(rule.info.run_defaults):
        name, _, value = word.partition("=")
        _, default, kind, text = plain[f"`{name}`"]
        text = re.sub(r"( \(.*\))?\.$", "", text)
        yield f"`{name}`", f"`{value}`", kind, f"{text}. The rule's own default; a run's is {default}."
    for name, value in rule.info.model_defaults.items():
        yield f"`model.{name}`", _default(value), "", "The rule's own default, for networks that have this option."


def _models(rule: str) -> Iterator[str]:
    """Which of our networks a rule can train, and what stands against the others."""
    registry = Registry.load(allow=[])
    found = compatible_models(registry.resolve("rule", rule), registry)
    fits = ", ".join(f"`{model['name']}`" for model in found if model["fits"])
    yield f"It trains {fits or 'none of them'}."
    yield ""
    yield from (f"- Not `{model['name']}`: {model['why']}." for model in found if not model["fits"])
    yield ""


def _rules(folder: str) -> Iterator[str]:
    """Our rules with links to their pages in a folder, from the most local to the most global."""
    registry = Registry.load(allow=[])
    found = [(item.entry, registry.resolve("rule", item.entry.name)) for item in registry.entries("rule")]
    found.sort(key=lambda pair: (LOCALITY_LEVELS.index(pair[1].info.locality), pair[0].name))
    yield from ("| rule | class | what it does | published |", "|---|---|---|---|")
    for entry, rule in found:
        published = re.sub(r"(after )?([^,\s][^,]*(?:, [^,]+)*?), (https?://[^\s,]+)", r"\1[\2](\3)", entry.reference)
        name = f"[`{entry.name}`]({folder}/{entry.name}.md)"
        yield f"| {name} | {rule.info.locality} | {_cell(entry.summary)} | {published} |"
    yield ""


def _commands() -> Iterator[str]:
    for name in COMMANDS:
        yield from _command(name)


def _command(name: str) -> Iterator[str]:
    """The headings of one command and its sub-commands."""
    app = import_module(f"localrules.cli.{name}").app
    if app.registered_callback is not None:
        yield from _function(f"localrules {name}", app.registered_callback.callback)
    for command in app.registered_commands:
        below = command.name or command.callback.__name__
        yield from _function(f"localrules {name}" + ("" if below == name else f" {below}"), command.callback)


def _function(title: str, function: Callable[..., None]) -> Iterator[str]:
    hints = get_type_hints(function, include_extras=True)
    arguments, options = [], []
    for parameter in inspect.signature(function).parameters.values():
        base, *extra = get_args(hints[parameter.name]) or (None,)
        info = extra[0] if extra else None
        if isinstance(info, OptionInfo):
            if hints[parameter.name] not in SHARED:
                flag = "--" + parameter.name.strip("_").replace("_", "-")
                options.append((_option(info, base, flag), _sentence(info.help or "", parameter.default)))
        elif info is not None:
            arguments.append(info)
    words = " ".join([title, *(argument.metavar for argument in arguments)])
    yield from (f"## {title}", "", "```text", f"{words} [OPTIONS]", "```", "")
    yield from (_markdown(inspect.getdoc(function) or ""), "")
    if arguments:
        yield from (*(f"- `{argument.metavar}`: {argument.help}" for argument in arguments), "")
    if options:
        yield from ("| option | what it does |", "|---|---|", *(f"| {name} | {text} |" for name, text in options), "")


def _option(info: OptionInfo, annotation: Any, fallback: str) -> str:
    """An option's name with what stands behind it; nothing does behind a switch."""
    # In an ``Annotated`` typer keeps the first of the names where a default would be.
    name = next((word for word in (info.default, *info.param_decls) if str(word).startswith("--")), fallback)
    kind = _words(annotation).removesuffix(" or none")
    value = "" if kind == "bool" else f" {info.metavar or kind.replace(' or ', '|')}"
    return _cell(f"`{name}{value}`")


def _sentence(text: str, default: Any) -> str:
    if default not in (None, False, inspect.Parameter.empty) and "default" not in text:
        text = f"{text} [default: {default}]"
    return _cell(re.sub(r"\s*\\?\[default: (.+?)\]$", r" Default: \1.", text).strip())


def _markdown(text: str) -> str:
    """Rich's markup as Markdown."""
    return re.sub(r"\[bold\](.+?)\[/bold\]", r"`\1`", text)


def _settings(config: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """A row for each setting of a run; sections are walked into."""
    for name, field in config.model_fields.items():
        section = field.annotation
        if get_origin(section) is types.UnionType and type(None) in get_args(section):  # off unless an option is set
            section = get_args(section)[0]
        if isinstance(section, type) and issubclass(section, BaseModel) and not field.is_required():
            yield from _settings(section, f"{prefix}{name}.")
        elif prefix or not field.is_required():  # rule, model and data: each has options of its own
            yield from _fields(config, prefix, only=name)


def _fields(config: type[BaseModel], prefix: str, only: str | None = None) -> Iterator[tuple[str, str, str, str]]:
    for name, field in config.model_fields.items():
        if only in (None, name):
            if field.is_required():
                default = "unset" if prefix else ""
            else:
                default = _default(field.get_default(call_default_factory=True))
            yield f"`{prefix}{name}`", default, _cell(_words(field.annotation)), _cell(field.description or "")


def _default(value: Any) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return ", ".join(item.name for item in value)  # type: ignore[attr-defined]
    return "unset" if value is None else f"`{value}`"


def _words(annotation: Any) -> str:
    """A type as a person writes it."""
    if get_origin(annotation) is Annotated:
        return _words(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " or ".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_words(choice) for choice in get_args(annotation))
    kind = get_origin(annotation) or annotation
    if issubclass(kind, BaseModel):
        return "table"
    if kind in (tuple, list):
        return f"list of {_words(get_args(annotation)[0])}"
    return NAMES.get(kind, kind.__name__)


def _table(rows: Iterator[tuple[str, str, str, str]]) -> list[str]:
    head = ["| option | default | type | what it does |", "|---|---|---|---|"]
    return [*head, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


PARTS: dict[str, Callable[[], Iterable[str]]] = {
    "all runs": all_runs,
    "checks": rule_checks,
    "entry checks": entry_checks,
    "commands": _commands,
    "league": league_protocol,
    "localities": localities,
    "measured classes": measured,
    "published": published,
    "settings": lambda: _table(_settings(RunConfig)),
    "summary keys": summary_keys,
}
PARTS_OF: dict[str, Callable[[str], Iterable[str]]] = {
    "league": league_table,
    "league commands": league_commands,
    "models": _models,
    "options": _options,
    "published": published,
    "run": one_run,
    "table": table,
}


def changed() -> dict[Path, str]:
    """The pages that are out of date, as they should be."""
    found = {path: page(path) for path in PAGES}
    return {path: text for path, text in found.items() if text != path.read_text(encoding="utf-8")}


def main() -> int:
    """Write the pages, or with ``--check`` name those that are out of date."""
    check = "--check" in sys.argv[1:]
    stale = changed()
    for path, text in stale.items():
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and stale:
        print("run: python docs/scripts/generate.py")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
