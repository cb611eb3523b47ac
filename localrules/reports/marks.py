"""SVG paths of markers, the shapes of :data:`localrules.utils.palette.MARKERS`."""

from __future__ import annotations

from localrules.utils.palette import COLOURS, DEPTHS, MARKERS

Polygon = tuple[tuple[float, float], ...]

# Corners around (0, 0), for a radius of 1; shapes with less area are larger, so that all look alike in size.
_CORNERS: dict[str, Polygon] = {
    "s": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "^": ((0, -1.15), (1.1, 0.8), (-1.1, 0.8)),
    "D": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
    "v": ((0, 1.15), (-1.1, -0.8), (1.1, -0.8)),
    "<": ((-1.15, 0), (0.8, -1.1), (0.8, 1.1)),
    ">": ((1.15, 0), (-0.8, 1.1), (-0.8, -1.1)),
    "P": (
        *((-0.38, -1.1), (0.38, -1.1), (0.38, -0.38), (1.1, -0.38), (1.1, 0.38), (0.38, 0.38)),
        *((0.38, 1.1), (-0.38, 1.1), (-0.38, 0.38), (-1.1, 0.38), (-1.1, -0.38), (-0.38, -0.38)),
    ),
    "X": (
        *((-1.05, -0.5), (-0.5, -1.05), (0, -0.55), (0.5, -1.05), (1.05, -0.5), (0.55, 0)),
        *((1.05, 0.5), (0.5, 1.05), (0, 0.55), (-0.5, 1.05), (-1.05, 0.5), (-0.55, 0)),
    ),
}


def mark_path(style: int, x: float, y: float, radius: float) -> str:
    """The marker of a style at a position."""
    shape = MARKERS[style % len(MARKERS)]
    if shape == "o":
        r = f"{radius:.1f}"
        return f"M{x - radius:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * radius:.1f} 0a{r} {r} 0 1 0-{2 * radius:.1f} 0z"
    corners = [f"{x + radius * dx:.1f} {y + radius * dy:.1f}" for dx, dy in _CORNERS[shape]]
    return f"M{'L'.join(corners)}z"


def style_class(style: int, depth: float | None = None) -> str:
    """The class that gives a series its colour, and the one by which it can be found on the page."""
    if depth is not None:
        return f"d{round(depth * (len(DEPTHS) - 1))} s{style}"
    return f"c{style % len(COLOURS)} s{style}"


def line_path(points: list[tuple[float, float]], *, steps: bool = False) -> str:
    """A line through points; with ``steps``, one that holds each value up to the next point."""
    if not points:
        return ""
    (x, y), *rest = points
    if steps:
        return f"M{x:.1f} {y:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in rest)
    return f"M{x:.1f} {y:.1f}" + "".join(f"L{x:.1f} {y:.1f}" for x, y in rest)
