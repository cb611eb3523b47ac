"""Image files: one reader and one resizing, for training, evaluation and prediction.

A network never sees another preprocessing of an image file than it was trained with, so every data set of image files,
and ``localrules predict``, go through :func:`read_image` and :func:`fit_to_shape`.
"""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import ExifTags, Image

from localrules.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff"),
    *(".jpe", ".jfif", ".pbm", ".pnm", ".jp2"),
)
"""Which files of a folder are taken for images, in lower case. A file that is named itself may be called anything."""
_MODES = {1: "L", 3: "RGB"}
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_SIXTEEN_BITS_AS_32 = ("PNG", "PPM")  # formats without 32-bit integers, whose 16 bits Pillow may keep in mode "I"
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the orientation of EXIF."""
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF
_UNDECODABLE = (
    # What Pillow raises at foreign or damaged files, beside its own errors.
    *(OSError, ValueError, SyntaxError, EOFError, struct.error, LookupError, TypeError, OverflowError),
    RuntimeError,
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


def read_image(path: Path) -> Image.Image:
    """The image in a file, see :func:`decode_image`."""
    with refuse_huge_images():
        return decode_image(path, str(path))


@contextmanager
def refuse_huge_images() -> Iterator[None]:
    """Let :func:`decode_image` refuse images that are too large for Pillow, for all threads meanwhile."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode_image(source: Path | bytes, where: str) -> Image.Image:
    """An image as a viewer shows it: turned as its EXIF data say, on white where it is transparent.

    Of 16 bits the upper 8 are kept, as Pillow does for colour. Pixels of 32 bits are refused: the file does not say
    which value is white. Of an animation or a file with several pages, the first image is taken.

    Args:
        source: The file, or its content.
        where: Its name, for the message.

    Returns:
        8 bits a channel: mode ``L`` if the file is grey, else ``RGB``.

    Raises:
        DataError: It is not an image, damaged, cut short, or has pixels of 32 bits.
    """
    try:
        # Through an open file, not by its name: Pillow then maps no file, which scrambles turned TIFFs (seen in 13.0).
        opened = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with opened as raw, Image.open(raw) as file:
            return _to_rgb8(_turned(file), file)
    except _UNDECODABLE as error:
        raise DataError(
            "this is not an image that can be read",
            where=where,
            why=f"it cannot be decoded: {error}",
            fix="replace the file, or take it out; convert it to PNG with 8 bits a channel if it opens elsewhere",
        ) from error


def fit_to_shape(image: Image.Image, shape: tuple[int, ...]) -> Tensor:
    """Make an image fit a network, and change nothing in one that fits.

    Colour becomes grey by ITU-R 601 luma, or grey becomes colour; the middle is cut out in the aspect of the network's
    images; and that is resized bilinearly, averaging over all pixels that fall into one where it shrinks.

    Args:
        image: Of mode ``L`` or ``RGB``.
        shape: Channels, height and width.

    Returns:
        uint8, of that shape.

    Raises:
        UsageError: The network takes images of a number of channels that no image file has.
    """
    channels, height, width = shape
    if channels not in _MODES:
        raise UsageError(
            "this run takes no image files",
            why=f"it was trained on images of {channels} channels; files have 1 or 3",
            fix="score it with localrules eval",
        )
    fitting = _crop(image.convert(_MODES[channels]), width / height)
    if fitting.size != (width, height):
        fitting = fitting.resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(fitting))
    return pixels.reshape(height, width, channels).permute(2, 0, 1).contiguous()


def _crop(image: Image.Image, aspect: float) -> Image.Image:
    """The largest part around the middle whose width is ``aspect`` times its height."""
    width, height = image.size
    wide, high = (min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect))))
    left, top = (width - wide) // 2, (height - high) // 2
    return image.crop((left, top, left + wide, top + high))


def _turned(file: Image.Image) -> Image.Image:
    """The image as its EXIF data turn it; one whose EXIF data are damaged stays as it is, as in viewers."""
    # Not by ImageOps.exif_transpose, which writes the EXIF data anew and so fails where any entry of them is malformed.
    file.load()
    try:
        turn = _TURNS.get(file.getexif().get(ExifTags.Base.Orientation, 1))
    except _UNDECODABLE:
        return file
    return file if turn is None else file.transpose(turn)


def _to_rgb8(image: Image.Image, file: Image.Image) -> Image.Image:
    """An upright image with 8 bits a channel; ``file`` is what it was read from, with the format's own data."""
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and file.format in _SIXTEEN_BITS_AS_32):
        return Image.fromarray(_upper_bits(image, file))
    if image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "fractions"
        raise ValueError(f"its pixels are 32-bit {kind}, and the file does not say which value is white")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        return image.convert("L" if grey else "RGB")
    clear = image.convert("RGBA")
    ground = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(ground, clear).convert("L" if grey else "RGB")


def _upper_bits(image: Image.Image, file: Image.Image) -> NDArray[np.uint8]:
    # Pillow's own conversion cuts off everything above 255. It neither scales the 12 bits of a TIFF nor inverts one of
    # 16 bits in which 0 is white.
    tags = getattr(file, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    values = np.asarray(image).astype(np.int32)
    shown = values if tags.get(_PHOTOMETRIC) != 0 else (1 << bits) - 1 - values
    eight = (shown >> (bits - 8)).astype(np.uint8)
    return (
        np.where(values == image.info["transparency"], np.uint8(255), eight) if "transparency" in image.info else eight
    )
