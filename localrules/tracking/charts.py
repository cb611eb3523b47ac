"""Charts of a run as tables, which each tracker draws in its own way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["heat map", "confusion", "scatter", "bar", "line", "table"]

LAYER_CHARTS = {
    "objective": "Objective",
    "gradient": "Norm of the gradient",
    "update": "Update, as a fraction of the weights",
    "angle": "Angle to back-propagation, degrees",
    "dead": "Dead units, fraction",
    "hsic-input": "Dependence on the input (nHSIC)",
    "hsic-labels": "Dependence on the labels (nHSIC)",
    "cka": "Similarity to the layer before (CKA)",
    "probe": "Accuracy of a linear probe",
}
"""The metrics of which there is a heat map of layers by steps, with their titles."""

MOST_STEPS = 100  # columns of a heat map


@dataclass(frozen=True)
class Chart:
    """A table, and how it is drawn.

    Attributes:
        name: Unlike any other in a run, e.g. ``charts/objective``.
        title: Its heading.
        kind: ``heat map`` and ``confusion`` draw the third axis as colour; ``table`` is not drawn.
        columns: The columns.
        rows: The rows.
        axes: Columns that are drawn: x, y, and the colour of a heat map or the label of points.
    """

    name: str
    title: str
    kind: Kind
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    axes: tuple[str, ...] = ()


class LayerHistory:
    """The measurements of each layer over the steps of a run, in at most :data:`MOST_STEPS` columns.

    Args:
        layers: Names in forward order.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self._layers = list(layers)
        self._found: dict[str, dict[int, dict[str, float]]] = {name: {} for name in LAYER_CHARTS}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row of ``metrics.csv``."""
        step = int(row.get("step") or 0)
        for column, value in row.items():
            name, slash, layer = column.partition("/")
            if slash and name in self._found and isinstance(value, int | float) and math.isfinite(value):
                self._found[name].setdefault(step, {})[layer] = float(value)
        for steps in self._found.values():
            if len(steps) > 2 * MOST_STEPS:  # every second one, and always the last
                for old in [*steps][-2::-2]:
                    del steps[old]

    def add_file(self, metrics_csv: Path) -> None:
        """Take the rows of a run that is resumed."""
        import pandas as pd

        if metrics_csv.is_file():
            for row in pd.read_csv(metrics_csv).to_dict("records"):
                self.add({str(column): value for column, value in row.items()})

    def charts(self) -> list[Chart]:
        """A heat map of each metric that was measured, the information plane, and where accuracy is gained."""
        found = [self._heat_map(name) for name, steps in self._found.items() if steps]
        if self._found["hsic-input"] and self._found["hsic-labels"]:
            found.append(self._information_plane())
        if self._found["probe"]:
            found.append(self._accuracy_gained())
        return found

    def _heat_map(self, name: str) -> Chart:
        steps = self._found[name]
        kept = [*steps][-1 :: -math.ceil(len(steps) / MOST_STEPS)][::-1]
        rows = [
            (step, depth, layer, steps[step][layer])
            for step in kept
            for depth, layer in enumerate(self._layers)
            if layer in steps[step]
        ]
        columns = ("step", "depth", "layer", name)
        return Chart(f"charts/{name}", LAYER_CHARTS[name], "heat map", columns, rows, ("step", "layer", name))

    def _information_plane(self) -> Chart:
        given, told = self._found["hsic-input"], self._found["hsic-labels"]
        step = max(given)
        rows = [
            (layer, depth, given[step][layer], told[step][layer])
            for depth, layer in enumerate(self._layers)
            if layer in given[step] and layer in told.get(step, {})
        ]
        columns = ("layer", "depth", "hsic-input", "hsic-labels")
        title = f"Information plane after step {step}"
        return Chart(
            "charts/information_plane", title, "scatter", columns, rows, ("hsic-input", "hsic-labels", "layer")
        )

    def _accuracy_gained(self) -> Chart:
        step, before, rows = max(self._found["probe"]), 0.0, []
        for layer in self._layers:
            if (accuracy := self._found["probe"][step].get(layer)) is not None:
                rows.append((layer, accuracy - before, accuracy))
                before = accuracy
        title = f"Accuracy of a linear probe gained by each layer, after step {step}"
        columns = ("layer", "gained", "probe")
        return Chart("charts/accuracy_gained", title, "bar", columns, rows, ("layer", "gained"))


def dependence_chart(document: Mapping[str, Any], name: str = "charts/locality") -> Chart:
    """The matrix of an audit: whose update depends on whose parameters.

    Args:
        document: ``layers``, and ``depends``, a row of booleans for each layer's update.
        name: The chart's name.
    """
    layers = list(document["layers"])
    rows = [
        (layer, other, int(depends))
        for layer, line in zip(layers, document["depends"], strict=True)
        for other, depends in zip(layers, line, strict=True)
    ]
    columns = ("update of", "parameters of", "depends")
    return Chart(
        name,
        "Whose update depends on whose parameters",
        "heat map",
        columns,
        rows,
        ("parameters of", "update of", "depends"),
    )
