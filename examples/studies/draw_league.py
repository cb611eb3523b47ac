"""The league's rows as a CSV file and a plot for each ground: accuracy against memory, coloured by class.

    python examples/studies/draw_league.py                                          # of the documentation
    python examples/studies/draw_league.py --rows reproduced/league/rows --out .    # of a league of your own

The number beside a point is the rule's place in the ranking.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from localrules.core.locality import LOCALITY_LEVELS
from localrules.reproduce.league.row import Row, as_csv, load_rows
from localrules.utils.palette import COLOURS, INK, MARKERS, MUTED
from localrules.utils.plotting import new_figure, plain_axes, save_figure

DOCS = Path(__file__).parents[2] / "docs"
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8))

Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""


def draw(rows: list[Row], out: Path) -> None:
    """Accuracy against memory, a point a rule with its place in the ranking; rows come best first."""
    figure = new_figure(10, 6.4)
    axes = figure.subplots()
    plain_axes(axes, f"{rows[0].model} on {rows[0].data}", x="peak memory of a step, to backprop")
    axes.set_ylabel(f"accuracy on the {rows[0].split} split, on a logarithmic scale of the error")
    axes.set_yscale("function", functions=(_height, lambda height: 1 - np.exp(-height)))
    axes.yaxis.set_major_locator(FixedLocator([*np.arange(0.1, 0.8, 0.1), 0.75, 0.8, 0.84, *np.arange(0.86, 1, 0.01)]))
    axes.yaxis.set_major_formatter("{x:.2f}")
    for level, name in enumerate(LOCALITY_LEVELS):
        own = [row for row in rows if row.level == name]
        if own:
            memory, accuracy = [row.memory_ratio for row in own], [row.accuracy_mean for row in own]
            axes.scatter(memory, accuracy, color=COLOURS[level], marker=MARKERS[level], s=28, label=name, zorder=3)
    axes.set_ylim(min(row.accuracy_mean for row in rows) * 0.98, 1 - (1 - rows[0].accuracy_mean) * 0.95)
    key = axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    names = "\n".join(f"{place} {row.rule}" for place, row in enumerate(rows, 1))
    below = {"xycoords": key, "va": "top", "fontsize": 6.5, "linespacing": 1.15}
    axes.annotate(names, (0.12, 0), **below, color=INK)
    figure.canvas.draw()
    _number(axes, [(row.memory_ratio, row.accuracy_mean) for row in rows])
    save_figure(figure, out, of=f"rules with the settings of their search, {rows[0].machine}")


def _height(accuracy: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(1 - accuracy, 1e-4))  # an error of zero is infinitely high


def _number(axes: Axes, points: list[tuple[float, float]]) -> None:
    """Number the points, each number where it covers the fewest others."""
    marks = axes.transData.transform(points)
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    for place, (point, (x, y)) in enumerate(zip(points, marks, strict=True), 1):
        half = 3.2 * len(str(place))
        at = [(distance * dx, distance * dy) for distance in (11, 19) for dx, dy in DIRECTIONS]
        boxes = [(x + dx - half, y + dy - 5, x + dx + half, y + dy + 5) for dx, dy in at]
        best = min(range(len(at)), key=lambda which: sum(_overlap(boxes[which], other) for other in taken))
        taken.append(boxes[best])
        shift = tuple(pixels * 72 / axes.figure.dpi for pixels in at[best])
        arrow = {"arrowstyle": "-", "linewidth": 0.4, "color": MUTED, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            str(place), point, shift, textcoords="offset points", fontsize=6.5, ha="center", va="center", color=INK,
            arrowprops=arrow if max(map(abs, at[best])) > 11 else None, zorder=4,
        )  # fmt: skip


def _overlap(one: Box, other: Box) -> float:
    """The area that two boxes have in common, in square pixels."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def main() -> None:
    """Read the rows, write the table, draw the plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=DOCS / "benchmarks" / "measured" / "league")
    parser.add_argument(
        "--out", type=Path, help="for the CSV file and the plots; those of the documentation by default"
    )
    asked = parser.parse_args()
    rows = load_rows(asked.rows)
    table = asked.out or asked.rows.parent
    (table / "league.csv").write_text(as_csv(rows), encoding="utf-8")
    for ground in sorted({row.ground for row in rows}):
        done = [row for row in rows if row.ground == ground and row.accuracies]
        if done:
            draw(done, (asked.out or DOCS / "images") / f"league-{ground}.png")


if __name__ == "__main__":
    main()
