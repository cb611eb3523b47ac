"""The painter's tools, and that each movement does to the face what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from localrules_fer.faces.canvas import Canvas, bump, ellipse, line, ramp, turn
from localrules_fer.faces.draw import draw
from localrules_fer.faces.expression import CLASSES, MOVES, WAYS, draw_expressions
from localrules_fer.faces.render import render


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def still_life(**changes: float) -> np.ndarray:
    """One person at rest, seen from the front in even light, with some traits or movements set."""
    traits = {name: values[:1].copy() for name, values in draw(0, "test", 14).traits.items()}
    at_rest = dict.fromkeys([*MOVES, "skew", "roll", "yaw", "pitch", "gaze", "shift_x", "shift_y", "blur"], 0.0)
    plain = {"scale": 1.0, "light_x": 0.0, "light_y": -0.2, "hand": 0.0, "lock": 0.0, "glasses": 0.0, "beard": 0.0}
    for name, value in (at_rest | plain | changes).items():
        traits[name][:] = value
    return render(traits, np.zeros((1, 48, 48), np.float32))[0].astype(int)


def test_a_bump_is_one_at_its_middle_and_nothing_beyond_its_edge():
    assert bump(numbers(0.0, 1.0, 4.0)).tolist() == [1.0, 0.0, 0.0]


def test_a_line_is_darkest_on_the_curve_and_fades_to_both_sides():
    assert line(numbers(-1.0, 0.0, 1.0), 1.0).tolist() == [0.0, 1.0, 0.0]
    assert line(numbers(0.5), 1.0) == line(numbers(-0.5), 1.0)


def test_a_ramp_goes_from_nothing_to_one():
    assert ramp(numbers(-1.0, 0.0, 0.5, 1.0, 2.0), 0.0, 1.0).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_an_ellipse_is_negative_inside_and_zero_on_its_edge():
    distance = ellipse(numbers(0.0, 2.0, 0.0, 4.0), numbers(0.0, 0.0, 1.0, 0.0), 2.0, 1.0)

    assert distance.tolist() == [-1.0, 0.0, 0.0, 1.0]


def test_turning_keeps_single_precision():
    cos, sin = turn(numbers(0.0, 0.3))

    assert cos.dtype == sin.dtype == np.float32
    assert np.allclose(cos**2 + sin**2, 1.0)


def test_a_canvas_covers_half_of_a_pixel_on_an_edge():
    place = np.zeros((1, 1, 3), np.float32)
    canvas = Canvas(place.copy(), place, place, place, place, numbers(0.1).reshape(1, 1, 1))

    assert canvas.cover(numbers(-1.0, 0.0, 1.0)).tolist() == [[[1.0, 0.5, 0.0]]]
    canvas.fill(numbers(-1.0, 0.0, 1.0), 0.8)
    assert np.allclose(canvas.tone, [[[0.8, 0.4, 0.0]]])


def test_rows_of_a_canvas_are_the_canvas_itself():
    place = np.zeros((1, 4, 2), np.float32)
    canvas = Canvas(place, place, place, place, place, numbers(0.1).reshape(1, 1, 1))
    canvas.rows(1, 3).tone[...] = 1.0

    assert canvas.tone.sum(axis=(0, 2)).tolist() == [0.0, 2.0, 2.0, 0.0]


def test_painting_parts_of_the_image_cuts_nothing_off(monkeypatch):
    """Features are painted in bands of rows, to save time: the bands are wide enough for every pose."""
    bands = draw(3, "train", 280).images
    monkeypatch.setattr(Canvas, "rows", lambda canvas, first, last: canvas)

    assert np.array_equal(draw(3, "train", 280).images, bands)


@pytest.mark.parametrize(
    ("move", "amount", "rows"),
    [
        ("jaw", 1.0, slice(30, 46)),
        ("corner_up", 1.0, slice(26, 44)),
        ("corner_down", 1.0, slice(30, 46)),
        ("inner_brow_up", 1.0, slice(2, 22)),
        ("lid_up", 1.0, slice(12, 26)),
        ("nose_wrinkle", 1.0, slice(14, 40)),
    ],
)
def test_a_movement_changes_its_part_of_the_face(move, amount, rows):
    change = np.abs(still_life(**{move: amount}) - still_life()).sum(axis=1)

    assert change[rows].sum() > 0.7 * change.sum() > 0


def test_a_dropped_jaw_shows_the_dark_of_the_mouth():
    mouth = (slice(32, 44), slice(18, 30))

    assert still_life(jaw=1.0)[mouth].min() < 0.6 * still_life()[mouth].min()


def test_bared_teeth_are_brighter_than_lips():
    mouth = (slice(32, 42), slice(18, 30))

    assert still_life(part=1.0, corner_up=1.0)[mouth].max() > still_life(corner_up=1.0)[mouth].max()


def test_light_from_the_left_brightens_the_left():
    lit = still_life(light_x=-0.9)[20:36]

    assert lit[:, 10:20].mean() > lit[:, 28:38].mean() + 10


def test_every_way_to_show_an_expression_uses_known_movements():
    assert set(WAYS) == set(CLASSES)
    for ways in WAYS.values():
        for way in ways:
            assert set(way) <= set(MOVES)


def test_the_same_expression_varies_in_strength_and_detail():
    labels = np.full(50, CLASSES.index("happy"))
    moves = draw_expressions(np.random.default_rng(0), labels)

    assert moves["corner_up"].min() > 0.2
    assert moves["corner_up"].std() > 0.1
    assert abs(moves["brow_down"].mean()) < 0.1
