"""Fingerprints of the published MNIST, Fashion-MNIST and KMNIST, whose files have the same names.

Of the first two, hashes of the eight first images of each split, and of each split's labels: a file that is shuffled,
cut or packed anew still holds some of these images. Of KMNIST, the md5 of the published files.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from localrules.data.duplicates import image_keys
from localrules.errors import DataError
from localrules_vision.reading import file_md5

if TYPE_CHECKING:
    from localrules import Split


class Known(NamedTuple):
    """Hashes of a published data set, in hexadecimal digits, separated by spaces.

    Attributes:
        images: Beginnings of keys of :func:`localrules.data.duplicates.image_keys`.
        labels: BLAKE2b, 8 bytes long, of the labels of each split as bytes.
    """

    images: str
    labels: str


DIGITS = 16  # of each hash

KNOWN = {
    "mnist": Known(
        images=(
            "b7c73a6240cf745c b9a330e055b8102a 99293f43666c809b 18cda3c7830c1d2b "
            "dd046d4c5547de76 b1d014667783796e d752948d5c4a582d 8271205fc0dd4267 "
            "f251dcdf1180645f 90ceb2e1127210c7 0991e9cb6aef7fd2 cd5c3aadf894aeec "
            "6dd367eced8e1d27 e147eb30561a823b 64aff96499b6b448 052c40aeaf353ed8 "
        ),
        labels="f52eea2c5f99c70c 9b61c31a41795831",
    ),
    "fashion_mnist": Known(
        images=(
            "62a792805cd7e710 5d280d0688625dc4 92db9c69cbfe0315 19c363c91f879251 "
            "024fa59430dad317 08461d7590f3b3fc 8c16f16f7978f11c 03f0ba691cb2524b "
            "ed767240ae68013e d0afb958a2f39c9b 52083a5fe8507074 c03c45aa34877229 "
            "753e80bccf8a1aa2 56d4a8e32aeb07d1 3ef1f440197a616a 6ba4cefa2e0a4fcf "
        ),
        labels="5a94272eea281cb1 91602d8c52e4381e",
    ),
}

KMNIST_FILES = (
    *("bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344"),
    *("5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134"),
)
"""The md5 of KMNIST's files as they are published: their names are those of MNIST's files."""
FOLDERS = {"mnist": "mnist", "fashionmnist": "fashion_mnist", "fashion_mnist": "fashion_mnist", "kmnist": "kmnist"}
"""The data set of each name of a folder, in lower case."""


def refuse_kmnist(path: Path) -> None:
    """Raise if a file is KMNIST's by its md5, or by the innermost folder that has the name of a data set.

    Raises:
        DataError: It is.
        OSError: It cannot be read.
    """
    in_folder = _folder(str(path.absolute().with_suffix(""))).lower() == "kmnist"
    if in_folder or file_md5(path) in KMNIST_FILES:
        raise DataError(
            "the file is one of KMNIST's",
            where=str(path),
            why="it lies in a folder of that name" if in_folder else "its md5 is that of the published file",
            fix="choose --data kmnist, or name another file or folder with --data-path",
        )


def refuse_folder_of_another(name: str, where: str) -> None:
    """Raise if the innermost folder that has the name of a data set has another's.

    Args:
        name: The data set that was asked for.
        where: A file, or ``ARCHIVE: FILE``.

    Raises:
        DataError: It has.
    """
    folder = _folder(str(Path(where).absolute()))
    other = FOLDERS.get(folder.lower(), name)
    if other != name:
        raise DataError(
            f"the files in {folder}/ are those of {other}, not of {name}",
            where=where,
            why="the files of both have the same names",
            fix=f"choose --data {other}, or name the files of {name} with --data-path",
        )


def _folder(where: str) -> str:
    """The innermost folder that has the name of a data set; empty if none has."""
    return next((part for part in reversed(re.split(r"[/\\]|: ", where)) if part.lower() in FOLDERS), "")


def refuse_other_data_set(name: str, splits: dict[str, Split], where: Path | str) -> None:
    """Raise if some of the images, or all labels of a split, are those of another published data set.

    Args:
        name: The data set that was asked for.
        splits: The content of the file.
        where: The file, for the message.

    Raises:
        DataError: They are another's.
    """
    for split_name, split in splits.items():
        images = {key.hex()[:DIGITS] for key in image_keys(split)}
        labels = hashlib.blake2b(split.labels.byte().numpy().data, digest_size=DIGITS // 2).hexdigest()
        for other, known in KNOWN.items():
            if other == name:
                continue
            what = "images" if images & set(known.images.split()) else "labels" if labels in known.labels else None
            if what is not None:
                raise DataError(
                    f"the {what} are those of {other}, not of {name}",
                    where=f"{where}, {split_name}",
                    why=f"their hashes are those of the published {other}",
                    fix=f"choose --data {other}, or name a file of {name} with --data-path",
                )
