"""FER2013: 35,887 faces of 48 x 48 grey pixels with seven expressions.

Source: Goodfellow et al. 2013, Challenges in Representation Learning: A report on three machine learning contests,
https://arxiv.org/abs/1307.0414. The images carry no licence statement: they are for research use, and we neither ship
nor pass them on.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs
import torch
from pydantic import BaseModel, ConfigDict, Field

from localrules import Dataset, DataSource, Split
from localrules.data.cache import Arrays, load_or_build
from localrules.data.dataset import SPLITS, fingerprint
from localrules.data.file_tree import is_archive, unpacked
from localrules.data.images import fit_to_shape, read_image
from localrules.data.io import content_hash, read_error
from localrules.errors import DataError
from localrules_fer.datasets.fer2013_csv import CLASSES, SIDE, read_csv
from localrules_fer.datasets.fer2013_folder import Contents, find_contents, holds_data, images_left_out, list_images

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH_VARIABLE = "LOCALRULES_FER2013"
FILES = ("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz", "train.csv")
ARCHIVES = ("fer2013.tar.gz", "fer2013.zip")  # Kaggle's, and those that people make
KNOWN = {
    "f8428a1edbd21e88f42c73edd2a14f95": "the original: all 35,887 samples",
    "23d0b16a00872ce2c91bf023f8129ad2": "the original without its PrivateTest samples",
}
PUBLISHED = dict(zip(SPLITS, (28_709, 3_589, 3_589), strict=True))  # samples of each split
USAGE_NAMES = dict(zip(SPLITS, ("Training", "PublicTest", "PrivateTest"), strict=True))
IMPLAUSIBLE_ABOVE = 0.76  # ours: two points above the best published single networks
SHAPE = (1, SIDE, SIDE)
CSV_VERSION, FOLDER_VERSION = 1, 2  # of what is cached; raise one when that decoding changes


class FER2013(DataSource):
    """Loads FER2013 from where the user has put it.

    Training is train, PublicTest is valid and PrivateTest is test: never divided anew, never merged.
    """

    class Config(BaseModel):
        """Options, as ``--set data.<option>=...``."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        path: Path | None = Field(
            None,
            description="fer2013.csv, icml_face_data.csv or train.csv, plain or gzipped; or a folder, or a tar or zip "
            "archive, that holds one of them, or images as <split>/<class>/<image>. "
            f"Unset: {PATH_VARIABLE}, then the usual places.",
        )

    config: Config

    @classmethod
    def find(cls) -> Path | None:
        """The first of ``$LOCALRULES_FER2013`` and the usual places that is there."""
        chosen = os.environ.get(PATH_VARIABLE)
        if chosen:
            return Path(chosen)  # even if it is not there: then loading says so
        return next((path for path in _usual_places() if _is_there(path)), None)

    def load(self) -> Dataset:
        path = self.config.path or self.find()
        if path is None:
            raise DataError(
                "FER2013 was not found on this machine",
                where=", ".join(str(place) for place in _usual_places()),
                why="its licence does not let us pass it on, so you have to get it once",
                fix="download fer2013.csv from Kaggle and name it with --data-path or in "
                f"{PATH_VARIABLE}; or train on the built-in images with --data faces",
            )
        path = path.expanduser()
        try:
            if path.is_dir():
                return self._from_folder(find_contents(path, FILES))
            return self._from_archive(path) if is_archive(path) else self._from_file(path)
        except OSError as error:
            raise read_error(path, error) from error

    def _from_archive(self, path: Path) -> Dataset:
        with warnings.catch_warnings(record=True) as caught, unpacked(path) as folder:
            warnings.simplefilter("always")
            data = self._from_folder(find_contents(folder, FILES))
        for warning in caught:  # the folder is gone
            warnings.warn(str(warning.message).replace(str(folder), str(path)), warning.category, stacklevel=3)
        return replace(data, origin=data.origin.replace(str(folder), str(path)))

    def _from_file(self, path: Path, notes: Sequence[str] = ()) -> Dataset:
        def decode() -> Arrays:
            samples = read_csv(path)
            # Text cannot be stored as an array of characters without pickling; 32 hexadecimal digits are 16 bytes.
            md5 = np.frombuffer(bytes.fromhex(samples.md5), dtype=np.uint8)
            return {"images": samples.images, "labels": samples.labels, "splits": samples.usages, "md5": md5}

        arrays = load_or_build(f"fer2013-{CSV_VERSION}", content_hash([path]), decode)
        known = KNOWN.get(arrays["md5"].tobytes().hex())
        count = f"{len(arrays['labels']):,} samples"
        counts = f"{count}, as many of each split as published" if _has_published_counts(arrays) else None
        origin = "; ".join([f"{path}: {known or counts or f'unrecognised, {count}'}", *notes])
        return _data_set(arrays, origin, path.name, known is not None)

    def _from_file_in(self, contents: Contents) -> Dataset:
        file, *others = (contents.folder / name for name in contents.files)
        if contents.has_images:
            raise DataError(
                "the folder holds FER2013 both as a file and as images",
                where=str(contents.folder),
                why=f"{file.name} lies beside folders of images",
                fix=f"name {file}, or take it out",
            )
        notes = _warned(images_left_out(contents.folder, set()), contents.folder)
        return self._from_file(file, [*notes, *(f"{other.name} beside it is not read" for other in others)])

    def _from_folder(self, contents: Contents) -> Dataset:
        path = contents.folder
        if contents.files:
            return self._from_file_in(contents)
        images, notes = list_images(path)
        notes += _warned(images_left_out(path, {image.path for image in images}), path)

        def decode() -> Arrays:
            return {
                "images": np.stack([fit_to_shape(read_image(image.path), SHAPE)[0].numpy() for image in images]),
                "labels": np.array([image.label for image in images]),
                "splits": np.array([SPLITS.index(image.split) for image in images]),
            }

        places = "".join(f"{image.split}/{image.label}/{image.path.name}\n" for image in images)
        key = content_hash([image.path for image in images], also=places)
        arrays = load_or_build(f"fer2013-folder-{FOLDER_VERSION}", key, decode)
        origin = "; ".join([f"{path}: a folder of {len(images):,} images", *notes])
        return _data_set(arrays, origin, f"{path.name}/", known=False)


