"""Data sets that come as arrays in a few files, with train and test and no official valid split."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from localrules.data.file_tree import FileTree, open_tree
from localrules.data.mapped_cache import ArrayStore, Notes
from localrules_vision.holdout import DESCRIPTION, Arrays, store_splits
from localrules_vision.reading import origin_of
from localrules_vision.source import PublishedSource


class ArraySource(PublishedSource):
    """Reads arrays, and holds a part of train out."""

    md5: ClassVar[tuple[str, ...]]  # of the published files, or of the archive that holds them

    class Config(PublishedSource.Config):
        """Options, as ``--set data.<option>=...``."""

        holdout: int | None = Field(None, ge=0, description=DESCRIPTION)

    config: Config

    @abstractmethod
    def read(self, tree: FileTree) -> tuple[dict[str, Arrays], list[str]]:
        """The splits, and the md5 of the files that were read."""

    def decode(self, path: Path, store: ArrayStore) -> Notes:
        with open_tree(path) as tree:
            splits, digests = self.read(tree)
        origin = origin_of(path, digests, self.md5, sum(len(labels) for _, labels in splits.values()))
        held = store_splits(store, splits, self.config.holdout)
        if not held:
            fix = f"{self.name} has no official valid split: leave out data.holdout=0, which holds nothing out of train"
            return {"origin": origin, "missing": {"valid": fix}}
        return {"origin": f"{origin}; the last {held:,} samples of train, evenly from the classes, held out as valid"}
