"""The result of a run, and the run folder that holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.config.overrides import Tree
from localrules.tracking.records import read_summary
from localrules.tracking.run_folder import METRICS

if TYPE_CHECKING:
    from pandas import DataFrame

    from localrules.registry.registry import Registry
    from localrules.runs.load import TrainedRun

Summary = dict[str, Any]


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        directory: The run folder, absolute.
        summary: The content of ``summary.json``.
        config: The content of ``config.toml``: every setting, the environment, and what the run was trained on.
    """

    directory: Path
    summary: Summary
    config: Tree = field(repr=False)
    registry: Registry = field(repr=False, compare=False)

    @property
    def status(self) -> str:
        """``done``: nothing is left to train. A run that fails or is interrupted raises an error instead."""
        return str(self.summary["status"])

    @property
    def stop_reason(self) -> str | None:
        """The reason for which a callback stopped the run before its last step; ``None`` if it took all of them."""
        reason: str | None = self.summary["stop_reason"]
        return reason

    @property
    def valid_accuracy(self) -> float | None:
        """Accuracy of the last weights on the valid split, between 0 and 1; ``None`` where there is no such split."""
        accuracy: float | None = self.summary["valid_accuracy"]
        return accuracy

    def metrics(self) -> DataFrame:
        """The content of ``metrics.csv``: a row for each logged step, NaN where a metric was not logged."""
        import pandas as pd

        return pd.read_csv(self.directory / METRICS)

    def load(self, *, device: str | None = None) -> TrainedRun:
        """The trained network; see :func:`localrules.load_run`."""
        from localrules.runs.load import load_run

        return load_run(self, device=device)


def completed_summary(folder: Path) -> Summary | None:
    """The summary of a run that is done; ``None`` if it is not. The folder may have been moved since."""
    folder = folder.expanduser().resolve()
    summary = read_summary(folder)
    return {**summary, "run_dir": str(folder)} if summary and summary.get("status") == "done" else None
