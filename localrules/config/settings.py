"""Settings with the source of each value: a file and its line, ``--set``, a flag, a preset, a rule's default."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from localrules.config.mixture import MIXED, expand_mixture
from localrules.config.overrides import COMPONENTS, RUN_METADATA, Tree, merge, nest, parse_override, parse_toml
from localrules.errors import UsageError, error_text, shorten

Location = tuple[str | int, ...]
"""The keys that lead to a value, and the indices of lists among them."""


@dataclass(frozen=True)
class Settings:
    """A tree of settings, and where each of its values comes from.

    Attributes:
        tree: The settings, nested.
        sources: By location, the source of a value as an error names it: ``"recipe.toml, line 12"``,
            ``"--set rule.beta=1"``, ``"--lr 0.1"``, ``"preset paper"``. Every leaf of ``tree`` has one.
    """

    tree: Tree = field(default_factory=dict)
    sources: dict[Location, str] = field(default_factory=dict)

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], source: str | Callable[[Location], str] = "") -> Settings:
        """Settings from a tree, with shorthands expanded: ``rule = "hsic"`` and ``rule.name = "a.*=hsic,*=local-ce"``.

        Args:
            tree: The settings.
            source: Of all values, or a function of a value's location.

        Raises:
            UsageError: A value where a table is expected, or a mixture of rules that cannot be read.
        """
        source_of = source if callable(source) else lambda _: source
        expanded = _expand_shorthands(tree, source_of)
        sources = {location: source_of(location) for location in _leaves(expanded)}
        given = tree.get("rule")
        if "layers" in expanded.get("rule", {}) and not (isinstance(given, Mapping) and "layers" in given):
            # from the text of a mixture
            text = source_of(("rule", "name"))
            sources |= {location: text for location in sources if location[:2] == ("rule", "layers")}
        return cls(expanded, sources)

    @classmethod
    def from_file(cls, path: Path) -> Settings:
        """Settings from a TOML file, such as a run's own ``config.toml``, or from a JSON file, also with dotted names.

        Raises:
            UsageError: The file is missing, or neither TOML nor JSON.
        """
        text = read_text(path, "the settings")
        if path.suffix.lower() == ".json":
            return cls.from_tree(_parse_json(text, str(path)), str(path))
        tree = parse_toml(text, "the settings", str(path))
        lines = toml_lines(text)

        def source_of(location: Location) -> str:
            line = _nearest(lines, location, None)
            return str(path) if line is None else f"{path}, line {line}"

        return cls.from_tree({key: value for key, value in tree.items() if key not in RUN_METADATA}, source_of)

    @classmethod
    def from_overrides(cls, words: Iterable[str], option: str = "--set") -> Settings:
        """Settings from what ``--set`` was given: ``a.b=value``, the later of two words for one name wins.

        Args:
            words: The words.
            option: Another option that takes such words, for errors.

        Raises:
            UsageError: A word without ``=``, or one that puts a value where another puts a table.
        """
        values = {}
        for word in words:
            dotted, value = parse_override(word)
            name = f"{dotted}.name" if dotted in COMPONENTS and isinstance(value, str) else dotted
            values[name] = (value, f"{option} {shorten(word)}")
        return cls._from_dotted(values)

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any], names: Mapping[str, str]) -> Settings:
        """Settings from flags of the command line.

        Args:
            flags: Values by dotted name; ``None`` where a flag was left out.
            names: The flags by dotted name; by default the name with hyphens, ``batch_size`` as ``--batch-size``.
        """
        given = {dotted: value for dotted, value in flags.items() if value is not None}
        return cls._from_dotted(
            {
                dotted: (value, f"{names.get(dotted, '--' + dotted.replace('_', '-'))} {shorten(str(value))}")
                for dotted, value in given.items()
            }
        )

    @classmethod
    def _from_dotted(cls, values: Mapping[str, tuple[Any, str]]) -> Settings:
        sources: dict[Location, str] = {tuple(dotted.split(".")): source for dotted, (_, source) in values.items()}
        tree = nest({dotted: value for dotted, (value, _) in values.items()})
        return cls.from_tree(tree, lambda location: _nearest(sources, location, ""))

    def get(self, *location: str | int, default: Any = None) -> Any:
        """The value or table at a location."""
        here: Any = self.tree
        for key in location:
            try:
                here = here[key]
            except (KeyError, IndexError, TypeError):
                return default
        return here

    def texts(self) -> Iterator[tuple[Location, str]]:
        """Every text among the keys and values, with its location."""
        for location in _leaves(self.tree):
            value = self.get(*location)
            for text in (*location, *(value if isinstance(value, list | tuple) else [value])):
                if isinstance(text, str):
                    yield location, text

    def source_of(self, *location: str | int) -> str:
        """The source of a value: its own, else that of the innermost table around it; empty if unknown."""
        for length in range(len(location), -1, -1):
            prefix = location[:length]
            if prefix in self.sources:
                return self.sources[prefix]
            inside = (source for key, source in self.sources.items() if key[:length] == prefix)
            if length and (found := next(inside, "")):
                return found
        return ""

    def sub(self, *location: str | int) -> Settings:
        """The settings of one table, by themselves."""
        length = len(location)
        sources = {key[length:]: source for key, source in self.sources.items() if key[:length] == location}
        table = self.get(*location, default={})
        if not isinstance(table, Mapping):
            name = ".".join(map(str, location))
            raise UsageError(f"{name!r} is a table, not {table!r}", where=self.source_of(*location) or name)
        return Settings(dict(table), {(): self.source_of(*location, "name"), **sources})

    def under(self, *location: str) -> Settings:
        """These settings as those of a table at ``location``."""
        tree = self.tree
        for key in reversed(location):
            tree = {key: tree}
        return Settings(tree, {(*location, *key): source for key, source in self.sources.items() if key})

    def without(self, *keys: str) -> Settings:
        """The settings without these keys of the outermost table."""
        return Settings(
            {key: value for key, value in self.tree.items() if key not in keys},
            {location: source for location, source in self.sources.items() if not location or location[0] not in keys},
        )

    def without_table(self, table: str, *keys: str) -> Settings:
        """The settings without these keys of one table."""
        return merge_settings(self.without(table), self.sub(table).without(*keys).under(table))


def merge_settings(*layers: Settings) -> Settings:
    """Settings laid over each other, the later layers over the earlier ones, as :func:`merge` does.

    The uppermost layers are merged first, since they belong together: an option that ``--set`` gives is of the model
    that ``--model`` names, not of the file's.
    """
    return reduce(lambda above, below: _merge_two(below, above), reversed(layers)) if layers else Settings()


def as_defaults(below: Settings, above: Settings) -> Settings:
    """Settings that nobody asked for, of a rule or of a preset, without an optimizer or a schedule that is not chosen.

    What they say of one, such as its learning rate, is not for another.

    Args:
        below: The defaults.
        above: What is laid over them.
    """
    named = {table: (below.get(table, "name"), above.get(table, "name")) for table in ("optimizer", "schedule")}
    return below.without(*(table for table, (one, other) in named.items() if None not in (one, other) and one != other))


def _nearest(known: Mapping[Location, Any], location: Location, default: Any) -> Any:
    """The source of a location, or of the innermost table around it that has one."""
    prefixes = (location[:length] for length in range(len(location), 0, -1))
    return next((known[prefix] for prefix in prefixes if prefix in known), default)


def _merge_two(below: Settings, above: Settings) -> Settings:
    merged = Settings(merge(below.tree, above.tree), {})
    missing = object()
    # An empty table takes the place of nothing.
    values = {location for location in above.sources if not isinstance(above.get(*location), Mapping)}
    kept = {
        location: source
        for location, source in below.sources.items()
        if not any(location[:length] in values for length in range(1, len(location) + 1))
        and merged.get(*location, default=missing) is not missing
    }
    return Settings(merged.tree, {**kept, **above.sources})


_KEY = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""  # bare or quoted


def _parse_json(text: str, where: str) -> Tree:
    try:
        found = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "the settings cannot be read as JSON", where=where, why=error_text(error), fix="mend the file"
        ) from None
    if not isinstance(found, dict):
        raise UsageError("the settings are not an object", where=where, fix='e.g. {"rule.beta": 50}')
    return nest(found)


def _distinct(pairs: list[tuple[str, Any]]) -> Tree:
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice!r} is given twice")
    return dict(pairs)


def read_text(path: Path, what: str) -> str:
    """The text of a TOML file.

    Args:
        path: The file.
        what: A name for its content in messages, in the plural.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{what} cannot be read",
            where=str(path),
            why=error.strerror or str(error),
            fix="name a TOML file that can be read",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{what} are not UTF-8", where=str(path), why=str(error), fix="save the file as UTF-8"
        ) from error


