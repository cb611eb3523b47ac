"""The interface of metrics that plugins supply: network outputs set beside a file of the user's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from localrules.utils.plugin_border import plugin_border, wrong_result

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset
    from localrules.engine.scores import Scores
    from localrules.registry.entries import MetricEntry
    from localrules.registry.registry import Registry

MetricFiles = Mapping[str, Path]
"""The file of each metric to compute, by the metric's name."""


class Metric(ABC):
    """An evaluation of a network on one split. A plugin's ``MetricEntry`` names a subclass.

    Building it reads the file.

    Args:
        path: The user's file.
        data: The data set that is scored.
        split: The split of it.

    Raises:
        UsageError: The metric does not apply to the data set.
        DataError: The file is missing or damaged, or does not belong to the split.
    """

    @abstractmethod
    def __init__(self, path: Path, data: Dataset, split: str) -> None: ...

    @abstractmethod
    def compute(self, scores: Scores) -> dict[str, Any]:
        """The values of the metric by name, as JSON holds them.

        Args:
            scores: The network's outputs for all samples of the split, in their order.
        """


def build_metrics(files: MetricFiles, data: Dataset, split: str, registry: Registry) -> dict[str, Metric]:
    """The metrics to compute on a split, by name; their files are read.

    Raises:
        UsageError: There is no such metric, or it does not apply to the data set.
        DataError: A file is missing or damaged, or does not belong to the split.
    """
    return {name: _build(registry.resolve("metric", name), path, data, split) for name, path in files.items()}


def compute_metric(metric: Metric, scores: Scores) -> dict[str, Any]:
    """The values of a metric by name.

    Raises:
        PluginCodeError: Its code fails, or returns something else.
    """
    with plugin_border(type(metric), "compute"):
        found = metric.compute(scores)
    if not isinstance(found, dict):
        raise wrong_result(
            type(metric), "compute", "a dict of values by name", f"an object of type {type(found).__name__}"
        )
    return found


def _build(cls: type[Metric], path: Path, data: Dataset, split: str) -> Metric:
    with plugin_border(cls, "__init__"):
        return cls(path, data, split)


def metric_entries(registry: Registry) -> dict[str, MetricEntry]:
    """All usable metrics by name; each is a key in what ``eval`` finds, ``None`` where it was not computed."""
    return {
        item.entry.name: cast("MetricEntry", item.entry) for item in registry.entries("metric") if item.status == "ok"
    }
