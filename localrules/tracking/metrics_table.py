"""The contents of ``metrics.csv`` for plots: curves, objectives and diagnostics, read once and smoothed alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from localrules.config.schema import DIAGNOSTICS
from localrules.tracking.layer_metrics import KNOWN

OBJECTIVE = "objective/"


@dataclass(frozen=True)
class Curve:
    """A column against steps.

    Attributes:
        steps: Where it was measured.
        values: What was measured.
    """

    steps: np.ndarray
    values: np.ndarray

    def smoothed(self) -> Curve:
        """Its running mean over a 25th of its points."""
        window = max(1, len(self.values) // 25)
        mean = pd.Series(self.values).rolling(window, min_periods=1, center=True).mean()
        return Curve(self.steps, mean.to_numpy())

    def change(self) -> Curve:
        """Its change since the start, as a fraction of its range."""
        finite = self.values[np.isfinite(self.values)]
        span = finite.max() - finite.min() if len(finite) else 0.0
        scaled = (self.values - finite[0]) / span if span > 0 else np.zeros_like(self.values)
        return Curve(self.steps, scaled)

    @property
    def ends(self) -> tuple[float, float] | None:
        """The first and the last value that are finite; ``None`` where there is none."""
        finite = self.values[np.isfinite(self.values)]
        return (float(finite[0]), float(finite[-1])) if len(finite) else None


class MetricsTable:
    """The numbers of a run's ``metrics.csv``.

    Args:
        path: The file; also one that has no row yet, or whose last line a kill cut in two.
    """

    def __init__(self, path: Path) -> None:
        self._table = pd.read_csv(path).apply(pd.to_numeric, errors="coerce")

    def curve(self, column: str) -> Curve | None:
        """A column where it has a value; ``None`` where it never has."""
        if column not in self._table:
            return None
        points = self._table[["step", column]].dropna()
        if not len(points):
            return None
        return Curve(points["step"].to_numpy(), points[column].to_numpy(float))

    def objectives(self) -> dict[str, Curve]:
        """The objective of each layer that has learned, smoothed."""
        return {layer: curve.smoothed() for layer, curve in self._layers(OBJECTIVE).items()}

    def diagnostics(self) -> dict[str, dict[str, Curve]]:
        """The measurements of each layer, by the diagnostic's name."""
        found = {name: self._layers(f"{name}/") for name in DIAGNOSTICS}
        return {name: layers for name, layers in found.items() if layers and name in KNOWN}

    def _layers(self, prefix: str) -> dict[str, Curve]:
        columns = [str(column) for column in self._table.columns if str(column).startswith(prefix)]
        found = {column.removeprefix(prefix): self.curve(column) for column in columns}
        return {layer: curve for layer, curve in found.items() if curve is not None}
