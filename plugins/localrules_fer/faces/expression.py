"""Seven expressions as movements of the face's muscles.

The movements follow the action units of the Facial Action Coding System (Ekman & Friesen 1978; Ekman, Friesen & Hager
2002), which describe an expression by the muscles that make it: joy is cheeks and lip corners raised (6 + 12), and so
on. The amounts, and the two or three ways to show each expression, are ours.
"""

from __future__ import annotations

import numpy as np

from localrules_fer.faces.identity import Traits

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""In FER2013's order, so that models and confusion matrices carry over."""

MOVES = (
    "inner_brow_up",  # 1
    "outer_brow_up",  # 2
    "brow_down",  # 4: lowered and drawn together
    "lid_up",  # 5
    "cheek_up",  # 6
    "lid_tight",  # 7
    "nose_wrinkle",  # 9
    "lip_up",  # 10: the upper lip
    "corner_up",  # 12
    "corner_down",  # 15
    "chin_up",  # 17: pushes the lower lip up
    "stretch",  # 20: the mouth drawn wide
    "press",  # 24: lips thinned
    "part",  # 25: lips apart, teeth seen
    "jaw",  # 26, 27: the jaw dropped
    "square",  # 22, 23: an open mouth with corners, as in a shout
)

WAYS: dict[str, tuple[dict[str, float], ...]] = {
    "angry": (
        {"brow_down": 1.0, "lid_tight": 0.6, "lid_up": 0.25, "press": 0.9, "corner_down": 0.35, "chin_up": 0.4},
        {"brow_down": 1.0, "lid_tight": 0.7, "press": 0.6, "corner_down": 0.45, "nose_wrinkle": 0.2},
        {"brow_down": 1.0, "lid_up": 0.45, "part": 0.9, "square": 1.0, "jaw": 0.4, "nose_wrinkle": 0.25, "lip_up": 0.2},
    ),
    "disgust": (
        {"nose_wrinkle": 1.0, "lip_up": 0.9, "lid_tight": 0.9, "cheek_up": 0.5, "brow_down": 0.55, "corner_down": 0.4},
        {"nose_wrinkle": 1.0, "lip_up": 1.1, "part": 0.6, "lid_tight": 1.0, "cheek_up": 0.6, "brow_down": 0.5},
        {"nose_wrinkle": 1.1, "lip_up": 0.8, "lid_tight": 0.9, "corner_down": 0.8, "chin_up": 0.6, "brow_down": 0.5},
    ),
    "fear": (
        {
            "inner_brow_up": 1.0,
            "outer_brow_up": 0.35,
            "brow_down": 0.3,
            "lid_up": 1.0,
            "stretch": 1.0,
            "part": 0.7,
            "jaw": 0.25,
            "corner_down": 0.3,
        },
        {
            "inner_brow_up": 0.9,
            "outer_brow_up": 0.3,
            "brow_down": 0.35,
            "lid_up": 1.0,
            "stretch": 0.8,
            "part": 0.4,
            "square": 0.6,
            "jaw": 0.4,
            "corner_down": 0.35,
        },
    ),
    "happy": (
        {"corner_up": 1.0, "cheek_up": 0.9, "part": 0.9, "lid_tight": 0.25},
        {"corner_up": 0.9, "cheek_up": 0.7, "lid_tight": 0.2},
        {"corner_up": 1.0, "cheek_up": 1.0, "part": 1.0, "jaw": 0.45, "lid_tight": 0.35, "outer_brow_up": 0.15},
    ),
    "sad": (
        {"inner_brow_up": 1.0, "brow_down": 0.3, "corner_down": 0.9, "chin_up": 0.4, "lid_up": -0.55},
        {"inner_brow_up": 0.8, "brow_down": 0.2, "corner_down": 1.0, "chin_up": 0.8, "lid_up": -0.35, "press": 0.2},
        {"inner_brow_up": 1.0, "brow_down": 0.25, "corner_down": 0.8, "lid_up": -0.75, "lid_tight": 0.2, "part": 0.12},
    ),
    "surprise": (
        {"inner_brow_up": 0.9, "outer_brow_up": 1.0, "lid_up": 0.8, "jaw": 1.0, "part": 0.5},
        {"inner_brow_up": 1.0, "outer_brow_up": 1.0, "lid_up": 0.9, "jaw": 0.6, "part": 0.3},
    ),
    "neutral": ({}, {"part": 0.08}, {"outer_brow_up": 0.08, "press": 0.1}),
}

WEAKEST = 0.45
"""The least intensity of an expression; 1 is the full one. Below this a person would say neutral."""

SCATTER = 0.18
"""How far a single movement strays from its expression (a part of itself)."""

TWITCH = 0.05
"""How far any movement strays from rest, in every image."""


def draw_expressions(rng: np.random.Generator, labels: np.ndarray) -> Traits:
    """Movements for images with these labels.

    Args:
        rng: The stream to draw from.
        labels: Class indices, shape (images,).

    Returns:
        One value an image for each of ``MOVES`` (0 at rest, 1 in full), and ``skew``: how lopsided the face is, from
        -1 to 1.
    """
    samples = len(labels)
    way = rng.random(samples)
    table = np.zeros((samples, len(MOVES)))
    for label, name in enumerate(CLASSES):
        ways = np.array([[moves.get(move, 0.0) for move in MOVES] for moves in WAYS[name]])
        mine = labels == label
        table[mine] = ways[(way[mine] * len(ways)).astype(int)]
    table *= rng.uniform(WEAKEST, 1.0, (samples, 1))
    table *= 1 + SCATTER * rng.uniform(-1.7, 1.7, table.shape)
    table += TWITCH * rng.uniform(-1.7, 1.7, table.shape) * np.array([move not in ("jaw", "part") for move in MOVES])
    moves = {name: table[:, i].astype(np.float32) for i, name in enumerate(MOVES)}
    moves["skew"] = (rng.uniform(-1, 1, samples) * rng.random(samples)).astype(np.float32)
    return moves
