"""localrules: train PyTorch networks with local learning rules.

Every public name is imported when it is first used, so that ``import localrules`` is instant and a plugin's
entry-point module, which imports :data:`hookimpl` and the entries, stays as light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localrules.core.entries import DataEntry, ExperimentEntry, ModelEntry, PresetEntry, RuleEntry, TrackerEntry
    from localrules.core.layer import Layer
    from localrules.core.model import Model
    from localrules.core.network import Network
    from localrules.core.objective import Objective, Requirements
    from localrules.core.rule import Rule, StepReport
    from localrules.core.view import LayerView
    from localrules.data.dataset import DataSet, DataSource, Split
    from localrules.engine.observers import Tracker
    from localrules.hookspecs import API_VERSION, hookimpl
    from localrules.learner import Learner

    __version__: str

_HOMES = {
    "API_VERSION": "localrules.hookspecs",
    "DataEntry": "localrules.core.entries",
    "DataSet": "localrules.data.dataset",
    "DataSource": "localrules.data.dataset",
    "ExperimentEntry": "localrules.core.entries",
    "Layer": "localrules.core.layer",
    "LayerView": "localrules.core.view",
    "Learner": "localrules.learner",
    "Model": "localrules.core.model",
    "ModelEntry": "localrules.core.entries",
    "Network": "localrules.core.network",
    "Objective": "localrules.core.objective",
    "PresetEntry": "localrules.core.entries",
    "Requirements": "localrules.core.objective",
    "Rule": "localrules.core.rule",
    "RuleEntry": "localrules.core.entries",
    "Split": "localrules.data.dataset",
    "StepReport": "localrules.core.rule",
    "Tracker": "localrules.engine.observers",
    "TrackerEntry": "localrules.core.entries",
    "hookimpl": "localrules.hookspecs",
}

__all__ = [
    "API_VERSION",
    "DataEntry",
    "DataSet",
    "DataSource",
    "ExperimentEntry",
    "Layer",
    "LayerView",
    "Learner",
    "Model",
    "ModelEntry",
    "Network",
    "Objective",
    "PresetEntry",
    "Requirements",
    "Rule",
    "RuleEntry",
    "Split",
    "StepReport",
    "Tracker",
    "TrackerEntry",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _installed_version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next look-up does not come through here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("localrules")
    except PackageNotFoundError:
        return "unknown (not installed)"
