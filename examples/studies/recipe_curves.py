"""Accuracy of finished runs of the recipes against steps, seconds and MACs: a table and an image.

    python examples/studies/recipe_curves.py finals/* --csv fer2013-recipes.csv --image fer2013-recipes.png

Seconds are each step's, at the median pace of its phase: a machine that also did other things slows all steps alike.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

import pandas as pd

from localrules.benchmark.flops import step_macs
from localrules.config.schema import RunConfig
from localrules.registry.registry import Registry
from localrules.runs.load import read_run
from localrules.utils.palette import COLOURS, MARKERS
from localrules.utils.plotting import new_figure, plain_axes, save_figure

RECIPES = ("fer_backprop", "fer_hsic", "fer_hsic_block", "fer_hsic_ce")
STEP, SECONDS, WORK, ACCURACY = "step", "seconds", "macs_10^12", "valid_accuracy"
AXES = {STEP: "step", SECONDS: "seconds of training steps", WORK: "MACs, 10^12"}


def recipe_of(config: RunConfig) -> str:
    """The recipe whose rule and granularity a run has; of two that fit, the one that says more of its rule."""
    run = config.rule.to_table()
    fitting: dict[str, int] = {}
    for name in RECIPES:
        recipe = tomllib.loads((Path(__file__).parents[1] / "recipes" / f"{name}.toml").read_text(encoding="utf-8"))
        if recipe["rule"].items() <= run.items() and recipe.get("granularity", "layer") == config.granularity:
            fitting[name] = len(recipe["rule"])
    if not fitting:
        raise SystemExit(f"no recipe has rule {run} at granularity {config.granularity}")
    return max(fitting, key=lambda name: fitting[name])


def curve(folder: Path, registry: Registry) -> pd.DataFrame:
    """A run's accuracy on the valid split, with what had been spent by then."""
    config, record = read_run(folder)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    logged = pd.read_csv(folder / "metrics.csv", usecols=[STEP, ACCURACY, "step_seconds"])
    points = logged.dropna(subset=[ACCURACY])
    seconds, work = 0.0 * points[STEP], 0.0 * points[STEP]
    trained = record["trained_on"]
    shape, classes = tuple(trained["shape"]), len(trained["classes"])
    for part in step_macs(config, registry, shape, classes, summary["steps"]):
        steps = points[STEP].clip(part.start, part.stop) - part.start
        inside = logged[STEP].between(part.start + 1, part.stop)
        seconds = seconds + steps * logged.loc[inside, "step_seconds"].median()
        work = work + steps * part.macs / 1e12
    found = {"recipe": recipe_of(config), "seed": config.seed, STEP: points[STEP]}
    return pd.DataFrame(found | {SECONDS: seconds, WORK: work, ACCURACY: points[ACCURACY]})


def draw(table: pd.DataFrame, out: Path) -> None:
    """A recipe's line is the mean over its seeds, and its band their range."""
    figure = new_figure(11, 4.2)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, against in zip(panels, AXES, strict=True):
        plain_axes(axes, "Accuracy on PublicTest" if against == STEP else "", x=AXES[against])
        axes.set_ylim(0.4, 0.7)
        for index, recipe in enumerate(RECIPES):
            steps = table[table["recipe"] == recipe].groupby(STEP)
            if not len(steps):
                continue
            spent, found = steps[against].mean(), steps[ACCURACY].agg(["mean", "min", "max"])
            axes.fill_between(spent, found["min"], found["max"], color=COLOURS[index], alpha=0.15, linewidth=0)
            axes.plot(
                spent, found["mean"], color=COLOURS[index], marker=MARKERS[index], ms=3, lw=1.6, label=recipe, zorder=3
            )
    panels[2].legend(frameon=False, loc="lower right", fontsize=9)
    save_figure(figure, out)


def main() -> None:
    """Read the runs, write the table, draw the image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--csv", type=Path, default=Path("fer2013-recipes.csv"))
    parser.add_argument("--image", type=Path, default=Path("fer2013-recipes.png"))
    given = parser.parse_args()
    registry = Registry.load()
    table = pd.concat([curve(run, registry) for run in given.runs]).sort_values(["recipe", "seed", STEP])
    table.to_csv(given.csv, index=False, float_format="%.4g")
    draw(table, given.image)


if __name__ == "__main__":
    main()
