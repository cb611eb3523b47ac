"""How sure a difference between two rules is: picture by picture, on the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from localrules.compare.runs import Run
from localrules.data.dataset import DataSet
from localrules.errors import DataError
from localrules.evaluation.evaluating import judged
from localrules.finished import FinishedRun

if TYPE_CHECKING:
    from localrules.plugins import Registry

SPLIT = "valid"
RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """How much more of the valid split one rule gets right than another.

    Attributes:
        mean: The difference of the accuracies, each averaged over seeds.
        low, high: Its 95 % interval, by bootstrap over pictures. The seeds are taken as they are.
    """

    mean: float
    low: float
    high: float


class Answers:
    """Scores the pictures of runs again, one by one.

    Args:
        registry: Where names are looked up.
        ferplus: FER+'s votes on the data.
    """

    def __init__(self, registry: Registry, ferplus: Path | None = None) -> None:
        self._registry, self._ferplus = registry, ferplus
        self._data: dict[str, DataSet] = {}

    def of(self, run: Run) -> tuple[np.ndarray, dict[str, Any]]:
        """What the run's last weights say of the valid split.

        Returns:
            Which of its pictures are right, bool, shape (pictures,); and all figures, as ``eval`` has them.

        Raises:
            DataError: The data are not those that the run learned from, or have no valid split.
            LocalRulesError: The run's rule, model or data set is not here.
        """
        finished = replace(
            FinishedRun.load(run.folder, self._registry), config=run.config
        )  # which knows where data are
        key = run.config.data.model_dump_json()
        if key not in self._data:
            self._data[key] = finished.data(self._registry)
        data = self._data[key]
        if data.fingerprint != run.record["trained_on"]["fingerprint"]:
            raise DataError("the data have changed since the run", where=data.origin)
        found, scores = judged(finished, data, SPLIT, self._registry, ferplus=self._ferplus)
        return (scores.predictions == scores.labels).numpy(), found


def difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Difference:
    """A paired bootstrap over pictures.

    Args:
        ours, theirs: For each seed, which of the same pictures were right, bool, shape (pictures,).
    """
    each = np.mean(np.stack(ours), axis=0) - np.mean(np.stack(theirs), axis=0)
    # A picture's difference has few values; how often each is drawn is all that a resample is.
    values, counts = np.unique(each, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(each), counts / len(each), size=RESAMPLES)
    low, high = np.quantile(drawn @ values / len(each), [0.025, 0.975])
    return Difference(float(each.mean()), float(low), float(high))
