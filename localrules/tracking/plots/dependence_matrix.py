"""The image of an audit: whose update depends on whose parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from localrules.utils.palette import INK, MUTED, TRAIN, VALID
from localrules.utils.plotting import new_figure, save_figure

_COLOURS = ("#f2f4f7", "#16324f", TRAIN, VALID)
MEANINGS = ("its own parameters", "a layer that it reads", "a layer that it does not read")


def plot_dependence(
    layers: Sequence[str],
    depends: Sequence[Sequence[bool]],
    upstream: Sequence[Sequence[bool]],
    title: str,
    out: Path,
    *,
    of: str = "",
) -> Path:
    """Draw a matrix of dependences, a row for each layer's update.

    Args:
        layers: Names in forward order.
        depends: ``depends[row][column]``: whether the update of one layer depends on the parameters of another.
        upstream: Whether layer ``row`` reads layer ``column``, directly or through others.
        title: Its heading.
        out: The PNG file.
        of: Rule, model, data and seed, in small print.

    Returns:
        ``out``.
    """
    kinds = dependence_kinds(depends, upstream)
    side = max(4.6, 0.26 * len(layers) + 2.4)
    figure = new_figure(side, side * 0.94)
    axes = figure.subplots()
    axes.imshow(kinds, cmap=ListedColormap(_COLOURS), vmin=-0.5, vmax=3.5)
    ticks = range(len(layers))
    axes.set_xticks(ticks, layers, rotation=90, fontsize=7)
    axes.set_yticks(ticks, layers, fontsize=7)
    axes.set_xticks([place - 0.5 for place in ticks], minor=True)
    axes.set_yticks([place - 0.5 for place in ticks], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="both", length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("whose parameters", color=INK, fontsize=9)
    axes.set_ylabel("whose update", color=INK, fontsize=9)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK, pad=20 if of else None)
    if of:  # above the matrix, since the legend is below it
        axes.annotate(
            of, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=7.5, color=MUTED
        )
    shown = [Patch(color=_COLOURS[kind], label=MEANINGS[kind - 1]) for kind in (1, 2, 3) if (kinds == kind).any()]
    # Below each other: beside each other they are wider than the matrix of a few layers, and would be cut.
    figure.legend(handles=shown, loc="outside lower left", frameon=False, fontsize=8, labelcolor=INK)
    return save_figure(figure, out)


def dependence_kinds(depends: Sequence[Sequence[bool]], upstream: Sequence[Sequence[bool]]) -> np.ndarray:
    """For each pair of layers 0 where there is no dependence, else the place in :data:`MEANINGS`, from 1."""
    felt, reads = np.array(depends, dtype=bool), np.array(upstream, dtype=bool)
    kinds: np.ndarray = np.where(np.eye(len(felt), dtype=bool), 1, np.where(reads, 2, 3)) * felt
    return kinds
