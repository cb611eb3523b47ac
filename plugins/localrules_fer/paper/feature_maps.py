"""Figures 1 to 3: what shallow, middle and last layers make of one face."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from localrules.comparison.run_record import RunRecord
from localrules.reproduce.artifacts import ArtifactWriter
from localrules.runs.load import TrainedRun
from localrules.tracking.plots.sheets import plot_feature_maps

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.registry.registry import Registry

CHANNELS = 12


def show_maps(artifacts: ArtifactWriter) -> None:
    """A sheet for each case: three layers, the channels of each that vary most."""
    split = artifacts.data.splits.get("valid") or artifacts.data.split("train")
    for outcome in artifacts.outcomes:
        maps = _maps(outcome.runs[0], split.images[:1], artifacts.registry) if outcome.runs else {}
        if maps:  # a network without convolutions gives none
            artifacts.plot(
                f"maps-{outcome.case.name}",
                f"{outcome.case.name}: what a shallow, a middle and the last hidden layer make of one image",
                partial(plot_feature_maps, maps, limit=CHANNELS),
                shows_data=True,
            )


def _maps(run: RunRecord, image: Tensor, registry: Registry) -> dict[str, Tensor]:
    found = TrainedRun.load(run.folder, registry).predictor.feature_maps(image)
    names = list(found)
    places = dict.fromkeys((0, len(names) // 2, len(names) - 1)) if names else ()
    return {names[place]: found[names[place]] for place in places}
