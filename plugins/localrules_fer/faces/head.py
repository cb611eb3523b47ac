"""The head: background, hair, neck, and skin that is lit as a solid would be."""

from __future__ import annotations

import numpy as np

from localrules_fer.faces.canvas import PIXEL, Canvas, Field, bump, ellipse, ramp

Parts = dict[str, Field]
"""Traits, movements and nuisance of the images on a canvas, each of shape (images, 1, 1)."""


def paint_background(canvas: Canvas, p: Parts) -> None:
    """A wall with a gradient, and an edge somewhere."""
    canvas.tone[...] = p["back_tone"] + p["back_ramp"] * 0.5 * canvas.y
    canvas.tone[...] += p["back_step"] * canvas.cover(canvas.x - p["back_edge"] - 0.2 * canvas.y)


def outline(canvas: Canvas, p: Parts, wider: Field | float = 0.0) -> Field:
    """Nearly the signed distance to the head's outline: an ellipse that narrows to the jaw."""
    down = canvas.y + 0.06
    jaw = np.maximum(down, 0.0)
    width = (p["head_width"] + wider) * (1.0 - p["jaw_shape"] * jaw * jaw)
    drop = 0.085 * p["jaw_drop"] * ramp(down, 0.0, 0.9)
    return ellipse(canvas.x, down - drop, width, p["head_height"] + wider)


def hair_tone(canvas: Canvas, p: Parts) -> Field:
    """Hair as strands that fall from the parting, with a sheen on the side of the light."""
    strands = 5.0 * (canvas.x - p["hair_part"]) / (canvas.y + 1.9)
    strands = np.abs(2.0 * (strands - np.floor(strands)) - 1.0)
    sheen = bump(((canvas.x - 0.5 * p["light_x"]) / 0.6) ** 2 + ((canvas.y + 0.72) / 0.45) ** 2)
    return p["hair_tone"] * (0.80 + 0.22 * strands) + 0.14 * sheen * (0.4 + 0.6 * strands)


def paint_hair_behind(canvas: Canvas, p: Parts, tone: Field) -> None:
    """Hair that frames the head, and falls beside the neck where it is long; then neck and ears."""
    long = p["long_hair"]
    grown = (0.04 + p["hair_side"]) * (1.0 - p["bald"])
    hair = outline(canvas, p, grown)
    low = ramp(canvas.y, 0.15 + 1.2 * long, 0.35 + 1.2 * long)
    canvas.lay(canvas.cover(hair) * (1.0 - low) * (1.0 - p["bald"]), tone)
    fall = np.abs(canvas.x) - (p["head_width"] + 0.10 + p["hair_side"])
    canvas.lay(canvas.cover(fall) * ramp(canvas.y, -0.4, 0.0) * long, tone)
    canvas.fill(np.maximum(np.abs(canvas.x) - 0.44, 0.55 - canvas.y), p["skin"] * 0.48)
    ears = ellipse(np.abs(canvas.x) - p["head_width"] - 0.01, canvas.y + 0.02, 0.085, 0.19)
    canvas.fill(ears, p["skin"] * 0.68, 1.0 - long)


