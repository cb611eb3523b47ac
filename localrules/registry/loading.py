"""One plugin, imported and checked on its own, so that whatever is wrong with it stays its own."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal

import pluggy

from localrules.errors import LocalRulesError, UsageError, describe_exception, error_text, suggest_names
from localrules.registry import hookspecs
from localrules.registry.discovery import PluginSource, entries_from_tables, error_location
from localrules.registry.entries import KINDS, RUN_HOOKS, Entry, EntryKind, PluginError, check_entry
from localrules.utils.global_state import GlobalState

Status = Literal["ok", "broken", "conflict", "incompatible"]


@dataclass(frozen=True)
class Plugin:
    """A plugin after loading.

    Attributes:
        source: Where it was found.
        status: ``ok``, ``broken`` or ``incompatible``.
        entries: What it supplies, as (kind, entry); of a broken plugin, what it could say before it broke.
        hooks: Its hooks, and nobody else's.
        cause: The exception that made it unusable.
    """

    source: PluginSource
    status: Status = "ok"
    entries: tuple[tuple[str, Entry], ...] = ()
    hooks: Any = None
    cause: BaseException | None = None

    @property
    def cause_text(self) -> str | None:
        """The cause in one line."""
        return None if self.cause is None else format_exception(self.cause)

    @property
    def watches_runs(self) -> bool:
        """Whether it implements one of the run's hooks."""
        return self.hooks is not None and any(getattr(self.hooks, hook).get_hookimpls() for hook in RUN_HOOKS)


class WrongApiVersion(PluginError):
    """A plugin was written for hooks that this version does not have."""


def format_exception(error: BaseException) -> str:
    """An exception in one line; the type is left out where the text was written by us."""
    return error_text(error) if isinstance(error, PluginError) else describe_exception(error)


def load_plugin(source: PluginSource) -> Plugin:
    """Import a plugin and collect what it supplies.

    Each plugin has a plugin manager of its own. In a shared one, a hook that raises takes the results of all others
    with it, a second plugin of the same name is skipped without a word, and a wrapper may rewrite what others return.

    Returns:
        The plugin; a fault of an installed one is recorded in it, not raised.

    Raises:
        UsageError: A file named by ``--plugin`` cannot be used.
    """
    plugin = Plugin(source)
    entries: dict[tuple[str, str], Entry] = {}
    state = GlobalState()
    try:
        module = _import(source, state)
        _check_module(module)
        plugin = replace(plugin, hooks=_register(source, module))
        for word, kind in KINDS.items():
            for entry in _collect_entries(kind, plugin.hooks):
                _add_entry(entries, word, entry)
        for word, entry in entries_from_tables(module) if source.is_file else []:
            _add_entry(entries, word, entry)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: a plugin that exits at import must not end the command
        if source.is_file:
            raise _file_error(source, error) from error
        plugin = replace(plugin, status="incompatible" if isinstance(error, WrongApiVersion) else "broken", cause=error)
    return replace(plugin, entries=tuple((word, entry) for (word, _), entry in entries.items()))


def _add_entry(entries: dict[tuple[str, str], Entry], word: str, entry: Entry) -> None:
    """Add an entry to those of a plugin, by kind and name.

    Raises:
        PluginError: The entry is malformed, or the plugin supplies one of that name already.
    """
    check_entry(KINDS[word], entry)
    if (word, entry.name) in entries:
        raise PluginError(f"it supplies the {KINDS[word].name} {entry.name!r} twice")
    entries[word, entry.name] = entry


def _import(source: PluginSource, state: GlobalState) -> Any:
    """The plugin's module; global state that its import changed is put back, and is a fault."""
    try:
        module = source.load()
    finally:
        changed = state.restore()
    if changed:
        raise PluginError(f"its import {' and '.join(changed)}, which was put back")
    return module


def _check_module(module: object) -> None:
    if not isinstance(module, ModuleType):
        raise PluginError(f"its entry point names a {type(module).__name__}, and must name a module, without ':Name'")
    version = getattr(module, "API_VERSION", 1)
    ours = hookspecs.API_VERSION
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise WrongApiVersion(f"its API_VERSION is {version!r}, and must be a whole number from 1 to {ours}")
    if version > ours:
        raise WrongApiVersion(
            f"it needs a newer localrules: it was written for hook API {version}, this one has {ours}"
        )


class _Manager(pluggy.PluginManager):
    """A plugin manager that looks at functions with a mark alone.

    pluggy examines every name of a module, imported classes included, which takes long for many plugins.
    """

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        marked = hasattr(getattr(module_or_class, name, None), f"{self.project_name}_spec")
        return super().parse_hookspec_opts(module_or_class, name) if marked else None

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        marked = hasattr(getattr(plugin, name, None), f"{self.project_name}_impl")
        return super().parse_hookimpl_opts(plugin, name) if marked else None


def _register(source: PluginSource, module: ModuleType) -> Any:
    manager = _Manager("localrules")
    manager.add_hookspecs(hookspecs)
    if os.environ.get("LOCALRULES_TRACE_PLUGINS", "") not in ("", "0"):
        _trace(manager, f"{source.distribution}/{source.name}")
    known = _hook_names(manager)
    manager.register(module)
    for name in sorted(set(_hook_names(manager)) - set(known)):
        raise PluginError(f"it implements {name!r}, and there is no such hook: {suggest_names(name, known)}")
    return manager.hook


def _hook_names(manager: pluggy.PluginManager) -> list[str]:
    return [name for name in vars(manager.hook) if not name.startswith("_")]


def _trace(manager: pluggy.PluginManager, name: str) -> None:
    def before(hook: str, implementations: Any, arguments: Any) -> None:
        if implementations:
            print(f"localrules: {name}: {hook}({', '.join(arguments)})", file=sys.stderr)

    def after(outcome: Any, hook: str, implementations: Any, arguments: Any) -> None:
        if implementations:
            result = format_exception(outcome.exception) if outcome.exception else repr(outcome.get_result())
            print(f"localrules: {name}: {hook} -> {result}", file=sys.stderr)

    manager.add_hookcall_monitoring(before, after)


def _collect_entries(kind: EntryKind, hooks: Any) -> list[Entry]:
    """The entries of one hook; pluggy leaves out a ``None``, here it counts as the forgotten ``return`` that it is."""
    hook = getattr(hooks, kind.hook)
    results = hook()
    wanted = f"must return a list of {kind.entry.__name__}"
    if len(results) < len([made for made in hook.get_hookimpls() if not made.wrapper and not made.hookwrapper]):
        raise PluginError(f"its hook {kind.hook} returned None, and {wanted}")
    entries: list[Entry] = []
    for result in results:
        if not isinstance(result, list | tuple):
            raise PluginError(f"its hook {kind.hook} returned an object of type {type(result).__name__}, and {wanted}")
        for entry in result:
            if not isinstance(entry, kind.entry):
                raise PluginError(f"its hook {kind.hook} listed an object of type {type(entry).__name__}, and {wanted}")
        entries += result
    return entries


def _file_error(source: PluginSource, error: BaseException) -> LocalRulesError:
    if isinstance(error, UsageError):
        return error
    where = error_location(source.name, error)
    return UsageError(
        "the plugin file cannot be used", where=where, why=format_exception(error), fix="correct the file"
    )
