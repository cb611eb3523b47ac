"""Finding the face in an image. Needs OpenCV, which is an extra: ``pip install 'localrules[faces]'``.

References:
    Viola & Jones 2001, Rapid Object Detection using a Boosted Cascade of Simple Features, as OpenCV has it:
    https://docs.opencv.org/4.x/db/d28/tutorial_cascade_classifier.html
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from localrules.errors import UsageError

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""
Detector = Callable[[Image.Image], list[Box]]
"""Finds the faces of an image of mode ``L`` or ``RGB``."""

_CASCADE = "haarcascade_frontalface_default.xml"
_SCALE_STEP, _NEIGHBOURS = 1.1, 5  # ours: one step finer than OpenCV's examples in what counts as a face
_SMALLEST = 24  # pixels: the size that the cascade was trained at


def largest_face(image: Image.Image, detector: Detector) -> Image.Image | None:
    """The largest face of an image, cut out as the detector frames it; ``None`` where it finds none."""
    boxes = detector(image)
    if not boxes:
        return None
    return image.crop(max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])))


def opencv_detector() -> Detector:
    """OpenCV's frontal face cascade.

    Raises:
        UsageError: OpenCV is not installed, or comes without its cascades.
    """
    try:
        import cv2
    except ImportError as error:
        raise UsageError(
            "faces cannot be cut out: no face detector is installed",
            where="--crop",
            why=str(error),
            fix="pip install 'localrules[faces]', or leave out --crop: then the middle of each image is taken",
        ) from error
    return _detector(cv2)


def _detector(cv2: Any) -> Detector:
    version = getattr(cv2, "__version__", "")
    # OpenCV 5 has moved the classifier to a module of its contributed ones, which the usual wheels lack.
    classifier = getattr(cv2, "CascadeClassifier", None) or getattr(
        getattr(cv2, "xobjdetect", None), "CascadeClassifier", None
    )
    file = Path(str(getattr(getattr(cv2, "data", None), "haarcascades", ""))) / _CASCADE
    if classifier is None:
        raise _no_cascade(version, str(getattr(cv2, "__file__", "cv2")), "has no cascade classifier")
    cascade = classifier(str(file))
    if cascade.empty():
        raise _no_cascade(version, str(file.parent), f"comes without {_CASCADE}")

    def detect(image: Image.Image) -> list[Box]:
        grey = np.array(image.convert("L"))
        found = cascade.detectMultiScale(grey, _SCALE_STEP, _NEIGHBOURS, minSize=(_SMALLEST, _SMALLEST))
        return [(int(x), int(y), int(x + width), int(y + height)) for x, y, width, height in found]

    return detect


def _no_cascade(version: str, where: str, why: str) -> UsageError:
    return UsageError(
        "faces cannot be cut out: the face detector has no cascade",
        where=where,
        why=f"OpenCV {version} {why}",
        fix="pip install --force-reinstall 'opencv-python-headless>=4.8,<5'",
    )
