"""Facial expressions: the paper's network, FER2013, faces that we draw ourselves, and the paper's settings."""

from localrules import DataEntry, ModelEntry, PresetEntry, hookimpl

API_VERSION = 1

_PAPER = "Han et al. 2023, https://doi.org/10.12677/sea.2023.122019"


@hookimpl
def localrules_models() -> list[ModelEntry]:
    return [
        ModelEntry(
            name="dense_fpn",
            target="localrules_fer.dense_fpn:DenseFPN",
            summary="The paper's dense blocks with a feature pyramid and channel attention, about 7 M parameters.",
            reference=_PAPER,
        ),
        ModelEntry(
            name="dense_fpn_small",
            target="localrules_fer.dense_fpn:DenseFPNSmall",
            summary="The same network at about 0.5 M parameters, for a CPU.",
            reference=_PAPER,
        ),
    ]


@hookimpl
def localrules_data() -> list[DataEntry]:
    return [
        DataEntry(
            name="fer2013",
            target="localrules_fer.fer2013:FER2013",
            summary="48 x 48 grey faces with seven expressions, from a file or folder of yours.",
            reference="Goodfellow et al. 2013, https://arxiv.org/abs/1307.0414",
        ),
        DataEntry(
            name="faces",
            target="localrules_fer.faces:Faces",
            summary="Synthetic 48 x 48 grey faces with the same seven expressions, drawn on the spot.",
        ),
    ]


@hookimpl
def localrules_presets() -> list[PresetEntry]:
    return [
        PresetEntry(
            name="paper",
            target="localrules_fer.presets:PAPER",
            summary="The paper's settings as printed: Adam, learning rate 0.005, batch 128, 10,000 steps.",
            reference=_PAPER,
        ),
    ]
