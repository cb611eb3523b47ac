"""Images of one's own: folders named after classes, or an archive of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from localrules import Dataset, DataSource
from localrules.data.decoding import DECODER_VERSION, ImageForm, Sample, decode_splits
from localrules.data.file_tree import FileTree, open_tree, tree_key
from localrules.data.folders import count_of, some_names
from localrules.data.mapped_cache import ArrayStore, CachedSplits, Notes, load_splits
from localrules.errors import DataError, UsageError
from localrules_vision.layout import Layout, read_layout

VERSION = 3  # of what is cached beside the decoder's; raise it when the layout is read otherwise


class ImageFolder(DataSource):
    """Images of any size, in colour or grey, as ``<split>/<class>/<image>`` or ``<class>/<image>``.

    A tar or zip archive of such folders is read as it is. Images are decoded once, into the cache.
    """

    class Config(BaseModel):
        """Options, as ``--set data.<option>=...``."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        path: Path | None = Field(
            None,
            description="A folder, or a tar (also compressed by gzip, bzip2 or xz) or zip archive, with "
            "<split>/<class>/<image> or <class>/<image>.",
        )
        size: int | None = Field(
            None, gt=0, le=4096, description="Height and width to resize to; unset: all images must have one size."
        )
        channels: Literal[1, 3] | None = Field(
            None, description="1 makes all images grey, 3 makes grey ones colour; unset: 3 if any image has colour."
        )
        valid_fraction: float | None = Field(
            None,
            ge=0,
            lt=1,
            description="Fraction of each class of train that becomes the valid split, where the source has none; 0 "
            "trains on all. Must be given where the source has no splits.",
        )
        split_seed: int = Field(0, ge=0, description="Decides which samples become the valid split (ours).")
        skip_unreadable: bool = Field(
            False, description="Leave out images that cannot be read, with a warning, instead of an error."
        )
        flip: bool = Field(
            True,
            description="Whether a flipped image keeps its class; decides if augmentation flips by default (ours).",
        )

    config: Config

    def load(self) -> Dataset:
        if self.config.path is None:
            raise UsageError(
                "image_folder has to know where the images are",
                where="--data image_folder",
                why="data.path is not set",
                fix="name a folder or an archive with --data-path",
            )
        path = self.config.path.expanduser()
        key = tree_key(path, self.config.model_dump_json(exclude={"path", "flip"}))

        def decode(store: ArrayStore) -> Notes:
            with open_tree(path) as tree:
                return self._decode(tree, store)

        return self._data_set(path, load_splits(f"image-folder-{VERSION}.{DECODER_VERSION}", key, decode))

    def _decode(self, tree: FileTree, store: ArrayStore) -> Notes:
        layout = read_layout(tree)
        samples = self._divided(tree, layout)
        side = self.config.size
        form = ImageForm(None if side is None else (side, side), self.config.channels)
        skipped = decode_splits(tree, samples, store, form, skip_unreadable=self.config.skip_unreadable)
        notes = list(layout.notes)
        if skipped:
            notes.append(f"{count_of(skipped, 'unreadable image')} left out: {some_names(skipped)}")
        return {"classes": layout.classes, "form": tree.form, "notes": notes}

    def _divided(self, tree: FileTree, layout: Layout) -> list[Sample]:
        """The samples, with a part of train moved to valid as asked for."""
        fraction = self.config.valid_fraction
        if fraction is None and not layout.has_splits:
            raise DataError(
                f"the {tree.form} has classes but no splits",
                where=str(tree.path),
                why=f"found the classes {some_names(layout.classes)} and no train/",
                fix="hold a tenth of each class out with --set data.valid_fraction=0.1 (0 trains on all), or sort the "
                "images into train/, valid/ and test/",
            )
        if fraction and layout.count("valid"):
            raise UsageError(
                f"the {tree.form} has a valid split already",
                where=f"data.valid_fraction={fraction}",
                why=f"valid has {layout.count('valid'):,} samples",
                fix="leave out data.valid_fraction; holdout_fraction holds some of train out to choose settings by",
            )
        return hold_out_fraction(layout.samples, fraction, self.config.split_seed) if fraction else layout.samples

    def _data_set(self, path: Path, found: CachedSplits) -> Dataset:
        for note in found.notes["notes"]:
            warnings.warn(f"{path}: {note}", stacklevel=3)
        counts = ", ".join(f"{len(split):,} {name}" for name, split in found.splits.items())
        origin = [f"{path}: a {found.notes['form']} of images, {counts}", *found.notes["notes"]]
        if self.config.valid_fraction:
            origin.append(f"valid is {self.config.valid_fraction:g} of each class, seed {self.config.split_seed}")
        return Dataset(
            name="image_folder",
            classes=tuple(found.notes["classes"]),
            splits=found.splits,
            origin="; ".join(origin),
            fingerprint=found.fingerprint,
            redistributable=False,
            missing={
                "train": "name a folder or archive with train/",
                "valid": "hold a tenth of each class out with --set data.valid_fraction=0.1, or add valid/",
                "test": "add test/",
            },
            flip_preserves_label=self.config.flip,
        )


def hold_out_fraction(samples: list[Sample], fraction: float, seed: int) -> list[Sample]:
    """Move a part of each class from train to valid: rounded, and one at least of a class that has two or more.

    Args:
        samples: Sorted; the order within a split is kept.
        fraction: Above 0 and below 1.
        seed: The draw depends on it, and on the numbers of samples of the classes.
    """
    generator = torch.Generator().manual_seed(seed)
    by_class: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.split == "train":
            by_class.setdefault(sample.label, []).append(sample)
    held: set[str] = set()
    for label in sorted(by_class):
        own = by_class[label]
        count = min(max(round(fraction * len(own)), 1), len(own) - 1)
        held.update(own[index].name for index in torch.randperm(len(own), generator=generator)[:count].tolist())
    return [sample._replace(split="valid") if sample.name in held else sample for sample in samples]
