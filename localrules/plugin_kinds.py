"""The kinds of things that plugins supply, and what makes an entry well formed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from localrules.core.entries import DataEntry, Entry, ExperimentEntry, ModelEntry, PresetEntry, RuleEntry, TrackerEntry


@dataclass(frozen=True)
class Kind:
    """One kind of thing that plugins supply.

    Attributes:
        word: What messages call one of them.
        plural: What lists call them; in capitals, the name of a plugin file's table of them.
        hook: The registration hook.
        entry: The class of its entries.
        bases: Public names of the classes of which a target is a subclass; without any, a target is no class.
        function: Whether a target that is no class is a function, and not a ``dict``.
    """

    word: str
    plural: str
    hook: str
    entry: type[Entry]
    bases: tuple[str, ...]
    function: bool = False


KINDS = {
    "rule": Kind("rule", "rules", "localrules_rules", RuleEntry, ("Objective", "Rule")),
    "model": Kind("model", "models", "localrules_models", ModelEntry, ("Model",)),
    "data": Kind("data set", "data", "localrules_data", DataEntry, ("DataSource",)),
    "tracker": Kind("tracker", "trackers", "localrules_trackers", TrackerEntry, ("Tracker",)),
    "preset": Kind("preset", "presets", "localrules_presets", PresetEntry, ()),
    "experiment": Kind("experiment", "experiments", "localrules_experiments", ExperimentEntry, (), function=True),
}


RUN_HOOKS = ("localrules_run_start", "localrules_run_step", "localrules_run_epoch", "localrules_run_end")
"""The hooks by which a plugin watches runs."""


class PluginFault(Exception):
    """A plugin does not keep to the hooks."""


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_entry(kind: Kind, entry: Entry) -> None:
    """Raises PluginFault when an entry could not be listed or used."""
    if not isinstance(entry.name, str) or not _NAME.fullmatch(entry.name):
        raise PluginFault(f"a {kind.word} is named {entry.name!r}: letters, digits and any of - _ . + are allowed")
    called = f"{kind.word} {entry.name!r}"
    if not isinstance(entry.target, str) or not _TARGET.fullmatch(entry.target):
        raise PluginFault(f"the target of {called} is {entry.target!r}, and must look like 'package.module:Name'")
    if not isinstance(entry.summary, str) or not entry.summary.strip() or "\n" in entry.summary:
        raise PluginFault(f"the summary of {called} must be one line of text")
    if not isinstance(entry.reference, str):
        raise PluginFault(f"the reference of {called} must be text, and is of type {type(entry.reference).__name__}")
