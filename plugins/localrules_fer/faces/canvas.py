"""A stack of grey images to paint on, many at a time.

Only additions, products, quotients and square roots touch a pixel. These are exact to the last bit on every machine
and do not depend on how many images are painted together, so the data set is the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
"""Something with a value at each pixel: shape (images, height, width), or sizes of 1 that broadcast to it."""

SIDE = 48
PIXEL = 2.0 / SIDE
"""A pixel's width, in half images."""


@dataclass(frozen=True)
class Canvas:
    """Images being painted, and where each of their pixels lies on the face.

    Attributes:
        tone: Grey values, 0 black and 1 white. Painting changes them in place.
        x: Across the head as seen, 0 in the middle.
        y: Down the head as seen.
        u: Across the face, which turns with the head: the nose's ridge is at 0.
        v: Down the face.
        pixel: A pixel's width in these coordinates.
    """

    tone: Field
    x: Field
    y: Field
    u: Field
    v: Field
    pixel: Field

    def rows(self, first: int, last: int) -> Canvas:
        """The same canvas, but only these rows of pixels: painting a mouth need not visit the forehead."""
        part = (slice(None), slice(first, last))
        return Canvas(self.tone[part], self.x[part], self.y[part], self.u[part], self.v[part], self.pixel)

    def images(self, some: NDArray[np.intp]) -> Canvas:
        """A copy of these images."""
        return Canvas(self.tone[some], self.x[some], self.y[some], self.u[some], self.v[some], self.pixel[some])

    def cover(self, distance: Field) -> Field:
        """The covered fraction of each pixel, from the signed distance to a shape (negative inside)."""
        inside = distance * (-1.0 / self.pixel)
        inside += 0.5
        return np.clip(inside, 0.0, 1.0, out=inside)

    def fill(self, distance: Field, tone: Field | float, strength: Field | float = 1.0) -> None:
        """Paint the inside of a shape, with smooth edges."""
        self.lay(self.cover(distance) * strength, tone)

    def lay(self, cover: Field, tone: Field | float) -> None:
        """Paint where ``cover`` is 1, mix where it is between 0 and 1."""
        self.tone[...] += cover * (tone - self.tone)

    def shade(self, mark: Field) -> None:
        """Darken by a part of what is there: 0.3 leaves 70 percent; negative values lighten."""
        self.tone[...] *= 1.0 - mark


def turn(angle: Field) -> tuple[Field, Field]:
    """Cosine and sine, from double precision: those of float32 differ in the last bit between machines."""
    exact = angle.astype(np.float64)
    return np.cos(exact).astype(np.float32), np.sin(exact).astype(np.float32)


def bump(squares: Field) -> Field:
    """A smooth hill: 1 where the squared radius is 0, and 0 from 1 on."""
    inside = 1.0 - squares
    np.maximum(inside, 0.0, out=inside)
    inside *= inside
    return inside


def ellipse(across: Field, down: Field, width: Field | float, height: Field | float) -> Field:
    """Nearly the signed distance to an ellipse about the origin with these half axes."""
    radius = (across / width) ** 2
    radius += (down / height) ** 2
    np.sqrt(radius, out=radius)
    radius -= 1.0
    radius *= np.minimum(width, height, dtype=np.float32)
    return radius


def line(distance: Field, width: Field | float) -> Field:
    """A soft stroke: 1 on a curve, 0 from ``width`` on to either side."""
    return bump((distance * (1.0 / width)) ** 2)


def ramp(value: Field, start: Field | float, end: Field | float) -> Field:
    """0 up to ``start``, 1 from ``end`` on, smooth between."""
    t = (value - start) * (1.0 / (end - start))
    np.clip(t, 0.0, 1.0, out=t)
    slow = 3.0 - 2.0 * t
    t *= t
    t *= slow
    return t
