"""Facial features: brows, eyes, nose, mouth, and the folds that movements leave in the skin."""

from __future__ import annotations

import numpy as np

from localrules_fer.faces.canvas import Canvas, Field, bump, ellipse, line, ramp
from localrules_fer.faces.head import Parts


def paint_eyes(canvas: Canvas, p: Parts) -> None:
    """Both eyes: almonds with white, iris, pupil and a catchlight, lids that open, droop or tighten."""
    u, v = canvas.u, canvas.v
    hand = np.sign(u)
    side = np.abs(u)
    t = (side - p["eye_x"]) / p["eye_width"]
    arc = np.maximum(1.0 - t * t, 0.0)
    middle = p["eye_y"] - p["eye_tilt"] * t
    wide, tight = p["lid_up"], np.maximum(p["lid_tight"], 0.75 * p["cheek_up"])
    droop = np.maximum(-wide, 0.0)
    upper = p["eye_open"] * np.maximum(1.0 + 0.72 * wide - 0.28 * tight - 0.22 * p["brow_down"], 0.15)
    lower = p["eye_open"] * np.maximum(0.80 - 0.55 * tight + 0.10 * wide, 0.10)
    # a tired or sad lid falls at the outer end
    top = middle - upper * arc * (1.0 - 0.35 * droop * t)
    bottom = middle + lower * arc
    inside = canvas.cover(top - v) * canvas.cover(v - bottom) * canvas.cover((np.abs(t) - 1.0) * p["eye_width"])
    lit = 0.55 + 0.45 * p["exposure"]
    white = (0.60 + 0.30 * p["skin"]) * lit - 0.18 * bump(((v - top) / 0.07) ** 2)
    canvas.lay(inside, white)
    across = side - p["eye_x"] - hand * p["gaze"]
    down = v - p["eye_y"] + 0.006
    iris = ellipse(across, down, p["iris"], p["iris"])
    canvas.lay(canvas.cover(iris) * inside, p["iris_tone"] * p["exposure"])
    canvas.lay(canvas.cover(iris + p["iris"] * 0.52) * inside, 0.03)
    glint = bump(((across - hand * 0.022) / 0.04) ** 2 + ((down + 0.028) / 0.04) ** 2)
    canvas.lay(0.85 * glint * inside, 0.95)
    within = ramp(arc, 0.0, 0.25)
    canvas.shade(0.72 * within * line(v - top + 0.010, 0.046))
    canvas.shade(0.30 * within * line(v - bottom - 0.008, 0.042))
    crease = top - 0.058 + 0.020 * np.maximum(p["brow_down"], 0.0)
    canvas.shade((0.20 + 0.10 * p["age"]) * within * line(v - crease, 0.040))
    # the pouch below, and crow's feet beside, an eye that cheeks push up
    pouch = bottom + 0.068 - 0.012 * tight
    canvas.shade((0.08 + 0.20 * tight) * ramp(arc, 0.0, 0.5) * line(v - pouch, 0.040))
    feet = np.abs(v - p["eye_y"]) - 0.30 * (side - p["eye_x"] - p["eye_width"])
    beyond = bump(((side - p["eye_x"] - p["eye_width"] - 0.10) / 0.10) ** 2)
    canvas.shade(0.34 * np.maximum(p["cheek_up"], 0.0) * (0.4 + 0.6 * p["age"]) * beyond * line(feet, 0.034))