def relief(canvas: Canvas, p: Parts) -> Field:
    """The depth of the face towards the viewer, in units of half the image's side."""
    u, v, side = canvas.u, canvas.v, np.abs(canvas.u)
    skull = (canvas.x / p["head_width"]) ** 2 + ((canvas.y + 0.06) / p["head_height"]) ** 2
    z = 0.66 * np.sqrt(np.maximum(1.06 - skull, 0.02))
    eye_y, nose_y, mouth_y = p["eye_y"], p["nose_y"], p["mouth_y"]
    # sockets, and the ridge above them that frowning pulls down
    z -= 0.085 * bump(((side - p["eye_x"]) / 0.27) ** 2 + ((v - eye_y) / 0.19) ** 2)
    ridge = eye_y - 0.235 + 0.07 * p["brow_down"]
    z += (0.03 + 0.03 * p["brow_down"]) * bump((u / 0.62) ** 2 + ((v - ridge) / 0.13) ** 2)
    # nose: a ridge that rises to the tip and ends below it, and the wings beside it
    rise = np.clip((v - eye_y + 0.05) / (nose_y - eye_y), 0.0, 1.0) * (1.0 - ramp(v, nose_y - 0.02, nose_y + 0.09))
    z += p["nose_depth"] * rise * bump((u / (p["nose_width"] + 0.05)) ** 2)
    wings = nose_y - 0.01 - 0.03 * p["nose_wrinkle"]
    z += 0.05 * bump(((side - p["nose_width"] * 0.95) / 0.075) ** 2 + ((v - wings) / 0.085) ** 2)
    # cheeks, which smiling and squinting push up into apples
    lift = np.maximum(p["cheek_up"], 0.6 * p["nose_wrinkle"])
    apples = 0.17 - 0.10 * lift
    z += (p["cheek"] + 0.075 * lift) * bump(((side - 0.40) / 0.27) ** 2 + ((v - apples) / (0.27 - 0.06 * lift)) ** 2)
    # muzzle, the dip below the lower lip, chin
    drop = 0.10 * p["jaw_drop"]
    z += 0.07 * bump((u / 0.42) ** 2 + ((v - mouth_y) / 0.30) ** 2)
    z -= 0.035 * bump((u / 0.22) ** 2 + ((v - mouth_y - 0.17 - drop) / 0.09) ** 2)
    z += (0.055 + 0.03 * p["chin_up"]) * bump((u / 0.24) ** 2 + ((v - mouth_y - 0.31 - drop) / 0.14) ** 2)
    return z


def light(z: Field, p: Parts) -> Field:
    """Lambert's law on a relief: how bright white skin is at each pixel."""
    slope_x, slope_y = np.zeros_like(z), np.zeros_like(z)
    slope_x[:, :, 1:-1] = (z[:, :, 2:] - z[:, :, :-2]) / (2 * PIXEL)
    slope_y[:, 1:-1] = (z[:, 2:] - z[:, :-2]) / (2 * PIXEL)
    facing = 1.0 - slope_x * p["light_x"] - slope_y * p["light_y"]
    facing /= np.sqrt((1.0 + slope_x**2 + slope_y**2) * (1.0 + p["light_x"] ** 2 + p["light_y"] ** 2))
    return p["ambient"] + (1.0 - p["ambient"]) * 1.12 * np.maximum(facing, 0.0)


def paint_skin(canvas: Canvas, p: Parts) -> None:
    """The face without its features."""
    skin = p["skin"] * light(relief(canvas, p), p)
    beard = p["beard"] * ramp(np.abs(canvas.u) * 0.5 + canvas.v, p["mouth_y"] - 0.14, p["mouth_y"] + 0.04)
    skin *= 1.0 - 0.45 * beard * (1.0 - p["hair_tone"])
    canvas.lay(canvas.cover(outline(canvas, p)), skin)


def paint_hair(canvas: Canvas, p: Parts, tone: Field) -> None:
    """Hair over the forehead and the temples, and a lock of it in some images."""
    u, v = canvas.u, canvas.v
    side, away = np.abs(u), u - p["hair_part"]
    # the line where it begins on the forehead: bowed, parted, swept to one side, and higher over the temples with age
    edge = p["hairline"] + 0.45 * (u * u) ** 2 + 0.25 * away * away - 0.14 * np.abs(away) + p["hair_sweep"] * u
    edge -= p["hair_recede"] * bump(((side - 0.36) / 0.26) ** 2)
    temples = p["head_width"] + 0.02 - 0.08 * p["long_hair"] - np.abs(canvas.x)
    temples += 0.25 * np.maximum(v - 0.5 * p["long_hair"], -0.2)
    head = outline(canvas, p, 0.05)
    canvas.fill(np.maximum(np.minimum(v - edge, temples), head), tone, 1.0 - p["bald"])
    strand = u - p["lock_x"] - p["lock_lean"] * (v + 0.7)
    hanging = canvas.cover(np.abs(strand) - 0.10 + 0.12 * (v + 0.7)) * (1.0 - ramp(v, -0.30, -0.12))
    canvas.lay(hanging * p["lock"] * (1.0 - p["bald"]) * canvas.cover(head), tone)
