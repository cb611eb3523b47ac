"""Lists of plugins, and the conflicts between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from localrules.registry.discovery import normalize_name
from localrules.registry.entries import KINDS, Entry, PluginError, RuleEntry
from localrules.registry.loading import Plugin, Status


@dataclass(frozen=True)
class ListedEntry:
    """A line of a list: one entry, or a plugin of which nothing could be learned.

    Attributes:
        entry: Name, target, summary, reference.
        kind: One of :data:`~localrules.registry.entries.KINDS`; ``plugin`` where the entry is a plugin.
        distribution: Who supplies it.
        version: The distribution's version; empty for a plugin file.
        status: ``ok``, ``broken``, ``conflict`` or ``incompatible``.
        cause: Why it is not ok, in one line.
        error: The exception behind ``cause``, for those who want it whole.
    """

    entry: Entry
    kind: str
    distribution: str
    version: str
    status: Status = "ok"
    cause: str | None = None
    error: BaseException | None = None

    @property
    def full_name(self) -> str:
        """The name that means this entry and no other."""
        return f"{self.distribution}/{self.entry.name}"

    def as_dict(self) -> dict[str, str | None]:
        """The document that lists print under ``--json``."""
        of_rule = {"class": self.entry.locality or None} if isinstance(self.entry, RuleEntry) else {}
        return {
            "name": self.entry.name,
            "summary": self.entry.summary,
            "reference": self.entry.reference,
            **of_rule,
            "distribution": self.distribution,
            "version": self.version,
            "status": self.status,
            "cause": self.cause,
        }


def mark_duplicates(plugins: list[Plugin]) -> list[Plugin]:
    """Mark a plugin broken that supplies what another of its own distribution does: no name could tell them apart."""
    kept: list[Plugin] = []
    for plugin in plugins:
        mine = {(word, entry.name) for word, entry in plugin.entries}
        for other in kept:
            both = mine & {(word, entry.name) for word, entry in other.entries}
            if both and normalize_name(other.source.distribution) == normalize_name(plugin.source.distribution):
                word, name = min(both)
                fault = PluginError(
                    f"it supplies the {KINDS[word].name} {name!r}, as its own plugin {other.source.name!r} does"
                )
                plugin = replace(plugin, status="broken", entries=(), cause=fault)
                break
        kept.append(plugin)
    return kept


def mark_conflicts(listed: list[ListedEntry]) -> list[ListedEntry]:
    """Mark usable entries of one kind that share a name. Those of broken plugins take part in no conflict."""
    by_name: dict[str, list[ListedEntry]] = {}
    for item in listed:
        by_name.setdefault(item.entry.name, []).append(item)

    def mark(item: ListedEntry) -> ListedEntry:
        rivals = [other for other in by_name[item.entry.name] if other.status == "ok" and other is not item]
        if item.status != "ok" or not rivals:
            return item
        names = " and ".join(rival.distribution for rival in rivals)
        cause = f"{names} supplies this name, too; {item.full_name} means this one"
        return replace(item, status="conflict", cause=cause)

    return [mark(item) for item in listed]


def to_listed_entry(plugin: Plugin) -> ListedEntry:
    """A plugin as a line of its own; the summary says what it supplies."""
    parts = []
    for key, kind in KINDS.items():
        names = [entry.name for word, entry in plugin.entries if word == key]
        parts += [f"{kind.plural}: {', '.join(names)}"] if names else []
    if plugin.watches_runs:
        parts.append("watches runs")
    nothing = "supplies nothing" if plugin.status == "ok" else "a plugin that could not be loaded"
    source = plugin.source
    entry = Entry(name=source.name, target="", summary="; ".join(parts) or nothing)
    return ListedEntry(
        entry, "plugin", source.distribution, source.version, plugin.status, plugin.cause_text, plugin.cause
    )
