"""localrules: train PyTorch networks with local learning rules.

Every public name is imported when it is first used, so that ``import localrules`` is instant and a plugin's
entry-point module, which imports :data:`hookimpl` and the entries, stays as light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localrules.callbacks.base import Tracker
    from localrules.core.base import RuleConfig, RuleInfo
    from localrules.core.isolated_forward import isolated_forward
    from localrules.core.layer import Layer, Locality
    from localrules.core.layer_spec import LayerSpec
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
    from localrules.core.rule import Context, Rule, StepReport, state_key
    from localrules.core.view import Batch, LayerView
    from localrules.data.dataset import Dataset, DataSource, Split
    from localrules.errors import UsageError
    from localrules.learner import Learner
    from localrules.registry.entries import (
        DataEntry,
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

    __version__: str

_HOMES = {
    "Batch": "localrules.core.view",
    "Context": "localrules.core.rule",
    "CustomPrediction": "localrules.core.objective",
    "ExtractViews": "localrules.core.objective",
    "InputTransform": "localrules.core.objective",
    "LayerSpec": "localrules.core.layer_spec",
    "LayerVoting": "localrules.core.objective",
    "Locality": "localrules.core.layer",
    "Operation": "localrules.core.ops",
    "OutputTransform": "localrules.core.objective",
    "RuleConfig": "localrules.core.base",
    "RuleInfo": "localrules.core.base",
    "isolated_forward": "localrules.core.isolated_forward",
    "record_ops": "localrules.core.ops",
    "state_key": "localrules.core.rule",
    "FeatureReader": "localrules.core.nn.heads",
    "zero_init_classifier": "localrules.core.nn.heads",
    "UsageError": "localrules.errors",
    "API_VERSION": "localrules.registry.hookspecs",
    "DataEntry": "localrules.registry.entries",
    "Dataset": "localrules.data.dataset",
    "DataSource": "localrules.data.dataset",
    "ExperimentEntry": "localrules.registry.entries",
    "ExporterEntry": "localrules.registry.entries",
    "Layer": "localrules.core.layer",
    "LayerView": "localrules.core.view",
    "Learner": "localrules.learner",
    "Model": "localrules.core.model",
    "MetricColumn": "localrules.registry.entries",
    "MetricEntry": "localrules.registry.entries",
    "ModelEntry": "localrules.registry.entries",
    "Network": "localrules.core.network",
    "Objective": "localrules.core.objective",
    "PresetEntry": "localrules.registry.entries",
    "Requirements": "localrules.core.objective",
    "Rule": "localrules.core.rule",
    "RuleEntry": "localrules.registry.entries",
    "Split": "localrules.data.dataset",
    "StepReport": "localrules.core.rule",
    "Tracker": "localrules.callbacks.base",
    "TrackerEntry": "localrules.registry.entries",
    "hookimpl": "localrules.registry.hookspecs",
}

__all__ = [
    "API_VERSION",
    "Batch",
    "Context",
    "CustomPrediction",
    "DataEntry",
    "DataSource",
    "Dataset",
    "ExperimentEntry",
    "ExporterEntry",
    "ExtractViews",
    "FeatureReader",
    "InputTransform",
    "Layer",
    "LayerSpec",
    "LayerView",
    "LayerVoting",
    "Learner",
    "Locality",
    "MetricColumn",
    "MetricEntry",
    "Model",
    "ModelEntry",
    "Network",
    "Objective",
    "Operation",
    "OutputTransform",
    "PresetEntry",
    "Requirements",
    "Rule",
    "RuleConfig",
    "RuleEntry",
    "RuleInfo",
    "Split",
    "StepReport",
    "Tracker",
    "TrackerEntry",
    "UsageError",
    "__version__",
    "hookimpl",
    "isolated_forward",
    "record_ops",
    "state_key",
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
