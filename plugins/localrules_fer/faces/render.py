"""From traits, movements and nuisance to pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from localrules_fer.faces.canvas import PIXEL, SIDE, Canvas, Field, ellipse, line, turn
from localrules_fer.faces.features import paint_brows, paint_eyes, paint_mouth, paint_nose
from localrules_fer.faces.head import Parts, hair_tone, paint_background, paint_hair, paint_hair_behind, paint_skin
from localrules_fer.faces.identity import Traits


def render(traits: Traits, noise: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw images.

    Args:
        traits: Every quantity that the painters read, each of shape (images,).
        noise: The camera's grain in standard deviations, shape (images, 48, 48).

    Returns:
        Grey images, shape (images, 48, 48).
    """
    p: Parts = {name: values[:, None, None] for name, values in traits.items()}
    # a camera exposes for the face: dark skin is not much darker in the image
    p["exposure"] = p["exposure"] * (1.30 - 0.40 * p["skin"])
    p["jaw_drop"] = np.clip(p["jaw"], 0.0, 1.1)
    canvas = _set_up(p)
    paint_background(canvas, p)
    hair = hair_tone(canvas, p)
    paint_hair_behind(canvas, p, hair)
    paint_skin(canvas, p)
    paint_nose(canvas.rows(10, 40), p)
    paint_mouth(canvas.rows(20, SIDE), p)
    paint_eyes(canvas.rows(4, 34), p)
    paint_brows(canvas.rows(0, 27), p)
    paint_hair(canvas, p, hair)
    _where("glasses", _paint_glasses, canvas, p)
    _where("hand", _paint_hand, canvas, p)
    return _photograph(canvas, p, noise)


def _set_up(p: Parts) -> Canvas:
    """An empty canvas, with the head turned, tilted, moved and scaled."""
    grid = (np.arange(SIDE, dtype=np.float32) + np.float32(0.5)) * np.float32(PIXEL) - np.float32(1.0)
    across, down = grid[None, None, :] - p["shift_x"], grid[None, :, None] - p["shift_y"]
    cos, sin = (part / p["scale"] for part in turn(p["roll"]))
    x, y = across * cos + down * sin, down * cos - across * sin
    # The face stands out from the axis that the head turns about, so turning moves its middle most.
    u = x - 0.62 * p["yaw"] * np.maximum(1.0 - x * x, 0.0)
    v = y - 0.50 * p["pitch"] * np.maximum(1.0 - y * y, 0.0)
    return Canvas(np.empty_like(x), x, y, u, v, np.float32(PIXEL) / p["scale"])


def _where(trait: str, paint: Callable[[Canvas, Parts], None], canvas: Canvas, p: Parts) -> None:
    """Paint on the few images that have a trait."""
    some = np.flatnonzero(p[trait])
    part = canvas.images(some)
    paint(part, {name: values[some] for name, values in p.items()})
    canvas.tone[some] = part.tone


def _paint_glasses(canvas: Canvas, p: Parts) -> None:
    side = np.abs(canvas.u)
    rim = ellipse(side - p["eye_x"] - 0.01, canvas.v - p["eye_y"] - 0.02, 0.245, 0.185)
    frame = np.maximum(line(rim, 0.045), line(canvas.v - p["eye_y"] + 0.02, 0.04) * canvas.cover(side - 0.12))
    frame = np.maximum(frame, line(canvas.v - p["eye_y"] + 0.04, 0.04) * canvas.cover(0.60 - side))
    on_face = canvas.cover(np.abs(canvas.x) - p["head_width"])
    canvas.lay(0.85 * frame * on_face, 0.6 * p["hair_tone"])


def _paint_hand(canvas: Canvas, p: Parts) -> None:
    """Fingers at the rim of the face: they may hide a brow or a mouth's corner, never the whole expression."""
    cos, sin = turn(p["hand_angle"])
    along, across = canvas.x * cos + canvas.y * sin, canvas.y * cos - canvas.x * sin
    wide = across / p["hand_width"]
    # three fingers side by side, round at the tips, the middle one the longest
    fingers = 1.5 * (wide + 1.0)
    finger = 2.0 * (fingers - np.floor(fingers)) - 1.0
    tips = p["hand_reach"] + 0.10 * wide * wide + 0.08 * finger * finger
    canvas.fill(np.maximum(np.abs(across) - p["hand_width"], tips - along), p["skin"] * (0.92 - 0.50 * finger * finger))


def _photograph(canvas: Canvas, p: Parts, noise: Field) -> NDArray[np.uint8]:
    """Exposure, uneven light, grain, and the softness of an image that was made smaller."""
    tone = canvas.tone
    tone *= p["exposure"] * (1.0 + p["ramp_x"] * canvas.x + p["ramp_y"] * canvas.y)
    tone += p["haze"] * (1.0 - tone)
    tone += p["noise"] * noise
    for axis in (1, 2):
        far = np.concatenate([np.take(tone, [0], axis), np.take(tone, np.arange(SIDE - 1), axis)], axis)
        near = np.concatenate([np.take(tone, np.arange(1, SIDE), axis), np.take(tone, [SIDE - 1], axis)], axis)
        tone = tone + p["blur"] * (far + near - 2.0 * tone)
    return np.rint(np.clip(tone, 0.0, 1.0) * 255.0).astype(np.uint8)
