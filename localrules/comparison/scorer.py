"""Paired differences between rules: image by image, on the same images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from localrules.comparison.run_record import RunRecord
from localrules.data.dataset import Dataset
from localrules.errors import DataError
from localrules.evaluation.metric import MetricFiles
from localrules.runs.evaluate import NO_METRICS, evaluate_split
from localrules.runs.load import TrainedRun
from localrules.utils.bootstrap import Difference, paired_bootstrap

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

SPLIT = "valid"


@dataclass(frozen=True)
class RunPredictions:
    """The predictions of a run on the valid split.

    Attributes:
        right: Which images are right, bool, shape (images,).
        clean: Which images are not known from training, bool, shape (images,); ``None`` if they were not looked
            for, or could not be.
        metrics: As ``eval`` has them.
    """

    right: np.ndarray
    clean: np.ndarray | None
    metrics: dict[str, Any]


@dataclass(frozen=True)
class CleanResult:
    """Accuracy of a rule on the images that are not known from training.

    Attributes:
        images: How many they are.
        accuracy: Mean over seeds.
        difference: To the control; ``None`` of the control, and where the control was not asked.
    """

    images: int
    accuracy: float
    difference: Difference | None


class Scorer:
    """Scores the images of runs again, one by one.

    Args:
        registry: Where names are looked up, but for runs with a registry of their own.
        metrics: The files of plugins' metrics to compute, by name.
        leak_check: Look for the images among those that each run was trained on.
    """

    def __init__(self, registry: Registry, metrics: MetricFiles = NO_METRICS, *, leak_check: bool = False) -> None:
        self._registry, self._metrics, self._leak_check = registry, metrics, leak_check
        self._data: dict[str, Dataset] = {}

    def predictions(self, run: RunRecord) -> RunPredictions:
        """Predict the valid split with the run's last weights.

        Raises:
            DataError: The data are not those that the run learned from, or have no valid split.
            LocalRulesError: The run's rule, model or data set is not here.
        """
        loaded = TrainedRun.load(run.folder, run.registry or self._registry)
        finished = replace(loaded, config=run.config)  # which knows where data are
        config = run.config
        key = json.dumps([config.data.model_dump(mode="json"), config.holdout_fraction, config.holdout_seed])
        if key not in self._data:
            self._data[key] = finished.data()
        data = self._data[key]
        if data.fingerprint != run.record["trained_on"]["fingerprint"]:
            raise DataError("the data have changed since the run", where=data.origin)
        found, scores, known = evaluate_split(finished, data, SPLIT, metrics=self._metrics, leak_check=self._leak_check)
        right = (scores.predictions == scores.labels).numpy()
        return RunPredictions(right, None if known is None else known.clean.numpy(), found)


def differences(answered: Mapping[str, Sequence[RunPredictions]], control: str) -> dict[str, Difference]:
    """Difference in valid accuracy between each rule and the control, which is among them if it was scored.

    Args:
        answered: By label, what each seed's run says of the same images.
        control: The control's label.
    """
    right = {label: [one.right for one in found] for label, found in answered.items()}
    if control not in right:
        return {}
    return {label: paired_bootstrap(ours, right[control]) for label, ours in right.items() if label != control}


def on_clean(answered: Mapping[str, Sequence[RunPredictions]], control: str) -> dict[str, CleanResult]:
    """The same without the images that are known from training, if they were looked for in any of the runs.

    Runs that learned from the same data know the same images, so that those found for one run are left out of all.
    """
    known = [one.clean for found in answered.values() for one in found if one.clean is not None]
    if not known or not known[0].any():
        return {}
    clean = known[0]
    left = {label: [replace(one, right=one.right[clean]) for one in found] for label, found in answered.items()}
    apart = differences(left, control)
    return {
        label: CleanResult(len(found[0].right), float(np.mean([one.right for one in found])), apart.get(label))
        for label, found in left.items()
    }
