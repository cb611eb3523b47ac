"""The league's rows as a CSV file and a plot for each ground: accuracy against memory, coloured by class.

    python examples/studies/draw_league.py                                          # of the documentation
    python examples/studies/draw_league.py --rows reproduced/league/rows --out .    # of a league of your own

Named in a plot are the rules that no other beats in both accuracy and memory, then the most accurate ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from localrules.core.locality import LOCALITY_LEVELS
from localrules.reproduce.league.row import Row, as_csv, load_rows
from localrules.utils.palette import COLOURS, MARKERS
from localrules.utils.plotting import new_figure, plain_axes, save_figure

DOCS = Path(__file__).parents[2] / "docs"
NAMED = 12  # rules of each ground that are named in its plot


def draw(rows: list[Row], out: Path) -> None:
    """Accuracy against memory, a point a rule; rows come best first."""
    figure = new_figure(8, 5)
    axes = figure.subplots()
    plain_axes(axes, f"{rows[0].model} on {rows[0].data}", x="peak memory of a step, to backprop")
    axes.set_ylabel("test accuracy")
    for level, name in enumerate(LOCALITY_LEVELS):
        own = [row for row in rows if row.level == name]
        if own:
            memory, accuracy = [row.memory_ratio for row in own], [row.accuracy_mean for row in own]
            axes.scatter(memory, accuracy, color=COLOURS[level], marker=MARKERS[level], s=34, label=name, zorder=3)
    for row in _named(rows):
        axes.annotate(row.rule, (row.memory_ratio, row.accuracy_mean), (5, 3), textcoords="offset points", fontsize=7)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save_figure(figure, out, of=f"rules with the settings of their search, {rows[0].machine}")


def _named(rows: list[Row]) -> list[Row]:
    """The rules that no other beats in both accuracy and memory, then the most accurate ones."""
    front = [row for at, row in enumerate(rows) if all(row.memory_ratio < other.memory_ratio for other in rows[:at])]
    return (front + [row for row in rows if row not in front])[:NAMED]


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
