"""FER2013 as text: Kaggle's ``fer2013.csv``, ``icml_face_data.csv`` and ``train.csv``, plain or gzipped."""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from localrules.data.io import open_maybe_gzip
from localrules.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 48
PIXELS = SIDE * SIDE
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGES = ("Training", "PublicTest", "PrivateTest")  # train, valid, test

DELIMITERS = (",", ";", "\t")  # the original's, and those that spreadsheets write
INDEX_COLUMNS = {"", "unnamed: 0", "index", "id"}  # the numbers that pandas and spreadsheets write beside the samples
EXPECTED = "the columns emotion,pixels,Usage in any order (fer2013.csv), or emotion,pixels (train.csv)"
GET_IT = "take fer2013.csv from Kaggle's 'Challenges in Representation Learning: Facial Expression Recognition'"


class Rows(NamedTuple):
    """The rows of a file, in its order.

    Attributes:
        images: uint8, shape (samples, 48, 48).
        labels: int64, shape (samples,).
        usages: int64, shape (samples,): an index into ``USAGES``.
        md5: Of the unpacked text.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    usages: NDArray[np.int64]
    md5: str


def read_csv(path: Path) -> Rows:
    """Read a file strictly: no sample is skipped, guessed or repaired.

    The header decides whether commas, semicolons or tabs separate the columns. A column of row numbers is passed over.
    The text is UTF-8 or, with a byte-order mark, UTF-16.

    Raises:
        DataError: The first thing that is wrong, with its row (the header is row 1).
    """
    md5 = hashlib.md5(usedforsecurity=False)
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    usages: list[int] = []
    with open_maybe_gzip(path) as file, closing(_lines(path, file)) as lines:
        header = next(lines)
        if not header:
            raise DataError("the data file is empty", where=str(path), why="it unpacks to 0 bytes", fix=GET_IT)
        md5.update(header)
        columns, delimiter = _columns(path, header)
        for number, line in enumerate(lines, start=2):
            md5.update(line)
            fields = line.split(delimiter.encode())
            if len(fields) != len(columns):
                if not line.strip():
                    continue
                raise _wrong(path, number, f"{len(fields)} fields", f"{len(columns)}: {delimiter.join(columns)}")
            row = dict(zip(columns, fields, strict=True))
            try:
                labels.append(_label(row["emotion"]))
                usages.append(_usage(row["usage"]) if "usage" in row else 0)
                images.append(pixels(row["pixels"]))
            except _Unexpected as error:
                raise _wrong(path, number, error.found, error.expected) from None
    if not images:
        raise DataError("the data file has no rows", where=str(path), why="only a header was found", fix=GET_IT)
    return Rows(np.stack(images).reshape(-1, SIDE, SIDE), np.array(labels), np.array(usages), md5.hexdigest())


def pixels(text: bytes) -> NDArray[np.uint8]:
    """Decode one image: 2304 integers 0..255, separated by spaces.

    Works on all characters at once. With d the digit at a place (0 where there is a space), the number that ends there
    is d[i] + 10 d[i-1] + 100 d[i-2], where a space cuts off what stands before it.

    Returns:
        uint8, shape (2304,).
    """
    text = text.strip(b' "\r\n')
    codes = np.frombuffer(b"  " + text + b" ", dtype=np.uint8)
    digits = codes - np.uint8(48)  # a space becomes 240: anything above 9 is not a digit
    is_digit = digits < 10
    values = digits * is_digit
    ones, tens, hundreds = values[2:-1], values[1:-2], values[:-3] * is_digit[1:-2]
    ends = is_digit[2:-1] & ~is_digit[3:]
    numbers = (ones + np.uint16(10) * tens + np.uint16(100) * hundreds)[ends]
    # Anything unusual, such as a sign, four digits in a row, or another count, is left to the careful reader.
    usual = (
        len(numbers) == PIXELS
        and np.count_nonzero(is_digit) + np.count_nonzero(codes == 32) == len(codes)
        and not (is_digit[3:] & is_digit[2:-1] & is_digit[1:-2] & is_digit[:-3]).any()
        and numbers.max() <= 255
    )
    return numbers.astype(np.uint8) if usual else _pixels_carefully(text)


def _pixels_carefully(text: bytes) -> NDArray[np.uint8]:
    words = text.split()
    for place, word in enumerate(words, start=1):
        if not re.fullmatch(rb"0*\d{1,3}", word) or int(word[-3:]) > 255:
            raise _Unexpected(f"pixel {place} is {_show(word)}", "an integer from 0 to 255")
    if len(words) != PIXELS:
        raise _Unexpected(f"{len(words)} pixels", f"{PIXELS} ({SIDE} x {SIDE})")
    return np.array([int(word) for word in words], dtype=np.uint8)


def _lines(path: Path, file: BinaryIO) -> Generator[bytes, None, None]:
    """The lines in UTF-8, with their ends; of the first one no more than 10,000 characters."""
    start = file.read(2)
    file.seek(0)
    if start not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        yield file.readline(10_000)
        yield from file
        return
    text = io.TextIOWrapper(file, encoding="utf-16", newline="\n")
    try:
        yield text.readline(10_000).encode()
        for line in text:
            yield line.encode()
    except UnicodeError as error:
        raise DataError("the data file is damaged", where=str(path), why=str(error), fix=GET_IT) from error
    finally:
        text.detach()  # the file is closed by whoever opened it


def _columns(path: Path, header: bytes) -> tuple[list[str], str]:
    """The column names in lower case, ``pixels`` and ``emotion`` among them; and what separates them."""
    text = header.decode("utf-8-sig", errors="replace")
    for delimiter in DELIMITERS:
        columns = [name.strip(' "\r\n').lower() for name in text.split(delimiter)]
        data = sorted(name for name in columns if name not in INDEX_COLUMNS)
        if data in (["emotion", "pixels"], ["emotion", "pixels", "usage"]) and len(columns) - len(data) <= 1:
            return columns, delimiter
        if data == ["pixels"]:
            raise DataError(
                "the data file has images but no labels",
                where=f"{path}, row 1",
                why="its only column is pixels (Kaggle's test.csv), so nothing can be trained or scored on it",
                fix="use fer2013.csv or icml_face_data.csv, which hold the labels of all three splits",
            )
        if {"image name", "neutral"} <= set(data):
            raise DataError(
                "these are FER+'s votes, not images",
                where=f"{path}, row 1",
                why=f"found the header {_show(header.strip())}; expected {EXPECTED}",
                fix="give fer2013.csv to --data-path, and this file to --ferplus of localrules eval",
            )
    raise _wrong(path, 1, f"the header {_show(header.strip())}", EXPECTED, fix=GET_IT)


def _label(field: bytes) -> int:
    word = field.strip(b' "\r\n')
    if not re.fullmatch(rb"[0-6]", word):
        raise _Unexpected(f"the label {_show(word)}", "an integer from 0 (angry) to 6 (neutral)")
    return int(word)


def _usage(field: bytes) -> int:
    word = field.strip(b' "\r\n').decode("utf-8", errors="replace")
    if word not in USAGES:
        raise _Unexpected(f"the usage {_show(word.encode())}", "Training, PublicTest or PrivateTest")
    return USAGES.index(word)


class _Unexpected(Exception):
    """Something in a row that should not be there."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected


def _show(text: bytes) -> str:
    """Foreign text, short and printable."""
    return repr(text[:40].decode("utf-8", errors="backslashreplace") + ("..." if len(text) > 40 else ""))


def _wrong(path: Path, row: int, found: str, expected: str, fix: str = f"mend the row, or {GET_IT}") -> DataError:
    return DataError(
        "the data file is not in FER2013's format",
        where=f"{path}, row {row}",
        why=f"found {found}; expected {expected}",
        fix=fix,
    )
