"""A folder for the Hugging Face Hub, which localrules reads as it reads a run folder."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from localrules.exporting.formats import ExportContext, ExportFormat
from localrules.runs.load import TrainedRun, read_run
from localrules.tracking.model_card import ModelDescription, model_card
from localrules.tracking.model_folder import write_model_folder
from localrules.utils.text import shell_quote

HALF_TOLERANCE = 0.02  # of a probability (ours)


class HubFormat(ExportFormat):
    """``model.safetensors``, ``rule.safetensors`` where the rule has state, ``config.toml``, and a model card.

    Args:
        half: Store parameters as float16.
    """

    name = "hub"

    def __init__(self, half: bool = False) -> None:
        self._half = half
        if half:
            self.tolerance = HALF_TOLERANCE

    def write(self, run: TrainedRun, folder: Path, about: ExportContext) -> None:
        _, record = read_run(run.folder)
        predictor = run.predictor
        described = ModelDescription(
            run.config.rule.name,
            run.config.model.name,
            run.config.data.name,
            run.classes,
            sum(parameter.numel() for parameter in predictor.network.model.parameters()),
            about.facts["locality"],
            bool(record["trained_on"].get("redistributable", False)),
        )
        facts = {**record, **about.facts}  # the steps are those that were taken, not those of the settings
        if self._half:
            facts["stored_as"] = "float16; the hash is that of the float32 weights"
        place = shell_quote(Path(about.name))
        download = f"hf download {about.repository} --local-dir {place}" if about.repository else ""
        card = model_card(described, facts, place, license=about.license, download=download, notes=about.notes)
        write_model_folder(folder, record, predictor.network, predictor.rule, card, half=self._half)

    def predict(self, run: TrainedRun, folder: Path, images: list[Tensor]) -> list[Tensor]:
        again = TrainedRun.load(folder, run.registry, device="cpu")
        return [again.predictor.probabilities(batch) for batch in images]
