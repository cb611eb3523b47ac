"""Charts of a run as tables, which each tracker draws in its own way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from localrules.tracking.layer_metrics import HEADINGS

Steps = dict[int, dict[str, float]]
Kind = Literal["heat map", "confusion", "scatter", "bar", "line", "table"]

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


class _Series:
    """Values by step and layer: an even part of the steps, and the last one."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[int, dict[str, float]]] = {}  # by step: its number, and the values
        self._count, self._stride = 0, 1

    def set(self, step: int, layer: str, value: float) -> None:
        """Take a value; steps come in order."""
        if step not in self._rows:
            self._thin()
            self._rows[step] = self._count, {}
            self._count += 1
        self._rows[step][1][layer] = value

    def _thin(self) -> None:
        if len(self._rows) >= MOST_STEPS - 1:
            self._stride *= 2
        self._rows = {step: row for step, row in self._rows.items() if row[0] % self._stride == 0}

    @property
    def steps(self) -> dict[int, dict[str, float]]:
        """The values by step."""
        return {step: values for step, (_, values) in self._rows.items()}


class LayerHistory:
    """The measurements of each layer over the steps of a run, in at most :data:`MOST_STEPS` columns.

    Args:
        layers: Names in forward order.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self._layers = list(layers)
        self._series = {name: _Series() for name in HEADINGS}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row of ``metrics.csv``."""
        step = int(row.get("step") or 0)
        for column, value in row.items():
            name, slash, layer = column.partition("/")
            if slash and name in self._series and isinstance(value, int | float) and math.isfinite(value):
                self._series[name].set(step, layer, float(value))

    def add_file(self, metrics_csv: Path) -> None:
        """Take the rows of a run that is resumed."""
        import pandas as pd

        if metrics_csv.is_file():
            for row in pd.read_csv(metrics_csv).to_dict("records"):
                self.add({str(column): value for column, value in row.items()})

    def charts(self) -> list[Chart]:
        """A heat map of each metric that was measured, the information plane, and where accuracy is gained."""
        measured = {name: series.steps for name, series in self._series.items() if series.steps}
        found = [self._heat_map(name, steps) for name, steps in measured.items()]
        if {"hsic-input", "hsic-labels"} <= measured.keys():
            found.append(self._information_plane(measured["hsic-input"], measured["hsic-labels"]))
        if "probe" in measured:
            found.append(self._accuracy_gained(measured["probe"]))
        return found

    def _heat_map(self, name: str, steps: Steps) -> Chart:
        rows = [
            (step, depth, layer, steps[step][layer])
            for step in steps
            for depth, layer in enumerate(self._layers)
            if layer in steps[step]
        ]
        columns = ("step", "depth", "layer", name)
        return Chart(f"charts/{name}", HEADINGS[name], "heat map", columns, rows, ("step", "layer", name))

    def _information_plane(self, given: Steps, told: Steps) -> Chart:
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

    def _accuracy_gained(self, probes: Steps) -> Chart:
        step, before, rows = max(probes), 0.0, []
        for layer in self._layers:
            if (accuracy := probes[step].get(layer)) is not None:
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
