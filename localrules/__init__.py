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
    from localrules.core.base import RuleConfig, RuleInfo
    from localrules.core.isolated_forward import isolated_forward
    from localrules.core.layer import Layer, LayerInfo
    from localrules.core.layer_spec import LayerSpec
    from localrules.core.locality import Locality
    from localrules.core.model import Model
    from localrules.core.network import Network
    from localrules.core.nn.heads import FeatureReader, zero_init_classifier
    from localrules.core.objective import (
        CustomPrediction,
        ExtractViews,
        InputTransform,
        LayerVoting,
        Objective,
        OutputTransform,
        Requirements,
    )
    from localrules.core.ops import Operation, record_ops
    from localrules.core.rule import Context, LayerParallel, Rule, StepReport, state_key
    from localrules.core.search_space import SearchChoice, SearchRange
    from localrules.core.view import Batch, LayerView
    from localrules.data.dataset import Dataset, DataSource, Split
    from localrules.errors import UsageError
    from localrules.exporting.export import ExportResult, export
    from localrules.learner import Learner
    from localrules.registry.entries import (
        DataEntry,
        ExecutorEntry,
        ExperimentEntry,
        ExporterEntry,
        MetricColumn,
        MetricEntry,
        ModelEntry,
        PresetEntry,
        RuleEntry,
        TrackerEntry,
    )
    from localrules.registry.hookspecs import API_VERSION, hookimpl
    from localrules.runs.evaluate import evaluate
    from localrules.runs.executor import Executor, Resources, WorkerLost
    from localrules.runs.load import TrainedRun, load_run
    from localrules.runs.result import RunResult
    from localrules.runs.resume import resume
    from localrules.runs.train import train

    __version__: str

_HOMES = {
    "API_VERSION": "localrules.registry.hookspecs",
    "Batch": "localrules.core.view",
    "Callback": "localrules.callbacks.base",
    "compare": "localrules.comparison.run",
    "Comparison": "localrules.comparison.comparison",
    "Context": "localrules.core.rule",
    "CustomPrediction": "localrules.core.objective",
    "DataEntry": "localrules.registry.entries",
    "Dataset": "localrules.data.dataset",
    "DataSource": "localrules.data.dataset",
    "EarlyStopping": "localrules.callbacks.early_stopping",
    "evaluate": "localrules.runs.evaluate",
    "Executor": "localrules.runs.executor",
    "ExecutorEntry": "localrules.registry.entries",
    "ExperimentEntry": "localrules.registry.entries",
    "ExporterEntry": "localrules.registry.entries",
    "export": "localrules.exporting.export",
    "ExportResult": "localrules.exporting.export",
    "ExtractViews": "localrules.core.objective",
    "FeatureReader": "localrules.core.nn.heads",
    "hookimpl": "localrules.registry.hookspecs",
    "InputTransform": "localrules.core.objective",
    "isolated_forward": "localrules.core.isolated_forward",
    "Layer": "localrules.core.layer",
    "LayerInfo": "localrules.core.layer",
    "LayerParallel": "localrules.core.rule",
    "LayerSpec": "localrules.core.layer_spec",
    "LayerView": "localrules.core.view",
    "LayerVoting": "localrules.core.objective",
    "Learner": "localrules.learner",
    "load_run": "localrules.runs.load",
    "Locality": "localrules.core.locality",
    "MetricsRow": "localrules.callbacks.base",
    "Model": "localrules.core.model",
    "MetricColumn": "localrules.registry.entries",
    "MetricEntry": "localrules.registry.entries",
    "ModelEntry": "localrules.registry.entries",
    "Network": "localrules.core.network",
    "Objective": "localrules.core.objective",
    "Operation": "localrules.core.ops",
    "OutputTransform": "localrules.core.objective",
    "Plot": "localrules.callbacks.base",
    "PresetEntry": "localrules.registry.entries",
    "record_ops": "localrules.core.ops",
    "Requirements": "localrules.core.objective",
    "Resources": "localrules.runs.executor",
    "resume": "localrules.runs.resume",
    "Rule": "localrules.core.rule",
    "RuleConfig": "localrules.core.base",
    "RuleEntry": "localrules.registry.entries",
    "RuleInfo": "localrules.core.base",
    "RunInfo": "localrules.callbacks.base",
    "RunResult": "localrules.runs.result",
    "Split": "localrules.data.dataset",
    "SearchChoice": "localrules.core.search_space",
    "SearchRange": "localrules.core.search_space",
    "state_key": "localrules.core.rule",
    "StepReport": "localrules.core.rule",
    "Stop": "localrules.callbacks.base",
    "Tracker": "localrules.callbacks.base",
    "TrackerEntry": "localrules.registry.entries",
    "train": "localrules.runs.train",
    "TrainedRun": "localrules.runs.load",
    "UsageError": "localrules.errors",
    "WorkerLost": "localrules.runs.executor",
    "zero_init_classifier": "localrules.core.nn.heads",
}

__all__ = [
    "API_VERSION",
    "Batch",
    "Callback",
    "Comparison",
    "Context",
    "CustomPrediction",
    "DataEntry",
    "DataSource",
    "Dataset",
    "EarlyStopping",
    "Executor",
    "ExecutorEntry",
    "ExperimentEntry",
    "ExportResult",
    "ExporterEntry",
    "ExtractViews",
    "FeatureReader",
    "InputTransform",
    "Layer",
    "LayerInfo",
    "LayerParallel",
    "LayerSpec",
    "LayerView",
    "LayerVoting",
    "Learner",
    "Locality",
    "MetricColumn",
    "MetricEntry",
    "MetricsRow",
    "Model",
    "ModelEntry",
    "Network",
    "Objective",
    "Operation",
    "OutputTransform",
    "Plot",
    "PresetEntry",
    "Requirements",
    "Resources",
    "Rule",
    "RuleConfig",
    "RuleEntry",
    "RuleInfo",
    "RunInfo",
    "RunResult",
    "SearchChoice",
    "SearchRange",
    "Split",
    "StepReport",
    "Stop",
    "Tracker",
    "TrackerEntry",
    "TrainedRun",
    "UsageError",
    "WorkerLost",
    "__version__",
    "compare",
    "evaluate",
    "export",
    "hookimpl",
    "isolated_forward",
    "load_run",
    "record_ops",
    "resume",
    "state_key",
    "train",
    "zero_init_classifier",
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
