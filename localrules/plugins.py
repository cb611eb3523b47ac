"""The registry: which rules, models, data sets and more there are, and who supplies them."""

from __future__ import annotations

import os
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.errors import LocalRulesError
from localrules.plugin_errors import ambiguous, repair, unknown, unusable
from localrules.plugin_files import files as file_sources
from localrules.plugin_kinds import KINDS, PluginFault
from localrules.plugin_listing import Listed, as_listed, with_conflicts, without_doubles
from localrules.plugin_loading import Plugin, describe, load
from localrules.plugin_sources import allowed, canonical, installed, without_blocked

if TYPE_CHECKING:
    from localrules.engine.observers import Observer

__all__ = ["Listed", "Registry"]


class Registry:
    """Every plugin that is installed or named, each loaded on its own; nothing that one does takes another away."""

    def __init__(self, plugins: list[Plugin]) -> None:
        self._plugins = without_doubles(plugins)

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
        sources = without_blocked(allowed(installed(group), allow), block or [])
        return cls([load(source) for source in [*sources, *file_sources(files or [])]])

    def entries(self, kind: str) -> list[Listed]:
        """All entries of a kind by name, and after them the unusable plugins that may have had some but named none."""
        listed = [
            Listed(
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
            as_listed(plugin)
            for plugin in self._plugins
            if plugin.status != "ok" and not any(word == kind for word, _ in plugin.entries)
        ]
        return [*sorted(with_conflicts(listed), key=lambda item: (item.entry.name, item.distribution)), *silent]

    def plugins(self) -> list[Listed]:
        """One line a plugin; its summary says what it supplies."""
        return [as_listed(plugin) for plugin in self._plugins]

    def supplied_by(self, name: str, kind: str) -> list[Listed]:
        """The entries of a kind that a plugin supplies, or all plugins of a distribution.

        Args:
            name: The plugin's name, or the distribution's.
            kind: ``"rule"``, ``"model"``, ...
        """
        mine = {
            id(entry)
            for plugin in self._plugins
            if plugin.source.name == name or canonical(plugin.source.distribution) == canonical(name)
            for _, entry in plugin.entries
        }
        return [item for item in self.entries(kind) if id(item.entry) in mine]

    @property
    def files(self) -> tuple[str, ...]:
        """The plugin files that were named (``--plugin``)."""
        return tuple(plugin.source.name for plugin in self._plugins if plugin.source.is_file)

    def observers(self) -> list[Observer]:
        """One observer for each usable plugin that watches runs through hooks."""
        from localrules.plugin_observers import PluginObserver

        return [PluginObserver(plugin) for plugin in self._plugins if plugin.status == "ok" and plugin.watches_runs]

    def find(self, kind: str, name: str) -> Listed:
        """The entry that a user means by ``NAME`` or ``DISTRIBUTION/NAME``.

        Raises:
            UsageError: There is no such name, or several distributions supply it.
            LocalRulesError: The plugin that supplies it is broken; the cause is chained.
        """
        distribution, _, bare = name.rpartition("/")
        listed = self.entries(kind)
        same = [
            item
            for item in listed
            if item.entry.name == bare and (not distribution or canonical(item.distribution) == canonical(distribution))
        ]
        usable = [item for item in same if item.status in ("ok", "conflict")]
        if len(usable) == 1:
            return usable[0]
        if usable:
            raise ambiguous(kind, usable)
        if same:
            raise unusable(kind, name, same[0])
        raise unknown(kind, name, listed)

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
            target = reduce(getattr, path.split("."), import_module(module))
            _check_target(kind, target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too
            raise LocalRulesError(
                f"{KINDS[kind].word} {name!r} cannot be used",
                where=where,
                why=describe(error),
                fix=repair(item, error),
            ) from error
        return target


def _check_target(kind: str, target: object) -> None:
    import localrules

    names = KINDS[kind].bases
    if names:
        bases = tuple(getattr(localrules, name) for name in names)
        good = isinstance(target, type) and issubclass(target, bases)
        wanted = f"a subclass of localrules.{' or localrules.'.join(names)}"
    elif KINDS[kind].function:
        good, wanted = callable(target), "a function"
    else:
        good, wanted = isinstance(target, dict), "a dict"
    if not good:
        raise PluginFault(f"its target must be {wanted}, and is {target!r}")
