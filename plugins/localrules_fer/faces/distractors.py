"""Nuisance variables: the pose of the head, lighting, occlusion, camera."""

from __future__ import annotations

import numpy as np

from localrules_fer.faces.identity import Traits

NUISANCE: dict[str, tuple[float, float]] = {
    # pose, in half images and radians
    "shift_x": (-0.12, 0.12),
    "shift_y": (-0.12, 0.08),
    "scale": (0.94, 1.18),
    "roll": (-0.24, 0.24),
    "yaw": (-0.30, 0.30),
    "pitch": (-0.18, 0.18),
    "gaze": (-0.045, 0.045),
    # light: the direction it comes from (up is negative), how much is ambient, and the exposure
    "light_x": (-0.95, 0.95),
    "light_y": (-0.95, 0.25),
    "ambient": (0.28, 0.60),
    "exposure": (0.82, 1.18),
    "haze": (-0.04, 0.16),
    "ramp_x": (-0.16, 0.16),
    "ramp_y": (-0.12, 0.12),
    # background
    "back_tone": (0.05, 0.95),
    "back_ramp": (-0.35, 0.35),
    "back_edge": (-1.2, 1.2),
    "back_step": (-0.35, 0.35),
    # camera
    "blur": (0.0, 0.20),
    "noise": (0.003, 0.028),
    # what may stand in front
    "hand_angle": (0.0, 6.2832),
    "hand_reach": (0.46, 0.66),
    "hand_width": (0.20, 0.30),
    "lock_x": (-0.45, 0.45),
    "lock_lean": (-0.5, 0.5),
}

HAND, LOCK = 0.10, 0.08
"""How many images have a hand at the face, or a lock of hair over the forehead."""


def draw_nuisance(rng: np.random.Generator, samples: int) -> Traits:
    """Nuisance for so many images.

    Args:
        rng: The stream to draw from.
        samples: How many images.

    Returns:
        One value an image for each name of ``NUISANCE``, and 0 or 1 for ``hand`` and ``lock``.
    """
    unit = rng.random((samples, len(NUISANCE)))
    drawn = {
        name: (low + (high - low) * unit[:, i]).astype(np.float32)
        for i, (name, (low, high)) in enumerate(NUISANCE.items())
    }
    chance = rng.random((samples, 2))
    drawn["hand"] = (chance[:, 0] < HAND).astype(np.float32)
    drawn["lock"] = (chance[:, 1] < LOCK).astype(np.float32)
    return drawn
