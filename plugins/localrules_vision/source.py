"""The base of the published data sets: where they are looked for, and how they are cached and described."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import platformdirs
from pydantic import BaseModel, ConfigDict, Field

from localrules import Dataset, DataSource
from localrules.data.decoding import DECODER_VERSION
from localrules.data.file_tree import tree_key
from localrules.data.io import exists
from localrules.data.mapped_cache import ArrayStore, Notes, load_splits
from localrules.errors import DataError, UsageError
from localrules_vision.download import download


class PublishedSource(DataSource):
    """A published data set: found, decoded once into the cache, and described.

    A subclass gives the attributes and :meth:`decode`, which stores the splits and returns notes: ``origin``, what was
    read; optionally ``classes``, ``missing``, and ``warnings`` to be shown at each loading.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 2  # raise it when decode() changes
    classes: ClassVar[tuple[str, ...]]
    places: ClassVar[tuple[str, ...]]  # files and folders that hold the data, by their usual names, the best first
    redistributable: ClassVar[bool] = False
    flip_preserves_label: ClassVar[bool] = True
    missing: ClassVar[dict[str, str]] = {}
    get_it: ClassVar[str]  # how to get it, for the message
    torchvision: ClassVar[str] = ""  # torchvision's class that downloads it, and its arguments
    downloads: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    class Config(BaseModel):
        """Options that all published data sets have."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        path: Path | None = Field(
            None,
            description="The folder or archive that holds the files. Unset: looked for in the usual places.",
        )
        download: bool = Field(
            False,
            description="Download it by torchvision, if that can and it is not there: to path, or else to the user's "
            "data folder. With run, also --download.",
        )

    config: Config

    @classmethod
    def find(cls) -> Path | None:
        """The first of ``$LOCALRULES_<NAME>`` and the usual places that is there."""
        chosen = os.environ.get(cls.variable())
        if chosen:
            return Path(chosen)  # even if it is not there: then loading says so
        return next((path for path in cls._usual_places() if _holds_data(path)), None)

    @classmethod
    def variable(cls) -> str:
        """The environment variable that names the data set."""
        return f"LOCALRULES_{cls.name.upper()}"

    @abstractmethod
    def decode(self, path: Path, store: ArrayStore) -> Notes:
        """Store the splits of a file or folder, and return notes."""

    def load(self) -> Dataset:
        path = self.location()
        options = self.config.model_dump_json(exclude={"path", "download"})
        kind = f"{self.name}-{self.version}.{DECODER_VERSION}"
        found = load_splits(kind, tree_key(path, options), lambda store: self._decode(path, store))
        for warning in found.notes.get("warnings", ()):
            warnings.warn(f"{path}: {warning}", stacklevel=2)
        return Dataset(
            name=self.name,
            classes=tuple(found.notes["classes"]),
            splits=found.splits,
            origin=f"{path}: {found.notes['origin']}",
            fingerprint=found.fingerprint,
            redistributable=self.redistributable,
            missing={**self.missing, **found.notes.get("missing", {})},
            flip_preserves_label=self.flip_preserves_label,
            recognised="unrecognised" not in found.notes["origin"],
        )

    def _decode(self, path: Path, store: ArrayStore) -> Notes:
        notes = self.decode(path, store)
        return {"classes": self.classes, **notes}

    def location(self) -> Path:
        """The folder or archive that is read; downloaded now if it is not there and the options say so.

        Raises:
            DataError: It is not found, or cannot be downloaded.
        """
        return self._inside(self._path().expanduser())

    def _path(self) -> Path:
        path = self.config.path or self.find()
        if self.config.download and (path is None or _is_absent(path.expanduser())):
            if not self.torchvision:
                raise UsageError(
                    f"{self.name} cannot be downloaded",
                    where="data.download=true",
                    why="torchvision does not download it, as its terms or its size ask for a visit of its page",
                    fix=f"{self.get_it}, and name it with --data-path",
                )
            return download(self.torchvision, self.downloads, path or self._home() / self.name)
        if path is None:
            raise DataError(
                f"{self.name} was not found on this machine",
                where=", ".join(str(place) for place in self._usual_places()),
                why=f"neither --data-path nor {self.variable()} names it, and it is in none of these places",
                fix=f"{self.get_it}, and name it with --data-path or in {self.variable()}"
                + ("; or let torchvision download it with --download" if self.torchvision else ""),
            )
        return path

    @classmethod
    def _inside(cls, path: Path) -> Path:
        """The data in a folder that holds several data sets, such as torchvision's root; else the path itself."""
        return next((path / name for name in cls.places if _holds_data(path / name)), path)

    @classmethod
    def _usual_places(cls) -> list[Path]:
        return [folder / name for folder in (Path(), Path("data"), cls._home()) for name in cls.places]

    @staticmethod
    def _home() -> Path:
        return platformdirs.user_data_path("localrules")


def _holds_data(place: Path) -> bool:
    """Whether a usual place is there. One without an ending is a folder: ``usps`` is also the name of a data file."""
    return exists(place) and (bool(place.suffix) or place.is_dir())


def _is_absent(path: Path) -> bool:
    """Whether a download is to make the path: it is not there, or an empty folder."""
    return not exists(path) or (path.is_dir() and not any(path.iterdir()))
