"""The structure of MATLAB's files, checked before they are read: scipy's reader ends the process at some damaged ones.

The format is that of version 5, described in MATLAB's "MAT-File Format",
https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

HEAD = 128  # bytes before the first element
ENDIANNESS = {b"IM": "<", b"MI": ">"}  # in the last two bytes of the head
MATRIX, COMPRESSED = 14, 15
NAME, DIMENSIONS, FLAGS = 1, 5, 6  # types of the parts of a matrix
VALUE_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
NUMERIC = range(6, 16)  # classes of matrices
COMPLEX = 1 << 11  # in the flags


class Element(NamedTuple):
    """A part of a file.

    Attributes:
        type: Its number in the format.
        data: Without padding.
    """

    type: int
    data: memoryview


def check_mat(content: bytes) -> None:
    """Raise if a file is not what it says.

    Args:
        content: Of the file.

    Raises:
        ValueError: It is of another version, or damaged.
        zlib.error: A compressed part is damaged.
    """
    order = ENDIANNESS.get(content[HEAD - 2 : HEAD])
    if order is None:
        raise ValueError("it is not a MATLAB file of version 5")
    for element in _elements(memoryview(content)[HEAD:], order):
        if element.type == COMPRESSED:
            (element,) = _elements(memoryview(zlib.decompress(element.data)), order)
        if element.type != MATRIX:
            raise ValueError(f"it has an element of type {element.type} where an array should be")
        _check_matrix(element.data, order)


def _check_matrix(data: memoryview, order: str) -> None:
    flags, dimensions, name, *values = _elements(data, order)
    if (flags.type, dimensions.type, name.type) != (FLAGS, DIMENSIONS, NAME) or len(flags.data) != 8:
        raise ValueError("the head of an array is damaged")
    kind = struct.unpack(f"{order}I", flags.data[:4])[0]
    if kind & 0xFF not in NUMERIC:
        return  # of text and structures, which nobody reads
    if len(values) != (2 if kind & COMPLEX else 1):
        raise ValueError("an array has no values, or too many")
    shape = struct.unpack(f"{order}{len(dimensions.data) // 4}i", dimensions.data)
    for part in values:
        size = VALUE_SIZES.get(part.type)
        if size is None or min(shape) < 0 or len(part.data) != size * math.prod(shape):
            raise ValueError(f"array {bytes(name.data).decode('latin1')} does not have the values of its shape {shape}")


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError("it ends inside an element")
        kind, size = struct.unpack(f"{order}2I", data[at : at + 8])
        begin = at + 8
        if kind >> 16:  # a small one, with its size and its data in the head
            kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
        if begin + size > len(data):
            raise ValueError("it ends inside an element")
        yield Element(kind, data[begin : begin + size])
        at = max(at + 8, begin + size)
        at += -at % 8 if kind != COMPRESSED else 0