def _warned(notes: list[str], path: Path) -> list[str]:
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=4)
    return notes


def _has_published_counts(arrays: Arrays) -> bool:
    """Whether each split that is there has all its samples: the same ones are in files with other checksums."""
    counts = {split: int((arrays["splits"] == number).sum()) for number, split in enumerate(SPLITS)}
    return all(count in (0, PUBLISHED[split]) for split, count in counts.items())


def _data_set(arrays: Arrays, origin: str, name: str, known: bool) -> Dataset:
    splits: dict[str, Split] = {}
    for number, split in enumerate(SPLITS):
        samples = arrays["splits"] == number
        if samples.any():
            images = torch.from_numpy(arrays["images"][samples]).unsqueeze(1)
            splits[split] = Split(images, torch.from_numpy(arrays["labels"][samples]))
    missing = {
        split: f"{name} holds no {usage} samples: take the complete fer2013.csv (md5 {next(iter(KNOWN))})"
        for split, usage in USAGE_NAMES.items()
        if split not in splits
    }
    return Dataset(
        name="fer2013",
        classes=CLASSES,
        splits=splits,
        origin=origin,
        fingerprint=fingerprint(splits),
        redistributable=False,
        missing=missing,
        flip_preserves_label=True,
        max_plausible_accuracy=IMPLAUSIBLE_ABOVE,
        recognised=known or _has_published_counts(arrays),
    )


def _is_there(place: Path) -> bool:
    try:
        return holds_data(place, FILES) if place.is_dir() else place.exists()
    except OSError:
        return False


def _usual_places() -> list[Path]:
    home = platformdirs.user_data_path("localrules")
    names = [name for name in (*FILES, *ARCHIVES) if name != "train.csv"]
    files = [folder / name for folder in (Path(), Path("data"), home) for name in names]
    return [*files, Path("fer2013"), Path("data/fer2013"), home / "fer2013"]
