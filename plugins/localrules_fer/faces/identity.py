"""Identity: the traits of a person, independent of the expression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Traits = dict[str, NDArray[np.float32]]
"""Named quantities, one value an image, each of shape (images,)."""

# Lengths are in half images: the frame runs from -1 to 1 on both axes, down is positive, and a pixel is 1/24.
PERSON: dict[str, tuple[float, float]] = {
    "head_width": (0.68, 0.82),
    "head_height": (0.94, 1.06),
    "jaw_shape": (0.10, 0.38),
    "eye_x": (0.315, 0.385),
    "eye_y": (-0.22, -0.13),
    "eye_width": (0.15, 0.19),
    "eye_open": (0.062, 0.090),
    "eye_tilt": (-0.025, 0.035),
    "iris": (0.068, 0.082),
    "iris_tone": (0.03, 0.30),
    "brow_gap": (0.20, 0.27),
    "brow_width": (0.185, 0.235),
    "brow_thick": (0.024, 0.056),
    "brow_arch": (0.00, 0.055),
    "brow_slope": (-0.025, 0.025),
    "nose_y": (0.16, 0.25),
    "nose_width": (0.085, 0.135),
    "nose_depth": (0.16, 0.26),
    "mouth_y": (0.47, 0.56),
    "mouth_width": (0.255, 0.335),
    "lip_upper": (0.030, 0.062),
    "lip_lower": (0.045, 0.085),
    "lip_tone": (0.62, 0.86),
    "cheek": (0.02, 0.08),
    "skin": (0.45, 0.96),
    "hair_tone": (0.04, 0.40),
    "hairline": (-0.80, -0.58),
    "hair_side": (0.00, 0.14),
    "hair_part": (-0.45, 0.45),
    "hair_sweep": (-0.22, 0.22),
    "hair_recede": (-0.05, 0.20),
    "age": (0.0, 1.0),
    "rest_corner": (-0.06, 0.24),
    "rest_brow": (-0.15, 0.15),
}

LONG_HAIR, BEARD, GLASSES, BALD, FAIR = 0.38, 0.16, 0.14, 0.07, 0.15
"""How many of the people have it."""


def draw_people(rng: np.random.Generator, people: int) -> Traits:
    """Traits of so many people.

    Args:
        rng: The stream to draw from.
        people: How many.

    Returns:
        One value a person for each name of ``PERSON``, and 0 or 1 for ``long_hair``, ``beard``, ``glasses``, ``bald``.
    """
    # The mean of two uniform draws: bounded as a uniform draw is, and yet most people are near the middle.
    unit = rng.random((people, len(PERSON), 2)).mean(axis=2)
    traits = {
        name: (low + (high - low) * unit[:, i]).astype(np.float32)
        for i, (name, (low, high)) in enumerate(PERSON.items())
    }
    chance = rng.random((people, 5))
    traits["long_hair"] = (chance[:, 0] < LONG_HAIR).astype(np.float32)
    traits["beard"] = (chance[:, 1] < BEARD).astype(np.float32) * (1 - traits["long_hair"])
    traits["glasses"] = (chance[:, 2] < GLASSES).astype(np.float32)
    traits["bald"] = (chance[:, 3] < BALD).astype(np.float32) * (1 - traits["long_hair"])
    traits["hair_tone"] = traits["hair_tone"] + 0.35 * (chance[:, 4] < FAIR).astype(np.float32)
    return traits
