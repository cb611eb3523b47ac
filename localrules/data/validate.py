"""One check of every data set, at loading: that it is what the rest of the package relies on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from localrules.data.dataset import SPLITS, Dataset, Split
from localrules.errors import DataError

LAYOUT = "(samples, channels, height, width)"


def check_dataset(data: object, source: str) -> Dataset:
    """Check what a data source returns.

    Images are uint8, of one shape in all splits; labels are int64 and within the classes, one for each image; no split
    is empty; and ``train``, where there is one, has samples of two classes or more.

    Args:
        data: What :meth:`~localrules.DataSource.load` returned.
        source: The method that returned it, for the message.

    Returns:
        The same data set.

    Raises:
        DataError: The first thing that is wrong.
    """
    if not isinstance(data, Dataset):
        _refuse(source, f"load() returned {_kind(data)}", "a localrules.Dataset", "return a Dataset from load()")
    where = f"{data.name}, {data.origin}; loaded by {source}"
    _check_classes(data, where)
    if not isinstance(data.splits, Mapping) or not data.splits:
        found = "no split" if isinstance(data.splits, Mapping) else f"splits of type {_kind(data.splits)}"
        _refuse(where, found, f"a dict with some of {', '.join(SPLITS)}", "return at least the train split")
    for name, split in data.splits.items():
        if name not in SPLITS:
            _refuse(
                where, f"a split named {name!r}", f"some of {', '.join(SPLITS)}", "rename the split, or leave it out"
            )
        if not isinstance(split, Split):
            _refuse(f"split {name!r} of {where}", _kind(split), "a localrules.Split", "return Split(images, labels)")
        _check_split(split, len(data.classes), f"split {name!r} of {where}")
    shapes = {name: tuple(split.images.shape[1:]) for name, split in data.splits.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{shape} in {name}" for name, shape in shapes.items())
        _refuse(where, f"images of {found}", "one shape in all splits", "resize or crop the images in load()")
    if "train" in data.splits:
        first = int(data.splits["train"].labels[0])
        if bool((data.splits["train"].labels == first).all()):
            found = f"samples of one class only, {data.classes[first]}"
            _refuse(f"split 'train' of {where}", found, "two classes or more", "load the samples of the other classes")
    return data


def _check_classes(data: Dataset, where: str) -> None:
    classes = data.classes
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not all(isinstance(c, str) for c in classes):
        _refuse(
            where, f"classes of type {_kind(classes)}", "a tuple of names", "give the classes as a tuple of strings"
        )
    if len(classes) < 2:
        found = f"one class, {classes[0]}" if classes else "no classes"
        _refuse(where, found, "two or more", "add the samples of the other classes, or name the folder around them")
    if len(set(classes)) < len(classes):
        found = f"{len(classes)} classes, {len(set(classes))} of them distinct"
        _refuse(where, found, "distinct ones", "name each class once, in the order of the labels")


def _check_split(split: Split, classes: int, where: str) -> None:
    images, labels = split.images, split.labels
    expected = f"uint8 of shape {LAYOUT}"
    if not isinstance(images, Tensor):
        _refuse(
            where, f"images of type {_kind(images)}", f"a tensor, {expected}", "convert them, as by torch.from_numpy"
        )
    if images.dtype != torch.uint8 or images.dim() != 4:
        _refuse(where, f"images that are {_show(images)}", expected, _images_fix(images))
    if not len(images):
        _refuse(where, "no samples", "one or more", "leave the split out of splits, and say why in missing")
    if not images.numel():
        _refuse(where, f"images that are {_show(images)}", "at least one pixel", "check how load() reads the images")
    expected = f"int64 of shape ({len(images)},), one for each image"
    if not isinstance(labels, Tensor):
        _refuse(where, f"labels of type {_kind(labels)}", f"a tensor, {expected}", "convert them: torch.tensor")
    if labels.dim() == 1 and len(labels) != len(images):
        _refuse(where, f"{len(images):,} images and {len(labels):,} labels", "as many", "give each image one label")
    if labels.dtype != torch.int64 or labels.dim() != 1:
        fix = "number the classes from 0 and convert: labels.long()"
        if tuple(labels.shape) == (len(images), classes):
            fix = "convert one-hot labels: labels.argmax(1)"
        elif labels.dim() > 1:
            fix = "flatten them: labels.flatten()"
        _refuse(where, f"labels that are {_show(labels)}", expected, fix)
    outside = ((labels < 0) | (labels >= classes)).nonzero().flatten()
    if len(outside):
        found = f"the label {int(labels[outside[0]])} at sample {int(outside[0])} ({len(outside):,} labels like that)"
        fix = "number the classes from 0, in the order of their names, and name them all in classes"
        _refuse(where, found, f"0 to {classes - 1}, as there are {classes} classes", fix)


def _images_fix(images: Tensor) -> str:
    if images.is_floating_point():
        return "give bytes from 0 to 255, for example (255 * images).round().to(torch.uint8): runs standardise them"
    if images.dtype != torch.uint8:
        return f"give bytes from 0 to 255, images.to(torch.uint8), of shape {LAYOUT}; tokens are for a Learner"
    if images.dim() == 3:
        return "add the channel: images.unsqueeze(1)"
    return f"reshape them to {LAYOUT}; vectors may be images of one row, images[:, None, None, :]"


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _show(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}"


def _refuse(where: str, found: str, expected: str, fix: str) -> NoReturn:
    raise DataError("the data set is not well formed", where=where, why=f"found {found}; expected {expected}", fix=fix)