def paint_brows(canvas: Canvas, p: Parts) -> None:
    """Both brows, the furrow between them and the lines above them."""
    u, v = canvas.u, canvas.v
    side = np.abs(u)
    down = np.maximum(p["brow_down"], 0.0)
    start = p["eye_x"] - p["brow_width"] - 0.045 * down
    t = (side - start) / (2.0 * p["brow_width"]) * 2.0 - 1.0
    inner = 0.125 * p["inner_brow_up"] - 0.150 * p["brow_down"]
    outer = 0.120 * p["outer_brow_up"] - 0.035 * p["brow_down"] - 0.045 * np.maximum(p["inner_brow_up"], 0.0)
    outer = outer + 0.045 * p["outer_brow_up"] * p["inner_brow_up"]
    uneven = np.sign(u) * p["skew"] * (0.012 + 0.02 * np.maximum(p["outer_brow_up"], 0.0))
    rest = p["eye_y"] - p["brow_gap"] - uneven - 0.05 * p["rest_brow"]
    arch = p["brow_arch"] + 0.03 * p["outer_brow_up"]
    height = rest - (inner * (1.0 - t) + outer * (1.0 + t)) * 0.5 - arch * (1.0 - t * t) - p["brow_slope"] * t
    thick = p["brow_thick"] * (1.15 - 0.45 * np.clip(t, -1.0, 1.0))
    ends = canvas.cover((np.abs(t) - 1.0) * p["brow_width"])
    hair = np.minimum(p["hair_tone"] * 0.7, p["skin"] * 0.55)
    canvas.lay(0.88 * canvas.cover(np.abs(v - height) - thick) * ends, hair * p["exposure"])
    lines = p["eye_y"] - p["brow_gap"]
    knit = line(side - 0.048, 0.040) * bump(((v - lines - 0.03) / 0.15) ** 2)
    canvas.shade((0.40 * down * (0.6 + 0.4 * p["age"])) * knit)
    raised = np.maximum(p["inner_brow_up"], 0.0) * (0.35 + 0.65 * np.clip(p["outer_brow_up"], 0.0, 1.0))
    for step in (0.0, 0.105):
        bow = v - (lines - 0.215 - step + 0.10 * u * u)
        canvas.shade((0.26 * raised * (0.4 + 0.6 * p["age"])) * line(bow, 0.036) * bump((u / 0.50) ** 2))


def paint_nose(canvas: Canvas, p: Parts) -> None:
    """Nostrils, wings, and the wrinkles of disgust across the bridge."""
    u, v, side = canvas.u, canvas.v, np.abs(canvas.u)
    wrinkle = np.maximum(p["nose_wrinkle"], 0.0)
    base = p["nose_y"] + 0.055 - 0.030 * wrinkle
    flare = p["nose_width"] * (1.0 + 0.15 * wrinkle + 0.10 * np.maximum(p["brow_down"], 0.0))
    holes = bump(((side - 0.55 * flare) / 0.060) ** 2 + ((v - base) / 0.042) ** 2)
    canvas.shade(0.62 * holes)
    canvas.shade(0.20 * bump((u / (1.3 * flare)) ** 2 + ((v - base - 0.035) / 0.055) ** 2))
    wing = ellipse(side - 0.80 * flare, v - base + 0.035, 0.45 * flare, 0.070)
    canvas.shade(0.30 * line(wing, 0.036) * canvas.cover(0.80 * flare - side))
    bridge = p["eye_y"] + 0.07
    for step in (0.0, 0.085):
        across = v - bridge - step - 0.55 * side
        canvas.shade(0.42 * wrinkle * line(across, 0.044) * bump((u / 0.20) ** 2))
    beside = side - 0.115 - 0.30 * (v - bridge)
    canvas.shade(0.36 * wrinkle * line(beside, 0.052) * bump(((v - bridge - 0.10) / 0.20) ** 2))


