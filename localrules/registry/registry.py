"""The registry: which rules, models, data sets and more there are, and who supplies them."""

from __future__ import annotations

import os
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.errors import LocalRulesError, UsageError
from localrules.registry.discovery import file_sources as file_sources
from localrules.registry.discovery import filter_allowed, filter_blocked, installed_sources, normalize_name
from localrules.registry.entries import KINDS, PluginError
from localrules.registry.errors import ambiguous_error, fix_hint, unknown_error, unusable_error
from localrules.registry.listing import ListedEntry, mark_conflicts, mark_duplicates, to_listed_entry
from localrules.registry.loading import Plugin, format_exception, load_plugin
from localrules.utils.global_state import GlobalState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localrules.callbacks.base import Callback

__all__ = ["ListedEntry", "Registry"]


class Registry:
    """Every plugin that is installed or named, each loaded on its own; nothing that one does takes another away."""

    def __init__(self, plugins: list[Plugin]) -> None:
        self._plugins = mark_duplicates(plugins)
        self._asked: dict[str, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process, maybe on another machine, loads the same plugins anew."""
        if self._asked is None:
            raise TypeError("a registry that was not loaded cannot be sent to another process")
        return _load, (self._asked,)

    @classmethod
    def load(
        cls,
        allow: list[str] | None = None,
        block: list[str] | None = None,
        files: list[Path] | None = None,
        group: str = "localrules",
    ) -> Registry:
        """Find and load plugins. Only their entry-point modules are imported.

        Args:
            allow: Names of plugins or distributions to load besides our own; all when None. The default comes from
                the environment variable ``LOCALRULES_PLUGINS``, a list with commas; empty, it allows only our own.
            block: Names of plugins or distributions not to load (``--no-plugin``).
            files: Python files to load as plugins (``--plugin``).
            group: The entry-point group.

        Raises:
            UsageError: A name to block is not installed, or a file cannot be used.
        """
        if allow is None and "LOCALRULES_PLUGINS" in os.environ:
            allow = [word.strip() for word in os.environ["LOCALRULES_PLUGINS"].split(",") if word.strip()]
        sources = filter_blocked(filter_allowed(installed_sources(group), allow), block or [])
        found = cls([load_plugin(source) for source in [*sources, *file_sources(files or [])]])
        paths = [Path(file).absolute() for file in files or []]
        found._asked = {"allow": allow, "block": block, "files": paths, "group": group}
        return found

    @classmethod
    def from_plugins(cls, plugins: Registry | Sequence[str | Path]) -> Registry:
        """A registry as it is, or a new one of the installed plugins and these plugin files.

        Raises:
            UsageError: One file in the place of a list, or a file that cannot be loaded.
        """
        if isinstance(plugins, str | Path):
            raise UsageError(
                "the plugin files are not a list",
                where=f"plugins={str(plugins)!r}",
                fix=f"put the file into a list: plugins=[{str(plugins)!r}]",
            )
        return plugins if isinstance(plugins, Registry) else cls.load(files=[Path(file) for file in plugins])

    def entries(self, kind: str) -> list[ListedEntry]:
        """All entries of a kind by name, and after them the unusable plugins that may have had some but named none."""
        listed = [
            ListedEntry(
                entry,
                word,
                plugin.source.distribution,
                plugin.source.version,
                plugin.status,
                plugin.cause_text,
                plugin.cause,
            )
            for plugin in self._plugins
            for word, entry in plugin.entries
            if word == kind
        ]
        silent = [
            to_listed_entry(plugin)
            for plugin in self._plugins
            if plugin.status != "ok" and not any(word == kind for word, _ in plugin.entries)
        ]
        return [*sorted(mark_conflicts(listed), key=lambda item: (item.entry.name, item.distribution)), *silent]

    def defaults(self, kind: str) -> list[Any]:
        """The entries of a kind that may be used where none is named, the highest priority first."""
        usable = [item.entry for item in self.entries(kind) if item.status == "ok"]
        ranked = [entry for entry in usable if getattr(entry, "default_priority", None) is not None]
        return sorted(ranked, key=lambda entry: -entry.default_priority)

    def plugins(self) -> list[ListedEntry]:
        """One line a plugin; its summary says what it supplies."""
        return [to_listed_entry(plugin) for plugin in self._plugins]

    def entries_of(self, name: str, kind: str) -> list[ListedEntry]:
        """The entries of a kind that a plugin supplies, or all plugins of a distribution.

        Args:
            name: The plugin's name, or the distribution's.
            kind: ``"rule"``, ``"model"``, ...
        """
        mine = {
            id(entry)
            for plugin in self._plugins
            if plugin.source.name == name or normalize_name(plugin.source.distribution) == normalize_name(name)
            for _, entry in plugin.entries
        }
        return [item for item in self.entries(kind) if id(item.entry) in mine]

    @property
    def files(self) -> tuple[str, ...]:
        """The plugin files that were named (``--plugin``)."""
        return tuple(plugin.source.name for plugin in self._plugins if plugin.source.is_file)

    def callbacks(self) -> list[Callback]:
        """A callback for each usable plugin that watches runs through hooks."""
        from localrules.registry.hook_callback import HookCallback

        return [HookCallback(plugin) for plugin in self._plugins if plugin.status == "ok" and plugin.watches_runs]

    def find(self, kind: str, name: str) -> ListedEntry:
        """The entry that a user means by ``NAME`` or ``DISTRIBUTION/NAME``, or by ``NAME:VALUE`` if it has an argument.

        Raises:
            UsageError: There is no such name, or several distributions supply it.
            LocalRulesError: The plugin that supplies it is broken; the cause is chained.
        """
        if not isinstance(name, str):
            raise UsageError(
                f"the name of a {KINDS[kind].name} is text, not {name!r}",
                where=f"{kind}.name",
                why=f"it is of type {type(name).__name__}",
                fix=f'put it in quotes: {kind}.name="{name}"',
            )
        distribution, _, bare = name.rpartition("/")
        listed = self.entries(kind)
        same = [
            item
            for item in listed
            if (item.entry.name == bare or (item.entry.argument and item.entry.name == bare.partition(":")[0]))
            and (not distribution or normalize_name(item.distribution) == normalize_name(distribution))
        ]
        usable = [item for item in same if item.status in ("ok", "conflict")]
        if len(usable) == 1:
            return usable[0]
        if usable:
            raise ambiguous_error(kind, usable)
        if same:
            raise unusable_error(kind, name, same[0])
        raise unknown_error(kind, name, listed)

    def resolve(self, kind: str, name: str) -> Any:
        """The class of an entry, a preset's ``dict``, an experiment's function. This imports the module of it.

        Raises:
            UsageError: As :meth:`find`.
            LocalRulesError: As :meth:`find`, or the target cannot be imported or is of the wrong kind.
        """
        item = self.find(kind, name)
        where = f"{item.entry.target}, of {item.distribution} {item.version}".rstrip()
        module, _, path = item.entry.target.partition(":")
        try:
            state = GlobalState()
            try:
                target = reduce(getattr, path.split("."), import_module(module))
            finally:
                changed = state.restore()
            if changed:
                raise PluginError(f"its import {' and '.join(changed)}, which was put back")
            _check_target(kind, target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too
            raise LocalRulesError(
                f"{KINDS[kind].name} {name!r} cannot be used",
                where=where,
                why=format_exception(error),
                fix=fix_hint(item, error),
            ) from error
        return target


def _load(asked: dict[str, Any]) -> Registry:
    return Registry.load(**asked)


def _check_target(kind: str, target: object) -> None:
    homes = [home.partition(":") for home in KINDS[kind].bases]
    if homes:
        bases = tuple(getattr(import_module(module), name) for module, _, name in homes)
        good = isinstance(target, type) and issubclass(target, bases)
        wanted = f"a subclass of {' or '.join(f'localrules.{name}' for _, _, name in homes)}"
    elif KINDS[kind].function:
        good, wanted = callable(target), "a function"
    else:
        good, wanted = isinstance(target, dict), "a dict"
    if not good:
        raise PluginError(f"its target must be {wanted}, and is {target!r}")
