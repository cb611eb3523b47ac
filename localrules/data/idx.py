"""The IDX format of MNIST and its kin.

Described at https://yann.lecun.org/exdb/mnist: two zero bytes, a code for the type (8: unsigned byte), the number of
dimensions, each dimension as four bytes with the highest first, then the values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from localrules.data.io import AGAIN
from localrules.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def parse_idx(content: bytes, dimensions: int, where: str) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes.

    Args:
        content: Of the file, unpacked.
        dimensions: How many the array must have.
        where: The file's name, for messages.

    Raises:
        DataError: It is not such a file, or its size is not that of its shape.
    """
    start = 4 + 4 * dimensions
    magic = bytes((0, 0, 8, dimensions))
    if content[:4] != magic or len(content) < start:
        raise _wrong(where, f"a file that begins with {content[:4]!r}", f"an IDX file, which begins with {magic!r}")
    shape = [int(size) for size in np.frombuffer(content[4:start], dtype=">u4")]
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise _wrong(where, f"{len(content):,} bytes", f"{expected:,} for the shape {shape} in its head")
    return np.frombuffer(content[start:], dtype=np.uint8).reshape(shape)


def _wrong(where: str, found: str, expected: str) -> DataError:
    return DataError(
        "the data file is not in MNIST's format", where=where, why=f"found {found}; expected {expected}", fix=AGAIN
    )
