"""Which pictures are meant, and reading one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from localrules.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")
"""Which files of a folder are taken for pictures. A file that is named itself may be called anything."""
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_UNDECODABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def list_images(names: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The pictures that are meant by files and folders, in order; those of a folder by name.

    Returns:
        The pictures, and the files of the folders that are left out: hidden ones are not mentioned.

    Raises:
        DataError: There is no such file, or a folder holds no picture.
    """
    pictures: list[Path] = []
    others: list[Path] = []
    for name in names:
        place = name.expanduser()
        if place.is_dir():
            found, left = _in_folder(place)
            pictures += found
            others += left
        elif place.exists():
            pictures.append(place)
        else:
            raise DataError(
                "there is no such picture",
                where=str(name),
                why=f"the path was looked up from {Path.cwd()}",
                fix="name a picture, or a folder of pictures",
            )
    return pictures, others


def _in_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError("the folder cannot be read", where=str(folder), why=error.strerror or str(error)) from error
    files = [entry for entry in entries if entry.is_file()]
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not pictures:
        seen = ", ".join(entry.name + "/" * entry.is_dir() for entry in entries[:5])
        raise DataError(
            "the folder holds no pictures",
            where=str(folder),
            why=f"it holds {seen}{', ...' * (len(entries) > 5)}" if entries else "it is empty",
            fix=f"name a folder with {', '.join(SUFFIXES[:3])} files in it; folders inside it are named themselves",
        )
    return pictures, [file for file in files if file not in pictures]


def read_image(path: Path) -> Image.Image:
    """A picture as a viewer shows it: turned as its EXIF data say, on white where it is transparent.

    Returns:
        8 bits a channel: mode ``L`` if the file is grey, else ``RGB``. Of an animation, the first picture.

    Raises:
        DataError: It is no picture, or damaged.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = ImageOps.exif_transpose(file)
            return _to_rgb8(picture)
    except _UNDECODABLE as error:
        raise DataError(
            "this is no picture that can be read",
            where=str(path),
            why=str(error),
            fix="name a PNG, JPEG or the like; convert it if it opens elsewhere",
        ) from error


def _to_rgb8(picture: Image.Image) -> Image.Image:
    if picture.mode in _SIXTEEN_BITS:
        # Pillow's own conversion would cut off everything above 255.
        return Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"its pixels are {'integers' if picture.mode == 'I' else 'fractions'} without a known range")
    grey = picture.mode in ("1", "L", "LA", "La")
    if picture.mode not in _WITH_ALPHA and "transparency" not in picture.info:
        return picture.convert("L" if grey else "RGB")
    clear = picture.convert("RGBA")
    ground = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(ground, clear).convert("L" if grey else "RGB")
