"""Downloads by torchvision, which knows the addresses and the md5 of the published files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from localrules.errors import DataError, MissingDependencyError, UsageError, describe_exception


def download(name: str, calls: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Download a data set into a folder, which appears when all of it is there.

    Args:
        name: torchvision's class.
        calls: The arguments of its calls, beside the root.
        folder: Does not exist, or is empty.

    Raises:
        DataError: It cannot be downloaded, or its md5 is not the published one.
    """
    folder = folder.expanduser()
    datasets = torchvision_datasets(f"--download of {name}")
    if folder.suffix and not folder.is_dir():
        raise UsageError(
            "a download needs a folder",
            where=f"--data-path {folder}",
            why="the file is not there, and torchvision downloads into a folder",
            fix="name a folder that does not exist yet, or leave out --data-path",
        )
    absent: list[Path] = []
    try:
        absent = [parent for parent in folder.parents if not parent.exists()]  # the innermost first
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        _remove_empty(absent)
        raise DataError(
            "the download cannot be stored", where=str(folder), why=str(error), fix="choose a --data-path to write to"
        ) from error
    try:
        for arguments in calls:
            getattr(datasets, name)(str(unfinished), download=True, **arguments)
        unfinished.chmod(0o755)
        if folder.is_dir():
            folder.rmdir()
        unfinished.rename(folder)
    except Exception as error:  # of the network, of the server, or of a file that is not the published one
        shutil.rmtree(unfinished, ignore_errors=True)
        _remove_empty(absent)
        raise DataError(
            f"{name} cannot be downloaded",
            where=str(folder),
            why=describe_exception(error),
            fix="check the connection; or get the files elsewhere, and name them with --data-path",
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, as far as they are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def torchvision_datasets(where: str) -> ModuleType:
    """``torchvision.datasets``.

    Raises:
        MissingDependencyError: torchvision is not installed.
    """
    try:
        import torchvision.datasets
    except Exception as error:  # an installation that does not fit torch raises more than ImportError
        raise MissingDependencyError(
            "downloads and torchvision's data sets need torchvision",
            where=where,
            why=f"it cannot be imported: {error}",
            fix='pip install "localrules[baselines]"',
        ) from error
    return torchvision.datasets
