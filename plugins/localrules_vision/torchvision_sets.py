"""Any classification data set of torchvision that is on this machine."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from localrules import Dataset, DataSource
from localrules.data.decoding import DECODER_VERSION
from localrules.data.file_tree import tree_key
from localrules.data.images import fit_to_shape
from localrules.data.mapped_cache import ArrayStore, Notes, load_splits
from localrules.errors import DataError, UsageError, describe_exception, suggest_names
from localrules.utils.progress import progress
from localrules_vision.download import torchvision_datasets
from localrules_vision.holdout import DESCRIPTION, store_splits

VERSION = 1
SPLITS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}


class TorchvisionSet(DataSource):
    """A data set of torchvision, such as ``torchvision:Flowers102``, whose labels are classes."""

    class Config(BaseModel):
        """Options, as ``--set data.<option>=...``."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        path: Path | None = Field(None, description="The folder that torchvision calls root.")
        dataset: str | None = Field(None, description="torchvision's class; NAME in --data torchvision:NAME.")
        size: int | None = Field(
            None, gt=0, le=4096, description="Height and width to resize to; unset: all images must have one size."
        )
        arguments: dict[str, Any] = Field(
            default_factory=dict, description="More arguments of the class, e.g. {partition = 2} of DTD."
        )
        holdout: int | None = Field(None, ge=0, description=DESCRIPTION)

    config: Config

    def load(self) -> Dataset:
        name, path = self.config.dataset, self.config.path
        if name is None or path is None:
            raise UsageError(
                "torchvision has to know which data set, and where it is",
                where="--data torchvision",
                why=f"{'data.dataset' if name is None else 'data.path'} is not set",
                fix="for example --data torchvision:Flowers102 --data-path FOLDER",
            )
        path = path.expanduser()
        kind = f"torchvision-{VERSION}.{DECODER_VERSION}"
        key = tree_key(path, self.config.model_dump_json(exclude={"path"}))
        found = load_splits(kind, key, lambda store: self._decode(name, path, store))
        return Dataset(
            name=f"torchvision:{name}",
            classes=tuple(found.notes["classes"]),
            splits=found.splits,
            origin=f"{path}: {found.notes['origin']}",
            fingerprint=found.fingerprint,
            redistributable=False,
            missing={split: f"torchvision's {name} has no {split} split" for split in SPLITS},
        )

    def _decode(self, name: str, path: Path, store: ArrayStore) -> Notes:
        made = _splits(_class_of(name), path, self.config.arguments)
        arrays = {split: _arrays(data, f"{name}, {split}", self.config.size) for split, data in made.items()}
        channels = max(images.shape[1] for images, _ in arrays.values())
        arrays = {
            split: (images if images.shape[1] == channels else images.repeat(channels, axis=1), labels)
            for split, (images, labels) in arrays.items()
        }
        classes = _classes(next(iter(made.values())), max(int(labels.max()) for _, labels in arrays.values()) + 1)
        held = store_splits(store, arrays, self.config.holdout)
        origin = f"torchvision's {name}, {sum(len(labels) for _, labels in arrays.values()):,} samples"
        if held:
            origin += f"; the last {held:,} samples of train, evenly from the classes, held out as valid"
        return {"origin": origin, "classes": classes}


def _class_of(name: str) -> type:
    datasets = torchvision_datasets(f"--data torchvision:{name}")
    every = {other: getattr(datasets, other) for other in datasets.__all__}
    classes = {other: cls for other, cls in every.items() if "root" in inspect.signature(cls).parameters}
    if name not in classes:
        raise UsageError(
            f"torchvision has no data set {name!r}",
            where=f"--data torchvision:{name}",
            why=f"it is none of torchvision.datasets of version {_version()}",
            fix=suggest_names(name, list(classes)),
        )
    found: type = classes[name]
    return found


def _version() -> str:
    from importlib.metadata import version

    return version("torchvision")


def _splits(cls: type, path: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """The splits that the class has, by trying; all of a data set without splits is train."""
    parameters = inspect.signature(cls).parameters
    tries: list[tuple[str, dict[str, Any]]]
    if "train" in parameters:
        tries = [("train", {"train": True}), ("test", {"train": False})]
    elif "split" in parameters:
        tries = [(split, {"split": word}) for split, words in SPLITS.items() for word in words]
    else:
        tries = [("train", {})]
    made: dict[str, Any] = {}
    failures: list[str] = []
    for split, own in tries:
        if split in made:
            continue
        try:
            made[split] = cls(str(path), **own, **arguments)
        except Exception as error:  # of a split that it has not, or of files that are not there
            failures.append(describe_exception(error))
    if "train" not in made:
        raise DataError(
            f"torchvision's {cls.__name__} cannot be read",
            where=str(path),
            why=failures[0],
            fix="name the folder that torchvision calls root as --data-path, with all files of the data set unpacked",
        )
    return made


def _arrays(data: Any, where: str, size: int | None) -> tuple[Any, Any]:
    """The images and the labels of one split."""
    images: list[Any] = []
    labels: list[int] = []
    shape: tuple[int, ...] = ()
    with progress(f"decoding images of {where}", len(data)) as advance:
        for number in range(len(data)):
            try:
                image, label = data[number]
            except Exception as error:
                raise DataError(
                    "a sample cannot be read",
                    where=f"torchvision's {where}, sample {number}",
                    why=describe_exception(error),
                    fix="download or unpack the data set again",
                ) from error
            if not isinstance(label, int | np.integer) or not hasattr(image, "convert"):
                raise DataError(
                    "the labels are not classes" if hasattr(image, "convert") else "the samples are not images",
                    where=f"torchvision's {where}, sample {number}",
                    why=f"found {type(image).__name__} and {type(label).__name__}; expected an image and a number",
                    fix="choose a data set for classification, or another target_type in data.arguments",
                )
            fitting = (size, size) if size else (image.height, image.width)
            shape = shape or (len(image.convert("L" if image.mode in ("1", "L") else "RGB").getbands()), *fitting)
            if fitting != shape[1:]:
                raise DataError(
                    "the images have different sizes",
                    where=f"torchvision's {where}, sample {number}",
                    why=f"it is {fitting[0]} x {fitting[1]} pixels; the first is {shape[1]} x {shape[2]}",
                    fix="give the size that all should be resized to, for example --set data.size=64",
                )
            images.append(fit_to_shape(image.convert("L" if shape[0] == 1 else "RGB"), shape).numpy())
            labels.append(int(label))
            advance(1)
    return np.stack(images), np.array(labels)


def _classes(data: Any, count: int) -> list[str]:
    names = [str(name) for name in getattr(data, "classes", [])]
    return names if len(names) >= count and len(set(names)) == len(names) else [str(label) for label in range(count)]
