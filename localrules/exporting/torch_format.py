"""``torch.export``: a graph that PyTorch runs without localrules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from localrules.exporting.formats import ExportContext, ExportFormat
from localrules.exporting.traced import in_float32, quiet, trace

if TYPE_CHECKING:
    from localrules.runs.load import TrainedRun

FILE = "model.pt2"
FACTS = "localrules.json"


class TorchFormat(ExportFormat):
    """``model.pt2``: from images in [0, 1] to probabilities, for any number of images."""

    name = "torch"

    def prepare(self, run: TrainedRun) -> TrainedRun:
        return in_float32(run)

    def write(self, run: TrainedRun, folder: Path, about: ExportContext) -> None:
        graph = trace(run)
        with quiet():
            torch.export.save(graph, folder / FILE, extra_files={FACTS: json.dumps(about.facts)})

    def predict(self, run: TrainedRun, folder: Path, images: list[Tensor]) -> list[Tensor]:
        with quiet(), torch.no_grad():
            module = torch.export.load(folder / FILE).module()
            return [module(batch.float() / 255) for batch in images]
