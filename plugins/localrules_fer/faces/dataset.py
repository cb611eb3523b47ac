"""The built-in data set: faces drawn from geometry, so that a run needs no download and no licence."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from localrules.data.cache import load_or_build
from localrules.data.dataset import SPLITS, Dataset, DataSource, Split
from localrules_fer.faces.draw import VERSION, draw
from localrules_fer.faces.expression import CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Faces(DataSource):
    """Synthetic faces, 48 x 48 grey, with FER2013's seven expressions in FER2013's order.

    A person of one split is in no other. What must be ignored (who it is, pose, light, glasses, hands, grain) varies
    in every image. The same options give the same pixels on every machine; they are drawn once, in some seconds, and
    then kept in the cache directory.
    """

    class Config(BaseModel):
        """Number of faces, and the seed."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        seed: int = Field(default=0, ge=0, description="which faces are drawn")
        train: int = Field(default=14_000, ge=7, description="images to train on")
        valid: int = Field(default=2_100, ge=7, description="images to validate on")
        test: int = Field(default=2_100, ge=7, description="images to test on")

    config: Config

    def load(self) -> Dataset:
        """Draw the faces, or fetch them from the cache."""
        options = self.config.model_dump_json()
        fingerprint = hashlib.sha256(f"faces {VERSION} {options}".encode()).hexdigest()
        arrays = load_or_build(f"faces-{VERSION}", fingerprint[:16], self._draw)
        return Dataset(
            name="faces",
            classes=CLASSES,
            splits={name: _split(arrays, name) for name in SPLITS},
            origin=f"drawn by localrules, seed {self.config.seed}",
            fingerprint=fingerprint,
            redistributable=True,
        )

    def _draw(self) -> dict[str, NDArray[np.generic]]:
        arrays: dict[str, NDArray[np.generic]] = {}
        for name, samples in zip(SPLITS, (self.config.train, self.config.valid, self.config.test), strict=True):
            image_batch = draw(self.config.seed, name, samples)
            arrays[f"{name}_images"], arrays[f"{name}_labels"] = image_batch.images, image_batch.labels
        return arrays


def _split(arrays: dict[str, NDArray[np.generic]], name: str) -> Split:
    images = torch.from_numpy(arrays[f"{name}_images"])
    return Split(images=images.unsqueeze(1), labels=torch.from_numpy(arrays[f"{name}_labels"]))
