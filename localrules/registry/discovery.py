"""Which plugins there are: the entry points of installed distributions, and which of them the user wants."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import metadata
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from localrules.errors import UsageError, suggest_names
from localrules.registry.entries import KINDS, Entry, PluginError, RuleEntry

OWN_DISTRIBUTION = "localrules"
"""The distribution whose plugins are always there."""


@dataclass(frozen=True)
class PluginSource:
    """A plugin that was found and not yet imported.

    Attributes:
        name: The entry point's name, or a file's path as it was typed.
        distribution: What ``DISTRIBUTION/NAME`` calls it; the same path for a file.
        version: The distribution's version; empty for a file.
        load: Imports the module.
        is_file: Whether ``--plugin`` named it.
    """

    name: str
    distribution: str
    version: str
    load: Callable[[], ModuleType]
    is_file: bool = False

    @property
    def label(self) -> str:
        """The name of the distribution in messages."""
        return f"{self.distribution} {self.version}".strip()

    def is_named(self, word: str) -> bool:
        """Whether somebody who types this word means this plugin: its own name, its distribution's, or both."""
        names = (self.name, self.distribution, f"{self.distribution}/{self.name}")
        return normalize_name(word) in [normalize_name(name) for name in names]


_HEADERS = {field: re.compile(rf"^{field}: *(\S+)", re.MULTILINE | re.IGNORECASE) for field in ("Name", "Version")}


def normalize_name(name: str) -> str:
    """The form in which distribution names are compared: ``My_Rules`` is ``my-rules``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_sources(group: str) -> list[PluginSource]:
    """Every entry point of the group: ours first, then by distribution and name.

    Distributions are read one by one, since ``importlib.metadata.entry_points`` gives none at all when a single
    distribution has a malformed ``entry_points.txt``. Of two copies of one distribution the first on the path counts,
    as it does for imports. They are read again only when a folder of the path has changed: reading hundreds of them
    takes tens of milliseconds, and a program may train many networks.
    """
    return list(_read_distributions(group, tuple((folder, _modified(folder)) for folder in sys.path)))


def _modified(folder: str) -> int | None:
    """The time, in nanoseconds, of the last file that was added to a folder or removed from it."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=8)
def _read_distributions(group: str, folders: tuple[tuple[str, int | None], ...]) -> tuple[PluginSource, ...]:
    """The sources of a group, with the folders of the path as they are now."""
    found: dict[str, list[PluginSource]] = {}
    for distribution in metadata.distributions():
        try:
            # A whole METADATA takes milliseconds to parse, and most distributions are of no interest.
            text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
            name, version = (_HEADERS[field].search(text) for field in ("Name", "Version"))
            assert name is not None
            assert version is not None
            points = []
            if f"[{group}]" in (distribution.read_text("entry_points.txt") or ""):
                points = [point for point in distribution.entry_points if point.group == group]
            found.setdefault(
                normalize_name(name[1]), [PluginSource(point.name, name[1], version[1], point.load) for point in points]
            )
        except Exception:  # a damaged installation, most likely of something that is not a plugin at all
            continue
    sources = [source for of_one in found.values() for source in of_one]
    return tuple(
        sorted(
            sources,
            key=lambda each: (each.distribution != OWN_DISTRIBUTION, normalize_name(each.distribution), each.name),
        )
    )


def filter_allowed(sources: list[PluginSource], allow: list[str] | None) -> list[PluginSource]:
    if allow is None:
        return sources
    absent = [word for word in allow if not any(source.is_named(word) for source in sources)]
    chosen = [
        source for source in sources if source.distribution == OWN_DISTRIBUTION or any(map(source.is_named, allow))
    ]
    return [*chosen, *(PluginSource(word, word, "", _not_installed_error(word)) for word in absent)]


def _not_installed_error(word: str) -> Callable[[], Any]:
    def fail() -> Any:
        raise PluginError(f"LOCALRULES_PLUGINS names {word!r}, and no such plugin is installed")

    return fail


def filter_blocked(sources: list[PluginSource], block: list[str]) -> list[PluginSource]:
    for word in block:
        if not any(source.is_named(word) for source in sources):
            known = sorted({name for source in sources for name in (source.name, source.distribution)})
            raise UsageError(
                "there is no such plugin to leave out",
                where=f"--no-plugin {word}",
                why="neither a plugin nor a distribution with plugins has this name",
                fix=suggest_names(word, known),
            )
    return [source for source in sources if not any(map(source.is_named, block))]


_FIX = "give the path of one .py file; installed packages are found without --plugin"


def file_sources(paths: list[Path]) -> list[PluginSource]:
    """One source for each file; a path given twice counts once."""
    unique = {path.resolve(): path for path in paths}.values()
    return [PluginSource(str(path), str(path), "", partial(_import, path), is_file=True) for path in unique]


def entries_from_tables(module: ModuleType) -> list[tuple[str, Entry]]:
    """The entries of a file's tables, as (kind, entry).

    Raises:
        PluginError: A table is not a dict from names to classes.
    """
    entries = []
    for word, kind in KINDS.items():
        name = kind.plural.upper()
        if not kind.bases or not hasattr(module, name):
            continue
        classes = getattr(module, name)
        if not isinstance(classes, dict) or not all(isinstance(target, type) for target in classes.values()):
            raise PluginError(f'{name} must be a dict from names to classes, like {name} = {{"mine": Mine}}')
        for key, target in classes.items():
            summary = (target.__doc__ or "").strip().partition("\n")[0] or f"{target.__name__}, without a docstring"
            info = getattr(target, "info", None)
            known = {"locality": info.locality} if kind.entry is RuleEntry and info is not None else {}
            entry = kind.entry(name=key, target=f"{target.__module__}:{target.__qualname__}", summary=summary, **known)
            entries.append((word, entry))
    return entries


def _import(path: Path) -> ModuleType:
    """Import a file under a name of its own, so that ``module:Name`` finds its classes again."""
    where = f"--plugin {path}"
    if path.is_dir():
        raise UsageError("a folder was given as plugin file", where=where, why="one file is expected", fix=_FIX)
    if not path.is_file():
        raise UsageError("the plugin file does not exist", where=where, why=f"there is no {path.resolve()}", fix=_FIX)
    digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]
    name = f"localrules_file_{re.sub(r'[^0-9A-Za-z]', '_', path.stem)}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_loader(name, SourceFileLoader(name, str(path.resolve())))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def error_location(path: str, error: BaseException) -> str:
    """The option, with the line of the file from which the error came, where it came from one."""
    file = str(Path(path).resolve())
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"--plugin {path}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"--plugin {path}, line {lines[-1]}" if lines else f"--plugin {path}"
