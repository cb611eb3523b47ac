"""Hashes of the published MNIST and Fashion-MNIST, whose files have the names of KMNIST's.

They are those of the data sets ``mnist`` and ``fashion_mnist``, which another plugin brings: of the eight first images
of each split, and of each split's labels. So a file is known that is shuffled, cut or packed anew.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from localrules.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Known(NamedTuple):
    """Hashes of a published data set, in hexadecimal digits, separated by spaces.

    Attributes:
        images: Beginnings of keys of :func:`localrules.data.duplicates.image_keys`.
        labels: BLAKE2b, 8 bytes long, of the labels of each split as bytes.
    """

    images: str
    labels: str


DIGITS = 16  # of each hash
FOLDERS = {"mnist": "mnist", "fashionmnist": "fashion_mnist", "fashion_mnist": "fashion_mnist", "kmnist": "kmnist"}
"""The data set of each name of a folder, in lower case."""

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


def refuse_mnist(name: str, images: NDArray[Any], labels: NDArray[Any], where: str) -> None:
    """Raise if a split of another data set of MNIST's form is that of MNIST or Fashion-MNIST.

    Args:
        name: The data set that was asked for.
        images: uint8, one for each label.
        labels: Of all samples.
        where: The file of the labels, for the message; a folder in it may have the name of a data set.

    Raises:
        DataError: The labels or some of the images are those of another data set, or the innermost folder that has the
            name of a data set has another's.
    """
    keys = {hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()[:DIGITS] for image in images}
    own = hashlib.blake2b(labels.astype("uint8").tobytes(), digest_size=DIGITS // 2).hexdigest()
    found = {
        other: what
        for other, known in KNOWN.items()
        for what, met in (("labels", own in known.labels.split()), ("images", keys & set(known.images.split())))
        if met
    }
    folders = [part for part in re.split(r"[/\\]|: ", str(Path(where).absolute())) if part.lower() in FOLDERS]
    if not found and folders and (other := FOLDERS[folders[-1].lower()]) != name:
        found = {other: f"files in {folders[-1]}/"}
    for other, what in found.items():
        raise DataError(
            f"the {what} are those of {other}, not of {name}",
            where=where,
            why="the files of both have the same names",
            fix=f"choose --data {other}, or name the files of {name} with --data-path",
        )
