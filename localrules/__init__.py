"""localrules: train PyTorch networks with local learning rules.

Every public name is imported when it is first used, so that ``import localrules`` is instant and a plugin's
entry-point module, which imports :data:`hookimpl` and the entries, stays as light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localrules.callbacks.base import Callback, MetricsRow, Plot, RunInfo, Stop, Tracker
    from localrules.callbacks.early_stopping import EarlyStopping
    from localrules.comparison.comparison import Comparison
    from localrules.comparison.run import compare
    from localrules.core.layer import Layer
    from localrules.core.model import Model
    from localrules.core.network import Network
    from localrules.core.objective import Objective, Requirements
    from localrules.core.rule import Rule, StepReport
    from localrules.core.view import LayerView
    from localrules.data.dataset import Dataset, DataSource, Split
    from localrules.learner import Learner
    from localrules.registry.entries import DataEntry, ExperimentEntry, ModelEntry, PresetEntry, RuleEntry, TrackerEntry
    from localrules.registry.hookspecs import API_VERSION, hookimpl
    from localrules.runs.evaluate import evaluate
    from localrules.runs.load import TrainedRun, load_run
    from localrules.runs.result import RunResult
    from localrules.runs.resume import resume
    from localrules.runs.train import train

    __version__: str

_HOMES = {
    "API_VERSION": "localrules.registry.hookspecs",
    "Callback": "localrules.callbacks.base",
    "compare": "localrules.comparison.run",
    "Comparison": "localrules.comparison.comparison",
    "DataEntry": "localrules.registry.entries",
    "Dataset": "localrules.data.dataset",
    "DataSource": "localrules.data.dataset",
    "EarlyStopping": "localrules.callbacks.early_stopping",
    "evaluate": "localrules.runs.evaluate",
    "ExperimentEntry": "localrules.registry.entries",
    "hookimpl": "localrules.registry.hookspecs",
    "Layer": "localrules.core.layer",
    "LayerView": "localrules.core.view",
    "Learner": "localrules.learner",
    "load_run": "localrules.runs.load",
    "MetricsRow": "localrules.callbacks.base",
    "Model": "localrules.core.model",
    "ModelEntry": "localrules.registry.entries",
    "Network": "localrules.core.network",
    "Objective": "localrules.core.objective",
    "Plot": "localrules.callbacks.base",
    "PresetEntry": "localrules.registry.entries",
    "Requirements": "localrules.core.objective",
    "resume": "localrules.runs.resume",
    "Rule": "localrules.core.rule",
    "RuleEntry": "localrules.registry.entries",
    "RunInfo": "localrules.callbacks.base",
    "RunResult": "localrules.runs.result",
    "Split": "localrules.data.dataset",
    "StepReport": "localrules.core.rule",
    "Stop": "localrules.callbacks.base",
    "Tracker": "localrules.callbacks.base",
    "TrackerEntry": "localrules.registry.entries",
    "train": "localrules.runs.train",
    "TrainedRun": "localrules.runs.load",
}

__all__ = [
    "API_VERSION",
    "Callback",
    "Comparison",
    "DataEntry",
    "DataSource",
    "Dataset",
    "EarlyStopping",
    "ExperimentEntry",
    "Layer",
    "LayerView",
    "Learner",
    "MetricsRow",
    "Model",
    "ModelEntry",
    "Network",
    "Objective",
    "Plot",
    "PresetEntry",
    "Requirements",
    "Rule",
    "RuleEntry",
    "RunInfo",
    "RunResult",
    "Split",
    "StepReport",
    "Stop",
    "Tracker",
    "TrackerEntry",
    "TrainedRun",
    "__version__",
    "compare",
    "evaluate",
    "hookimpl",
    "load_run",
    "resume",
    "train",
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
