"""Figures 1 to 3: what shallow, middle and last layers make of one face."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from localrules.compare.runs import Run
from localrules.finished import FinishedRun
from localrules.reproduce.exhibition import Exhibition
from localrules.tracking.sheets import feature_maps

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.plugins import Registry

CHANNELS = 12


def show_maps(exhibition: Exhibition) -> None:
    """A sheet for each row: three layers, the channels of each that vary most."""
    split = exhibition.data.splits.get("valid") or exhibition.data.split("train")
    for outcome in exhibition.outcomes:
        maps = _maps(outcome.runs[0], split.images[:1], exhibition.registry) if outcome.runs else {}
        if maps:  # a network without convolutions gives none
            exhibition.picture(
                f"maps-{outcome.row.name}",
                f"{outcome.row.name}: what a shallow, a middle and the last hidden layer make of one picture",
                partial(feature_maps, maps, limit=CHANNELS),
                shows_data=True,
            )


def _maps(run: Run, image: Tensor, registry: Registry) -> dict[str, Tensor]:
    found = FinishedRun.load(run.folder, registry).predictor.maps(image)
    names = list(found)
    places = dict.fromkeys((0, len(names) // 2, len(names) - 1)) if names else ()
    return {names[place]: found[names[place]] for place in places}