def toml_lines(text: str) -> dict[Location, int]:
    """The line of each table and key of a TOML text, counted from 1; keys of inline tables are not looked for."""
    lines: dict[Location, int] = {}
    arrays: dict[Location, int] = {}
    table: Location = ()

    def located(keys: list[str]) -> Location:
        """The location of dotted keys, with the index of the last table of each array on the way."""
        location: Location = ()
        for key in keys:
            location = (*location, key)
            if location in arrays:
                location = (*location, arrays[location])
        return location

    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)(.*?)\]\]?\s*(#.*)?$", line):
            keys = _toml_key(header[2])
            if not keys:
                continue
            if header[1] == "[[":
                array = (*located(keys[:-1]), keys[-1])
                arrays[array] = arrays.get(array, -1) + 1
                lines.setdefault(array, number)
            table = located(keys)
            lines.setdefault(table, number)
        elif assignment := re.match(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=", line):
            lines.setdefault((*table, *_toml_key(assignment[1])), number)
    return lines


def _toml_key(text: str) -> list[str]:
    """The parts of a dotted TOML key; none if it is not a key."""
    try:
        here: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return []
    keys = []
    while isinstance(here, dict):
        [(key, here)] = here.items()
        keys.append(key)
    return keys


def _expand_shorthands(tree: Mapping[str, Any], source_of: Callable[[Location], str]) -> Tree:
    expanded = {
        key: {"name": value} if key in COMPONENTS and isinstance(value, str) else value for key, value in tree.items()
    }
    for key in (*COMPONENTS, "trackers"):
        if not isinstance(expanded.get(key, {}), Mapping):
            raise UsageError(
                f"{key!r} is a table, not {expanded[key]!r}",
                where=source_of((key,)) or key,
                fix=f"give the options one by one: {key}.OPTION",
            )
    rule = expanded.get("rule", {})
    if "=" in str(rule.get("name", "")):
        layers = expand_mixture(rule["name"], source_of(("rule", "name")) or "rule")
        expanded["rule"] = {**rule, "name": MIXED, "layers": layers}
    return expanded


def _leaves(tree: Mapping[str, Any], prefix: Location = ()) -> Iterator[Location]:
    """The locations of all values, and of empty tables; of a list of tables its own and those inside."""
    for key, value in tree.items():
        location = (*prefix, key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, location)
            continue
        yield location
        if isinstance(value, list | tuple):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    yield from _leaves(item, (*location, index))
