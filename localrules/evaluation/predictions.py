"""Predictions image by image, for further analysis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from localrules.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    from localrules.engine.scores import Scores
    from localrules.evaluation.leakage import LeakMask


def write_predictions(path: Path, scores: Scores, classes: tuple[str, ...], known: LeakMask | None) -> None:
    """A table with a row for each sample of a split, in order.

    Its columns: ``row``, from 0; ``label`` and ``answer``, by name; ``probability``, of the answer; and, where it was
    looked for, ``known``: whether the image is known from training.

    Args:
        path: The file.
        scores: The answers.
        classes: Names, by label.
        known: Which rows are known from training.
    """
    import pandas as pd

    table = pd.DataFrame(
        {
            "label": [classes[label] for label in scores.labels.tolist()],
            "answer": [classes[label] for label in scores.predictions.tolist()],
            "probability": scores.probabilities.amax(1).numpy(),
        }
    )
    if known is not None:
        table["known"] = (~known.clean).numpy()
    write_atomic(path, table.to_csv(index_label="row", float_format="%.4f"))
