"""Which images are meant, and reading one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from localrules.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")
"""Which files of a folder are taken for images. A file that is named itself may be called anything."""
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
    """The images that are meant by files and folders, in order; those of a folder by name.

    Returns:
        The images, and the files of the folders that are left out: hidden ones are not mentioned.

    Raises:
        DataError: There is no such file, or a folder holds no image.
    """
    images: list[Path] = []
    others: list[Path] = []
    for name in names:
        place = name.expanduser()
        if place.is_dir():
            found, left = _in_folder(place)
            images += found
            others += left
        elif place.exists():
            images.append(place)
        else:
            raise DataError(
                "there is no such image",
                where=str(name),
                why=f"the path was looked up from {Path.cwd()}",
                fix="name an image, or a folder of images",
            )
    return images, others


def _in_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError("the folder cannot be read", where=str(folder), why=error.strerror or str(error)) from error
    files = [entry for entry in entries if entry.is_file()]
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        seen = ", ".join(entry.name + "/" * entry.is_dir() for entry in entries[:5])
        raise DataError(
            "the folder holds no images",
            where=str(folder),
            why=f"it holds {seen}{', ...' * (len(entries) > 5)}" if entries else "it is empty",
            fix=f"name a folder with {', '.join(SUFFIXES[:3])} files in it; folders inside it are named themselves",
        )
    return images, [file for file in files if file not in images]


def read_image(path: Path) -> Image.Image:
    """An image as a viewer shows it: turned as its EXIF data say, on white where it is transparent.

    Returns:
        8 bits a channel: mode ``L`` if the file is grey, else ``RGB``. Of an animation, the first image.

    Raises:
        DataError: It is not an image, or damaged.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = ImageOps.exif_transpose(file)
            return _to_rgb8(image)
    except _UNDECODABLE as error:
        raise DataError(
            "this is not an image that can be read",
            where=str(path),
            why=str(error),
            fix="name a PNG, JPEG or the like; convert it if it opens elsewhere",
        ) from error


def _to_rgb8(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:
        # Pillow's own conversion would cut off everything above 255.
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are {'integers' if image.mode == 'I' else 'fractions'} without a known range")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        return image.convert("L" if grey else "RGB")
    clear = image.convert("RGBA")
    ground = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(ground, clear).convert("L" if grey else "RGB")
