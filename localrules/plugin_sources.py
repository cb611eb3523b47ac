"""Which plugins there are: the entry points of installed distributions, and which of them the user wants."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import Any

from localrules.errors import UsageError, nearest
from localrules.plugin_kinds import PluginFault

OURS = "localrules"
"""The distribution whose plugins are always there."""


@dataclass(frozen=True)
class Source:
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
        """How messages name the distribution."""
        return f"{self.distribution} {self.version}".strip()

    def is_called(self, word: str) -> bool:
        """Whether somebody who types this word means this plugin: its own name, its distribution's, or both."""
        names = (self.name, self.distribution, f"{self.distribution}/{self.name}")
        return canonical(word) in [canonical(name) for name in names]


def canonical(name: str) -> str:
    """The form in which distribution names are compared: ``My_Rules`` is ``my-rules``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(group: str) -> list[Source]:
    """Every entry point of the group: ours first, then by distribution and name.

    Distributions are read one by one, since ``importlib.metadata.entry_points`` gives none at all when a single
    distribution has a malformed ``entry_points.txt``. Of two copies of one distribution the first on the path counts,
    as it does for imports.
    """
    found: dict[str, list[Source]] = {}
    for distribution in metadata.distributions():
        try:
            name = distribution.metadata["Name"]
            version = distribution.version
            points = [point for point in distribution.entry_points if point.group == group]
            found.setdefault(canonical(name), [Source(point.name, name, version, point.load) for point in points])
        except Exception:  # a damaged installation, most likely of something that is no plugin at all
            continue
    sources = [source for of_one in found.values() for source in of_one]
    return sorted(
        sources, key=lambda source: (source.distribution != OURS, canonical(source.distribution), source.name)
    )


def allowed(sources: list[Source], allow: list[str] | None) -> list[Source]:
    if allow is None:
        return sources
    absent = [word for word in allow if not any(source.is_called(word) for source in sources)]
    chosen = [source for source in sources if source.distribution == OURS or any(map(source.is_called, allow))]
    return [*chosen, *(Source(word, word, "", _not_installed(word)) for word in absent)]


def _not_installed(word: str) -> Callable[[], Any]:
    def fail() -> Any:
        raise PluginFault(f"LOCALRULES_PLUGINS names {word!r}, and no such plugin is installed")

    return fail


def without_blocked(sources: list[Source], block: list[str]) -> list[Source]:
    for word in block:
        if not any(source.is_called(word) for source in sources):
            known = sorted({name for source in sources for name in (source.name, source.distribution)})
            raise UsageError(
                "there is no such plugin to leave out",
                where=f"--no-plugin {word}",
                why="neither a plugin nor a distribution with plugins has this name",
                fix=nearest(word, known),
            )
    return [source for source in sources if not any(map(source.is_called, block))]
