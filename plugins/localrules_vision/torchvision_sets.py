"""Any classification data set of torchvision that is on this machine."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from localrules import Dataset, DataSource
from localrules.data.decoding import DECODER_VERSION
from localrules.data.file_tree import tree_key
from localrules.data.images import fit_to_shape, read_image
from localrules.data.mapped_cache import ArrayStore, Notes, load_splits
from localrules.errors import DataError, UsageError, describe_exception, suggest_names
from localrules.utils.progress import progress
from localrules_vision.download import torchvision_datasets
from localrules_vision.holdout import DESCRIPTION, store_splits
from localrules_vision.layout import only_splits

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 4
SPLITS = {"train": ("train", "trainval"), "valid": ("valid", "val", "validation"), "test": ("test",)}
UNFLIPPED = ("MNIST", "KMNIST", "EMNIST", "QMNIST", "USPS", "SVHN", "GTSRB", "Omniglot", "RenderedSST2", "SEMEION")
"""The data sets of characters, signs and sentences, in which a flipped image is of another class or of none."""

NAME_THEM = "name its splits, for example --set \"data.splits={train = 'train-standard', valid = 'val'}\""


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
        splits: dict[Literal["train", "valid", "test"], str] = Field(
            default_factory=dict,
            description="torchvision's word for each split, e.g. {train = 'train-standard', valid = 'val'} of "
            "Places365; then only the named splits are read. Unset: those that go by the usual words.",
        )
        arguments: dict[str, Any] = Field(
            default_factory=dict, description="More arguments of the class, e.g. {partition = 2} of DTD."
        )
        holdout: int | None = Field(None, ge=0, description=DESCRIPTION)
        flip: bool | None = Field(
            None,
            description="Whether a flipped image keeps its class; decides if augmentation flips by default. Unset: not "
            f"for {', '.join(UNFLIPPED)} (ours).",
        )

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
        key = tree_key(path, self.config.model_dump_json(exclude={"path", "flip"}))
        found = load_splits(kind, key, lambda store: self._decode(name, path, store))
        return Dataset(
            name=f"torchvision:{name}",
            classes=tuple(found.notes["classes"]),
            splits=found.splits,
            origin=f"{path}: {found.notes['origin']}",
            fingerprint=found.fingerprint,
            redistributable=False,
            missing={split: self._why_missing(name, split) for split in SPLITS},
            flip_preserves_label=name not in UNFLIPPED if self.config.flip is None else self.config.flip,
        )

    def _why_missing(self, name: str, split: str) -> str:
        if self.config.splits and split not in self.config.splits:
            return f"data.splits names no {split} split"
        return f"torchvision's {name} has no {split} split"

    def _decode(self, name: str, path: Path, store: ArrayStore) -> Notes:
        made = _splits(_class_of(name), path, self.config.arguments, self.config.splits)
        if "valid" in made and self.config.holdout:
            raise UsageError(
                f"torchvision's {name} has a valid split already",
                where=f"data.holdout={self.config.holdout}",
                why=f"valid has {_length(made['valid'], f'{name}, valid'):,} samples",
                fix="leave out data.holdout",
            )
        arrays = {split: _arrays(data, f"{name}, {split}", self.config.size) for split, data in made.items()}
        channels = max(images.shape[1] for images, _ in arrays.values())
        arrays = {
            split: (images if images.shape[1] == channels else images.repeat(channels, axis=1), labels)
            for split, (images, labels) in arrays.items()
        }
        classes = _classes(next(iter(made.values())), max(int(labels.max()) for _, labels in arrays.values()) + 1)
        if refusal := only_splits(classes):
            raise DataError(
                f"torchvision's {name} takes the folders of splits for classes",
                where=str(path),
                why=refusal,
                fix="read it with --data image_folder, which knows splits; or name the folder of one split",
            )
        held = store_splits(store, arrays, self.config.holdout)
        origin = f"torchvision's {name}, {sum(len(labels) for _, labels in arrays.values()):,} samples"
        if held:
            origin += f"; the last {held:,} samples of train, evenly from the classes, held out as valid"
        return {"origin": origin, "classes": classes}


def _class_of(name: str) -> type:
    datasets = torchvision_datasets(f"--data torchvision:{name}")
    every = {other: getattr(datasets, other) for other in datasets.__all__}
    every.pop("VisionDataset", None)  # the base of all
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


def _splits(cls: type, path: Path, arguments: dict[str, Any], words: Mapping[Any, str]) -> dict[str, Any]:
    """The splits that the class has; all of a data set without splits is train.

    Args:
        cls: torchvision's class.
        path: Its root.
        arguments: More arguments.
        words: torchvision's word for each split that is read; empty: the usual words are tried.
    """
    tries = _tries(cls, words)
    download = inspect.signature(cls).parameters.get("download")
    if download is not None and download.default is True:  # nothing is downloaded unless asked for
        arguments = {"download": False, **arguments}
    if "loader" in _parameters(cls):  # of image files; torchvision's own cuts 16 bits off and blackens transparency
        arguments = {"loader": lambda file: read_image(Path(file)), **arguments}
    _check_arguments(cls, arguments, tries[0][1])
    made: dict[str, Any] = {}
    unknown = ""
    for split, own in tries:
        if split in made:
            continue
        if split != "train" and not made and not words:
            break
        try:
            made[split] = cls(str(path), **own, **arguments)
        except Exception as error:  # of a split that it has not, or of files that are damaged or not there
            if isinstance(error, ValueError) and "argument split" in str(error):
                if words:
                    raise _no_such_split(
                        cls, f"data.splits.{split}={own['split']}", describe_exception(error)
                    ) from error
                unknown = unknown or describe_exception(error)
                continue
            raise DataError(
                f"torchvision's {cls.__name__} cannot be read",
                where=f"{path}, {split}",
                why=describe_exception(error),
                fix="name the folder that torchvision calls root as --data-path, with all files of the data set "
                "unpacked; or name the splits that are there, as in --set \"data.splits={train = 'train'}\"",
            ) from error
    if not made:
        raise _no_such_split(cls, str(path), unknown)
    return made


def _tries(cls: type, words: Mapping[Any, str]) -> list[tuple[str, dict[str, Any]]]:
    """The arguments that may make each split, the most usual first."""
    parameters = _parameters(cls)
    if "train" in parameters:
        values = {"train": True, "test": False}
        if other := [word for word in words.values() if word not in values]:
            raise _no_such_split(
                cls, f"data.splits={dict(words)}", f"found {other[0]!r}", "its words are train and test"
            )
        named = words or {"train": "train", "test": "test"}
        return [(split, {"train": values[named[split]]}) for split in SPLITS if split in named]
    if "split" in parameters:
        usual = [(split, word) for split in SPLITS for word in ([words[split]] if split in words else SPLITS[split])]
        return [(split, {"split": word}) for split, word in usual if not words or split in words]
    if words:
        raise _no_such_split(cls, f"data.splits={dict(words)}", "it comes whole", "leave out data.splits")
    return [("train", {})]


def _parameters(cls: type) -> set[str]:
    """The arguments of a class, with those that it takes by ``**kwargs`` for its base."""
    found: set[str] = set()
    for base in cls.__mro__:
        own = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        found |= own.keys()
        if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return found


def _check_arguments(cls: type, arguments: dict[str, Any], own: dict[str, Any]) -> None:
    """Raise if the class does not take the arguments."""
    if taken := [name for name in arguments if name in ("root", *own)]:
        raise UsageError(
            "data.arguments names what is given to torchvision already",
            where=f"data.arguments, {taken[0]}",
            why="--data-path is root, and each split is made with its own train or split",
            fix="leave it out; data.splits chooses the splits",
        )
    try:
        inspect.signature(cls).bind("root", **own, **arguments)
    except TypeError as error:
        raise UsageError(
            f"torchvision's {cls.__name__} cannot be read with these arguments",
            where=f"data.arguments={arguments}",
            why=str(error),
            fix=f"it takes {', '.join(inspect.signature(cls).parameters)}",
        ) from error


def _no_such_split(cls: type, where: str, why: str, fix: str = NAME_THEM) -> UsageError:
    return UsageError(
        f"torchvision's {cls.__name__} has no such split",
        where=where,
        why=why,
        fix=fix,
    )


def _length(data: Any, where: str) -> int:
    """The number of samples of one split, one at least."""
    try:
        count = len(data)
    except Exception as error:
        raise _unreadable(where, describe_exception(error)) from error
    if not count:
        raise _unreadable(where, "it has no samples")
    return count


def _unreadable(where: str, why: str) -> DataError:
    return DataError(
        "the samples cannot be read",
        where=f"torchvision's {where}",
        why=why,
        fix="download or unpack the data set again",
    )


def _arrays(data: Any, where: str, size: int | None) -> tuple[Any, Any]:
    """The images and the labels of one split; the images are grey where all are."""
    try:
        return _decoded(data, where, size, 1)
    except _ColouredError:
        return _decoded(data, where, size, 3)


class _ColouredError(Exception):
    """An image has colours."""


def _decoded(data: Any, where: str, size: int | None, channels: int) -> tuple[Any, Any]:
    images: list[Any] = []
    labels: list[int] = []
    shape: tuple[int, ...] = ()
    count = _length(data, where)
    with progress(f"decoding images of {where}", count) as advance:
        for number in range(count):
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
            if channels == 1 and image.mode not in ("1", "L"):
                raise _ColouredError
            shape = shape or (channels, *fitting)
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
    """The names of the classes, or their numbers where there are no distinct names for all."""
    try:
        names = [str(name) for name in getattr(data, "classes", [])]
    except Exception as error:
        raise _unreadable(f"{type(data).__name__}, attribute classes", describe_exception(error)) from error
    return names if len(names) >= count and len(set(names)) == len(names) else [str(label) for label in range(count)]
