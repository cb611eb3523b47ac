"""Lists of what plugins supply, and the page of one entry, for every command that lists."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

from localrules.cli.output import get_console, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from localrules.registry.registry import ListedEntry, Registry

_FRAME = 10  # lines of a list beside its entries: title, headings, prompt
_STYLES = {"ok": "green", "conflict": "yellow", "incompatible": "red", "broken": "red"}


class ListCommand(TyperGroup):
    """A command that lists when it stands alone, and starts quickly: it converts only the options that were given.

    Typer converts options with pydantic, those that are absent, too, and importing pydantic takes as long as all else
    that a list or the help needs.
    """

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)
        for param in params:
            if "process_value" not in vars(param):
                param.process_value = _unless_absent(param.process_value)  # type: ignore[method-assign]
        return params

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """``localrules rules hsic`` means ``localrules rules show hsic``; what is like a command is a mistyped one."""
        if "show" in self.commands and not args[0].startswith("-") and not get_close_matches(args[0], self.commands):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


def _unless_absent(process: Any) -> Any:
    return lambda ctx, value: None if value is None else process(ctx, value)


def print_list(
    items: list[ListedEntry], *, title: str, as_json: bool, heading_of: Callable[[ListedEntry], str] | None = None
) -> None:
    """Print entries or plugins: a table, or the list of objects that scripts read.

    Args:
        items: In the order of the table.
        title: Of the table.
        as_json: Whether to print the list of objects.
        heading_of: The heading under which an item stands; items of one heading follow each other.
    """
    if as_json:
        print_json([item.as_dict() for item in items])
        return
    from rich.markup import escape
    from rich.table import Table

    console = get_console()
    origins = {f"{item.distribution} {item.version}".rstrip() for item in items}
    alike = len(origins) == 1 and all(item.status == "ok" for item in items)
    title = f"{title}, all of {escape(next(iter(origins)))}" if alike else title
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(
        "name", style="bold cyan", no_wrap=True, min_width=max((len(item.entry.name) for item in items), default=0)
    )
    # On a screen, a line each: the page of an entry has its summary whole.
    table.add_column("what it is", ratio=1, no_wrap=console.is_terminal, overflow="ellipsis")
    if not alike:
        table.add_column("from", style="dim")
        table.add_column("status")
    if heading_of is not None and alike and console.is_terminal and len(items) + _FRAME > console.height:
        _print_names(console, title, items, heading_of)
        return
    shown: str | None = None
    for item in items:
        if heading_of is not None and (heading := heading_of(item)) != shown:
            shown = heading
            table.add_row(f"[default not bold italic]{escape(heading)}[/]")
        origin = f"{item.distribution} {item.version}".rstrip()
        more = () if alike else (escape(origin), f"[{_STYLES[item.status]}]{item.status}[/]")
        table.add_row(escape(item.entry.name), escape(item.entry.summary), *more)
    console.print(table)
    for item in items:
        if item.cause:
            console.print(f"[red]{item.status}[/] [bold]{escape(item.entry.name)}[/]: {escape(item.cause)}")


def _print_names(
    console: Console, title: str, items: list[ListedEntry], heading_of: Callable[[ListedEntry], str]
) -> None:
    """The names alone, by heading, where a line for each would not fit the screen."""
    from itertools import groupby

    from rich.markup import escape
    from rich.padding import Padding

    console.print(f"[bold]{title}[/]")
    for heading, group in groupby(items, heading_of):
        names = "  ".join(f"[bold cyan]{escape(item.entry.name)}[/]" for item in group)
        console.print(escape(heading))
        console.print(Padding(names, (0, 0, 0, 2)))
    command = "localrules rules"
    console.print(f"Options of one: [bold]{command} NAME[/]. All summaries: [bold]{command} | less[/].")


def print_entry(
    registry: Registry,
    kind: str,
    name: str,
    *,
    as_json: bool,
    facts: dict[str, str] | None = None,
    more: dict[str, Any] | None = None,
) -> None:
    """Print what is known of one entry, and its options with their defaults. This imports its class.

    Args:
        registry: Where names are looked up.
        kind: ``"rule"``, ``"model"``, ...
        name: The entry's.
        as_json: One object for scripts instead.
        facts: What else there is to say to people, by heading; headings without a text are left out.
        more: The same for scripts, by key.

    Raises:
        LocalRulesError: There is no such entry, or it cannot be used.
    """
    item = registry.find(kind, name)
    options = _options(registry.resolve(kind, name))
    if as_json:
        print_json({**item.as_dict(), **(more or {}), "options": options})
        return
    from rich.markup import escape
    from rich.table import Table

    console = get_console()
    console.print(f"[bold cyan]{escape(item.entry.name)}[/]  {escape(item.entry.summary)}")
    said = {"reference": item.entry.reference, "from": f"{item.distribution} {item.version}".rstrip(), **(facts or {})}
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    for heading, text in said.items():
        if text:
            table.add_row(heading, escape(text))
    console.print(table)
    if not options:
        console.print("It has no options.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"--set {kind}.", style="cyan", no_wrap=True)
    table.add_column("default")
    table.add_column("type", style="dim")
    table.add_column("what it does", ratio=1)
    for option in options:
        default = "required" if option["required"] else str(option["default"])
        table.add_row(option["name"], escape(default), escape(option["type"]), escape(option["description"]))
    console.print()
    console.print(table)


def _options(target: Any) -> list[dict[str, Any]]:
    from pydantic_core import to_jsonable_python

    from localrules.config.validate import check_config_class

    check_config_class(target)
    return [
        {
            "name": name,
            "type": _format_type(field.annotation),
            "required": field.is_required(),
            "default": None
            if field.is_required()
            else to_jsonable_python(field.get_default(call_default_factory=True), fallback=str),
            "description": field.description or "",
        }
        for name, field in target.Config.model_fields.items()
    ]


def _format_type(annotation: Any) -> str:
    """A type as a person writes it: ``float``, ``str | None``, ``'layer' | 'block'``."""
    from types import EllipsisType, UnionType
    from typing import Annotated, Literal, Union, get_args, get_origin

    kind, inner = get_origin(annotation), get_args(annotation)
    if kind is Annotated:  # with limits, which an error names
        return _format_type(inner[0])
    if kind is Literal:
        return " | ".join(repr(choice) for choice in inner)
    if kind in (Union, UnionType):
        return " | ".join("none" if choice is type(None) else _format_type(choice) for choice in inner)
    if isinstance(kind, type) and inner:
        return f"{kind.__name__}[{', '.join(map(_format_type, inner))}]"
    if isinstance(annotation, EllipsisType):
        return "..."
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