def paint_mouth(canvas: Canvas, p: Parts) -> None:
    """Lips that curve, part, stretch or press; teeth and the dark behind them; the folds beside."""
    u, v, side = canvas.u, canvas.v, np.abs(canvas.u)
    up, down = np.maximum(p["corner_up"], 0.0), np.maximum(p["corner_down"], 0.0)
    raised, jaw = np.maximum(p["lip_up"], 0.0), p["jaw_drop"]
    stretch, square = np.maximum(p["stretch"], 0.0), np.clip(p["square"], 0.0, 1.0)
    part = np.maximum(p["part"], 0.0)
    pressed = np.maximum(p["press"], 0.0)
    width = p["mouth_width"] * (
        1.0 + 0.30 * up + 0.30 * stretch - 0.34 * jaw * (1.0 - up) * (1.0 - stretch) + 0.04 * pressed
    )
    t = u / width
    t2 = np.minimum(t * t, 1.44)
    bow = np.maximum(1.0 - t2, 0.0)
    # a parabola; with corners where it shouts; round where the jaw drops and the corners do not pull
    shape = bow + square * (np.maximum(1.0 - t2 * t2 * t2, 0.0) - bow)
    shape += np.clip(jaw * (1.0 - 1.2 * up), 0.0, 0.9) * (1.0 - square) * (np.sqrt(bow) - shape)
    corner = 0.165 * up - 0.115 * down + 0.055 * p["rest_corner"]
    slant = p["skew"] * (0.010 + 0.030 * up + 0.030 * raised) * t
    middle = p["mouth_y"] - 0.035 * p["chin_up"] - 0.045 * raised + 0.30 * corner - corner * t2 + slant
    gap_up = 0.012 * part + 0.075 * jaw * (1.0 - up) + 0.070 * raised * part + 0.045 * square * part
    gap_down = 0.100 * part * (1.0 - 0.5 * raised) + 0.200 * jaw + 0.035 * square * part
    top, bottom = middle - gap_up * shape, middle + gap_down * shape
    thin = 1.0 - 0.62 * np.clip(pressed, 0.0, 1.0) - 0.25 * up * part - 0.25 * stretch
    dip = 0.20 * bump((u / 0.09) ** 2)
    lip_top = top - p["lip_upper"] * thin * (1.0 - 0.15 * raised) * (shape - dip)
    lip_bottom = bottom + p["lip_lower"] * thin * (1.0 + 0.25 * np.maximum(p["chin_up"], 0.0)) * shape
    ends = canvas.cover((np.abs(t) - 1.0) * width)
    upper = canvas.cover(lip_top - v) * canvas.cover(v - top) * ends
    lower = canvas.cover(bottom - v) * canvas.cover(v - lip_bottom) * ends
    canvas.shade((1.0 - p["lip_tone"]) * 1.25 * upper)
    canvas.shade((1.0 - p["lip_tone"]) * 0.75 * lower)
    canvas.shade(-0.12 * lower * bump((t / 0.6) ** 2))
    _paint_opening(canvas, p, top, bottom, ends)
    closed = 1.0 - np.clip((gap_up + gap_down) / 0.05, 0.0, 0.8)
    canvas.shade(0.58 * closed * ends * line(v - middle, 0.036))
    canvas.shade(0.26 * bump(((side - width) / 0.055) ** 2 + ((v - middle - 0.005) / 0.055) ** 2))
    canvas.shade(0.20 * (1.0 - 0.6 * jaw) * bump((u / 0.20) ** 2 + ((v - lip_bottom - 0.045) / 0.055) ** 2))
    # from the wings of the nose around the corners of the mouth
    fold_v = v - p["nose_y"] - 0.03 + 0.05 * p["nose_wrinkle"]
    fold_u = side - p["nose_width"] - 0.055 - 0.05 * stretch - (0.34 + 0.30 * up) * np.maximum(fold_v, 0.0)
    depth = 0.07 + 0.12 * p["age"] + 0.26 * up + 0.26 * raised + 0.22 * np.maximum(p["nose_wrinkle"], 0.0)
    canvas.shade(depth * line(fold_u, 0.046) * ramp(fold_v, -0.06, 0.03) * (1.0 - ramp(fold_v, 0.16, 0.36)))
    # a mouth pulled down folds the skin below its corners
    sag_u = side - width - 0.02 - 0.18 * (v - middle)
    canvas.shade(0.26 * down * line(sag_u, 0.046) * bump(((v - middle - 0.09) / 0.11) ** 2))


def _paint_opening(canvas: Canvas, p: Parts, top: Field, bottom: Field, ends: Field) -> None:
    """The inside of the mouth: teeth first, then the dark, and the tongue in a wide mouth."""
    v = canvas.v
    deep = bottom - top
    inside = canvas.cover(top - v) * canvas.cover(v - bottom) * ends * np.clip(deep / 0.05, 0.0, 1.0)
    canvas.lay(inside, 0.05)
    tongue = bump((canvas.u / 0.17) ** 2 + ((v - bottom - 0.02) / 0.13) ** 2)
    canvas.lay(0.55 * tongue * inside * p["jaw_drop"], 0.55 * p["skin"])
    lit = (0.66 + 0.26 * p["skin"]) * (0.5 + 0.5 * p["exposure"])
    smile = np.maximum(p["part"], 0.0) * np.clip(1.0 - 0.35 * p["jaw_drop"], 0.0, 1.0)
    row = (0.015 + 0.085 * smile) * (1.0 - 0.5 * np.minimum((canvas.u / 0.42) ** 2, 1.0))
    canvas.lay(inside * canvas.cover(v - top - row), lit)
    below = 0.04 * np.clip(p["square"], 0.0, 1.0) * smile
    canvas.lay(inside * canvas.cover(bottom - below - v) * (below > 0.01), 0.85 * lit)
