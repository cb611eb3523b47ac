"""A run's answers to images of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from localrules.data.images import fit_to_shape, read_image
from localrules.prediction.face_detection import Detector, largest_face

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.runs.load import TrainedRun


@dataclass(frozen=True)
class Prediction:
    """An image with what a network makes of it.

    Attributes:
        image: The file.
        network_input: What the network was shown: uint8, shape (channels, height, width).
        face: Whether a face was cut out; ``None`` if none was looked for.
        ranked: Class names with their probabilities, the likeliest first; equals in the order of the classes.
    """

    image: Path
    network_input: Tensor
    face: bool | None
    ranked: tuple[tuple[str, float], ...]

    def as_dict(self) -> dict[str, Any]:
        """As ``predict --json`` prints it."""
        ranked = [{"expression": name, "probability": probability} for name, probability in self.ranked]
        return {"image": str(self.image), "ranked": ranked}


def predict_images(run: TrainedRun, images: Sequence[Path], detector: Detector | None = None) -> list[Prediction]:
    """Label images. All of them are read before the first prediction.

    Args:
        run: Who is asked.
        images: The files, one or more.
        detector: Finds faces, of which the largest is cut out; where there is none, and without a detector, the
            middle of the image is taken.

    Raises:
        DataError: A file is not an image.
        UsageError: The run takes no image files.
    """
    seen, faces = [], []
    for path in images:
        image = read_image(path)
        face = largest_face(image, detector) if detector is not None else None
        seen.append(fit_to_shape(image if face is None else face, run.shape))
        faces.append(None if detector is None else face is not None)
    probabilities = run.predictor.probabilities(torch.stack(seen))
    return [
        Prediction(path, shown, face, _ranked(run.classes, row))
        for path, shown, face, row in zip(images, seen, faces, probabilities.tolist(), strict=True)
    ]


def _ranked(classes: Sequence[str], probabilities: list[float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(zip(classes, probabilities, strict=True), key=lambda pair: -pair[1]))
